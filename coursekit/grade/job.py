"""How one run grades: what its helper processes are told about every submission alike."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from .collect import Submission


@dataclass(frozen=True)
class Job:
    """lesson: its two digits, or None to go by the notebook's task lines. masters: {lesson: path of its master notebook}.

    mode: the sandbox, "bwrap" | "rlimits" | "none". seed: of the hidden cases. seconds: for each task.
    hidden: folders a sandbox must never show. packages: folders an answer may import from.
    """

    lesson: str | None
    masters: dict[str, str]
    mode: str
    seed: str
    seconds: float
    hidden: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


def to_line(job: Job, submission: Submission, key: str) -> str:
    """One line of JSON for a helper process. key: what its answer must carry, which nobody else can guess."""
    return json.dumps({"key": key, "job": asdict(job), "submission": asdict(submission)}) + "\n"


def from_line(line: str) -> tuple[str, Job, Submission]:
    data: dict[str, Any] = json.loads(line)
    fields = data["job"]
    fields |= {"hidden": tuple(fields["hidden"]), "packages": tuple(fields["packages"])}
    return data["key"], Job(**fields), Submission(**data["submission"])
