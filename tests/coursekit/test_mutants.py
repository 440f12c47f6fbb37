"""The hunt for holes in the checks: mutants of each solution that its check accepts, beside the list of those that may be."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from support.mutants import Hunt, Mutant, mutants

from coursekit.task import find_task, lessons, tasks_of

TASKS = [task for number in lessons() for task in tasks_of(number) if not task.lacks]
SURVIVORS = Path(__file__).with_name("survivors.toml")
SAME = "same answers"  # in front of a reason: the mutant answers every call as the solution does


def explained(task_id):
    """{(line, what it became): why such a mutant is right}."""
    return {(row["was"], row["now"]): row["why"] for row in tomllib.loads(SURVIVORS.read_text()).get(f"task {task_id}", [])}


def key(mutant):
    return mutant.was, mutant.now


def told(hunt, found):
    return "\n".join(f"{m}\n    {differs(hunt, m)}" for m in found)


def differs(hunt, mutant):
    call = hunt.differs(mutant)
    return f"another answer than the solution's to {call}" if call else "no other answer than the solution's was found"


def hunt_down(task):
    hunt, known = Hunt(task), explained(task.id)
    found = {key(m): m for m in hunt.survivors()}
    new = [m for k, m in found.items() if k not in known]
    assert not new, f"{task.id} accepts these: mend its check, or say in {SURVIVORS.name} why they are right\n{told(hunt, new)}"
    gone = known.keys() - found.keys()
    assert not gone, f"{SURVIVORS.name} explains what {task.id} does not accept, or what is no mutant: {sorted(gone)}"
    same = [m for k, m in found.items() if known[k].startswith(SAME)]
    others = [m for m in same if hunt.differs(m)]
    assert not others, f"these are said to give the {SAME}\n{told(hunt, others)}"


@pytest.mark.wide
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_no_mutant_of_a_solution_survives_unexplained(task):
    hunt_down(task)


@pytest.mark.parametrize("task_id", ["02.2", "02.4", "06.1"])
def test_no_mutant_of_a_short_solution_survives_unexplained(task_id):
    hunt_down(find_task(task_id))


def test_every_task_that_is_explained_exists_and_every_reason_is_one():
    rows = tomllib.loads(SURVIVORS.read_text())
    assert rows.keys() <= {f"task {task.id}" for task in TASKS}
    assert all(row.keys() == {"was", "now", "why"} and len(row["why"]) > 20 for table in rows.values() for row in table)


CODE = """
def most(items, start):
    \"\"\"The text stays.\"\"\"
    best = start
    for item in items[1:]:
        if item > best and item:
            best = item
        else:
            continue
    return best - 1
"""


def test_a_mutant_differs_in_one_line_and_there_is_one_of_each_kind():
    found = {key(m) for m in mutants(CODE)}
    assert len(found) == len(list(mutants(CODE)))
    for was, now in (
        ("best = start", "(left out)"),
        ("if item > best and item:", "if item >= best and item:"),
        ("if item > best and item:", "if item > best:"),
        ("if item > best and item:", "if item > best or item:"),
        ("if item > best and item:", "if True:"),
        ("for item in items[1:]:", "for item in items[2:]:"),
        ("for item in items[1:]:", "for item in items[:]:"),
        ("for item in items[1:]:", "for item in list(items[1:])[:-1]:"),
        ("continue", "break"),
        ("return best - 1", "return best + 1"),
        ("return best - 1", "return 1 - best"),
    ):
        assert (was, now) in found
    assert all("The text stays." in m.source for m in mutants(CODE))


def test_lines_that_are_written_twice_are_told_apart():
    twice = "def f(x):\n    x += 1\n    x += 1\n    return x"
    assert {m.was for m in mutants(twice) if m.now == "(left out)"} == {"x += 1  # 1 of 2", "x += 1  # 2 of 2", "return x"}


def test_a_judge_with_a_hole_is_found_out():
    """A check of 02.2 that lets every number pass: mutants survive it, and the hunt names calls to which they differ."""
    task = find_task("02.2")
    hunt = Hunt(replace(task, judge=lambda args, got: None, exact=False, cases=task.cases[:3]))
    found = hunt.survivors()
    assert len(found) > 5
    assert any("padding_waste(" in hunt.differs(m) for m in found)


@pytest.mark.parametrize("line", ["while True: pass", "raise SystemExit", "import os; os._exit(0)", "x = [0] * 10**13"])
def test_a_mutant_that_never_ends_or_ends_the_program_is_not_accepted(line, monkeypatch):
    monkeypatch.setattr("support.mutants.CALL_SECONDS", 0.2)
    hunt = Hunt(find_task("02.2"))
    assert not hunt.accepted(Mutant("", "", f"def padding_waste(lengths):\n    {line}"))
    assert hunt.accepted(Mutant("", "", hunt.source))
