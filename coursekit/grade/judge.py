"""One submission against its tasks: points, verdicts, and the pages a student gets. No learner code runs here."""

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import cells
from ..cells import Book
from ..examine import BROKEN, ERROR, MISSING, NOT_HERE, REFUSALS, Failed, Verdict, examine, refusal
from ..task import Args, Finding, Task, lessons, tasks_of
from .job import Job
from .session import Session

MASTER_SECONDS = 60
JUDGE_SECONDS = 5  # of processor time, for what one call gave: right answers need a hundredth of it


class Reference:
    """The master notebook's own answers, asked for hidden expectations; they too run in a child."""

    def __init__(self, lesson: str, job: Job) -> None:
        master = cells.read(Path(job.masters[lesson]))
        self.tasks = tasks_of(lesson)
        self.sources = cells.answers(master, self.tasks)
        self.given = [("given", source) for source in cells.given(master)]
        self.job = replace(job, seconds=MASTER_SECONDS, hidden=())  # the course's own code, in no hurry
        self.known: dict[str, dict[str, Any]] = {}

    def hidden(self, task: Task) -> dict[str, Any]:
        """{call: right answer} for the hidden cases of a task; worked out once. None where rules decide on a trace."""
        if task.drive and not task.exact:
            return {}
        if task.id not in self.known:
            own = [*self.given, *cells.needed(task, self.sources, self.tasks)]
            with Session(task, own, self.job) as session:
                session.start()
                self.known[task.id] = {repr(args): session.call(args) for args in task.random_cases(self.job.seed)}
        return self.known[task.id]


def grade(book: Book, reference: Reference, job: Job) -> dict[str, Verdict]:
    """{task id: Verdict} of one notebook."""
    found = cells.answers(book, reference.tasks)
    return {task.id: grade_task(task, book, found, reference, job) for task in reference.tasks}


def grade_task(task: Task, book: Book, found: dict[str, str], reference: Reference, job: Job) -> Verdict:
    """found: {task id: source of its answer cell} in ``book``."""
    if task.lacks:
        return Verdict(NOT_HERE, note=f"{task.lacks}.")
    if task.id not in found:
        return Verdict(
            MISSING,
            note=f"the answer cell is gone: no cell begins with `# Task {task.id}` and none defines `{task.name}`.",
        )
    known = reference.hidden(task)
    own = [*reference.given, *cells.needed(task, found, reference.tasks)]
    with Session(task, own, job) as session:
        try:
            session.start()
            verdict = examine(
                patient(task), session.call, job.seed, lambda args: known.get(repr(args)), min(2.0, job.seconds / 3)
            )
            session.finish()
        except Failed as failure:
            verdict = not_loaded(failure)
        if session.rule:  # whatever else was found: code that reaches for the grader earns nothing
            verdict = Verdict(BROKEN, args=verdict.args, note=session.rule + ".")
    return explain(task, verdict, book, found)


class TooMuch(BaseException):
    """What came back keeps the judge busy for ever. Not an Exception, so that no judge takes it for a misshapen answer."""


def patient(task: Task) -> Task:
    """The task with a judge that gives up on an answer so large or so twisted that it cannot be looked through."""

    def give_up(number: int, frame: Any) -> None:
        raise TooMuch

    def judge(args: Args, got: Any) -> Finding | None:
        before = signal.signal(signal.SIGVTALRM, give_up)
        signal.setitimer(signal.ITIMER_VIRTUAL, JUDGE_SECONDS)
        try:
            return task.judge(args, got)
        except (TooMuch, MemoryError, RecursionError):
            raise Failed(BROKEN, "what your code returned is too large to be judged.") from None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    return replace(task, judge=judge)


def not_loaded(failure: Failed) -> Verdict:
    if failure.kind != ERROR:
        return Verdict(failure.kind, note=failure.text, where=failure.where)
    if failure.error in REFUSALS:
        return Verdict(ERROR, finding=refusal(failure), where=failure.where)
    finding = Finding("the answer cell runs", f"running the cell stopped with: {failure.text}", f"cell raises {failure.error}")
    return Verdict(ERROR, finding=finding, note=failure.text, where=failure.where)


def explain(task: Task, verdict: Verdict, book: Book, found: dict[str, str]) -> Verdict:
    """A name that another cell defines is the commonest surprise of grading: say so."""
    lost = re.search(r"name '(\w+)' is not defined", verdict.note or "")
    if verdict.status == ERROR and lost:
        elsewhere = [s for s in cells.code_cells(book) if cells.defines(s, lost.group(1)) and s != found.get(task.id)]
        if elsewhere:
            verdict.finding = Finding(
                "everything an answer needs is in its answer cell",
                f"`{lost.group(1)}` is made in another cell. Only answer cells are graded: move it in",
                "helper in another cell",
            )
    return verdict


def lesson_in(book: Book, wanted: str | None = None) -> str | None:
    return wanted or cells.lesson_of(book, lessons())
