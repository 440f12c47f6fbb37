"""Timed traces: one request a line, as JSON, whose prompts are told by the names of their chunks.

    {"timestamp": 27000, "input_length": 1200, "output_length": 52, "hash_ids": [46, 47, 2353]}

A name stands for a chunk of tokens and all before it, so two prompts begin alike as long as their names do.
Mooncake publishes its traces so (chunks of 512 tokens, times in ms). ``vllm bench serve`` reads them too
(``--dataset-name timed_trace --timed-trace-chunk-hash-size 512 --timed-trace-sec-multiplier 0.001``; left to
itself it takes chunks of 16 tokens).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .job import Job, check_job

CHUNK, MILLISECOND = 512, 0.001
FIELDS = ("timestamp", "input_length", "output_length", "hash_ids")


def read_timed_trace(path: Path, chunk: int = CHUNK, seconds: float = MILLISECOND) -> list[Job]:
    """The jobs of a trace; each hash id becomes a part of the prompt.

    chunk    tokens that one hash id stands for; the last of a prompt may stand for fewer
    seconds  how long one unit of a timestamp is
    Raises ValueError naming the line of each bad row (the first five).
    """
    if chunk < 1 or not 0 < seconds < float("inf"):
        raise ValueError(
            f"chunk={chunk}, seconds={seconds}: a chunk has at least one token, and a unit of time is above 0"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ValueError(f"cannot read the trace {path}: {reason}") from None
    jobs, bad = [], []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                jobs.append(_job(line, chunk, seconds, f"line {number}"))
        except ValueError as error:
            bad.append(str(error))
    if bad or not jobs:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(f"{path}: {'; '.join(bad[:5]) or 'no rows'}{more}")
    return jobs


def write_timed_trace(
    path: Path, jobs: Sequence[Job], chunk: int = CHUNK, seconds: float = MILLISECOND
) -> None:
    """The file that ``read_timed_trace`` reads. Chunks are named in the order in which they are met first."""
    known: dict[Any, int] = {}
    with open(path, "w", encoding="utf-8") as file:
        for number, job in enumerate(jobs):
            ids, before = [], -1
            for content in _chunks(job, number, chunk):
                before = known.setdefault((before, content), len(known))
                ids.append(before)
            row = (job.arrival_s / seconds, job.prompt_tokens, job.output_tokens, ids)
            file.write(json.dumps(dict(zip(FIELDS, row, strict=True))) + "\n")


def _chunks(job: Job, number: int, chunk: int) -> list[tuple]:
    """What stands in each chunk of a prompt: pieces of parts, as (name, first token, end), and of its own."""
    own = job.prompt_tokens - sum(tokens for _, tokens in job.parts)
    pieces: list[list] = [[]]
    room = chunk
    for name, tokens in (*job.parts, ((number,), own)):
        start = 0
        while start < tokens:
            if not room:
                pieces.append([])
                room = chunk
            end = min(tokens, start + room)
            pieces[-1].append((name, start, end))
            room, start = room - (end - start), end
    return [tuple(piece) for piece in pieces]


def _job(line: str, chunk: int, seconds: float, where: str) -> Job:
    """One row. Raises ValueError that begins with ``where``."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {getattr(error, 'msg', error)}") from None
    if not isinstance(row, dict) or not set(FIELDS) <= row.keys():
        raise ValueError(f"{where} must be an object with {', '.join(FIELDS)}")
    when, prompt, output, ids = (row[name] for name in FIELDS)
    for name, value in (("input_length", prompt), ("output_length", output)):
        if type(value) is not int:
            raise ValueError(f"{where}: {name}={value!r} is not a whole number")
    if type(when) not in (int, float) or not abs(when) <= sys.float_info.max:
        raise ValueError(f"{where}: timestamp={when!r:.60} is not a number that a time can be")
    if not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise ValueError(f"{where}: hash_ids must be a list of whole numbers")
    need = -(-prompt // chunk)
    if len(ids) != need:
        raise ValueError(
            f"{where} has {len(ids)} hash_ids, and {prompt} tokens in chunks of {chunk} are {need}: "
            "is the chunk right?"
        )
    parts = tuple((str(each), min(chunk, prompt - i * chunk)) for i, each in enumerate(ids))
    job = Job(when * seconds, prompt, output, parts=parts)
    check_job(job, where)
    return job
