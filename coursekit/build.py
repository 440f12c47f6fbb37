"""``coursekit build``: from each master notebook in solutions/ the exercise that a learner opens.

A solution block inside a function becomes one ``raise NotImplementedError``; a block at the left margin goes
without a trace. Cells tagged ``solution-only`` are left out. The build refuses a notebook that would give
a line or a name of the solution away. In a bug hunt the master also holds the broken code, as comments between
``### BEGIN BROKEN`` and ``### END BROKEN``: the exercise has it in place of the solution, without the ``#``.
"""

import ast
import difflib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cells import BEGIN, BEGIN_BROKEN, END, END_BROKEN, Book, Cell, marked, read, source_of, tags
from .setup_cell import cell_metadata
from .task import UnknownTask, find_task

LEFT_OUT = "solution-only"


class CannotBuild(Exception):
    """The master notebook is not fit to be built; the message names the cell and the remedy."""


def exercise_of(master: Book, stem: str) -> Book:
    """The exercise notebook made from the master: a dict, ready to be written."""
    cells: list[Cell] = []
    for cell in master["cells"]:
        if LEFT_OUT in tags(cell):
            continue
        cells.append(exercise_cell(cell, f"{stem}-{len(cells) + 1:03d}"))
    book = {"cells": cells, "metadata": metadata_of(master, stem), "nbformat": 4, "nbformat_minor": 5}
    found = leaks(master, book)
    if found:
        raise CannotBuild(f"solutions/{stem}.ipynb: the exercise would give away " + "; ".join(found))
    return book


def metadata_of(master: Book, stem: str) -> dict[str, Any]:
    kept = {k: v for k, v in master.get("metadata", {}).items() if k in ("kernelspec", "language_info", "accelerator")}
    return {**kept, "coursekit": {"exercise": stem}}


def exercise_cell(cell: Cell, name: str) -> Cell:
    kept = [t for t in tags(cell) if not t.startswith("nbval-")]
    source = source_of(cell)
    new: Cell = {"cell_type": cell["cell_type"], "id": name, "metadata": cell_metadata(source, kept)}
    if cell["cell_type"] == "code":
        new.update(execution_count=None, outputs=[])
        if BEGIN in source:
            source = stub(source)
    new["source"] = source.splitlines(keepends=True)
    return new


def stub(source: str) -> str:
    """The cell without its solution blocks."""
    task_id, inside, written = marked(source), False, False
    out: list[str] = []
    hunt, broken = BEGIN_BROKEN in source, False
    if task_id is None:
        raise CannotBuild(f"a cell holds a solution but no line `# Task NN.M`:\n{source[:200]}")
    for line in source.split("\n"):
        mark = line.strip()
        if mark == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            if inside:
                raise CannotBuild(f"task {task_id}: {BEGIN} twice without {END}")
            if indent and not hunt:
                out.append(f'{indent}raise NotImplementedError("{task_id}: write your answer above this line")')
            inside, written = True, True
        elif mark == END:
            inside = False
        elif mark in (BEGIN_BROKEN, END_BROKEN):
            broken = mark == BEGIN_BROKEN
        elif not inside:
            out.append(re.sub(r"^(\s*)# ?", r"\1", line).rstrip() if broken else line)
    if inside or broken or not written:
        raise CannotBuild(f"task {task_id}: {BEGIN} without {END}")
    return "\n".join(out).rstrip("\n")


def solution_lines(source: str) -> list[str]:
    """The lines inside the solution blocks."""
    lines, inside = [], False
    for line in source.split("\n"):
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif inside:
            lines.append(line)
    return lines


