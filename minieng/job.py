"""A job: one request to come, of known lengths, before any token of it exists."""

from __future__ import annotations

from typing import NamedTuple

MOST_TOKENS = 10_000_000  # of one prompt or answer; no model takes more
MOST_SECONDS = 9e9  # until an arrival, 285 years: no clock can wait for longer


class Job(NamedTuple):
    """One request to come.

    deadline  seconds after its arrival
    parts     what the prompt begins with, as (name, tokens): prompts are alike as far as their parts are.
              What stands behind them is its own
    answer    the name under which its answer is a part of later prompts, as the next turn of a chat has it
    """

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    user: str = ""
    priority: int = 0
    deadline: float | None = None
    parts: tuple[tuple[str, int], ...] = ()
    answer: str = ""


def check_job(job: Job, where: str) -> None:
    """Raises ValueError that begins with ``where`` for figures that no request has."""
    if not 0 <= job.arrival_s <= MOST_SECONDS:
        raise ValueError(f"{where}: arrival_s={job.arrival_s} must be a time from 0 to {MOST_SECONDS:,.0f} s")
    for name in ("prompt_tokens", "output_tokens"):
        tokens = getattr(job, name)
        if not 1 <= tokens <= MOST_TOKENS:
            limit = "at least 1" if tokens < 1 else f"at most {MOST_TOKENS:,}"
            raise ValueError(f"{where}: {name}={tokens} must be {limit}")
    if job.deadline is not None and not job.deadline >= 0:
        raise ValueError(f"{where}: deadline={job.deadline} must be seconds after the arrival, at least 0")
    for name, tokens in job.parts:
        check_part(name, where)
        if tokens < 1:
            raise ValueError(
                f"{where}: part {name!r} has {tokens} tokens: leave it out, or give it at least 1"
            )
    if sum(tokens for _, tokens in job.parts) > job.prompt_tokens:
        raise ValueError(f"{where}: the parts have more than the {job.prompt_tokens} tokens of the prompt")
    if job.answer:
        check_part(job.answer, where)


def check_part(name: str, where: str) -> None:
    """Raises ValueError for a name that could not be read from a file again."""
    if not name or ":" in name or name.split() != [name]:
        raise ValueError(f"{where}: a part is named by one word without a colon, not {name!r}")
