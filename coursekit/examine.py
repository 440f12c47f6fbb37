"""Run one answer on its cases and find out what is wrong: the same steps in the notebook and in the grader.

``examine`` knows nothing of where the answer runs. It is given ``call(args)``, which returns plain data or
raises ``Failed``, and it returns a ``Verdict``.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from json import dumps
from typing import Any

from .plain import InputChanged, NotPlain, answer_to, brief, name_of, same, text_of, to_plain
from .shrink import shrink, size_of
from .task import Args, Case, Finding, Task

Call = Callable[[Args], Any]  # what the answer gives; raises Failed
Reference = Callable[[Args], Any]  # the right answer

STARTS = 5  # so many of the calls that show a mistake are made smaller

DONE, WRONG, TODO, ERROR, LATE, MISSING, BROKEN = "done", "wrong", "todo", "error", "late", "missing", "broken"
NOT_HERE = "not here"  # the task cannot run on this machine (Task.needs): neither right nor wrong


class Failed(Exception):
    """A call that gave no answer. kind: one of the statuses above; text: what happened; where: the line."""

    def __init__(self, kind: str, text: str, where: str = "", error: str = "") -> None:
        super().__init__(text)
        self.kind, self.text, self.where, self.error = kind, text, where, error


@dataclass
class Verdict:
    """What a check found. ``args`` is the call that failed; ``finding`` says why, in the learner's words."""

    status: str
    tried: int = 0
    args: list[Any] | None = None
    finding: Finding | None = None
    note: str = ""
    where: str = ""

    @property
    def slip(self) -> str:
        names = {LATE: "did not finish", BROKEN: "left the rules or the program"}
        return self.finding.slip if self.finding else names.get(self.status, self.status)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def slips(self) -> list[str]:
        """Every mistake that would explain this failure, the likeliest first."""
        return self.finding.slips if self.finding else [self.slip]

    def told_as(self, slip: str) -> "Verdict":
        return replace(self, finding=self.finding.told_as(slip)) if self.finding else self

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Verdict":
        finding = data.get("finding")
        return cls(**{**data, "finding": Finding(**finding) if finding else None})


def examine(
    task: Task, call: Call, seed: Any = "public", reference: Reference | None = None, shrink_seconds: float = 2.0
) -> Verdict:
    """The verdict on one answer: written-out cases first, then random ones; then the commonest mistake, shrunk.

    Every case is tried, because on the tiniest call two mistakes may look alike: the one that most calls show is named.
    reference(args) -> the right answer, known only to the grader; without it the properties decide.
    """
    cases = list(task.cases) + [Case(args, None) for args in task.random_cases(seed)]
    wrong: list[Verdict] = []
    for number, case in enumerate(cases, 1):
        expected = reference(case.args) if case.expected is None and reference else case.expected
        verdict = try_case(task, call, case.args, expected)
        if verdict is None:
            continue
        verdict.tried = number
        if verdict.status not in (WRONG, ERROR):  # late or gone: there is nobody left to ask
            return commonest(wrong) if wrong else verdict
        wrong.append(verdict)
    if not wrong:
        return Verdict(DONE, tried=len(cases))
    verdict = commonest(wrong)
    if not task.asks_twice and (finding := remembers(call, verdict.args or ())):
        return replace(verdict, status=WRONG, finding=finding, note="", where="")
    others = [v.args for v in wrong if v.args and verdict.slip in v.slips and v.status == verdict.status]
    verdict = simplest(task, call, verdict, sorted(others, key=size_of)[1:STARTS], reference, shrink_seconds)
    if verdict.finding and verdict.args is not None:
        verdict.finding = task.beside(verdict.args, verdict.finding)
    return verdict


def remembers(call: Call, args: Args) -> Finding | None:
    """A Finding when one call, made twice, has two answers."""
    first, second = answer_again(call, args), answer_again(call, args)
    if dumps(first) == dumps(second):
        return None
    cause = (
        "your code remembers the calls before: what is made once, such as a default argument `x=[]` or a list of the cell or of "
        "the class, is filled again and again. Make it anew in each call"
    )
    got = f"first {brief(first, 120)}, then {brief(second, 120)}"
    return Finding("the same call has the same answer", cause, "remembers", "twice the same answer", got)


