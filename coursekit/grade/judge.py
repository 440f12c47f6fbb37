"""One submission against its tasks: points, verdicts, and the pages a student gets. No learner code runs here."""

import re
from contextlib import ExitStack

from .. import cells
from ..examine import BROKEN, DONE, ERROR, MISSING, Failed, Verdict, examine
from ..task import Finding, lessons, tasks_of
from .session import Session


class Reference:
    """The master notebook's own answers, asked for hidden expectations; they too run in a child."""

    def __init__(self, master, tasks, mode, seconds, packages=()):
        self.sources, self.tasks = cells.answers(master, tasks), tasks
        self.given = [["given", source] for source in cells.given(master)]
        self.mode, self.seconds, self.packages = mode, seconds, packages
        self.known = {}

    def hidden(self, task, seed):
        """{call: right answer} for the hidden cases of a task; worked out once. None where rules decide on a trace."""
        if task.drive and not task.exact:
            return {}
        if task.id not in self.known:
            own = [*self.given, *map(list, cells.needed(task, self.sources, self.tasks))]
            with Session(task, own, self.mode, 60, packages=self.packages) as session:
                session.start()
                self.known[task.id] = {repr(args): session.call(args) for args in task.random_cases(seed)}
        return self.known[task.id]


def grade(book, lesson, reference, seed, mode, seconds, hidden_folders=(), packages=()):
    """{task id: Verdict} of one notebook."""
    tasks = tasks_of(lesson)
    found = cells.answers(book, tasks)
    return {
        task.id: grade_task(task, tasks, book, found, reference, seed, mode, seconds, hidden_folders, packages) for task in tasks
    }


def grade_task(task, tasks, book, found, reference, seed, mode, seconds, hidden_folders, packages):
    if task.id not in found:
        return Verdict(
            MISSING,
            note=f"the answer cell is gone: no cell begins with `# Task {task.id}` and none defines `{task.name}`.",
        )
    known = reference.hidden(task, seed)
    own = [*reference.given, *map(list, cells.needed(task, found, tasks))]
    with ExitStack() as stack:
        session = stack.enter_context(Session(task, own, mode, seconds, hidden_folders, packages))
        try:
            session.start()
            verdict = examine(task, session.call, seed, lambda args: known.get(repr(args)), min(2.0, seconds / 3))
            session.finish()
        except Failed as failure:
            verdict = not_loaded(failure)
        if session.rule:  # whatever else was found: code that reaches for the grader earns nothing
            verdict = Verdict(BROKEN, args=verdict.args, note=session.rule + ".")
    return explain(task, verdict, book, found)


def not_loaded(failure):
    if failure.kind != ERROR:
        return Verdict(failure.kind, note=failure.text, where=failure.where)
    finding = Finding("the answer cell runs", f"running the cell stopped with: {failure.text}", f"cell raises {failure.error}")
    return Verdict(ERROR, finding=finding, note=failure.text, where=failure.where)


def explain(task, verdict, book, found):
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


def points(task, verdict):
    return task.points if verdict.status == DONE else 0


def lesson_in(book, wanted=None):
    return wanted or cells.lesson_of(book, lessons())
