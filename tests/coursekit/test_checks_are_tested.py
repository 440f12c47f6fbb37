"""The checks themselves under test: no task without wrong answers, each told by its own words."""

import importlib
import itertools
import pkgutil
from types import SimpleNamespace

import pytest
from support.course import ROOT, answer_to, master_of, module_of

from coursekit import cells, words
from coursekit.build import solution_lines, stub
from coursekit.cells import BEGIN, BEGIN_BROKEN, END
from coursekit.examine import DONE, ERROR, TODO, caller, examine, judge, try_case
from coursekit.examine import WRONG as WRONG_
from coursekit.hints import RUNGS, ladder
from coursekit.shrink import size_of
from coursekit.task import lesson_module, lessons, tasks_of

TASKS = [task for number in lessons() for task in tasks_of(number) if not task.lacks]
OURS = ("02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13")  # a new exercise may begin with less
SHRINK = 0.2  # seconds: the diagnosis does not wait for the very smallest call


def answers(task):
    try:
        return module_of(task, "course_answers")
    except ModuleNotFoundError:  # the test below says what is missing
        return SimpleNamespace(WRONG=[], RIGHT=[])


WRONG = [(task, wrong, words_) for task in TASKS for wrong, words_ in answers(task).WRONG]
RIGHT = [(task, right) for task in TASKS for right in answers(task).RIGHT]


def name(value):
    return getattr(value, "id", None) or getattr(value, "__name__", None) or str(value)[:20]


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_each_task_has_five_wrong_and_two_right_answers(task):
    wrong, right = answers(task).WRONG, answers(task).RIGHT
    assert len(wrong) >= 5, f"{task.id} has {len(wrong)} wrong answers: add some in course_answers"
    assert len({said for _, said in wrong}) == len(wrong), "each wrong answer has a diagnosis of its own"
    assert len(right) >= 2, f"{task.id} has {len(right)} right answers: a check must accept more than one design"


@pytest.mark.parametrize("task", [task for task in TASKS if task.lesson in OURS], ids=name)
def test_the_courses_own_tasks_have_ten_wrong_and_five_right_answers(task):
    assert len(answers(task).WRONG) >= 10 and len(answers(task).RIGHT) >= 5


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_a_file_is_a_task_and_named_after_it(task):
    assert module_of(task).TASK is task


@pytest.mark.parametrize("number", lessons())
def test_the_module_of_a_lesson_holds_its_title_and_tasks_only(number):
    """In order; every file with a TASK is among them."""
    module = lesson_module(number)
    files = {name for _, name, _ in pkgutil.iter_modules(module.__path__)}
    own = {name for name in vars(module) if not name.startswith("__")} - files
    assert own == {"TITLE", "TASKS"}
    with_task = {f for f in files if hasattr(importlib.import_module(f"{module.__name__}.{f}"), "TASK")}
    assert [task.id for task in module.TASKS] == [f"{number}.{i}" for i in range(1, len(with_task) + 1)]


@pytest.mark.parametrize("task, wrong, said", WRONG, ids=name)
def test_a_wrong_answer_fails_with_its_own_diagnosis(task, wrong, said):
    verdict = examine(task, caller(wrong, task.drive), shrink_seconds=SHRINK)
    assert verdict.status not in (DONE, TODO)
    assert said in verdict.finding.cause
    text = words.as_text(task, verdict)
    assert "Traceback" not in text and "smallest failing c" in text
    assert verdict.status == ERROR or in_one_form(verdict.finding.expected, verdict.finding.got)


