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

from . import double, triple

TITLE = "{title}"
TASKS = [double.TASK, triple.TASK]
'''

QUESTION = '''"""What the task asks in one sentence; replace it, and name this file after the function it asks for."""

import random

from ...task import Args, Case, Finding, Task

RULE = "the property that a right answer has, in words"
SLIPS = {{  # likely mistakes: the cause in words, and how such an answer looks
    "unchanged": ("this is the number itself", lambda n, got: got == n),
    "squared": ("this is the square", lambda n, got: got == n * n),
    "halved": ("this is the half", lambda n, got: got == n // 2),
    "next": ("this is the next number", lambda n, got: got == n + 1),
    "turned": ("the sign is turned", lambda n, got: got == -n),
}}


def judge(args: Args, got: int) -> Finding | None:
    """None when the answer is right; else a Finding that says why not. Judge behaviour, never source text."""
    (n,) = args
    if got == sum([n] * {times}):
        return None
    for slip, (cause, looks_so) in SLIPS.items():
        if looks_so(n, got):
            return Finding(RULE, cause, slip, {{"n": n}}, got)
    return Finding(RULE, "this is another number", "other number", {{"n": n}}, got)


def generate(rng: random.Random, size: int) -> tuple[int]:
    return (rng.randint(4, 4 + 10 * size),)


TASK = Task(
    id="{number}.{index}",
    name="{name}",
    title="Replace this by the title of your task",
    points=50,
    returns="one number",
    cases=(Case((4,), {first}), Case((7,), {second})),
    judge=judge,
    generate=generate,
    valid=lambda args: args[0] >= 4,  # below that, two mistakes give the same number
    hints=("A nudge: a question that points the way.", "A property: what always holds.", "pseudocode, line by line"),
)
'''

ANSWERS = '''"""Answers to the tasks of exercise {number}."""
'''

ANSWER = '''"""Answers to task {number}.{index}, ``{name}``: wrong ones with the words of their diagnoses, and right ones."""

WRONG = [
    (lambda n: n, "this is the number itself"),
    (lambda n: n * n, "this is the square"),
    (lambda n: n // 2, "this is the half"),
    (lambda n: n + 1, "this is the next number"),
    (lambda n: -n, "the sign is turned"),
]

RIGHT = [lambda n: {times} * n, lambda n: sum([n] * {times})]
'''

TESTS = '''"""What is special to exercise {number}; test_checks_are_tested.py has what every task must pass."""

from coursekit.task import tasks_of


def test_the_tasks_are_in_order():
    assert [task.id for task in tasks_of("{number}")] == sorted(task.id for task in tasks_of("{number}"))
'''

STUB = '''# Task {number}.{index}: your answer goes in this cell.
def {name}(n):
    """{times} times a number.

    n: a whole number, in what unit?
    Returns a whole number.
    """
    ### BEGIN SOLUTION
    return {sum}
    ### END SOLUTION'''

# The two tasks of a skeleton: the tests ask for two at least, and for five wrong answers to each.
EXAMPLES = [
    {"index": index, "name": name, "times": times, "sum": " + ".join("n" * times), "first": 4 * times, "second": 7 * times}
    for index, name, times in ((1, "double", 2), (2, "triple", 3))
]


class CannotBegin(Exception):
    """The skeleton cannot be written; the message says why."""


def begin(root: str | Path, name: str, say: Callable[[str], Any] = print) -> None:
    """Write the skeleton of exercise ``name`` under ``root``; refuses to overwrite anything."""
    root, (number, title) = Path(root), name_parts(name)
    tasks, tests = root / "coursekit" / "tasks" / f"lesson_{number}", root / "tests" / "coursekit"
    files = {
        root / "solutions" / f"{name}.ipynb": as_text(master(name, number, title)),
        tasks / "__init__.py": LESSON.format(number=number, title=title),
        tests / "course_answers" / f"lesson_{number}" / "__init__.py": ANSWERS.format(number=number),
        tests / f"test_lesson_{number}.py": TESTS.format(number=number),
    }
    for task in EXAMPLES:
        answers = tests / "course_answers" / f"lesson_{number}"
        files[tasks / f"{task['name']}.py"] = QUESTION.format(number=number, **task)
        files[answers / f"{task['name']}.py"] = ANSWER.format(number=number, **task)
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
        *(cell_ for task in EXAMPLES for cell_ in cells_of(number, task)),
        ("code", ["nbval-ignore-output"], "progress()"),
    ])  # fmt: skip


def cells_of(number: str, task: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """A task in the master: words, answer, check."""
    task_id = f"{number}.{task['index']}"
    return [
        ("markdown", [], f"## Task {task_id}: title (50 points)\n\nA tiny example that can be held in the head."),
        ("code", ["answer"], STUB.format(number=number, **task)),
        ("code", [], f'check("{task_id}", globals())'),
    ]


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
