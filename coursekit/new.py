"""``coursekit new 03_static_batching``: the skeleton of an exercise: master notebook, a folder of tasks, answers under test."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .build import as_text
from .cells import Book, Cell
from .setup_cell import IMPORTS, SETUP, cell_metadata

LESSON = '''"""Exercise {number}: {title}."""

from . import double

TITLE = "{title}"
TASKS = [double.TASK]
'''

QUESTION = '''"""What the task asks in one sentence; replace it, and name this file after the function it asks for."""

import random

from ...task import Args, Case, Finding, Task

RULE = "the property that a right answer has, in words"


def judge(args: Args, got: int) -> Finding | None:
    """None when the answer is right; else a Finding that says why not. Judge behaviour, never source text."""
    (n,) = args
    if got == n * n:
        return Finding(RULE, "this is the square", "squares", {{"n": n}}, got)
    if got - n != n:
        return Finding(RULE, "this is another number", "other number", {{"n": n}}, got)
    return None


def generate(rng: random.Random, size: int) -> tuple[int]:
    return (rng.randint(0, 10 * size),)


TASK = Task(
    id="{number}.1",
    name="double",
    title="Replace this by your first task",
    points=100,
    returns="one number",
    cases=(Case((0,), 0), Case((3,), 6)),
    judge=judge,
    generate=generate,
    valid=lambda args: args[0] >= 0,
    hints=("A nudge: a question that points the way.", "A property: what always holds.", "pseudocode, line by line"),
)
'''

ANSWERS = '''"""Answers to the tasks of exercise {number}."""
'''

ANSWER = '''"""Answers to task {number}.1, ``double``: wrong ones with the words of their diagnoses, and right ones."""

WRONG = [
    (lambda n: n * n, "this is the square"),
    # at least five, each with another diagnosis
]

RIGHT = [lambda n: n + n, lambda n: 2 * n]
'''

TESTS = '''"""What is special to exercise {number}; test_checks_are_tested.py has what every task must pass."""

from coursekit.task import tasks_of


def test_the_tasks_are_in_order():
    assert [task.id for task in tasks_of("{number}")] == sorted(task.id for task in tasks_of("{number}"))
'''

STUB = '''# Task {number}.1: your answer goes in this cell.
def double(n):
    """Twice a number.

    n: a whole number, in what unit?
    Returns a whole number.
    """
    ### BEGIN SOLUTION
    return n + n
    ### END SOLUTION'''


class CannotBegin(Exception):
    """The skeleton cannot be written; the message says why."""


def begin(root: str | Path, name: str, say: Callable[[str], Any] = print) -> None:
    """Write the skeleton of exercise ``name`` under ``root``; refuses to overwrite anything."""
    root, (number, title) = Path(root), name_parts(name)
    tasks, tests = root / "coursekit" / "tasks" / f"lesson_{number}", root / "tests" / "coursekit"
    files = {
        root / "solutions" / f"{name}.ipynb": as_text(master(name, number, title)),
        tasks / "__init__.py": LESSON.format(number=number, title=title),
        tasks / "double.py": QUESTION.format(number=number),
        tests / "course_answers" / f"lesson_{number}" / "__init__.py": ANSWERS.format(number=number),
        tests / "course_answers" / f"lesson_{number}" / "double.py": ANSWER.format(number=number),
        tests / f"test_lesson_{number}.py": TESTS.format(number=number),
    }
    there = [str(path) for path in files if path.exists()]
    if there:
        raise CannotBegin(f"already there: {', '.join(there)}; move them away or choose another number")
    if not (root / "coursekit").is_dir():
        raise CannotBegin(f"{root.resolve()} is not the folder of the course: run this there, or name it with --root")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        say(f"✓ {path}")
    say("Now write the tasks, then: coursekit build, and the tests in tests/coursekit.")


def name_parts(name: str) -> tuple[str, str]:
    """("03", "Static batching") of "03_static_batching"."""
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", name):
        raise CannotBegin(f"{name!r} is no lesson name: two digits, then words, such as 03_static_batching")
    return name[:2], name[3:].replace("_", " ").capitalize()


def master(name: str, number: str, title: str) -> Book:
    """The master notebook; its set-up cell is the one of all lessons and exercises."""
    return book_of(name, [
        ("markdown", [], f"# Exercise {number}: {title.lower()}\n\nOne sentence of what the learner does here."),
        ("code", ["nbval-ignore-output"], SETUP),
        ("code", [], IMPORTS),
        ("markdown", [], f"## Task {number}.1: title (100 points)\n\nA tiny example that can be held in the head."),
        ("code", ["answer"], STUB.format(number=number)),
        ("code", [], f'check("{number}.1", globals())'),
        ("code", ["nbval-ignore-output"], "progress()"),
    ])  # fmt: skip


def book_of(name: str, cells: Sequence[tuple[str, list[str], str]]) -> Book:
    """A notebook of (kind, tags, source), none of it run."""
    book: Book = {
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    book["cells"] = [cell(f"{name}-{i:03d}", *parts) for i, parts in enumerate(cells, 1)]
    return json.loads(json.dumps(book))


def cell(name: str, kind: str, tags: list[str], source: str) -> Cell:
    new: Cell = {
        "cell_type": kind,
        "id": name,
        "metadata": cell_metadata(source, tags),
        "source": source.splitlines(keepends=True),
    }
    return {**new, "execution_count": None, "outputs": []} if kind == "code" else new