def in_one_form(expected, got):
    """What stands side by side can be compared: words with words, parts with parts of the same names, values with values."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and expected.keys() <= got.keys()
    return expected is not None and isinstance(expected, str) <= isinstance(got, str)


@pytest.mark.parametrize("task, wrong, said", WRONG, ids=name)
def test_hidden_cases_find_it_too_and_say_the_same(task, wrong, said):
    assert said in examine(task, caller(wrong, task.drive), "some other seed", shrink_seconds=SHRINK).finding.cause


SOME_LISTS = [list(values) for n in range(4) for values in itertools.product((1, 2, 3), repeat=n)]
SMALL_CALLS = {
    "02.2": [(lengths,) for lengths in SOME_LISTS],
    "02.3": list(itertools.product(SOME_LISTS, (1, 2, 3))),
    "03.1": list(itertools.product(SOME_LISTS, (1, 2, 3))),
    "05.1": list(itertools.product(SOME_LISTS, (1, 2, 3))),
    "11.2": [(rows, list(buckets)) for rows in (1, 2, 3) for n in (1, 2) for buckets in itertools.permutations((1, 2, 3), n)],
    "06.1": [(t, a, b, s) for t in ([0], [1], [1, 0], [2, 1]) for a in range(4) for b in range(a, 5) for s in (1, 2, 3)],
}


@pytest.mark.parametrize("task", [task for task in TASKS if task.id in SMALL_CALLS], ids=name)
def test_no_smaller_call_shows_the_same_mistake(task):
    """All small calls are tried: what is told as the smallest failing call is the smallest."""
    small = [args for args in SMALL_CALLS[task.id] if task.valid(args)]
    for wrong, said in answers(task).WRONG:
        answer = caller(wrong, task.drive)
        verdict = examine(task, answer)
        for args in small:
            if size_of(args) < size_of(verdict.args):
                other = try_case(task, answer, args)
                assert other is None or verdict.slip not in other.slips, (said, verdict.args, args)


ODD = (None, True, -1, 1.5, float("nan"), float("inf"), 10**4000, "", "\ud800", [], [[]], {}, {"steps": []})


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_whatever_comes_back_the_judge_has_words_for_it(task):
    """A right answer with something odd in one of its places: never an exception, which would be the grader's own fault."""
    answer = caller(answer_to(task), task.drive)
    for args in [*(case.args for case in task.cases[:3]), task.random_cases(1)[-1]]:
        got = answer(args)
        for place in itertools.islice(places_in(got), 30):
            for odd in ODD:
                judge(task, args, with_odd(got, place, odd))


def places_in(value, place=()):
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, part in inside:
        yield from places_in(part, (*place, key))


def with_odd(value, place, odd):
    if not place:
        return odd
    changed = value.copy()
    changed[place[0]] = with_odd(value[place[0]], place[1:], odd)
    return changed


@pytest.mark.parametrize("task, right", RIGHT, ids=name)
def test_a_right_answer_passes_whatever_its_design(task, right):
    for seed in ("public", 1, 2):
        verdict = examine(task, caller(right, task.drive), seed)
        assert verdict.status == DONE, words.as_text(task, verdict)


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_the_stub_is_not_done_yet_and_the_solution_is_right(task):
    untouched = examine(task, caller(answer_to(task, stub), task.drive))
    assert untouched.status == TODO or is_hunt(task) and untouched.status in (WRONG_, ERROR)
    assert examine(task, caller(answer_to(task), task.drive)).status == DONE


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_solving_only_adds_lines_above_the_raise(task):
    """But for a bug hunt, whose lines are there to be changed."""
    if not is_hunt(task):
        assert examine(task, caller(answer_to(task, added_lines), task.drive)).status == DONE


def added_lines(source):
    """The stub with each solution block put in where it belongs, nothing taken away."""
    lines = []
    for line in source.split("\n"):
        if line.strip() == END:
            lines += [f"{line[: line.index('#')]}raise NotImplementedError"] if line[0] == " " else []
        elif line.strip() != BEGIN:
            lines.append(line)
    written = [line for line in lines if "raise NotImplementedError" not in line]
    kept = [line for line in stub(source).split("\n") if "raise NotImplementedError" not in line]
    assert [line for line in written if line in kept] and set(kept) <= set(written)
    return "\n".join(lines)


def is_hunt(task):
    return BEGIN_BROKEN in cells.answers(master_of(task.lesson), [task])[task.id]


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_the_hints_climb_and_the_task_module_holds_no_answer(task):
    assert [title for title, _ in ladder(task)] == list(RUNGS)
    assert all(text.strip() for _, text in ladder(task))
    solution = {line.strip() for line in solution_lines(cells.answers(master_of(task.lesson), [task])[task.id])}
    for path in (ROOT / "coursekit" / "tasks").rglob("*.py"):
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
    answer = caller(answer_to(task), task.drive)
    for case in task.cases:
        if case.expected is None:
            assert task.drive, "a case without an expectation is for tasks that are driven"
            assert task.judge(case.args, answer(case.args)) is None
            continue
        assert task.judge(case.args, case.expected) is None or case.expected == []
        if task.exact:
            assert answer(case.args) == case.expected
