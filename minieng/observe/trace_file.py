"""A trace on disk: JSON lines, one for the whole, one for each request, one for each step.

    {"schema": "minieng.trace", "version": 1, "requests": 2, "steps": 40, "dropped": 0, "meta": {...}}
    {"request_id": "a", "prompt_token_ids": [...], "params": {...}, ...}        2 of these
    {"step": 0, "start": 0.0, "duration": 0.012, "slices": [["a", 0, 12]], ...}   40 of these

A number in the first line says how many lines must follow, so a truncated file is noticed. Fields that hold
their default are left out. ``VERSION`` grows when an older reader would misunderstand a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..request import Request, SamplingParams, Status
from .fits import fits
from .record import KINDS, StepRecord

SCHEMA, VERSION = "minieng.trace", 1
HEAD = {"requests": int, "steps": int, "dropped": int, "detail": bool, "meta": dict[str, Any]}
META = {"config": dict[str, Any], "num_blocks": int}  # what is read of it; the rest is for people
CONFIG = {"max_num_batched_tokens": int | None}
STEP = get_type_hints(StepRecord)
REQUEST = {
    "request_id": str, "prompt": str | None, "prompt_token_ids": list[int], "output_token_ids": list[int],
    "params": dict[str, Any], "sample_key": str, "fork_of": str, "eos_token_ids": list[int],
    "scripted_output": list[int], "bad_words": list[list[int]], "prompt_id": str, "sample_index": int,
    "arrival_time": float, "sequence": int, "priority": int, "deadline": float, "user": str,
    "max_num_tokens": int, "finish_reason": str, "stop_reason": int | str, "num_preemptions": int,
    "num_cached_tokens": int, "admitted_time": float, "token_times": list[float], "finish_time": float,
}  # fmt: skip
REQUEST_FIELDS = (
    "prompt_id", "sample_index", "arrival_time", "sequence", "priority", "deadline", "user", "max_num_tokens",
    "finish_reason", "stop_reason", "num_preemptions", "num_cached_tokens", "admitted_time", "token_times",
    "finish_time",
)  # fmt: skip


class TraceError(ValueError):
    """The file is no trace, or not a whole one."""


def write(
    path: str | Path, head: dict[str, Any], requests: Collection[Request], steps: Collection[StepRecord]
) -> None:
    """Write a trace. ``head``: what the first line says besides the numbers of lines.
    The file appears whole or not at all.
    """
    path = Path(path)
    head = {"schema": SCHEMA, "version": VERSION, "requests": len(requests), "steps": len(steps)} | head
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for entry in (head, *map(request_to_json, requests), *map(step_to_json, steps)):
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")
    part.replace(path)


def read(path: str | Path) -> tuple[dict[str, Any], list[Request], list[StepRecord]]:
    """What was written: head, requests, steps. Raises TraceError naming the file,
    the line and what is wrong there.
    """
    lines = _lines(path)
    _, first = next(lines, (0, None))
    head = _head(path, first)
    requests: dict[str, Request] = {}
    steps: list[StepRecord] = []
    parents: dict[str, str] = {}
    for number, entry in lines:
        try:
            if len(requests) < head["requests"]:
                request = request_from_json(entry)
                requests[request.request_id] = request
                if entry.get("fork_of"):
                    parents[request.request_id] = entry["fork_of"]
            else:
                steps.append(step_from_json(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise TraceError(
                f"{path}, line {number}: not a request or step of a trace ({problem!r})"
            ) from None
    for child, parent in parents.items():
        requests[child].fork_of = requests.get(parent)
    found, promised = len(requests) + len(steps), head["requests"] + head["steps"]
    if found != promised or len(steps) != head["steps"]:
        raise TraceError(
            f"{path}: truncated: its first line promises {promised} lines, {found} follow: record it again"
        )
    return head, list(requests.values()), steps


def _lines(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(number, value) of each line."""
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield number, json.loads(line)
    except UnicodeDecodeError:
        raise TraceError(f"{path}: not a text file, so not a trace") from None
    except (ValueError, RecursionError) as problem:  # digits without end and lists in lists too
        what = (
            "not a trace file" if number == 1 else "the line is broken off or damaged: record the trace again"
        )
        raise TraceError(f"{path}, line {number}: not JSON ({problem}): {what}") from None