def answer_again(call: Call, args: Args) -> Any:
    try:
        return call(args)
    except Failed as failure:  # its text may name an object by its place in memory
        return failure.error


def commonest(verdicts: list[Verdict]) -> Verdict:
    """The mistake that explains most of the verdicts, of equals the one named first; told by the smallest call that shows it."""
    named = Counter(slip for v in verdicts for slip in v.slips)
    most = max((slip for v in verdicts for slip in v.slips), key=lambda slip: named[slip])
    return min((v for v in verdicts if most in v.slips), key=lambda v: size_of(v.args or ())).told_as(most)


def try_case(task: Task, call: Call, args: Args, expected: Any = None) -> Verdict | None:
    """None when the answer to this call is right, else a Verdict that says what is not."""
    try:
        got = call(args)
    except Failed as failure:
        return failed_verdict(task, args, failure)
    finding = judge(task, args, got, expected)
    return Verdict(WRONG, args=list(args), finding=finding) if finding else None


def failed_verdict(task: Task, args: Args, failure: Failed) -> Verdict:
    if failure.kind != ERROR:
        return Verdict(failure.kind, args=list(args), note=failure.text, where=failure.where)
    if failure.error in REFUSALS:
        return Verdict(ERROR, args=list(args), finding=refusal(failure), where=failure.where)
    known = task.on_error(args, failure.error, failure.text)
    unusable = None if failure.where or known else not_as_asked(task, failure)
    cause = known or f"your code stopped with: {failure.text}"
    finding = unusable or Finding("the function returns an answer", cause, f"raises {failure.error or 'an error'}")
    return Verdict(ERROR, args=list(args), finding=finding, note=failure.text, where=failure.where)


REFUSALS = {  # what is wrong although no line of the code failed: (rule, slip)
    "not plain": ("the answer is made of plain lists and numbers", "not plain data"),
    "input changed": ("the function leaves its arguments as they are", "changes its input"),
    "borrowed": ("the answer is your own", "the engine's own work"),
}


def refusal(failure: Failed) -> Finding:
    rule, slip = REFUSALS[failure.error]
    return Finding(rule, failure.text, slip)


def not_as_asked(task: Task, failure: Failed) -> Finding | None:
    """An answer that could not even be used, so that none of its lines has run: other arguments, a method missing."""
    said = failure.text.partition(": ")[2]
    if failure.error == "TypeError" and "no scheduler" in said:
        return Finding("the answer is a scheduler", said, "no scheduler")
    if failure.error == "TypeError" and "argument" in said:
        cause = f"it cannot be called as the task calls it: {said}. Leave the first line as it was, with its arguments"
        return Finding("the answer takes the arguments of the task", cause, "other arguments")
    if failure.error == "AttributeError":
        cause = f"something that the task asks for is not there: {said}"
        return Finding(f"the answer is what the task asks for: {task.returns}", cause, "something missing")
    return None


def judge(task: Task, args: Args, got: Any, expected: Any = None) -> Finding | None:
    """The Finding about one answer, or None. The written-out answer has the last word where it is the only one."""
    if got is None:
        return Finding(
            "the function returns an answer",
            "it returned None: is there a `return` line, and is it reached on every path?",
            "returns nothing",
            task.returns if expected is None or task.drive else expected,
            "None",
        )
    if isinstance(got, dict) and not task.drive:
        shape, cause = f"the answer has this shape: {task.returns}", "this is a dict: return what is in it, without the names"
        return Finding(shape, cause, "a dict", task.returns if expected is None else brief(expected, 300), brief(got, 300))
    try:
        finding = task.judge(args, got)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration):
        finding = misshapen(task, got, expected)
    if finding is None and expected is not None and task.exact and not same(got, expected):
        finding = Finding(
            "the answer is the one worked out by hand",
            "the shape is right, the values are not",
            "other values",
            expected,
            got,
        )
    if finding and expected is not None and not task.drive:  # a trace is too long to set beside another
        finding = replace(finding, expected=expected, got=got)
    return finding


