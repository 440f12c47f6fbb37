"""Reading notebooks as data: which cell holds the answer to which task. Nothing here runs a cell.

An answer cell is known by the comment ``# Task 02.1`` that it starts with. That line survives what an editor
or Colab does to ids, tags and order; a cell whose line was lost is found by the name it defines.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .task import Task

Cell = dict[str, Any]  # a cell and a notebook, as they are stored
Book = dict[str, Any]

MARK = re.compile(r"^#\s*Task\s+(\d\d\.\d+)\b", re.MULTILINE | re.IGNORECASE)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_BROKEN, END_BROKEN = "### BEGIN BROKEN", "### END BROKEN"
MAX_BYTES = 20_000_000


class NotANotebook(Exception):
    """The file cannot be read as a notebook; the message says why and what to do."""


def parse(data: bytes | str) -> Book:
    """The notebook in ``data`` (bytes or text) as a dict with a list of cells."""
    if len(data) > MAX_BYTES:
        raise NotANotebook(
            f"the file has {len(data) / 1e6:.0f} MB; the limit is {MAX_BYTES / 1e6:.0f} MB. "
            "Clear its outputs and hand it in again"
        )
    try:
        book = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise NotANotebook(f"the file is not a notebook: it is no JSON ({str(problem)[:80]})") from None
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise NotANotebook("the file is JSON but not a notebook of format 4: it has no list of cells")
    return book


def read(path: Path) -> Book:
    return parse(path.read_bytes())


def source_of(cell: Any) -> str:
    """The text of a cell; Jupyter stores one string or a list of lines."""
    source = cell.get("source", "") if isinstance(cell, dict) else ""
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def code_cells(book: Book) -> list[str]:
    return [source_of(c) for c in book["cells"] if isinstance(c, dict) and c.get("cell_type") == "code"]


def tags(cell: Any) -> list[str]:
    found = (cell.get("metadata") or {}).get("tags") if isinstance(cell.get("metadata"), dict) else None
    return found if isinstance(found, list) else []


def marked(source: str) -> str | None:
    """The task a cell says it answers, or None."""
    found = MARK.search(source[:400])
    return found.group(1) if found else None


def answered_in(source: str) -> list[str]:
    """Every task a cell says it answers: cells that were merged hold the lines of all."""
    return MARK.findall(source)


def defines(source: str, name: str) -> bool:
    return (
        re.search(
            rf"^(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*(?::[^=\n]+)?=(?!=)",
            source,
            re.MULTILINE,
        )
        is not None
    )


def answers(book: Book, tasks: Sequence[Task]) -> dict[str, str]:
    """{task id: source of its answer cell}, for the tasks whose cell can be found.

    The last marked cell that defines the name wins, then the last that defines it without a mark, or with the mark of another
    task only, then the last marked one.
    """
    sources, found = [(source, answered_in(source)) for source in code_cells(book)], {}
    for task in tasks:
        defining = [(s, marks) for s, marks in sources if defines(s, task.name)]
        own = [s for s, marks in sources if task.id in marks]
        named = [s for s, marks in defining if task.id in marks]
        stray = [s for s, marks in defining if not marks]
        lodged = [s for s, marks in defining if marks and task.id not in marks]
        for group in (named, stray, lodged, own):
            if group:
                found[task.id] = group[-1]
                break
    return found


def lesson_of(book: Book, known: Sequence[str]) -> str | None:
    """The lesson most of whose tasks are marked in this notebook, or the one its metadata names."""
    marks = [m.split(".")[0] for m in map(marked, code_cells(book)) if m]
    marks = [m for m in marks if m in known]
    if marks:
        return max(sorted(set(marks)), key=marks.count)
    meta = book.get("metadata")
    named = meta.get("coursekit") if isinstance(meta, dict) else None
    number = str(named.get("exercise", ""))[:2] if isinstance(named, dict) else ""
    return number if number in known else None


def given(book: Book) -> list[str]:
    """The cells of the master that answers may rely on (tagged ``given``): imports and the like."""
    return [source_of(c) for c in book["cells"] if c.get("cell_type") == "code" and "given" in tags(c)]


def needed(task: Task, found: dict[str, str], tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """The answer cells task's own cell leans on, by the names it mentions, in the notebook's order; its own last."""
    order, todo, seen = [], [task.id], set()
    names = {t.id: t.name for t in tasks}
    while todo:
        this = todo.pop()
        if this in seen or this not in found:
            continue
        seen.add(this)
        order.append(this)
        todo += [i for i, name in names.items() if re.search(rf"\b{re.escape(name)}\b", found[this])]
    first = sorted(i for i in order if found[i] != found[task.id])  # two answers in one cell: it runs once
    return [(i, found[i]) for i in first + [task.id]]
