"""What docs/TEACHING.md promises and no other test of the grader holds."""

import ast
import os
import re
import signal
import time
from types import SimpleNamespace

import pytest
from support.course import ROOT, answer_to, put, solved
from support.grading import grade, one_answer, rows_of, told_by, until

import coursekit
from coursekit import cli, doctor, store
from coursekit.examine import Failed
from coursekit.grade import collect, job, journal, judge, processes, run, sandbox, session
from coursekit.grade.session import Session
from coursekit.task import find_task, lessons, tasks_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
PAGE = (ROOT / "docs" / "TEACHING.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def test_the_options_on_the_page_are_those_of_the_command():
    page = dict(re.findall(r"^\| `(--[a-z]+)[^`]*` \| (.*) \|$", PAGE, re.MULTILINE))
    args = cli.parser(False).parse_args(["grade", "x"])
    own = {f"--{name}" for name in vars(args)} - {"--run", "--submissions", "--output", "--feedback"}
    assert set(page) == own
    assert f"({args.timeout:g})" in page["--timeout"] and f"(`{args.solutions}`)" in page["--solutions"]
    assert args.jobs == os.cpu_count() and args.seed is None and args.sandbox == "auto"


def test_hidden_cases_are_others_than_those_of_a_check_and_follow_the_seed():
    for task in (task for number in lessons() for task in tasks_of(number)):
        known = {repr(case) for case in task.random_cases("public")}
        hidden = {repr(case) for case in task.random_cases("7")}
        assert len(hidden - known) > len(hidden) / 2, task.id
        assert hidden == {repr(case) for case in task.random_cases("7")} != {repr(case) for case in task.random_cases("8")}


def test_a_change_in_the_course_or_in_a_master_begins_afresh_and_one_in_a_notebook_is_seen(tmp_path, monkeypatch):
    master = put(tmp_path / "02_x.ipynb", "{}")
    before = run.version_of({"02": str(master)})
    put(master, "{ }")
    after = run.version_of({"02": str(master)})
    assert len({before, after, run.version_of({"02": str(master)})}) == 2
    put(tmp_path / "package" / "task.py", "x = 1")
    monkeypatch.setattr(sandbox, "PACKAGE", tmp_path / "package")
    versions = [run.version_of({"02": str(master)})]
    put(tmp_path / "package" / "task.py", "x = 2")
    assert run.version_of({"02": str(master)}) not in [after, *versions]
    ada = collect.Submission("ada", "ada.ipynb", str(master))
    key = run.key_of(ada)
    put(master, "{  }")
    assert run.key_of(ada) != key


def test_the_last_hint_says_where_the_worked_answers_are(capsys, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", "off")
    coursekit.hint("02.2", 4)
    assert "solutions/" in capsys.readouterr().out


def test_nothing_is_sent_anywhere():
    """What a notebook imports of the course knows no network."""
    net = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "asyncio", "xmlrpc"}
    own = [*(ROOT / "coursekit").glob("*.py"), *(ROOT / "coursekit" / "tasks").rglob("*.py")]
    for file in [*own, *(ROOT / "coursekit" / "judging").glob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert not {name.partition(".")[0] for name in named} & net, file


def time_left(monkeypatch, passed, used, in_line, pids=1):
    """What an answer that has 5 seconds is given when its time is up."""
    one = Session.__new__(Session)
    one.seconds, one.base, one.forked, one.delayed, one.begun = 5.0, 1, False, 0.0, time.monotonic() - passed
    monkeypatch.setattr(processes, "descendants", lambda root: list(range(pids)))
    monkeypatch.setattr(processes, "cpu_seconds", lambda pids: used)
    monkeypatch.setattr(processes, "seconds_in_line", lambda pids: in_line)
    return one.more_time()


def test_time_in_line_is_not_counted_and_processes_of_ones_own_win_none(monkeypatch):
    assert time_left(monkeypatch, passed=9, used=3, in_line=5) > 0, "others had the processor"
    assert time_left(monkeypatch, passed=6, used=3, in_line=0) == 0, "it was slow by itself"
    assert time_left(monkeypatch, passed=9, used=4.9, in_line=5) == 0, "it has had its time"
    assert time_left(monkeypatch, passed=9, used=3, in_line=5, pids=4) == 0, "it stands in line behind its own"
    assert time_left(monkeypatch, passed=10.1, used=0, in_line=0) == 0, "it sleeps"
    assert time_left(monkeypatch, passed=70, used=1, in_line=69) == 0, "there is an end to it"


def test_the_sizes_on_the_page_are_those_of_the_sandbox():
    (row,) = re.findall(
        r"^\| files \| (\d+) MB and 20,000 files in memory, gone afterwards \| (\d+) MB each;", PAGE, re.MULTILINE
    )
    line = sandbox.bwrap_command(())
    size = line[line.index("/tmp") - 2]
    assert (int(size) >> 20, sandbox.FILE_BYTES >> 20) == tuple(map(int, row)) and session.MAX_FILES == 20_000
    assert ["--remount-ro", "/"] in [line[i : i + 2] for i in range(len(line))]


def test_hidden_expectations_are_the_masters_answers():
    task, masters = find_task("02.3"), {"02": str(next((ROOT / "solutions").glob("02_*.ipynb")))}
    known = judge.Reference("02", job.Job(None, masters, "none", "7", 5.0)).hidden(task)
    right = answer_to(task)
    assert known == {repr(args): right(*args) for args in task.random_cases("7")}


def test_loose_files_that_are_nobodys_are_passed_over(tmp_path):
    (endings,) = re.findall(r"Loose files that\s+are nobody's answer \((.*) and the like\)", PAGE)
    for number, ending in enumerate(re.findall(r"`(\.\w+)`", endings)):
        put(tmp_path / f"file{number}{ending}", "x")
    assert len(list(tmp_path.iterdir())) == 4 and collect.collect(tmp_path) == ([], [])


def test_so_many_are_graded_at_once(tmp_path, monkeypatch):
    here, most = [], []

    class Slow:
        def __init__(self, *args):
            self.pid = 1

        def ask(self, job, submission, seconds):
            here.append(submission)
            time.sleep(0.1)
            most.append(len(here))
            here.remove(submission)
            return {"problem": "none"}

        def end(self):
            pass

        ask_to_end = end

    monkeypatch.setattr(run, "Helper", Slow)
    found = [collect.Submission(f"s{i}", f"s{i}", f"s{i}") for i in range(9)]
    kept = journal.Journal(tmp_path / ".g.journal")
    with kept.opened({"seed": "1", "version": "x"}):
        run.Round(found, job.Job(None, {}, "none", "7", 5.0), kept, {}, lambda text: None).graded(3)
    assert max(most) == 3
    with journal.Journal(tmp_path / ".g.journal").opened({"seed": "1", "version": "x"}, fresh=True) as done:
        assert done == {}, "--fresh forgets them"


def test_progress_is_kept_in_one_file_in_the_home(monkeypatch, tmp_path):
    assert "`~/.coursekit/progress.json`" in TEXT
    monkeypatch.delenv("COURSEKIT_PROGRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(store, "_memory", None)
    coursekit.hint("02.1")
    assert [p.name for p in (tmp_path / ".coursekit").iterdir() if p.suffix == ".json"] == ["progress.json"]


def test_what_the_page_tells_to_run_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in set(re.findall(r"`make (\w+)`", TEXT)))
    assert (ROOT / "Dockerfile").exists() and (ROOT / ".devcontainer" / "devcontainer.json").exists()


@pytest.mark.parametrize("got", ["[[i] for i in range(120_000)]", "[10**3000] * 9000", "[list(range(60_000))] * 2"])
def test_an_answer_that_keeps_the_judge_busy_is_given_up(got, monkeypatch):
    assert f"more than {judge.JUDGE_SECONDS} seconds earns nothing" in TEXT
    monkeypatch.setattr(judge, "JUDGE_SECONDS", 0.2)
    task = judge.patient(find_task("02.3"))
    begun = time.monotonic()
    try:
        assert task.judge(([3, 1, 2], 2), eval(got)) is not None
    except Failed as failed:
        assert "too large to be judged" in failed.text
    assert time.monotonic() - begun < 5 and signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_notebook_can_be_graded_as_an_exercise_that_it_does_not_name():
    book = one_answer()
    assert judge.lesson_in(book) == "02" and judge.lesson_in(book, "03") == "03" and judge.lesson_in({"cells": []}) is None


def test_points_are_for_all_cases_or_none(tmp_path):
    """Right on small cases, wrong on large ones; the summary counts it, and links to each page."""
    nearly = (
        "def padding_waste(lengths):\n    return 0.0 if len(lengths) < 2 else 1 - sum(lengths) / (len(lengths) * max(lengths))\n"
    )
    wrong = nearly.replace("    return", "    if len(lengths) > 5:\n        return 0.5\n    return")
    for name, body in (("ada", nearly), ("bob", wrong)):
        put(tmp_path / "in" / f"{name}.ipynb", one_answer(body))
    grade(tmp_path / "in", tmp_path / "g.csv", tmp_path / "temp", "--feedback", str(tmp_path / "pages"))
    assert [row["02.2"] for row in rows_of(tmp_path / "g.csv").values()] == ["15", "0"]
    summary = (tmp_path / "pages" / "class" / "summary.html").read_text(encoding="utf-8")
    assert "1 of 2" in summary and all(f'<a href="../{name}.html">{name}</a>' in summary for name in ("ada", "bob"))


def test_without_a_sandbox_an_endless_loop_and_what_is_left_over_are_stopped_all_the_same(tmp_path):
    put(tmp_path / "in" / "ada.ipynb", one_answer("def padding_waste(lengths):\n    while True:\n        pass\n"))
    daemon = "import os, time\ndef padding_waste(lengths):\n    if os.fork() == 0:\n        time.sleep(600)\n    return 0.0\n"
    put(tmp_path / "in" / "bob.ipynb", one_answer(daemon))
    grade(tmp_path / "in", tmp_path / "g.csv", tmp_path / "temp", "--sandbox", "none", timeout=1)
    rows = rows_of(tmp_path / "g.csv")
    assert "did not finish" in rows["ada"]["remarks"] and rows["bob"]["02.2"] == "0"


def test_a_notebook_that_is_too_large_is_told_how_to_shrink(tmp_path):
    book = solved()
    book["cells"][0]["outputs"] = ["x" * 21_000_000]
    put(tmp_path / "in" / "ada.ipynb", book)
    grade(tmp_path / "in", tmp_path / "g.csv", tmp_path / "temp")
    (row,) = rows_of(tmp_path / "g.csv").values()
    assert row["total"] == "0" and "Clear its outputs" in row["remarks"]


# ---------------------------------------------------------------- where this is not Linux
@pytest.fixture
def mac(monkeypatch, tmp_path):
    """The grader and its boxes as they decide on macOS: no bubblewrap, no /proc, no prctl and no filter of system calls."""
    program = f"import runpy, sys\nsys.platform = 'darwin'\nrunpy.run_path({str(sandbox.CHILD)!r}, run_name='__main__')\n"
    monkeypatch.setattr(sandbox, "CHILD", put(tmp_path / "box.py", program))
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    monkeypatch.setattr(processes, "LINUX", False)
    sandbox.probe.cache_clear()
    yield
    sandbox.probe.cache_clear()


def value_of(lines, seconds=5.0):
    """What an answer gives under limits only, and whatever it leaves behind is ended."""
    body = "import ctypes, os, time\ndef padding_waste(lengths):\n" + "".join(f"    {line}\n" for line in lines)
    with Session(find_task("02.2"), [("02.2", body)], job.Job(None, {}, "rlimits", "7", seconds)) as session:
        session.start()
        value = session.call(([1, 2],))
        session.finish()
        return value


def lives(pid):
    return told_by(pid, "stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


FORKS = ["pid = os.fork()", "while pid == 0: time.sleep(1)", "return pid"]


@pytest.mark.skipif(not processes.LINUX, reason="it looks from outside, through /proc")
def test_on_macos_time_is_limited_and_what_hides_is_not_found(mac):
    """The page says so. Each line is shown on Linux with Linux's own means taken away."""
    assert "On macOS there is no bubblewrap, and the kernel refuses nothing: time and output are limited" in TEXT
    assert sandbox.choose("auto") == ("rlimits", sandbox.WARNING + sandbox.AS_ROOT * (os.geteuid() == 0))
    assert value_of(["return 0.25"]) == 0.25
    assert value_of(["return os.memfd_create('x')"]) > 2, "the kernel refuses nothing"
    with pytest.raises(Failed, match="did not finish in 1 s"):
        value_of(["while True: pass"], seconds=1.0)
    with pytest.raises(Failed, match="printed more than"):
        value_of(["while True: os.write(2, b'x' * 10**6)"])
    many = ["for _ in range(40):", "    if os.fork() == 0: time.sleep(600)", "return os.getpid()"]
    assert value_of(many) > 0, "nobody counts processes"
    left = value_of(FORKS)
    until(lambda: not lives(left))
    hidden = value_of([FORKS[0], "os.setsid() if pid == 0 else time.sleep(0.2)", *FORKS[1:]])
    try:
        assert lives(hidden)
    finally:
        os.kill(hidden, signal.SIGKILL)


@pytest.mark.skipif(not processes.LINUX, reason="it looks from outside, through /proc")
def test_on_linux_the_same_answers_are_stopped():
    for lines, said in (
        (["return os.memfd_create('x')"], "PermissionError"), ([*FORKS], "left 1 processes running"),
        (["for _ in range(40):", "    if os.fork() == 0: time.sleep(600)", "time.sleep(5)"], "more processes"),
    ):  # fmt: skip
        with pytest.raises(Failed, match=said):
            value_of(lines)


def test_the_time_in_line_is_not_taken_off_where_it_cannot_be_seen(monkeypatch):
    assert "time in line is not taken off" in TEXT and "is not counted (Linux)" in TEXT
    assert time_left(monkeypatch, passed=6, used=None, in_line=0) == 0


def test_on_windows_nothing_is_graded_and_each_command_names_wsl(monkeypatch, capsys):
    assert "On Windows nothing is graded: use WSL" in TEXT
    for module in (cli, doctor, sandbox):
        monkeypatch.setattr(module, "os", SimpleNamespace(name="nt"))
    assert cli.run_grade(SimpleNamespace()) == 2 and "WSL" in capsys.readouterr().err
    assert doctor.grading_line()[0] is False and "WSL" in doctor.grading_line()[1]
    with pytest.raises(sandbox.NoSandbox, match="WSL"):
        sandbox.choose("auto")
