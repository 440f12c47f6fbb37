"""A task whose packages are not for every machine: where one is missing it is neither right nor wrong."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.course import answer_to, put, solved

from coursekit import cells, checking, store, words
from coursekit.examine import DONE, NOT_HERE
from coursekit.grade import job, judge, report
from coursekit.task import find_task

TASK = find_task("02.2")
ELSEWHERE = replace(TASK, needs=("json", "no_such_package", "nor_this_one"))
TOLD = "not graded here: it needs no_such_package and nor_this_one"
posix = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")


@pytest.fixture
def elsewhere(monkeypatch):
    """Task 02.2 needs what no machine has."""

    def tasks_of(number):
        return [ELSEWHERE if task.id == TASK.id else task for task in real(number)]

    real = judge.tasks_of
    monkeypatch.setattr(judge, "tasks_of", tasks_of)
    monkeypatch.setattr(checking, "find_task", lambda name: ELSEWHERE)


def test_what_is_installed_lacks_nothing():
    assert TASK.lacks == "" and replace(TASK, needs=("json",)).lacks == ""
    assert TOLD in ELSEWHERE.lacks


def test_a_check_says_so_and_leaves_the_answer_alone(elsewhere, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("COURSEKIT_STRICT", "1")  # under which everything else that is not right raises

    def padding_waste(lengths):
        raise AssertionError("it was called")

    checking.check("02.2", {"padding_waste": padding_waste})
    assert TOLD in capsys.readouterr().out and not checking.solved("02.2")
    assert "tries" not in store.load()["tasks"].get("02.2", {})
    verdict, _ = checking.verdict_on(ELSEWHERE, {"padding_waste": padding_waste})
    assert verdict.status == NOT_HERE and TOLD in words.as_html(ELSEWHERE, verdict)


def graded(**changes):
    """The row of a submission, as the grader's table has it."""
    book = solved(**changes)
    reference = SimpleNamespace(tasks=judge.tasks_of("02"), given=[], hidden=lambda task: {})
    verdicts = judge.grade(book, reference, job.Job(None, {}, "none", "7", 5.0))
    return {
        "key": "k",
        "student": "ada",
        "file": "ada.ipynb",
        "lesson": "02",
        "verdicts": {n: v.as_dict() for n, v in verdicts.items()},
    }


@posix
def test_the_table_counts_the_others_alone(elsewhere):
    row = graded()
    assert row["verdicts"]["02.2"]["status"] == NOT_HERE
    assert "02.2" not in report.points_of(row) and report.out_of(row) == 100 - TASK.points == sum(report.points_of(row).values())
    header, line = report.csv_text([row]).splitlines()
    told = dict(zip(header.split(","), line.split(",")))
    assert told["02.2"] == "" and told["02.1"] != "" and TOLD in told["remarks"]
    assert report.histogram([row])[-1] == ("100 %", 1) and report.mistakes([row]) == []
    assert {name: of for name, _, _, of in report.by_task([row])}["02.2"] == 0
    page = report.page(row)
    assert f"{100 - TASK.points} of {100 - TASK.points} points" in page and '<span class="points">not graded here</span>' in page


@posix
def test_an_answer_that_is_missing_is_not_asked_for_either(elsewhere):
    row = graded(**{"02.2": "# nothing"})
    assert row["verdicts"]["02.2"]["status"] == NOT_HERE


@posix
def test_the_kernel_of_11_is_graded_in_its_time(tmp_path):
    """In a child of its own, where Triton is imported before the answer's time begins, and interprets."""
    task = find_task("11.1")
    if task.lacks:
        pytest.skip(task.lacks)
    book = cells.read(put(tmp_path / "ada.ipynb", solved("11")))
    reference = judge.Reference("11", job.Job(None, {"11": str(tmp_path / "ada.ipynb")}, "rlimits", "7", 10.0))
    verdict = judge.grade_task(task, book, cells.answers(book, reference.tasks), reference, reference.job)
    assert verdict.status == DONE, words.as_text(task, verdict)
    assert callable(answer_to(task))
