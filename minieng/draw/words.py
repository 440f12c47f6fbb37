"""A trace told step by step: who holds which blocks, who waits, and what the step did, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..observe.trace import StepRecord, Trace


class Moment(NamedTuple):
    """A step as a picture shows it.

    tables   request → its blocks while the step ran
    waiting  who had arrived by its start and holds nothing during it, in order of arrival
    words    what it did, as one would tell it
    """

    record: StepRecord
    tables: dict[str, list[int]]
    waiting: list[str]
    words: str


def moments(trace: Trace) -> Iterator[Moment]:
    """All steps of a trace in one pass. The tables are the trace's own and go on changing."""
    arrivals = sorted(trace.requests.values(), key=lambda r: (r.arrival_time, r.sequence))
    seen: set[str] = set()  # computed something before
    running: set[str] = set()  # held blocks when the step began
    gone: set[str] = set()
    for record, tables in zip(trace, trace.every_table(), strict=True):
        waiting = [
            r.request_id
            for r in arrivals
            if r.arrival_time <= record.start and r.request_id not in gone and r.request_id not in tables
        ]
        yield Moment(record, tables, waiting, told(record, tables, seen, running))
        seen |= {name for name, _, _ in record.slices}
        gone |= {*record.finished, *record.aborted}
        running = set(tables) - set(record.finished)


def step_in_words(trace: Trace, index: int) -> str:
    """What a step did, as one would tell it: "step 7: r5 admitted with 48 prompt tokens; r6 refused:
    needs 4 blocks".
    """
    return moment_at(trace, index).words


def moment_at(trace: Trace, index: int) -> Moment:
    """One step of a trace, counted from the end if negative. Raises IndexError if there is none."""
    wanted = index if index >= 0 else len(trace) + index
    for i, moment in enumerate(moments(trace)):
        if i == wanted:
            return moment
    raise IndexError(f"step {index} of a trace that holds {len(trace)}")


def told(record: StepRecord, tables: dict[str, list[int]], seen: set[str], running: set[str]) -> str:
    parts = [f"{name} preempted" for name in record.preempted]
    parts += newcomers(record, seen, running)
    writers = [
        name for (name, _, _), kind in zip(record.slices, record.kinds, strict=True) if kind == "decode"
    ]
    if writers:
        parts.append(f"one token{' each' if len(writers) > 1 else ''} for {', '.join(writers)}")
    if record.padding:
        parts.append(counted(record.padding, "position") + " of padding")
    if record.finished_rows:
        parts.append(counted(record.finished_rows, "position") + " computed for rows that are done")
    parts += [f"{name} refused: {reason}" for name, reason in record.refused]
    parts += [
        f"{name} finished, {counted(len(tables.get(name, [])), 'block')} given back"
        for name in record.finished
    ]
    return f"step {record.step}: " + "; ".join(parts or ["nothing to do"])


def newcomers(record: StepRecord, seen: set[str], running: set[str]) -> list[str]:
    """Who was admitted, came back after a preemption, or went on with a prompt."""
    parts: list[str] = []
    for (name, before, n), kind in zip(record.slices, record.kinds, strict=True):
        if kind == "decode":
            parts += [] if name in running else [f"{name} comes back, all its KV found again"]
            continue
        verb = (
            "admitted with" if name not in seen else "goes on with" if name in running else "comes back with"
        )
        cached = (
            f" after {counted(before, 'token')} found in the cache" if name not in running and before else ""
        )
        what = counted(n, "prompt token") if kind == "prompt" else counted(n, "token") + " to compute again"
        parts.append(f"{name} {verb} {what}{cached}")
    return parts


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")
