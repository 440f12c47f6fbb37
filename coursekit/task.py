"""What a task is: the words, the cases and the judge of one exercise question. No answer lives here.

A lesson's package (``coursekit/tasks/lesson_NN/``) holds ``TITLE`` and ``TASKS``, and a file
for each ``Task``, named after the function or class it asks for.
"""

import importlib
import importlib.util
import pkgutil
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .plain import brief

if TYPE_CHECKING:
    from .judging.questions import Asking

Args = Sequence[Any]  # the arguments of one call, plain values


class UnknownTask(LookupError):
    """No task of that name; the message lists what there is."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one answer, in the learner's words.

    rule: the property that should hold. cause: the likely mistake. slip: a name of two or three words
    for the teacher's statistics. expected, got: plain values to set side by side.
    instead: other (cause, slip) pairs that give the very same answer to this call. Which of them it is, other calls
    decide (examine.commonest); one alone is told.
    """

    rule: str
    cause: str
    slip: str
    expected: Any = None
    got: Any = None
    instead: Sequence[Sequence[str]] = ()

    @property
    def slips(self) -> list[str]:
        """Every mistake that explains this call, the likeliest first."""
        return [self.slip, *(slip for _, slip in self.instead)]

    def told_as(self, slip: str) -> "Finding":
        """The same finding with another of its explanations in front."""
        own = [pair for pair in ((self.cause, self.slip), *self.instead) if pair[1] == slip]
        if not own or slip == self.slip:
            return self
        rest = [pair for pair in ((self.cause, self.slip), *self.instead) if pair[1] != slip]
        return replace(self, cause=own[0][0], slip=slip, instead=rest)


@dataclass(frozen=True)
class Case:
    """One call with the answer written out by hand. ``args`` is a tuple of plain values."""

    args: tuple[Any, ...]
    expected: Any


def likeliest(wrong: Callable[[str, str], Finding], made: Sequence[Sequence[str]]) -> Finding | None:
    """``wrong(cause, slip)`` of the first of several mistakes that give the very same answer, the others behind it; None of none.

    made: (cause, slip) of each, the likeliest first.
    """
    first: dict[str, Sequence[str]] = {}
    for pair in made:
        first.setdefault(pair[1], pair)  # two ways to make one mistake count once
    found = [wrong(*pair) for pair in first.values()]
    return replace(found[0], instead=[(other.cause, other.slip) for other in found[1:]]) if found else None


CANNOT_TELL = "I cannot tell which mistake this is"  # begins the words of a Finding that names no cause

Judge = Callable[[Args, Any], Finding | None]
Drive = Callable[[Any, Args], Any]


def _always(args: Args) -> bool:
    return True


def _as_it_is(args: Args, finding: Finding) -> Finding:
    return finding


def _no_excuse(args: Args, error: str, text: str) -> None:
    return None


@dataclass(frozen=True)
class Task:
    """One question. ``judge(args, got)`` returns None when every property holds, else a Finding.

    returns: the shape of a good answer in words, shown when the answer cannot even be read.
    generate(rng, size): arguments of a random call, size 1 (tiny) … 8; the grader's hidden cases come from it.
    valid(args): whether a shrunk call is still a fair question.
    exact: the written-out answer is the only right one (else the properties alone decide).
    picture: how to lay out expected and got: "auto" or "mask".
    on_error(args, error_name, text): a friendlier cause for an exception, or None.
    drive(answer, args): runs the answer where a plain call is not enough, such as a class in an engine;
    it runs beside the learner's code, returns plain data (a trace), and is judged elsewhere (judging/scheduling.py).
    asking: for an answer that asks the judge on its way (judging/questions.py); its ``drive`` is then ``asking.drive``.
    engine: the answer is a scheduler or a router; in grading, the engine's own are closed to it, but for those named in may_use.
    scene(args): the call in words, where ``name(arguments)`` would say little.
    beside(args, finding): the finding with more to see in it, asked for once, when it is clear which case is told.
    asks_twice: the judge has its own words for an answer that remembers the calls before.
    needs: packages without which the answer cannot run, such as "triton", which is not for every machine: where one of
    them is not installed, the task is not graded. The grader imports them before the answer's time begins.
    """

    id: str
    name: str
    title: str
    points: int
    returns: str
    cases: tuple[Case, ...]
    judge: Judge
    generate: Callable[[random.Random, int], tuple[Any, ...]]
    hints: tuple[str, ...]
    valid: Callable[[Args], bool] = _always
    exact: bool = True
    picture: str = "auto"
    on_error: Callable[[Args, str, str], str | None] = _no_excuse
    drive: Drive | None = None
    asking: "Asking | None" = None
    scene: Callable[[Args], str] | None = None
    beside: Callable[[Args, Finding], Finding] = _as_it_is
    engine: bool = False
    may_use: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    asks_twice: bool = False
    memory_mb: int = 1024
    rounds: int = 40

    @property
    def lesson(self) -> str:
        return self.id.split(".")[0]

    @property
    def lacks(self) -> str:
        """Why the task cannot be graded on this machine; "" where it can."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not graded here: it needs {' and '.join(missing)}, and this Python has none" if missing else ""

    def random_cases(self, seed: Any) -> list[tuple[Any, ...]]:
        """``rounds`` random calls, small ones first; the same seed gives the same calls on every machine."""
        rng = random.Random(f"{self.id}/{seed}")
        sizes = [1 + (8 * i) // self.rounds for i in range(self.rounds)]
        return [self.generate(rng, size) for size in sizes]

    def call_text(self, args: Args) -> str:
        if self.scene:
            return self.scene(args)
        return f"{self.name}({', '.join(brief(a, 200) for a in args)})"


def copy_of(value: Any) -> Any:
    """A deep copy of plain data, so that a learner's function cannot change the judge's own; tuples become lists, as in JSON."""
    if isinstance(value, (list, tuple)):
        return [copy_of(item) for item in value]
    return {str(key): copy_of(item) for key, item in value.items()} if isinstance(value, dict) else value


def lessons() -> list[str]:
    """The two-digit numbers of the lessons that have tasks."""
    from . import tasks

    found = (name.partition("lesson_")[2] for _, name, _ in pkgutil.iter_modules(tasks.__path__))
    return sorted(number for number in found if number.isdigit())


def lesson_module(number: str) -> Any:
    if number not in lessons():
        raise UnknownTask(f"there are no exercises for lesson {number!r}; there are some for: {', '.join(lessons())}")
    return importlib.import_module(f"coursekit.tasks.lesson_{number}")


def tasks_of(number: str) -> list[Task]:
    return list(lesson_module(number).TASKS)


def find_task(task_id: str) -> Task:
    """The task called ``task_id``, such as "02.1"."""
    number = str(task_id).split(".")[0]
    for task in tasks_of(number):
        if task.id == task_id:
            return task
    known = ", ".join(task.id for task in tasks_of(number))
    raise UnknownTask(f"there is no task {task_id!r}; lesson {number} has {known}")
