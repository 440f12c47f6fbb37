"""A trace for other tools: the JSON that Chrome's ``about:tracing`` and ui.perfetto.dev open.

The format is Google's "Trace Event Format" (document 1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): an
object whose ``traceEvents`` hold one object each, told apart by ``ph``: X a slice with a duration, C a
counter, i an instant, s and f the two ends of an arrow, M the name of a track. Times are in microseconds.

    tracks    the steps; one for each stage of a pipeline; one for each seat; arrivals
    counters  requests that wait and run, blocks of KV, tokens of KV, tokens of the step and its budget
    arrows    from where a request was preempted to where it came back
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..draw.seats import Cell, cells
from .record import StepRecord

if TYPE_CHECKING:
    from .trace import Trace

ENGINE, SEATS, PIPELINE = 1, 2, 3  # "processes": groups of tracks
STEPS, ARRIVALS = 0, 1  # tracks of the engine
NANOSECOND = 1e-3  # in microseconds, the finest that is written


def write(trace: Trace, path: str | Path) -> Path:
    """Write the file, an event a line; it appears whole or not at all."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        about = {"displayTimeUnit": "ms", "otherData": {"producer": "minieng", **plain(trace.meta)}}
        file.write(dense(about)[:-1] + ',"traceEvents":[\n')
        file.write(",\n".join(map(dense, events(trace))) + "\n]}\n")
    part.replace(path)
    return path


def dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def plain(meta: dict[str, Any]) -> dict[str, str]:
    """What is known of the run, as text: the format says of ``otherData`` only that it is metadata."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in meta.items()
    }


def events(trace: Trace) -> Iterator[dict[str, Any]]:
    """All events: tracks named first, then the steps, counters and seats.

    A request that computes in steps that follow each other, with the same kind of work, is one slice; a
    prompt's chunks are one each. A trace without ``detail`` has steps and counters only.
    """
    records, times = list(trace), spans(list(trace))
    slices = runs(records, times)
    yield from names(records, slices)
    yield from steps(records, times)
    yield from counters(records, times, budget_of(trace))
    yield from arrivals(trace, records)
    for first, last, tokens, begin, end in slices:
        args = {
            "first step": records[first.step].step,
            "last step": records[last.step].step,
            "tokens": tokens,
        }
        yield slice_(f"{first.request} {first.kind}", first.kind, SEATS, first.seat, begin, end, args)
    yield from arrows(records, slices)


# -- times --------------------------------------------------------------------------------------------------


def spans(records: Sequence[StepRecord]) -> list[tuple[float, float]]:
    """(begin, end) of each step in microseconds. A step of a pipeline counts from where the one before it
    ended: slices of one track must not overlap.
    """
    found: list[tuple[float, float]] = []
    for record in records:
        end = record.stages[-1][1] if record.stages else record.start + record.duration
        begin = end - record.duration
        before = found[-1][1] if found else 0.0
        found.append((max(before, micros(begin)), max(before, micros(end))))
    return found


def micros(seconds: float) -> float:
    return round(seconds * 1e6, 3)


Run = tuple[Cell, Cell, int, float, float]


def runs(records: Sequence[StepRecord], times: Sequence[tuple[float, float]]) -> list[Run]:
    """(first cell, last cell, tokens, begin, end) of each slice of a seat, in the order of first steps."""
    found: list[list] = []
    latest: dict[int, list] = {}  # seat → its last slice
    for cell in cells(records):
        before = latest.get(cell.seat)
        if before and cell.kind != "prompt" and continues(before[1], cell):
            before[1], before[2], before[4] = cell, before[2] + cell.tokens, times[cell.step][1]
            continue
        latest[cell.seat] = [cell, cell, cell.tokens, *times[cell.step]]
        found.append(latest[cell.seat])
    return [(first, last, tokens, begin, end) for first, last, tokens, begin, end in found]


def continues(before: Cell, cell: Cell) -> bool:
    return (before.request, before.kind, before.step + 1) == (cell.request, cell.kind, cell.step)


# -- events -------------------------------------------------------------------------------------------------


def slice_(
    name: str, kind: str, group: int, track: int, begin: float, end: float, args: dict[str, Any]
) -> dict[str, Any]:
    length = round(end - begin, 3)
    return {
        "name": name, "cat": kind, "ph": "X", "ts": begin, "dur": length, "pid": group, "tid": track,
        "args": args,
    }  # fmt: skip


def names(records: Sequence[StepRecord], slices: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """The tracks, in the order in which they are to stand."""
    stages = max((len(record.stages) for record in records), default=0)
    seats = 1 + max((first.seat for first, *_ in slices), default=-1)
    tracks = [(ENGINE, "engine", {STEPS: "steps", ARRIVALS: "arrivals and refusals"})]
    tracks += [(SEATS, "seats", {seat: f"seat {seat}" for seat in range(seats)})]
    tracks += [(PIPELINE, "pipeline", {stage: f"stage {stage}" for stage in range(stages)})]
    for group, label, members in tracks:
        if members:
            yield named("process_name", group, 0, {"name": label})
            yield named("process_sort_index", group, 0, {"sort_index": group})
        for track, label in members.items():
            yield named("thread_name", group, track, {"name": label})
            yield named("thread_sort_index", group, track, {"sort_index": track})


def named(what: str, group: int, track: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": group, "tid": track, "args": args}


def steps(records: Sequence[StepRecord], times: Sequence[tuple[float, float]]) -> Iterator[dict[str, Any]]:
    """A slice a step, and one for each stage that it passed."""
    for record, (begin, end) in zip(records, times, strict=True):
        args: dict[str, Any] = {"tokens": record.num_tokens}
        for name in ("padding", "finished_rows", "recomputed", "cached"):
            args |= {name: value} if (value := getattr(record, name)) else {}
        for name in ("preempted", "finished"):
            args |= {name: " ".join(value)} if (value := getattr(record, name)) else {}
        args |= {"predicted_us": micros(record.predicted)} if record.predicted is not None else {}
        yield slice_(f"step {record.step}", record.mode, ENGINE, STEPS, begin, end, args)
        for stage, (enters, leaves) in enumerate(record.stages):
            args = {"tokens": record.num_tokens}
            yield slice_(
                f"step {record.step}", "stage", PIPELINE, stage, micros(enters), micros(leaves), args
            )


def counters(
    records: Sequence[StepRecord], times: Sequence[tuple[float, float]], budget: int | None
) -> Iterator[dict[str, Any]]:
    """Each counter at the begin of the steps in which it has another value than before."""
    last: dict[str, dict[str, int]] = {}
    for record, (begin, _) in zip(records, times, strict=True):
        held = record.blocks_total - record.blocks_free
        now = {
            "requests": {"waiting": record.num_waiting, "running": record.num_running},
            "KV blocks": {"held": held, "free": record.blocks_free},
            "KV tokens": {"used": record.kv_used},
            "tokens of the step": {
                "computed": record.num_tokens,
                "padding": record.padding + record.finished_rows,
            },
        }
        if budget is not None:
            now["budget"] = {"left": budget - record.num_tokens, "whole": budget}
        for name, values in now.items():
            if last.get(name) != values:
                yield {"name": name, "ph": "C", "ts": begin, "pid": ENGINE, "tid": STEPS, "args": values}
        last = now


def budget_of(trace: Trace) -> int | None:
    """Tokens that a step may compute, where the scheduler has such a limit."""
    config = trace.meta.get("config", {})
    return config.get("max_num_batched_tokens") if config.get("scheduler") == "chunked" else None


def arrivals(trace: Trace, records: Sequence[StepRecord]) -> Iterator[dict[str, Any]]:
    """An instant for each request that came, and for each time that one was left waiting."""
    at: dict[str, Any] = {"ph": "i", "s": "t", "pid": ENGINE, "tid": ARRIVALS}
    for request in trace.requests.values():
        args = {"prompt": request.num_prompt_tokens, "output": request.num_output_tokens}
        name = f"{request.request_id} arrives"
        yield {"name": name, "cat": "arrival", "ts": micros(request.arrival_time), **at, "args": args}
    for record in records:
        for request_id, reason in record.refused:
            name, ts = f"{request_id} waits", micros(record.start)
            yield {
                "name": name,
                "cat": "refusal",
                "ts": ts,
                **at,
                "args": {"reason": reason, "step": record.step},
            }


def arrows(records: Sequence[StepRecord], slices: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """From the slice in which a request was running last to the one with which it came back.

    Both ends lie inside their slices, or a viewer would bind them to others.
    """
    own: dict[str, list[Run]] = {}
    for run in slices:
        own.setdefault(run[0].request, []).append(run)
    number = 0
    for index, record in enumerate(records):
        for request in record.preempted:
            before = [run for run in own.get(request, ()) if run[1].step < index]
            after = [run for run in own.get(request, ()) if run[0].step > index]
            if not before or not after:
                continue  # its first slice is not kept any more, or it never came back
            number += 1
            arrow = {"name": "preempted", "cat": "preemption", "id": number, "pid": SEATS}
            (*_, last, _, begin, end), (first, _, _, back, _) = before[-1], after[0]
            yield {**arrow, "ph": "s", "ts": max(begin, round(end - NANOSECOND, 3)), "tid": last.seat}
            yield {**arrow, "ph": "f", "bp": "e", "ts": back, "tid": first.seat}
