"""Hostile submissions, each graded in a class with two honest ones: no unearned point, no harm, nothing left behind."""

import csv
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import hostile
from support.course import ROOT, put, solved

from coursekit.grade import processes, sandbox

# Minutes of endless loops and memory bombs: `make test-hostile`, not `make test`.
pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS"),
]
WORKS, WHY = sandbox.probe() if os.name == "posix" else (False, "")
needs_bwrap = pytest.mark.skipif(not WORKS, reason=f"bubblewrap does not run here: {WHY}")
OTHERS = 85  # the points of the four tasks that are answered rightly beside the hostile one
WRONG_HONEST = "# Task 02.4\ndef pack(prompts):\n    ids = sum(prompts, [])\n    return ids, list(range(len(ids))), [0]\n"


def grade(folder, tmp_path, mode, timeout=2, jobs=2, extra=()):
    """Run the command; returns {student: row}, and the folder of feedback pages."""
    out, pages, temp = tmp_path / "out" / "grades.csv", tmp_path / "pages", tmp_path / "temp"
    temp.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "coursekit",
            "grade",
            str(folder),
            "-o",
            str(out),
            "--feedback",
            str(pages),
            "--sandbox",
            mode,
            "--seed",
            "7",
            "--timeout",
            str(timeout),
            "--jobs",
            str(jobs),
            "--solutions",
            str(ROOT / "solutions"),
            *extra,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temp)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert list(temp.iterdir()) == [], "the run left files behind"
    assert not strays(), "the run left processes behind"
    with out.open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}, pages


def strays():
    """Sandbox children that still live though no grader is above them (another run may be grading beside this one)."""
    found, known = [], processes.table()
    for pid in known:
        if str(sandbox.CHILD).encode() not in command_of(pid):
            continue
        above = pid
        while above in known and b"coursekit.grade.worker" not in command_of(above):
            above = known[above][0]
        if above not in known and pid in processes.table():
            found.append(pid)
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def a_class(tmp_path, culprit):
    """A folder with two honest submissions and the culprit's notebook (a dict or a text)."""
    folder = tmp_path / "class"
    put(folder / "ada.ipynb", solved())
    put(folder / "bob.ipynb", solved(**{"02.4": WRONG_HONEST}))
    put(folder / "mallory.ipynb", culprit)
    return folder


def honest_are_untouched(rows):
    assert rows["ada"]["total"] == "100", rows["ada"]["remarks"]
    assert rows["bob"]["total"] == "80" and rows["bob"]["02.4"] == "0", rows["bob"]["remarks"]


def words_of(page):
    return re.sub(r"<[^>]+>", " ", page.read_text()).replace("&#x27;", "'")


@needs_bwrap
@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_in_bubblewrap(name, tmp_path):
    canary, listener = tmp_path / "canary.txt", socket.create_server(("127.0.0.1", 0))
    canary.write_text("alive")
    source, said = hostile.HOSTILE[name]
    source = (
        source.replace("SECRET_ROOT", repr(str(ROOT)))
        .replace("CANARY", repr(str(canary)))
        .replace("PORT", str(listener.getsockname()[1]))
    )
    rows, pages = grade(a_class(tmp_path, solved(**{"02.2": source})), tmp_path, "bwrap")
    honest_are_untouched(rows)
    assert rows["mallory"]["02.2"] == "0"
    assert int(rows["mallory"]["total"]) == OTHERS, "the other tasks were answered rightly"
    assert re.search(said, rows["mallory"]["remarks"]), rows["mallory"]["remarks"]
    assert "Traceback" not in words_of(pages / "mallory.html")
    assert canary.read_text() == "alive" and not canary.with_suffix(".txt.new").exists() and not Path("/usr/evil").exists()
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("name", sorted(set(hostile.HOSTILE) - hostile.NEEDS_WALLS))
def test_with_limits_alone(name, tmp_path):
    source, said = hostile.HOSTILE[name]
    rows, _ = grade(a_class(tmp_path, solved(**{"02.2": source})), tmp_path, "rlimits")
    honest_are_untouched(rows)
    assert rows["mallory"]["02.2"] == "0" and int(rows["mallory"]["total"]) == OTHERS
    assert re.search(said, rows["mallory"]["remarks"]), rows["mallory"]["remarks"]


@pytest.mark.parametrize("name", hostile.UNREADABLE)
def test_files_that_are_no_notebooks(name, tmp_path):
    text, said = hostile.UNREADABLE[name]
    rows, pages = grade(a_class(tmp_path, text), tmp_path, "auto")
    honest_are_untouched(rows)
    assert rows["mallory"]["total"] == "0" and said in rows["mallory"]["remarks"] and said in words_of(pages / "mallory.html")


def test_a_helper_that_is_killed_costs_one_submission(tmp_path):
    source = hostile.HOSTILE["kills its parent"][0]
    rows, _ = grade(a_class(tmp_path, solved(**{"02.2": source})), tmp_path, "rlimits", jobs=1)
    honest_are_untouched(rows)
    assert rows["mallory"]["02.2"] in ("0", "") and rows["mallory"]["remarks"]


def test_the_class_together(tmp_path):
    """All of them at once, two at a time, do no more harm than each alone; every right design gets full marks."""
    folder = a_class(tmp_path, "no notebook")
    mild = [n for n in hostile.HOSTILE if n not in hostile.NEEDS_WALLS and "did not finish" not in hostile.HOSTILE[n][1]]
    for name in mild:
        put(folder / f"{name}.ipynb", solved(**{"02.2": hostile.HOSTILE[name][0]}))
    rows, _ = grade(folder, tmp_path, "auto")
    honest_are_untouched(rows)
    assert all(rows[name]["02.2"] == "0" for name in mild)
