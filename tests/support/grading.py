"""The teacher's command as a test runs it, and what may not be left behind."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

from coursekit.grade import processes, sandbox

from .course import ROOT

BODY = "def padding_waste(lengths):\n    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0\n"


def command(folder, out, *extra, seed="7", timeout="5"):
    own = ["--seed", seed, "--timeout", str(timeout), "--jobs", "2", "--solutions", str(ROOT / "solutions")]
    return [sys.executable, "-m", "coursekit", "grade", str(folder), "-o", str(out), *own, *extra]


def environment(temp, **more):
    temp.mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temp), **more}


def grade(folder, out, temp, *extra, code=0, **settings):
    """Run the command to its end; what it said, on both streams. Nothing may be left of it but the table and the pages."""
    done = subprocess.run(
        command(folder, out, *extra, **settings), env=environment(temp), capture_output=True, text=True, timeout=560, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said and "\x1b" not in said, said
    nothing_is_left(temp)
    return said


def nothing_is_left(temp):
    assert list(temp.iterdir()) == [], "the run left files behind"
    assert not processes_of(temp), [command_of(pid) for pid in processes_of(temp)]


def processes_of(temp):
    """What was started by a run with this TMPDIR and still lives: helpers, boxes, and what ran away from these."""
    return [pid for pid in processes.table() if str(temp).encode() in told_by(pid, "cmdline") + told_by(pid, "environ")]


def told_by(pid, part):
    try:
        return Path(f"/proc/{pid}/{part}").read_bytes()
    except OSError:
        return b""


def command_of(pid):
    return told_by(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")


def helpers_of(grader):
    """The numbers of a grader's helper processes."""
    known = processes.table()
    return [pid for pid, (parent, _) in known.items() if parent == grader and "coursekit.grade.worker" in command_of(pid)]


def boxes_below(grader):
    return [pid for pid in processes.descendants(grader) if str(sandbox.CHILD) in command_of(pid)]


def until(what, seconds=30):
    """Wait for ``what()`` to be true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


def rows_of(out):
    with out.open(newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def one_answer(body=BODY, task="02.2", extra=()):
    """A notebook that answers one task; extra: more of its code cells."""
    own = {"cell_type": "code", "source": f"# Task {task}\n{body}", "metadata": {}}
    return {"cells": [own, *({"cell_type": "code", "source": text, "metadata": {}} for text in extra)], "metadata": {}}
