"""Prompts that begin alike: system prompts with many users, and chats that repeat what was said."""

from __future__ import annotations

import math
from random import Random

from .distributions import Lengths, arrivals, fixed
from .job import Job


def system_prompts(
    groups: int, each: int, shared: int, own: Lengths | int, output: Lengths | int, rate: float, seed: int
) -> list[Job]:
    """``groups`` system prompts of ``shared`` tokens, ``each`` users behind each, in a mixed-up order."""
    check_counts(groups=groups, each=each, shared=shared)
    n, rng = groups * each, Random(f"lengths {seed}")
    prompts, outputs = lengths(own)(rng, n), lengths(output)(rng, n)
    order = [group for group in range(groups) for _ in range(each)]
    Random(f"order {seed}").shuffle(order)
    times = arrivals(Random(f"arrivals {seed}"), n, rate)
    drawn = zip(times, prompts, outputs, order, strict=True)
    return [
        Job(at, shared + prompt, out, f"group{group}", parts=((f"system{group}", shared),))
        for at, prompt, out, group in drawn
    ]


def conversations(
    sessions: int, turns: int, system: int, new: Lengths | int, output: Lengths | int, think: float,
    rate: float = math.inf, seed: int = 0,
) -> list[Job]:  # fmt: skip
    """Chats behind one system prompt. A turn's prompt is all that was said before, and ``new`` tokens."""
    check_counts(sessions=sessions, turns=turns, system=system)
    if not 0 <= think < math.inf:
        raise ValueError(f"think={think}: must be seconds, at least 0")
    n, rng, clock = sessions * turns, Random(f"lengths {seed}"), Random(f"think {seed}")
    drawn = zip(lengths(new)(rng, n), lengths(output)(rng, n), strict=True)
    jobs = []
    for session, at in enumerate(arrivals(Random(f"arrivals {seed}"), sessions, rate)):
        said = [("system", system)]
        for turn in range(turns):
            prompt, out = next(drawn)
            name = f"chat{session}.{turn}"
            said.append((name, prompt))
            tokens = sum(count for _, count in said)
            jobs.append(Job(at, tokens, out, f"turn{turn}", parts=tuple(said), answer=f"{name}a"))
            said.append((f"{name}a", out))
            at += think * clock.uniform(0.7, 1.3)
    return jobs


def part_tokens(name: str, tokens: int, vocab_size: int, seed: int) -> list[int]:
    """Random token ids of a part of a prompt: the same wherever it stands; a shorter one is its beginning."""
    return Random(f"{seed} {name}").choices(range(vocab_size), k=tokens)


def lengths(given: Lengths | int) -> Lengths:
    """A distribution as it is; a number is always the same length."""
    return fixed(given) if isinstance(given, int) else given


def check_counts(**counts: int) -> None:
    """Raises ValueError naming the first that is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count}: must be at least 1")
