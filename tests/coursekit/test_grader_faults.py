"""What goes wrong in grading and is no student's fault: never a zero, always a reason, and taken up again."""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from support.course import ROOT, put, solved

from coursekit import cli, words
from coursekit.examine import caller, examine
from coursekit.grade import collect, helper, job, journal, judge, processes, report, run, sandbox, worker
from coursekit.grade.session import NotGraded, Session
from coursekit.task import find_task

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
JOB = job.Job(None, {"02": str(next((ROOT / "solutions").glob("02_*.ipynb")))}, "none", "7", 5.0)


def test_the_boxes_use_the_bwrap_that_was_probed(tmp_path, monkeypatch):
    own = put(tmp_path / "elsewhere" / "bwrap", "#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for folder in (str(own.parent), "elsewhere"):  # a folder of PATH may be relative; a box starts somewhere else
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        assert sandbox.command("bwrap")[0] == str(own)


def test_the_probe_runs_with_the_boxes_few_variables(tmp_path, monkeypatch):
    """What helps a bubblewrap to start here, such as LD_LIBRARY_PATH, does not help it in a box."""
    own = put(tmp_path / "bwrap", '#!/bin/sh\ntest -n "$HELP" && echo inside || echo no help >&2\n')
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HELP", "yes")
    assert sandbox.probe.__wrapped__() == (False, "no help")


CURIOUS = """
import os
def padding_waste(lengths):
    return [sorted(name for name in os.listdir(COURSE) if name != "coursekit"), os.path.exists(COURSE + "/coursekit/tasks/x.py")]
"""


def test_a_checkout_in_an_environments_folder_starts_and_shows_nothing_but_the_package(tmp_path, monkeypatch):
    """As ``pip install -e git+...`` leaves it: the course, its history, tests and solutions lie where Python does."""
    if not sandbox.probe()[0]:
        pytest.skip(f"bubblewrap does not run here: {sandbox.probe()[1]}")
    course = tmp_path / "venv" / "src" / "course"
    shutil.copytree(sandbox.PACKAGE, course / "coursekit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("solutions", "tests", "submissions", ".git"):
        put(course / name / "x.py", "secret")
    put(course / "coursekit" / "tasks" / "x.py", "secret")
    folders = [*sandbox.python_folders(), str(tmp_path / "venv")]
    monkeypatch.setattr(sandbox, "python_folders", lambda: folders)
    monkeypatch.setattr(sandbox, "PACKAGE", course / "coursekit")
    monkeypatch.setattr(sandbox, "CHILD", course / "coursekit" / "grade" / "child.py")
    monkeypatch.setattr(sandbox, "TASKS", course / "coursekit" / "tasks")
    options = SimpleNamespace(submissions=str(course / "submissions"), output=str(course / "grades.csv"))
    hidden = run.hidden_folders(options, {"02": str(course / "solutions" / "02_x.ipynb")})
    there = job.Job(None, {}, "bwrap", "7", 5.0, hidden=tuple(hidden))
    with Session(find_task("02.2"), [("02.2", CURIOUS.replace("COURSE", repr(str(course))))], there) as session:
        session.start()
        assert session.call([[1]]) == [["solutions", "submissions"], False]
        session.finish()


def test_a_sandbox_that_does_not_start_is_not_the_students_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "command", lambda *a, **k: ["/bin/sh", "-c", "echo no room >&2; exit 1"])
    with Session(find_task("02.2"), [], JOB) as session, pytest.raises(NotGraded, match="did not start"):
        session.start()
    place = put(tmp_path / "ada.ipynb", solved())
    result = worker.safe_result(JOB, collect.Submission("ada", "ada.ipynb", str(place)), {})
    assert result["ungraded"] and "did not start" in result["problem"]


def test_a_crash_of_the_grader_is_told_and_never_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "lesson_in", lambda *a: 1 / 0)
    place = put(tmp_path / "ada.ipynb", solved())
    row = {"student": "ada", "file": "ada.ipynb"}
    row |= worker.safe_result(JOB, collect.Submission("ada", "ada.ipynb", str(place)), {})
    assert report.in_short(row).startswith("not graded: ZeroDivisionError")
    assert "not graded" in report.csv_text([row]) and "Not graded." in report.page(row)
    assert report.csv_text([row]).splitlines()[1].startswith("ada,ada.ipynb,,,"), "no zero in the table"
    assert report.mean_points([row, {"student": "b", "file": "b", "problem": "not a notebook"}]) == 0.0
    monkeypatch.setattr(run, "grade_folder", lambda *a, **k: [row])
    assert cli.run_grade(SimpleNamespace(exercise=None)) == 1 and "not graded, by no fault" in capsys.readouterr().out


