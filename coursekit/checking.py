"""``check("02.1", globals())``: what is right, what is not, and why, about the answer in this notebook."""

import os
from collections.abc import Callable
from typing import Any

from . import store, words
from .borrowed import borrowed
from .examine import BROKEN, DONE, ERROR, LATE, MISSING, NOT_HERE, TODO, WRONG, Verdict, caller, examine
from .guard import CLOSED, guarded
from .plain import name_of
from .show import show
from .task import Args, Task, UnknownTask, find_task

SECONDS = 10
_right: dict[str, bool] = {}  # what the last check of each task in this kernel said


def check(task_id: str, namespace: Any) -> None:
    """Say whether the answer to a task is right and, if not, why. Prints; returns None; takes at most 10 s.

    namespace: ``globals()``, where the learner's function is.
    """
    try:
        task = find_task(task_id)
    except UnknownTask as problem:
        return show(f"check: {problem}")
    verdict, printed = verdict_on(task, namespace)
    _right[task.id] = verdict.status == DONE
    record(task, verdict)
    show(words.as_text(task, verdict, printed), words.as_html(task, verdict, printed))
    if os.environ.get("COURSEKIT_STRICT") == "1" and verdict.status not in (DONE, NOT_HERE):
        raise AssertionError(words.as_text(task, verdict, printed))


def solved(task_id: str) -> bool:
    """True when the last check of this task in this kernel found it right in full; else False.

    For cells that go on from an answer: ``if solved("03.3"):`` leaves them out while the answer is open.
    Raises UnknownTask (a LookupError) for a task that does not exist.
    """
    return _right.get(find_task(task_id).id, False)


def verdict_on(task: Task, namespace: Any, seconds: float = SECONDS) -> tuple[Verdict, str]:
    """(verdict, what the code printed), for the answer found in ``namespace``."""
    if not isinstance(namespace, dict):
        return Verdict(MISSING, note=f'write check("{task.id}", globals()), so that your function can be found.'), ""
    if task.name not in namespace:
        return Verdict(MISSING, note=f"`{task.name}` is not defined: run the cell with your answer first."), ""
    if task.lacks:
        return Verdict(NOT_HERE, note=f"{task.lacks}."), ""
    answer = namespace[task.name]
    if not callable(answer):
        return Verdict(MISSING, note=f"`{task.name}` is a {name_of(type(answer))}, neither a function nor a class."), ""

    def work(tell: Callable[[Any], None]) -> dict[str, Any]:
        call = caller(answer, task.drive)

        def told(args: Args) -> Any:
            tell(list(args))
            return call(args)

        return examine(task, told).as_dict()

    result, last, printed, state = guarded(work, seconds - 0.3)
    if state == "ok":
        return remarked(Verdict.from_dict(result), answer, task), printed
    if state == "late":
        return Verdict(LATE, args=last, note=f"it did not finish in {seconds} s."), printed
    return Verdict(BROKEN, args=last, note=gone(result)), printed


def remarked(verdict: Verdict, answer: Any, task: Task) -> Verdict:
    """The verdict; a right answer that is not the learner's own gets a remark, and stays right here."""
    lender = borrowed(answer, task.may_use) if verdict.status == DONE else None
    if lender:
        verdict.note = f"this is not your own work: {lender} decides. Good for comparing; in grading it earns no points"
    return verdict


def gone(result: Any) -> str:
    if result == CLOSED:
        return CLOSED
    if result and str(result).startswith("MemoryError"):
        return "your code asked for more memory than there is."
    return f"your code ended the whole program ({result})." if result else "your code ended the whole program."


def record(task: Task, verdict: Verdict) -> None:
    with store.changing() as data:
        row = data["tasks"].setdefault(task.id, {})
        if verdict.status in (WRONG, ERROR, LATE, BROKEN, DONE):
            row["tries"] = row.get("tries", 0) + 1
        if verdict.status == DONE:
            row["done"] = True


__all__ = ["check", "solved", "verdict_on", "TODO"]