def leaks(master: Book, exercise: Book) -> list[str]:
    """What of the solutions can be read in the exercise: whole lines, and names that only solutions use."""
    everything = [source_of(c) for c in exercise["cells"]]
    text_lines = {line.strip() for s in everything for line in s.split("\n")}
    words = set(re.findall(r"\w+", "\n".join(everything)))
    found: list[str] = []
    for source in (source_of(c) for c in master["cells"] if c["cell_type"] == "code" and BEGIN in source_of(c)):
        allowed = {line.strip() for line in stub(source).split("\n")}
        found += [
            f"the line `{line.strip()}`"
            for line in solution_lines(source)
            if len(line.strip()) > 6 and line.strip() in text_lines - allowed
        ]
        found += [f"the name `{name}`" for name in own_names(source) if "_" in name and name in words]
    return found


def own_names(source: str) -> list[str]:
    """Names the solution makes and the stub does not have."""

    def bound(text: str) -> set[str]:
        return {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | {
            n.name for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))
        }

    return sorted(bound(source) - bound(stub(source)) - set(re.findall(r"\w+", stub(source))))


def check_tasks(book: Book, stem: str) -> None:
    """Every marked cell belongs to a task that exists and is followed by its check."""
    sources = [source_of(c) for c in book["cells"] if c["cell_type"] == "code"]
    for task_id in filter(None, map(marked, sources)):
        try:
            find_task(task_id)
        except UnknownTask as problem:
            raise CannotBuild(f"solutions/{stem}.ipynb: {problem}; add it to coursekit/tasks/lesson_{stem[:2]}/") from None
        if not any(f'check("{task_id}"' in s for s in sources):
            raise CannotBuild(f'solutions/{stem}.ipynb: task {task_id} has no cell check("{task_id}", globals())')


def as_text(book: Book) -> str:
    return json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def build(root: str | Path, check: bool = False, say: Callable[[str], Any] = print) -> int:
    """Write every exercise, or with ``check`` compare; returns how many differ (or cannot be built)."""
    root, wrong = Path(root), 0
    masters = sorted(p for p in (root / "solutions").glob("*.ipynb") if p.stem[:2].isdigit())
    if not masters:
        say(f"no master notebooks in {root / 'solutions'}: run this in the folder of the course, or name it with --root")
        return 1
    for path in masters:
        target = root / "exercises" / path.name
        try:
            book = exercise_of(read(path), path.stem)
            check_tasks(book, path.stem)
        except CannotBuild as problem:
            say(f"✗ {problem}")
            wrong += 1
            continue
        wrong += compare(target, as_text(book), say) if check else write(target, as_text(book), say)
    known = {p.name for p in masters}
    for stray in sorted((root / "exercises").glob("*.ipynb")):
        if stray.name not in known:
            say(f"✗ exercises/{stray.name} has no master in solutions/: write one, or delete it")
            wrong += 1
    return wrong


def write(target: Path, text: str, say: Callable[[str], Any]) -> int:
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    say(f"✓ exercises/{target.name}")
    return 0


def compare(target: Path, text: str, say: Callable[[str], Any]) -> int:
    """1 when the exercise on disk is not what its master gives, with a readable difference."""
    old = target.read_text(encoding="utf-8") if target.exists() else ""
    if old == text:
        say(f"✓ exercises/{target.name} is as its master says")
        return 0
    say(f"✗ exercises/{target.name} is not what solutions/{target.name} gives; run `coursekit build`:")
    for line in difflib.unified_diff(readable(old), readable(text), "exercises (now)", "from solutions", lineterm="", n=2):
        say("    " + line)
    return 1


def readable(text: str) -> list[str]:
    """A notebook as lines a person reads: sources under headings, not JSON."""
    try:
        book = json.loads(text)
    except ValueError:
        return text.splitlines()
    lines = [f"metadata: {json.dumps(book.get('metadata'), sort_keys=True)}"]
    for number, cell in enumerate(book.get("cells", []), 1):
        rest = {k: v for k, v in cell.items() if k not in ("source", "cell_type")}
        lines += [
            f"--- cell {number} ({cell.get('cell_type')}) {json.dumps(rest, sort_keys=True)[:200]}",
            *source_of(cell).split("\n"),
        ]
    return lines