def misshapen(task: Task, got: Any, expected: Any = None) -> Finding:
    return Finding(
        f"the answer has this shape: {task.returns}",
        "it has another shape or other types than the docstring asks for",
        "other shape",
        expected if expected is not None and not task.drive else task.returns,
        got,
    )


def simplest(
    task: Task, call: Call, verdict: Verdict, others: list[list[Any]], reference: Reference | None, seconds: float
) -> Verdict:
    """The same mistake on the smallest call that shows it; a written-out case wins a tie.

    others: more calls that show it. Each is made smaller on a way of its own, and one may come further than another.
    """
    if verdict.status not in (WRONG, ERROR):
        return verdict
    small: dict[str, Verdict] = {}

    def fails_alike(args: Args) -> bool:
        other = try_case(task, call, args)
        if other and other.status == verdict.status and verdict.slip in other.slips:
            small[repr(args)] = other.told_as(verdict.slip)
            return True
        return False

    end = time.monotonic() + seconds
    args = shrink(tuple(verdict.args or ()), fails_alike, task.valid, seconds)
    for start in [*map(tuple, others), *tiny_calls(task)]:
        if time.monotonic() < end and (list(start) in others or size_of(start) < size_of(args) and fails_alike(start)):
            args = min(args, shrink(start, fails_alike, task.valid, max(0.0, end - time.monotonic())), key=size_of)
    best = small.get(repr(args), verdict)
    for case in sorted(task.cases, key=lambda case: size_of(case.args)):
        if size_of(case.args) <= size_of(args) and time.monotonic() < end:
            other = try_case(task, call, case.args, case.expected)
            if other and verdict.slip in other.slips:
                best = other.told_as(verdict.slip)
                break
    else:
        best = with_expected(task, call, best, reference)
    best.tried = verdict.tried
    return best


def tiny_calls(task: Task) -> list[tuple[Any, ...]]:
    """Random calls of the smallest sizes, where a call costs next to nothing: what shrinking may never come to."""
    rng = random.Random(task.id)
    return [] if task.drive else [task.generate(rng, size) for size in (1, 2, 3) * 100]


def with_expected(task: Task, call: Call, verdict: Verdict, reference: Reference | None) -> Verdict:
    """The grader knows the right answer to the shrunk call too: show it."""
    if not reference or verdict.status != WRONG:
        return verdict
    args = tuple(verdict.args or ())
    known = try_case(task, call, args, reference(args))
    return known.told_as(verdict.slip) if known else verdict


def caller(answer: Any, drive: Callable[[Any, Args], Any] | None = None) -> Call:
    """A ``call(args)`` for ``examine`` that runs a learner's own function here, in this process."""
    from .task import copy_of

    def call(args: Args) -> Any:
        args = [copy_of(a) for a in args]
        try:
            return to_plain(drive(answer, args)) if drive else answer_to(answer, args)
        except NotImplementedError:
            raise Failed(TODO, "not done yet") from None
        except NotPlain as problem:
            raise Failed(ERROR, str(problem), error="not plain") from None
        except InputChanged as problem:
            raise Failed(ERROR, str(problem), error="input changed") from None
        except RecursionError as problem:
            raise Failed(ERROR, f"RecursionError: {problem}", where_in_answer(problem), "RecursionError") from None
        except Exception as problem:  # any mistake of the learner's becomes a diagnosis, never a traceback
            raise Failed(ERROR, describe(problem), where_in_answer(problem), name_of(type(problem))) from None

    return call


def describe(problem: BaseException) -> str:
    text, name = text_of(problem)[:300], name_of(type(problem))
    return f"{name}: {text}" if text else name


def where_in_answer(problem: BaseException) -> str:
    """The last line of the learner's own code on the way to the exception: ``line 4: x = y[9]``."""
    import traceback

    here = os.path.dirname(os.path.abspath(__file__))
    ours = tuple(os.path.join(os.path.dirname(here), package) + os.sep for package in ("coursekit", "minieng"))
    frames = traceback.extract_tb(problem.__traceback__)
    own = [f for f in frames if not os.path.abspath(f.filename).startswith(ours)]
    if not own:
        return ""
    return f"line {own[-1].lineno}: {own[-1].line}" if own[-1].line else f"line {own[-1].lineno}"
