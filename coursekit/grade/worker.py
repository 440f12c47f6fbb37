"""A helper process that grades one submission at a time. Each comes on a channel of its own, which is handed in at the door.

It judges and never runs learner code; it is a process of its own so that every stray process below it
belongs to the one submission in hand, and so that a crash here costs one submission, not the class.
"""

import json
import os
import signal
import socket
from typing import Any

from .. import cells
from . import judge, processes
from .collect import Submission
from .job import Job, from_line


class CannotRead(OSError):
    """A file that is there and cannot be read."""


def leave(signum: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: a second one would disturb the leaving
    raise SystemExit(1)


def result_of(job: Job, submission: Submission, references: dict[str, judge.Reference]) -> dict[str, Any]:
    """{"lesson", "verdicts": {task: verdict}} of one submission, or {"problem": why it could not be read}."""
    try:
        size, data = submission.size(), submission.read()
    except Exception as problem:  # noqa: BLE001 (a strange zip can raise anything)
        raise CannotRead(str(problem) or type(problem).__name__) from None
    if size > cells.MAX_BYTES:
        return {
            "problem": f"the file has {size / 1e6:.0f} MB; the limit is {cells.MAX_BYTES / 1e6:.0f} MB. "
            "Clear its outputs and hand it in again"
        }
    try:
        book = cells.parse(data)
    except cells.NotANotebook as problem:
        return {"problem": str(problem)}
    lesson = judge.lesson_in(book, job.lesson)
    if lesson is None or lesson not in job.masters:
        return {"problem": "no cell begins with `# Task NN.M`: no exercise of the course, or its answer cells are gone"}
    if lesson not in references:
        references[lesson] = judge.Reference(lesson, job)
    verdicts = judge.grade(book, references[lesson], job)
    return {"lesson": lesson, "verdicts": {name: v.as_dict() for name, v in verdicts.items()}}


def safe_result(job: Job, submission: Submission, references: dict[str, judge.Reference]) -> dict[str, Any]:
    """``result_of``, or {"problem": ...}; with "ungraded" where the fault is the grader's own."""
    try:
        return result_of(job, submission, references)
    except CannotRead as problem:
        return {"problem": f"the file cannot be read ({str(problem)[:150]}): hand it in again"}
    except Exception as problem:  # noqa: BLE001 (a mistake of the grader's must not become a student's zero)
        return {"problem": f"{type(problem).__name__}: {str(problem)[:300]}", "ungraded": True}


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    processes.end_with_parent()
    processes.adopt_orphans()
    processes.keep_to_oneself()
    door = socket.socket(fileno=os.dup(0))
    references: dict[str, judge.Reference] = {}
    while True:
        _, channels, *_ = socket.recv_fds(door, 1, 1)
        if not channels:  # the parent has gone
            return
        os.set_inheritable(channels[0], False)
        with socket.socket(fileno=channels[0]) as channel:
            with channel.makefile("r", encoding="utf-8") as lines:
                key, job, submission = from_line(lines.read())
            answer = {"key": key, "result": safe_result(job, submission, references)}
            channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
