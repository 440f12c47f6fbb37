"""The checks themselves under test: no task without wrong answers, each told by its own words."""

import importlib

import pytest
from course_support import ROOT, answer_from, master_of

from coursekit import cells, words
from coursekit.build import solution_lines, stub
from coursekit.cells import BEGIN, END
from coursekit.examine import DONE, TODO, caller, examine
from coursekit.hints import RUNGS, ladder
from coursekit.task import lessons, tasks_of

TASKS = [task for number in lessons() for task in tasks_of(number)]


def answers(task):
    return importlib.import_module(f"course_answers.lesson_{task.lesson}")


WRONG = [(task, wrong, words_) for task in TASKS for wrong, words_ in answers(task).WRONG.get(task.id, [])]
RIGHT = [(task, right) for task in TASKS for right in answers(task).RIGHT.get(task.id, [])]


def name(value):
    return getattr(value, "id", None) or getattr(value, "__name__", None) or str(value)[:20]


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_each_task_has_five_wrong_and_two_right_answers(task):
    wrong, right = answers(task).WRONG.get(task.id, []), answers(task).RIGHT.get(task.id, [])
    assert len(wrong) >= 5, f"{task.id} has {len(wrong)} wrong answers: add some to tests/coursekit/course_answers"
    assert len({said for _, said in wrong}) == len(wrong), "each wrong answer has a diagnosis of its own"
    assert len(right) >= 2, f"{task.id} has {len(right)} right answers: a check must accept more than one design"


@pytest.mark.parametrize("task, wrong, said", WRONG, ids=name)
def test_a_wrong_answer_fails_with_its_own_diagnosis(task, wrong, said):
    verdict = examine(task, caller(wrong, task.drive))
    assert verdict.status not in (DONE, TODO)
    assert said in verdict.finding.cause
    text = words.as_text(task, verdict)
    assert "Traceback" not in text and "smallest failing call" in text


@pytest.mark.parametrize("task, wrong, said", WRONG, ids=name)
def test_hidden_cases_find_it_too_and_say_the_same(task, wrong, said):
    assert said in examine(task, caller(wrong, task.drive), seed="some other seed").finding.cause


@pytest.mark.parametrize("task, right", RIGHT, ids=name)
def test_a_right_answer_passes_whatever_its_design(task, right):
    for seed in ("public", 1, 2):
        verdict = examine(task, caller(right, task.drive), seed)
        assert verdict.status == DONE, words.as_text(task, verdict)


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_the_stub_is_not_done_yet_and_the_solution_is_right(task):
    source = cells.answers(master_of(task.lesson), [task])[task.id]
    assert examine(task, caller(answer_from(stub(source), task.name))).status == TODO
    assert examine(task, caller(answer_from(source, task.name), task.drive)).status == DONE


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_solving_only_adds_lines_above_the_raise(task):
    source = cells.answers(master_of(task.lesson), [task])[task.id]
    lines = stub(source).split("\n")
    at = max(i for i, line in enumerate(lines) if line.strip().startswith("raise NotImplementedError"))
    added = "\n".join(lines[:at] + solution_lines(source) + lines[at:])
    assert examine(task, caller(answer_from(added, task.name), task.drive)).status == DONE


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_the_hints_climb_and_the_task_module_holds_no_answer(task):
    assert [title for title, _ in ladder(task)] == list(RUNGS)
    assert all(text.strip() for _, text in ladder(task))
    solution = {line.strip() for line in solution_lines(cells.answers(master_of(task.lesson), [task])[task.id])}
    for path in (ROOT / "coursekit" / "tasks").glob("*.py"):
        same = {line for line in solution if len(line) > 25} & {line.strip() for line in path.read_text().split("\n")}
        assert not same, f"{path.name} holds lines of the solution: {same}"


@pytest.mark.parametrize("number", lessons())
def test_an_exercise_has_a_hundred_points_and_two_to_five_tasks(number):
    tasks = tasks_of(number)
    assert sum(t.points for t in tasks) == 100 and 2 <= len(tasks) <= 5
    sources = cells.code_cells(master_of(number))
    assert all(any(BEGIN in s and END in s and cells.marked(s) == t.id for s in sources) for t in tasks)


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_the_written_out_cases_come_from_the_master(task):
    answer = caller(answer_from(cells.answers(master_of(task.lesson), [task])[task.id], task.name), task.drive)
    for case in task.cases:
        assert task.judge(case.args, case.expected) is None or case.expected == []
        if task.exact:
            assert answer(case.args) == case.expected
