"""Is a file of the Trace Event Format what its document says? Field by field, event by event.

From "Trace Event Format" (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): the JSON Object
Format, and of its events the phases X, C, i, M, s and f. ``cat`` may be left out of counters and metadata.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

Check = Callable[[Any], bool]


def number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def time(value: Any) -> bool:
    return number(value) and value >= 0


def word(value: Any) -> bool:
    return type(value) is str and bool(value)


def integer(value: Any) -> bool:
    return type(value) is int


def arguments(value: Any) -> bool:
    return type(value) is dict and all(map(word, value))


def series(value: Any) -> bool:
    """A counter's values: one number or more."""
    return arguments(value) and bool(value) and all(map(number, value.values()))


PLACE: dict[str, Check] = {"pid": integer, "tid": integer}
COMMON: dict[str, Check] = {"name": word, "ph": word, **PLACE}
# phase → (fields that must be there, fields that may be)
FIELDS: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "X": ({"cat": word, "ts": time, "dur": time}, {"args": arguments}),
    "C": ({"ts": time, "args": series}, {"cat": word, "id": integer}),
    "i": ({"cat": word, "ts": time}, {"s": lambda scope: scope in ("g", "p", "t"), "args": arguments}),
    "s": ({"cat": word, "ts": time, "id": integer}, {"args": arguments}),
    "f": ({"cat": word, "ts": time, "id": integer}, {"bp": lambda point: point == "e", "args": arguments}),
    "M": ({"args": arguments}, {}),
}
NAMES = {"process_name": ("name", word), "thread_name": ("name", word),
         "process_sort_index": ("sort_index", integer), "thread_sort_index": ("sort_index", integer)}  # fmt: skip
TOP: dict[str, Check] = {
    "traceEvents": lambda value: type(value) is list,
    "displayTimeUnit": lambda value: value in ("ms", "ns"),
    "otherData": lambda value: arguments(value) and all(type(each) is str for each in value.values()),
}


def faults(document: Any) -> list[str]:
    """What is wrong, one line each; nothing if the file is as its document says."""
    if not isinstance(document, dict) or "traceEvents" not in document:
        return ["no object with traceEvents"]
    found = [f"unknown or wrong: {name}" for name, value in document.items() if not TOP.get(name, lambda _: False)(value)]
    if found:
        return found
    events = document["traceEvents"]
    found = [f"event {i}: {fault}" for i, event in enumerate(events) for fault in faults_of(event)]
    return found or [*overlaps(events), *loose_arrows(events), *nameless(events)]


def faults_of(event: Any) -> Iterator[str]:
    """Of one event: a field that lacks, one that is none of its phase, a value of the wrong kind."""
    if not isinstance(event, dict) or event.get("ph") not in FIELDS:
        yield f"no phase that is known: {event}"
        return
    must, may = FIELDS[event["ph"]]
    must = COMMON | must
    yield from (f"lacks {name}" for name in must if name not in event)
    for name, value in event.items():
        if name not in must | may:
            yield f"{name} is no field of phase {event['ph']}"
        elif not (must | may)[name](value):
            yield f"{name}={value!r}"
    if event["ph"] == "M" and "args" in event:
        key, check = NAMES.get(event.get("name", ""), ("", word))
        if list(event["args"]) != [key] or not check(event["args"][key]):
            yield f"metadata {event.get('name')!r} with {event['args']!r}"


def overlaps(events: list[dict]) -> Iterator[str]:
    """Slices of one track follow each other; the format lets them nest too, ours never do."""
    tracks: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((event["ts"], event["dur"]))
    for track, slices in tracks.items():
        slices.sort()
        for (start, length), (after, _) in zip(slices, slices[1:]):
            if start + length > after + 1e-4:  # a tenth of a nanosecond
                yield f"track {track}: a slice at {start} lasts beyond {after}"


def loose_arrows(events: list[dict]) -> Iterator[str]:
    """An arrow has one start and one end of its id, the end is not before, and both lie on slices of their tracks."""
    ends: dict[tuple, dict[str, dict]] = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            key = event["cat"], event["name"], event["id"]
            if event["ph"] in ends[key]:
                yield f"arrow {key} has two ends of phase {event['ph']}"
            ends[key][event["ph"]] = event
    slices: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for key, pair in ends.items():
        if set(pair) != {"s", "f"}:
            yield f"arrow {key} has no {'end' if 's' in pair else 'start'}"
        elif pair["f"]["ts"] < pair["s"]["ts"]:
            yield f"arrow {key} runs backwards"
        for event in pair.values():
            if not any(start <= event["ts"] < end for start, end in slices[event["pid"], event["tid"]]):
                yield f"arrow {key}: its {event['ph']} lies on no slice"


def nameless(events: list[dict]) -> Iterator[str]:
    """Each track with slices or instants has a name, and so has its group."""
    named = {(e["name"], e["pid"], e["tid"]) for e in events if e["ph"] == "M"}
    groups = {(name, pid) for name, pid, _ in named}
    for pid, tid in sorted({(e["pid"], e["tid"]) for e in events if e["ph"] in "Xi"}):
        if ("thread_name", pid, tid) not in named or ("process_name", pid) not in groups:
            yield f"track {pid}, {tid} has no name"
