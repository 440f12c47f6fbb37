"""What a client saw of a server, as a file: each request's lengths and times, enough to play it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..job import MOST_SECONDS, Job, check_job
from ..workload import Workload
from .answer import Answer

FORMAT = 1
DIGITS = 6  # microseconds


@dataclass(frozen=True)
class Recording:
    """A workload and the answers to it, in the same order.

    about  where, when, which model, what the server said of its cache: plain values
    """

    workload: Workload
    answers: Sequence[Answer]
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the file that ``load`` reads, a line a request."""
        rows = []
        for job, answer in zip(self.workload, self.answers, strict=True):
            row = {name: value for name, value in job._asdict().items() if value not in ("", 0, None, ())}
            row |= {"arrival_s": round(job.arrival_s, DIGITS), "late_s": round(answer.late, DIGITS)}
            if answer.problem:
                row["problem"] = answer.problem
            else:
                row |= {"tokens": answer.num_output_tokens, "finish_reason": answer.finish_reason}
                row |= {"cached_tokens": answer.num_cached_tokens} if answer.num_cached_tokens else {}
                row["token_s"] = [round(when, DIGITS) for when in answer.token_times]
            rows.append(json.dumps(row))
        head = {
            "minieng_load": FORMAT, "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "workload": self.workload.name, **self.about,
        }  # fmt: skip
        lines = json.dumps(head)[:-1] + ', "requests": [\n' + ",\n".join(rows) + "\n]}\n"
        Path(path).write_text(lines, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read what ``save`` wrote. Raises ValueError naming the file, and the request that is wrong."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as problem:
            raise ValueError(f"cannot read the recording {path}: {problem.strerror}") from None
        except (ValueError, RecursionError):
            raise ValueError(f"{path} is no JSON: is it a file of minieng bench --record?") from None
        if not isinstance(found, dict) or found.get("minieng_load") != FORMAT or not found.get("requests"):
            raise ValueError(
                f"{path} holds no recording of format {FORMAT}: make one with minieng bench --record"
            )
        if not isinstance(found["requests"], list) or not isinstance(found.get("cache") or {}, dict):
            raise ValueError(
                f"{path}: its requests are no list, or its cache no object: the file was changed"
            )
        jobs, answers = [], []
        for number, row in enumerate(found.pop("requests")):
            try:
                job, answer = _read(row, f"{path}, request {number}")
            except (KeyError, TypeError, AttributeError, OverflowError) as problem:
                raise ValueError(f"{path}, request {number}: {problem!r}: the file was changed") from None
            jobs.append(job)
            answers.append(answer)
        name = str(found.pop("workload", Path(path).stem))
        return cls(Workload(name, tuple(jobs)), answers, found)


def _read(row: dict[str, Any], where: str) -> tuple[Job, Answer]:
    parts = tuple((str(name), int(tokens)) for name, tokens in row.get("parts", ()))
    known = {name: row[name] for name in Job._fields if name in row and name != "parts"}
    job = Job(**known, parts=parts)
    check_job(job, where)
    answer = Answer(job.prompt_tokens, job.arrival_s, float(row["late_s"]), problem=row.get("problem", ""))
    if answer.problem:
        return job, answer
    times = [float(when) for when in row["token_s"]]
    ascend = all(a <= b for a, b in pairwise([job.arrival_s, *times, MOST_SECONDS]))
    if not times or not ascend or row["tokens"] < len(times):
        raise ValueError(
            f"{where}: its {len(times)} times must ascend from its arrival at {job.arrival_s} s, and be no "
            f"more than its {row['tokens']} tokens"
        )
    answer.token_times, answer.finish_time = times, times[-1]
    answer.finish_reason, answer.num_output_tokens = row["finish_reason"], int(row["tokens"])
    answer.num_cached_tokens = int(row.get("cached_tokens", 0))
    return job, answer
