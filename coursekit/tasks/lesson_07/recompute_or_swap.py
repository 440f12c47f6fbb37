"""What a victim costs: computing its tokens again, or copying its blocks to the host and back."""

import math
import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Machine = dict[str, float]
Guess = tuple[float, str, str]  # what a mistake gives, its cause, its slip

RECOMPUTE = "recompute: how much longer a step of √(weights² + (time of its tokens)²) gets when the victim's tokens come on top"
SWAP = "swap: whole blocks, out and in; each has its bytes over the link, and the latency of its copies"
CHOICE = "the smaller one; 'recompute' if both are equal, because it needs no memory on the host"
FORM = "a list of three: the word, the ms of recomputing, the ms of swapping"
CLOSE = 1e-6


def step_ms(machine: Machine, tokens: float) -> float:
    return math.hypot(machine["weights_ms"], machine["token_ms"] * tokens)


def costs(tokens: int, busy: int, machine: Machine) -> tuple[float, float]:
    """Milliseconds of recomputing and of swapping."""
    bytes_ms, latency_ms = machine["block"] * machine["kv_bytes"] / machine["link"], machine["copies"] * machine["copy_ms"]
    swap = 2 * -(-tokens // machine["block"]) * (bytes_ms + latency_ms)
    return step_ms(machine, busy + tokens) - step_ms(machine, busy), swap


def judge(args: Args, got: Any) -> Finding | None:
    tokens, busy, machine = args
    recompute, swap = costs(tokens, busy, machine)
    want = ["recompute" if recompute <= swap else "swap", round(recompute, 6), round(swap, 6)]

    def wrong(rule: str, cause: str, slip: str) -> Finding:
        return Finding(rule, cause, slip, want, got)

    if problem := misformed(got):
        return wrong(FORM, *problem)
    word, again, moved = got
    if close(again, swap) and close(moved, recompute) and not close(recompute, swap):
        return wrong(FORM, "the two times have changed places: first recomputing, then swapping", "changed places")
    if not close(again, recompute):
        made = [(cause, slip) for value, cause, slip in likely_recomputes(args) if close(again, value)]
        unknown = (f"{CANNOT_TELL}: recomputing takes {recompute:.4g} ms more here, not {again:.4g}", "other recompute")
        return likeliest(lambda cause, slip: wrong(RECOMPUTE, cause, slip), made or [unknown])
    if not close(moved, swap):
        made = [(cause, slip) for value, cause, slip in likely_swaps(args) if close(moved, value)]
        unknown = (f"{CANNOT_TELL}: swapping takes {swap:.4g} ms here, not {moved:.4g}", "other swap")
        return likeliest(lambda cause, slip: wrong(SWAP, cause, slip), made or [unknown])
    if word != want[0]:
        if close(recompute, swap):
            return wrong(CHOICE, "both take as long: say 'recompute', which needs no memory on the host", "a tie")
        return wrong(CHOICE, "the word names the slower one: the smaller number wins", "larger chosen")
    return None


def misformed(got: Any) -> tuple[str, str] | None:
    """(cause, slip) of an answer that is not a word and two times."""
    if isinstance(got, str):
        return "only the word came back: the two times belong beside it", "word alone"
    if not isinstance(got, list) or len(got) != 3:
        return "return three things: the word, the ms of recomputing, the ms of swapping", "not three"
    word, *times = got
    if word not in ("recompute", "swap"):
        return "the first is the word, 'recompute' or 'swap'", "other word"
    if any(isinstance(t, bool) or not isinstance(t, (int, float)) for t in times):
        return "the second and the third are numbers, in ms", "no numbers"
    return None


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-5)


