"""What docs/TEACHING.md promises and no other test of the grader holds."""

import ast
import os
import re
import time

import pytest
from support.course import ROOT, put, solved
from support.grading import grade, one_answer, rows_of

import coursekit
from coursekit import cli
from coursekit.grade import collect, judge, processes, run, sandbox
from coursekit.grade.session import Session
from coursekit.task import lessons, tasks_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
PAGE = (ROOT / "docs" / "TEACHING.md").read_text(encoding="utf-8")


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
    (row,) = re.findall(r"^\| files \| (\d+) MB in memory, gone afterwards \| (\d+) MB each;", PAGE, re.MULTILINE)
    line = sandbox.bwrap_command(())
    size = line[line.index("/tmp") - 2]
    assert (int(size) >> 20, sandbox.FILE_BYTES >> 20) == tuple(map(int, row))
    assert ["--remount-ro", "/"] in [line[i : i + 2] for i in range(len(line))]


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