def _head(path: str | Path, head: Any) -> dict[str, Any]:
    """The first line's value, if it is that of a trace; else TraceError."""
    if not isinstance(head, dict) or head.get("schema") != SCHEMA:
        raise TraceError(f"{path}: not a trace: its first line does not say schema {SCHEMA!r}")
    if head.get("version") != VERSION:
        raise TraceError(
            f"{path}: a trace of version {head.get('version')}, this program reads version {VERSION}: "
            "update it"
        )
    missing = HEAD.keys() - head.keys()
    if missing:
        raise TraceError(f"{path}, line 1: the first line lacks {', '.join(sorted(missing))}")
    try:
        for entry, types in ((head, HEAD), (head["meta"], META), (head["meta"].get("config", {}), CONFIG)):
            check(known(entry, types), types)
    except (ValueError, TypeError, AttributeError) as problem:
        raise TraceError(f"{path}, line 1: {problem}") from None
    return head


def known(entry: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """What is read of it; older and newer writers may have said more."""
    return {name: entry[name] for name in types if name in entry}


def check(entry: Any, types: dict[str, Any]) -> None:
    """Raises ValueError naming a field that is not among ``types``, or not what stands there."""
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r:.60} is no object")
    for name, value in entry.items():
        if name not in types:
            raise ValueError(f"{name!r:.60} is unknown here")
        if not fits(types[name])(value) or types[name] is int and value < 0 and name != "priority":
            raise ValueError(f"{name}={value!r:.60}: not what it must be")


def request_to_json(request: Request) -> dict[str, Any]:
    """Everything that is needed to run the request again, and when its tokens came."""
    entry = {name: getattr(request, name) for name in REQUEST_FIELDS}
    entry |= {
        "params": {k: v for k, v in asdict(request.params).items() if v != getattr(SamplingParams, k)},
        "sample_key": request.sample_key.hex(),
        "fork_of": request.fork_of and request.fork_of.request_id,
        "eos_token_ids": sorted(request.eos_token_ids),
        "scripted_output": request.scripted_output and list(request.scripted_output),
        "bad_words": request.bad_words,
    }
    if request.prompt_id == request.request_id:
        del entry["prompt_id"]
    entry = {key: value for key, value in entry.items() if value not in (None, [], "", {})}
    prompt = request.token_ids[: request.num_prompt_tokens]
    first = {"request_id": request.request_id, "prompt": request.prompt, "prompt_token_ids": prompt}
    return first | {"output_token_ids": request.output_token_ids} | entry


def request_from_json(entry: dict[str, Any]) -> Request:
    check(known(entry, REQUEST), REQUEST)
    if not entry["prompt_token_ids"]:
        raise ValueError("a prompt has at least one token")
    request = Request(
        entry["request_id"], entry["prompt_token_ids"], SamplingParams(**entry.get("params", {})),
        prompt=entry.get("prompt"), sample_key=bytes.fromhex(entry.get("sample_key", "")),
        eos_token_ids=entry.get("eos_token_ids", ()), scripted_output=entry.get("scripted_output"),
        max_model_len=entry.get("max_num_tokens"), bad_words=entry.get("bad_words", ()),
    )  # fmt: skip
    request.token_ids += entry["output_token_ids"]
    for name in REQUEST_FIELDS:
        if name in entry:
            setattr(request, name, entry[name])
    request.status = Status.FINISHED if request.finish_reason else Status.WAITING
    return request


def step_to_json(record: StepRecord) -> dict[str, Any]:
    values = {f.name: (getattr(record, f.name), _default(f)) for f in fields(record)}
    return {name: value for name, (value, default) in values.items() if value != default}


def step_from_json(entry: dict[str, Any]) -> StepRecord:
    """JSON has lists where a record has tuples. Raises ValueError for what no step can have been."""
    check(entry, STEP)
    entry = dict(entry)
    for name in ("slices", "refused", "taken", "copied", "stages"):
        entry[name] = [tuple(item) for item in entry.get(name, ())]
    if "swapped" in entry:
        entry["swapped"] = tuple(entry["swapped"])
    record = StepRecord(**entry)
    if not len(record.slices) == len(record.kinds) == len(record.tokens):
        raise ValueError("slices, kinds and tokens differ in number")
    if unknown := set(record.kinds) - set(KINDS):
        raise ValueError(f"kinds: {unknown.pop()!r:.60} is none of {', '.join(KINDS)}")
    blocks = [block for _, some in record.taken for block in some]
    blocks += [block for _, old, new in record.copied for block in (old, new)]
    if blocks and not 0 <= min(blocks) <= max(blocks) < record.blocks_total:
        raise ValueError(f"a block is none of the {record.blocks_total} there are")
    return record


def _default(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default  # MISSING differs from every value
