"""Small helpers of the coursekit tests: the masters, answers as functions, notebooks made of changed cells."""

import importlib
import json
import re
from pathlib import Path

from coursekit import cells
from coursekit.build import stub
from coursekit.examine import caller, examine
from coursekit.task import tasks_of

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = ROOT / "solutions"


def master_of(number):
    return cells.read(next(SOLUTIONS.glob(f"{number}_*.ipynb")))


def answer_from(source, name, before=()):
    """The function or class `name` of an answer cell, run after the cells `before`."""
    space = {"__name__": "__main__"}
    for cell in (*before, source):
        exec(compile(cell, "<answer>", "exec"), space)
    return space[name]


def answer_to(task, change=lambda source: source):
    """The master's answer to a task, changed by `change`, after the cells it may rely on, as the grader runs it."""
    book, tasks = master_of(task.lesson), tasks_of(task.lesson)
    *others, (_, own) = cells.needed(task, cells.answers(book, tasks), tasks)
    return answer_from(change(own), task.name, [*cells.given(book), *(source for _, source in others)])


def hunted(task, *changes):
    """The verdict on a bug hunt's stub after some of its lines were changed: pairs of old and new."""

    def mend(source):
        source = stub(source)
        for old, new in changes:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        return source

    return examine(task, caller(answer_to(task, mend), task.drive))


def solved(number="02", **changes):
    """The master as a submission, with the source of some answer cells replaced: solved(**{"02.1": "..."})."""
    book = json.loads(json.dumps(master_of(number)))
    for cell in book["cells"]:
        task = cells.marked(cells.source_of(cell)) if cell["cell_type"] == "code" else None
        if task in changes:
            cell["source"] = changes[task]
    return book


def file_of(task):
    """The name of a task's file without its ending: ``BlockPool`` is in block_pool.py."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task.name).lower()


def module_of(task, package="coursekit.tasks"):
    """The task's own module: its question, or with ``course_answers`` the answers to it."""
    return importlib.import_module(f"{package}.lesson_{task.lesson}.{file_of(task)}")


def put(path, book):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(book) if isinstance(book, dict) else book, encoding="utf-8")
    return path