def likely_recomputes(args: Args) -> list[Guess]:
    """What each likely mistake makes of the first time."""
    tokens, busy, machine = args
    weights, token = machine["weights_ms"], machine["token_ms"]
    together, before = step_ms(machine, busy + tokens), step_ms(machine, busy)
    return [
        (
            step_ms(machine, tokens),
            "this is a step of its own, which reads the weights once more. The tokens ride in a step that comes anyway",
            "weights read again",
        ),
        (together, "this is the whole step: take off what it takes without the victim", "whole step"),
        (
            step_ms(machine, tokens) - weights,
            "the step computes busy tokens anyway, and yours are added to an empty one",
            "busy forgotten",
        ),
        (
            max(weights, token * (busy + tokens)) - max(weights, token * busy),
            "this takes the larger of both times. They overlap only in part: √(weights² + tokens²)",
            "plain maximum",
        ),
        (
            token * tokens,
            "this is the time of the tokens alone. In a step that waits for the weights they are nearly free: √(weights² + "
            "tokens²)",
            "weights forgotten",
        ),
        (
            weights + token * tokens,
            "weights and tokens are added up: a step reads and computes at the same time, √(weights² + tokens²)",
            "sum of both",
        ),
        (together**2 - before**2, "the root is missing", "no root"),
        (before - together, "the difference is the wrong way round: longer less shorter", "negative"),
        (
            step_ms(machine, busy + 1) - before,
            "one token is computed again: the victim has lost the KV of all of them",
            "one token",
        ),
        (
            step_ms(machine, busy + -(-tokens // machine["block"])) - before,
            "blocks are counted: recomputing works on tokens",
            "blocks, not tokens",
        ),
        (2 * (together - before), "recomputing happens once: only a swap goes two ways", "twice"),
    ]


def likely_swaps(args: Args) -> list[Guess]:
    """What each likely mistake makes of the second time."""
    tokens, busy, machine = args
    size, kv, link = machine["block"], machine["kv_bytes"], machine["link"]
    copies, latency = machine["copies"], machine["copy_ms"]

    def ways(blocks: float, latencies: float, both: int = 2) -> float:
        return both * (blocks * size * kv / link + latencies * latency)

    blocks, part = -(-tokens // size), tokens / size
    return [
        (ways(blocks, blocks * copies, 1), "this is one way: the blocks go out, and come in again", "one way"),
        (
            ways(part, part * copies),
            "the blocks are not whole: a block that holds one token is copied like a full one",
            "not rounded up",
        ),
        (ways(part, blocks * copies), "the bytes are those of the tokens: whole blocks are copied", "not rounded up"),
        (
            ways(tokens // size, tokens // size * copies),
            "the last block is missing: round up, not down",
            "rounded down",
        ),
        (ways(blocks, 0), "only the bytes are counted: each copy has a latency too", "copies forgotten"),
        (
            ways(blocks, blocks * copies / 2),
            "the copies are counted one way only: they are made out and in",
            "copies once",
        ),
        (ways(blocks, copies), "the copies are those of one block: there are as many for each of them", "copies of one block"),
        (ways(blocks, blocks), "one copy is counted for each block: a block lies in many pieces, machine['copies']", "one copy"),
        (
            ways(blocks, tokens * copies),
            "the copies are counted for each token: a block is copied, not a token",
            "copies a token",
        ),
        (ways(0, blocks * copies), "the bytes are missing: block x kv_bytes each, over the link", "bytes forgotten"),
        (
            2 * (blocks * kv / link + blocks * copies * latency),
            "each block is counted with the bytes of one token: a block holds machine['block'] of them",
            "bytes of a token",
        ),
        (
            2 * (blocks * size * kv * link + blocks * copies * latency),
            "the link is multiplied: bytes divided by bytes a ms are ms",
            "link multiplied",
        ),
        (
            ways(-(-(tokens + busy) // size), -(-(tokens + busy) // size) * copies),
            "the busy tokens are copied too: they belong to others, who stay",
            "busy copied",
        ),
        (ways(blocks, blocks * copies) / 1e3, "this is in seconds", "seconds"),
    ]


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "KeyError":
        return f"the machine has no entry {text.partition(': ')[2]}: it has {', '.join(args[2])}"
    return None


def generate(rng: random.Random, size: int) -> tuple[Any, ...]:
    machine = {
        "weights_ms": rng.choice([3.0, 5.0, 10.0, 20.0]),
        "token_ms": rng.choice([0.05, 0.1, 0.25]),
        "kv_bytes": rng.choice([50_000, 130_000, 800_000]),
        "link": rng.choice([5_000_000, 25_000_000]),
        "block": rng.choice([1, 4, 16, 64]),
        "copies": rng.choice([2, 60, 80]),
        "copy_ms": rng.choice([0.006, 0.01, 0.02]),
    }
    return rng.randint(1, 60 * size), rng.randint(0, 12 * size), machine


def valid(args: Args) -> bool:
    tokens, busy, machine = args
    whole = all(machine[name] >= 1 for name in ("kv_bytes", "link", "block", "copies"))
    return tokens >= 1 and busy >= 0 and whole and min(machine["weights_ms"], machine["token_ms"], machine["copy_ms"]) > 0


def machine_of(weights_ms: float, token_ms: float, kv_bytes: int, link: int, block: int, copies: int, copy_ms: float) -> Machine:
    return dict(
        weights_ms=weights_ms, token_ms=token_ms, kv_bytes=kv_bytes, link=link, block=block, copies=copies, copy_ms=copy_ms
    )  # fmt: skip


WHOLE = machine_of(12.0, 1.0, 1000, 8000, 4, 2, 0.25)  # a block: 0.5 ms of bytes and 0.5 ms of latency, each way
SLOW = machine_of(12.0, 1.0, 1000, 4000, 4, 1, 0.75)  # a block: 1 ms of bytes and 0.75 ms of latency, each way
TINY = machine_of(12.0, 1.0, 1000, 8000, 1, 2, 0.25)  # blocks of one token: 0.125 ms of bytes, 0.5 ms of latency
FAST = machine_of(20.0, 0.5, 1000, 16000, 16, 1, 0.125)  # large blocks in one piece: 1 ms of bytes, 0.125 ms of latency

TASK = Task(
    id="07.2",
    name="recompute_or_swap",
    title="Compute it again, or copy it?",
    points=25,
    returns="[word, ms of recomputing, ms of swapping]; the word is 'recompute' or 'swap'",
    cases=(
        Case((4, 5, WHOLE), ["recompute", 2.0, 2.0]),
        Case((11, 5, WHOLE), ["swap", 7.0, 6.0]),
        Case((30, 5, WHOLE), ["swap", 24.0, 16.0]),
        Case((5, 0, WHOLE), ["recompute", 1.0, 4.0]),
        Case((11, 5, SLOW), ["recompute", 7.0, 10.5]),
        Case((7, 9, WHOLE), ["swap", 5.0, 4.0]),
        Case((4, 5, TINY), ["recompute", 2.0, 5.0]),
        Case((66, 30, FAST), ["swap", 27.0, 11.25]),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "A step reads the weights for 12 ms and computes 5 tokens for 5 ms, both at once: √(12² + 5²) = 13 ms. How long does it "
        "take "
        "with 4 tokens more? And what has the victim cost then?",
        "Recomputing: the step with the victim's tokens, less the step without them. Swapping: how many blocks does the victim "
        "hold, if the last may be half empty? Each takes its bytes over the link, and its copies times the latency. Then "
        "twice that.",
        "step(n) = the root of weights_ms² + (token_ms x n)²\n"
        "again = step(busy + tokens) - step(busy)\n"
        "blocks = tokens / block, rounded up\n"
        "one way = blocks x (block x kv_bytes / link + copies x copy_ms)\n"
        "moved = 2 x one way\n"
        "the word: recompute if again is not larger than moved, else swap",
    ),
)
