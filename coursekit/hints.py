"""``hint("02.1")``: one more rung of help each time it is asked for."""

from . import store
from .show import GOOD, box, escape, show
from .task import Task, UnknownTask, find_task

RUNGS = ("A nudge", "A property", "In pseudocode", "Where the answer is")
_opened: dict[str, int] = {}  # what this kernel has shown: running a cell again opens the next rung


def ladder(task: Task) -> list[tuple[str, str]]:
    """The four rungs of a task: three of its own, then the place of the worked answer."""
    last = (
        f"A worked answer is in solutions/{task.lesson}_*.ipynb of the course, in the cell of task {task.id}. "
        "Read it, close it, and write your own."
    )
    return list(zip(RUNGS, (*task.hints, last)))


def hint(task_id: str, rung: int | None = None) -> None:
    """Show the next hint of a task, or hint number ``rung`` (1 to 4). Prints; returns None."""
    try:
        task = find_task(task_id)
    except UnknownTask as problem:
        return show(f"hint: {problem}")
    rungs = ladder(task)
    if rung is None:
        rung = min(_opened.get(task_id, 0) + 1, len(rungs))
    if rung not in range(1, len(rungs) + 1):
        return show(f"hint: task {task_id} has hints 1 to {len(rungs)}, not {rung!r}")
    _opened[task_id] = max(rung, _opened.get(task_id, 0))
    with store.changing() as data:
        row = data["tasks"].setdefault(task_id, {})
        row["hints"] = max(rung, row.get("hints", 0))
    title, text = rungs[rung - 1]
    more = (
        f'Run this cell again for the next one ("{rungs[rung][0].lower()}").' if rung < len(rungs) else "That was the last one."
    )
    top = f"{title} for {task_id} {task.name} ({rung} of {len(rungs)})"
    body = f'<div style="white-space:pre-wrap">{escape(text)}</div><div style="color:#666">{escape(more)}</div>'
    show(f"{top}\n{indent(text)}\n{more}", box(GOOD, escape(top), body))


def indent(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))
