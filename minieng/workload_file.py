"""Workloads as CSV files: read with every bad row named by its line, and written."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from .job import Job, check_job

COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
OPTIONAL = ("user", "priority", "deadline", "parts", "answer")
AZURE_COLUMNS = dict(zip(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), COLUMNS, strict=True))
# What else a cell must be: text for a user, or a whole number.
KINDS = {"arrival_s": "number", "deadline": "number", "parts": "row of name:tokens"}


def read_jobs(path: Path) -> list[Job]:
    """The rows of a trace. All bad rows are looked at before the first few are reported."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _jobs(path, _rows(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ValueError(f"cannot read the trace {path}: {reason}") from None


def jobs_of_text(text: str, name: str) -> list[Job]:
    """The rows of a trace that is no file, as ``read_jobs``. ``name``: what an error calls it."""
    return _jobs(Path(name), _rows(io.StringIO(text, newline="")))


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    """The file that ``read_jobs`` reads; columns that nobody uses are left out."""
    path.write_text(text_of_jobs(jobs), encoding="utf-8", newline="")


def text_of_jobs(jobs: Sequence[Job]) -> str:
    """What ``jobs_of_text`` reads."""
    fields = enumerate(Job._fields)
    used = [
        i for i, name in fields if name in COLUMNS or any(job[i] not in ("", 0, None, ()) for job in jobs)
    ]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([Job._fields[i] for i in used])
    writer.writerows([_cell(job[i]) for i in used] for job in jobs)
    return file.getvalue()


def _cell(value: Any) -> Any:
    """Parts as "system:300 turn1:45", all else as it is."""
    return " ".join(f"{name}:{tokens}" for name, tokens in value) if isinstance(value, tuple) else value


def _parts(cell: str) -> tuple[tuple[str, int], ...]:
    pairs = (word.rpartition(":") for word in cell.split())
    return tuple((name, int(tokens)) for name, _, tokens in pairs)


def _rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row; comments and blank lines are left out between rows only.

    A quoted cell may hold line breaks. Raises ValueError naming the line of a row that is no CSV.
    """
    begins, first = True, 0

    def lines() -> Iterator[str]:
        nonlocal begins, first
        for number, line in enumerate(file, 1):
            if begins and (not line.strip() or line.startswith("#")):
                continue
            if begins:
                begins, first = False, number
            yield line

    try:
        for cells in csv.reader(lines(), strict=True):
            yield first, cells
            begins = True
    except csv.Error as error:
        raise ValueError(
            f"line {first} is no row of a CSV file: {error}; is a quotation mark missing?"
        ) from None


def _jobs(path: Path, rows: Iterator[tuple[int, list[str]]]) -> list[Job]:
    jobs: list[Job] = []
    bad: list[str] = []
    header: list[str] = []
    times = Times()
    try:
        _, header = next(rows, (0, header))
        names = _names(header)
        for number, cells in rows:
            try:
                jobs.append(_job(names, cells, times, number))
            except ValueError as error:
                bad.append(str(error))
    except UnicodeDecodeError:  # a ValueError too, but not of a row
        raise
    except ValueError as error:  # no more rows can be told apart
        bad.append(str(error))
    if bad or not jobs:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(f"{path}: {'; '.join(bad[:5]) or 'no rows'}{more}")
    origin = min(job.arrival_s for job in jobs) if times.dated or "TIMESTAMP" in header else 0.0
    return [job._replace(arrival_s=job.arrival_s - origin) for job in jobs]


def _names(header: Sequence[str]) -> list[str]:
    names = [AZURE_COLUMNS.get(name.strip(), name.strip()) for name in header]
    if not set(COLUMNS) <= set(names) <= {*COLUMNS, *OPTIONAL} or len(set(names)) < len(names):
        wanted = f"{','.join(COLUMNS)} (and perhaps {','.join(OPTIONAL)})"
        raise ValueError(f"the first line that is no comment must be {wanted}, each once")
    return names


def _job(names: Sequence[str], cells: Sequence[str], times: Times, number: int) -> Job:
    where = f"line {number}"
    if len(cells) != len(names):
        raise ValueError(f"{where} has {len(cells)} columns instead of {len(names)}")
    read: dict[str, Callable[[str], Any]] = {
        "arrival_s": lambda cell: times.read(cell, number),
        "user": str,
        "deadline": lambda cell: float(cell) if cell else None,
        "parts": _parts,
        "answer": str,
    }
    values: dict[str, Any] = {}
    for name, cell in zip(names, map(str.strip, cells), strict=True):
        try:
            values[name] = read.get(name, int)(cell)
        except MixedTimes as error:
            raise ValueError(f"{where}: {name}={_short(cell)} {error}") from None
        except ValueError:
            raise ValueError(
                f"{where}: {name}={_short(cell)} is not a {KINDS.get(name, 'whole number')}"
            ) from None
    job = Job(**values)
    check_job(job._replace(arrival_s=0.0) if times.dated else job, where)
    return job


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


class MixedTimes(ValueError):
    """A time that cannot be compared with those above it."""


class Times:
    """Reads a column of times: all of them numbers, or all dates (the Azure traces), with a zone or without.

    A number is read as it is, a date as seconds after the first one, which are exact to the microsecond.
    """

    def __init__(self) -> None:
        self.kind, self.line, self.first = "", 0, datetime.min

    @property
    def dated(self) -> bool:
        return self.first != datetime.min

    def read(self, cell: str, line: int) -> float:
        """Raises ValueError for neither a number nor a date, MixedTimes for another kind than before."""
        time: float | datetime
        try:
            time, kind = float(cell), "a number"
        except ValueError:
            time = datetime.fromisoformat(cell)
            kind = "a date with no time zone" if time.utcoffset() is None else "a date with a time zone"
        if not self.kind:
            self.kind, self.line = kind, line
            self.first = time if isinstance(time, datetime) else self.first
        if kind != self.kind:
            raise MixedTimes(f"is {kind}, but line {self.line} has {self.kind}: they cannot be compared")
        return time if isinstance(time, float) else (time - self.first).total_seconds()


class MissingTrace(ValueError):
    """A published trace that is not on this machine; the message says how to get it."""


def trace_file(names: Sequence[str], wanted_by: str, advice: str) -> Path:
    """A published trace, under one of its names in the folder that MINIENG_TRACES names.

    Raises MissingTrace, which says who wants it, and ends with ``advice``.
    """
    folder = os.environ.get("MINIENG_TRACES")
    found = [path for name in names if folder and (path := Path(folder) / name).exists()]
    if found:
        return found[0]
    where = (
        f"the folder {folder} of MINIENG_TRACES has no" if folder else "MINIENG_TRACES names no folder with"
    )
    raise MissingTrace(f"{wanted_by}: {where} {' or '.join(names)}. {advice}")