# ---------------------------------------------------------------- helpers that die, lie or never answer
ADA = collect.Submission("ada", "a", "a")
HELPER = """#!{python}
import json, os, signal, socket, sys, time
door = socket.socket(fileno=0)
_, channels, *_ = socket.recv_fds(door, 1, 1)
channel = socket.socket(fileno=channels[0])
key = json.loads(channel.makefile().read())["key"]
{act}
"""
RESULT = {"problem": "none"}


def helper_that(act, tmp_path, monkeypatch):
    own = put(tmp_path / "helper", HELPER.format(python=sys.executable, act=act))
    own.chmod(0o755)
    monkeypatch.setattr(helper.sys, "executable", str(own))
    return helper.Helper(str(tmp_path))


def test_the_line_with_the_key_of_the_job_is_the_answer(tmp_path, monkeypatch):
    one = helper_that(f"channel.sendall(json.dumps({{'key': key, 'result': {RESULT}}}).encode())", tmp_path, monkeypatch)
    assert one.ask(JOB, ADA, 5) == RESULT
    one.end()


@pytest.mark.parametrize(
    "act, said",
    [
        (f"channel.sendall(json.dumps({{'key': 'guessed', 'result': {RESULT}}}).encode())", "exit code 0"),
        ("channel.sendall(b'[1]'); time.sleep(60)", "did not come back in 1 s"),
        (f"line = json.dumps({{'key': key, 'result': {RESULT}}}).encode(); channel.sendall(line + b'\\n' + line)", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
        ("1 / 0", "exit code 1: ZeroDivisionError: division by zero"),
        ("channel.close(); time.sleep(60)", "gave no answer"),
        ("time.sleep(60)", "did not come back in 1 s"),
    ],
)
def test_a_helper_that_fails_gives_no_zero_and_a_reason(act, said, tmp_path, monkeypatch):
    one = helper_that(act, tmp_path, monkeypatch)
    result = one.ask(JOB, ADA, 1 if said.endswith("1 s") else 10)
    assert result["ungraded"] and said in result["problem"], result
    assert one.process is None and processes.descendants(os.getpid()) == []


def test_code_that_ran_to_its_end_did_not_stop_with_an_error():
    task = find_task("02.2")
    said = words.as_text(task, examine(task, caller(lambda lengths: {1})))
    assert "not right yet" in said and "stopped with an error" not in said


def test_nobody_can_open_a_submissions_channel_a_second_time(tmp_path, monkeypatch):
    """A pipe could be opened through /proc by every process of this user, and a line written to it; a socket cannot."""
    act = """
import subprocess
for fd in (channel.fileno(), 0):
    opened = subprocess.run(["sh", "-c", f"echo forged > /proc/{os.getpid()}/fd/{fd}"], capture_output=True)
    assert opened.returncode, fd
channel.sendall(json.dumps({"key": key, "result": {"problem": "none"}}).encode())"""
    one = helper_that(act, tmp_path, monkeypatch)
    assert one.ask(JOB, ADA, 10) == RESULT
    one.end()


def test_what_the_grader_failed_at_is_tried_once_more_alone(tmp_path, monkeypatch):
    asked = []

    class Once:
        def __init__(self, *args):
            self.pid = len(asked)

        def ask(self, job, submission, seconds):
            asked.append(submission.student)
            first = asked.count(submission.student) == 1
            return {"problem": "lost", "ungraded": True} if first or submission.student == "eve" else dict(RESULT)

        def end(self):
            pass

        ask_to_end = end

    monkeypatch.setattr(run, "Helper", Once)
    found = [collect.Submission(name, name, name) for name in ("ada", "bob", "eve")]
    kept = journal.Journal(tmp_path / ".g.journal")
    with kept.opened({"seed": "1", "version": "x"}):
        rows = run.Round(found, JOB, kept, {}, lambda text: None).graded(2)
    assert sorted(asked[:3]) == sorted(asked[3:]) == ["ada", "bob", "eve"]
    assert [row.get("ungraded", False) for row in rows] == [False, False, True]
    with journal.Journal(tmp_path / ".g.journal").opened({"seed": "1", "version": "x"}) as done:
        assert len(done) == 2, "what was not graded is taken up again by the next run"


def test_a_mistake_in_the_grader_costs_neither_the_run_nor_a_page(tmp_path, monkeypatch):
    class Broken(helper.Helper):
        def ask(self, *args):
            raise AssertionError("a mistake")

    row = run.grade_one(Broken(str(tmp_path)), ADA, JOB, "key")
    assert row["ungraded"] and row["problem"] == "AssertionError: a mistake" and row["student"] == "ada"
    monkeypatch.setattr(report.words, "as_html", lambda *a, **k: 1 / 0)
    graded = {"student": "ada", "file": "a", "lesson": "02", "verdicts": {f"02.{i}": {"status": "done"} for i in range(1, 6)}}
    assert "100 of 100" in report.page(graded) and "ZeroDivisionError" in report.page(graded)
