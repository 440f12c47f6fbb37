"""The largest token budget whose gaps keep a limit, found with few trials."""

import random
from typing import Any

from ...judging.questions import Ask, Asking
from ...task import CANNOT_TELL, Args, Case, Finding, Task

CHOICE = "the largest budget from 1 to most whose P99 gap is at most the limit; 0 if there is none"
KNOWN = "the answer follows from the gaps that were asked for: that of the budget itself, and of the next larger one"
FEW = "each trial is a whole run of the engine: halve the range instead of trying one budget after the other"


def shown(args: Args) -> list[Any]:
    """limit and most: all that the answer is told. The gaps stay with the judge."""
    gaps, limit = args
    return [limit, len(gaps)]


def reply(args: Args, budget: Any, count: int) -> int:
    """What ``gap(budget)`` is, the ``count``-th time that it is asked for."""
    gaps, _ = args
    if isinstance(budget, float):
        raise LookupError(f"gap({budget!r}) was asked for, and a budget is a whole number: divide with //")
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget <= len(gaps):
        raise LookupError(f"gap({budget!r}) was asked for: a budget is a whole number from 1 to most, here {len(gaps)}")
    if count > 3 * len(gaps) + 50:
        raise LookupError(f"gap was asked {count} times and no answer came: the search does not end")
    return gaps[budget - 1]


def run(answer: Any, told: list[Any], gap: Ask) -> Any:
    return answer(gap, *told)


ASKING = Asking(shown, reply, run)


def enough(most: int) -> int:
    """Trials that any halving search needs at most, with some to spare."""
    return 2 * most.bit_length() + 2


def judge(args: Args, got: Any) -> Finding | None:
    gaps, limit = args
    most, budget, asked = len(gaps), got["value"], got["asked"]
    right = sum(g <= limit for g in gaps)  # gaps never shrink, so these are the first ones

    def wrong(cause: str, slip: str, rule: str = CHOICE) -> Finding:
        near = {b: gaps[b - 1] for b in range(max(1, right - 1), min(most, right + 2) + 1)}
        return Finding(rule, f"{cause}. (Limit {limit} ms, gaps by budget {near})", slip, right, budget)

    if isinstance(budget, float) and budget == right:
        return wrong(f"this is {budget}, no whole number: divide with //", "a float")
    if isinstance(budget, list):
        return wrong("this is more than a number: return the budget alone", "more than a number")
    if budget is None or isinstance(budget, bool) or not isinstance(budget, int):
        return wrong("return the budget as a whole number, and 0 if no budget keeps the limit", "not a whole number")
    if budget != right:
        return wrong(*mistake(gaps, limit, budget, right))
    known = {b for b in asked if type(b) is int}
    unknown = [b for b in (right, right + 1) if 1 <= b <= most and b not in known]
    if unknown:
        cause = (
            f"the answer is right, but gap({unknown[0]}) was never asked for, and without it nobody can know. Ask gap, and "
            "nothing but gap"
        )
        return wrong(cause, "not asked", KNOWN)
    if len(asked) > enough(most):
        cause = f"the answer is right, but gap was asked {len(asked)} times for {most} budgets. {enough(most)} are plenty"
        return wrong(cause, "too many trials", FEW)
    return None


def mistake(gaps: list[int], limit: float, budget: int, right: int) -> tuple[str, str]:
    """(cause, slip) of a wrong budget."""
    most = len(gaps)
    if right == 0:
        return f"no budget keeps the limit, not even 1: say so by returning 0, not {budget}", "none keeps it"
    if budget == sum(g < limit for g in gaps):
        return "a gap that equals the limit keeps it: compare with <=", "strictly below"
    if budget == 0:
        return f"0 says that no budget keeps the limit, and the gap at 1 is {gaps[0]} ms: it does", "gives up"
    if budget == most:
        return f"this is the largest of all budgets, and its gap of {gaps[-1]} ms breaks the limit", "always most"
    if budget == right + 1:
        return "this is the smallest budget that breaks the limit: one less is the largest that keeps it", "first that breaks"
    if right == most and budget == most - 1:
        return (
            "the largest budget of all keeps the limit, and your search never tries it: most itself is allowed",
            "most left out",
        )
    if budget == gaps[right - 1]:
        return "this is the gap of the right budget: return the budget", "gap returned"
    if budget == 1:
        return "the smallest budget keeps the limit too, but everybody's first token waits for it: take the largest", "smallest"
    return other_mistake(gaps, limit, budget, right)


def other_mistake(gaps: list[int], limit: float, budget: int, right: int) -> tuple[str, str]:
    """(cause, slip) of a budget that none of the commonest mistakes gives."""
    most = len(gaps)
    if 0 < budget < right and gaps[budget - 1] == gaps[right - 1] and (budget == 1 or gaps[budget - 2] < gaps[budget - 1]):
        return "several budgets have this gap, and this is the first of them: take the last", "first of equal gaps"
    if budget == right - 1:
        return "one more keeps the limit as well: your search stops one step too early", "one too small"
    if not 0 <= budget <= most:
        return f"a budget lies between 1 and most, here {most}", "out of range"
    if gaps[budget - 1] > limit:
        return f"the P99 gap at budget {budget} is {gaps[budget - 1]} ms: it breaks the limit of {limit} ms", "breaks the limit"
    return f"{CANNOT_TELL}: budget {budget} keeps the limit, but larger ones do as well", "not the largest"


def generate(rng: random.Random, size: int) -> tuple:
    most = rng.choice([1, 2, 3, 5, 8]) if size < 4 else rng.randint(20, 60 * size)
    gap, gaps = rng.randint(5, 12), []
    for _ in range(most):
        gap += rng.choice([0, 0, 0, 1, 2])
        gaps.append(gap)
    kind = rng.random()
    if kind < 0.15:
        return gaps, gaps[0] - 1
    if kind < 0.3:
        return gaps, gaps[-1] + rng.randint(0, 3)
    return gaps, rng.choice(gaps) + rng.choice([0, 0, 1])


def valid(args: Args) -> bool:
    gaps, limit = args
    return bool(gaps) and gaps == sorted(gaps) and gaps[0] >= 1 and limit >= 1


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "ValueError" and "empty" in text and args[0][0] > args[1]:
        return "no budget keeps this limit, so there is nothing to take the largest of: return 0 then"
    return text.partition(": ")[2] if "gap" in text and error == "LookupError" else None


def scene(args: Args) -> str:
    gaps, limit = args
    told = f"{gaps}" if len(gaps) <= 12 else f"[{', '.join(map(str, gaps[:6]))}, ... {gaps[-1]}]"
    return f"largest_budget(gap, limit={limit}, most={len(gaps)}), where gap(1), gap(2), ... are {told} ms"


LONG = [9 + b // 10 for b in range(1, 301)]

TASK = Task(
    id="09.2",
    name="largest_budget",
    title="The largest budget under a limit",
    points=25,
    returns="a whole number",
    cases=(
        Case(([5], 5), None),
        Case(([5], 4), None),
        Case(([5, 6], 5), None),
        Case(([5, 6, 8, 11], 8), None),
        Case(([5, 6, 8, 11], 10), None),
        Case(([5, 6, 8, 11], 50), None),
        Case(([10, 10, 10, 12, 12, 20, 20, 20], 12), None),
        Case((LONG, 25), None),
    ),
    drive=ASKING.drive,
    asking=ASKING,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "A dictionary has 300 pages. You look for the last page whose first word comes before yours. Where do you open it first?",
        "Keep two numbers: a budget that surely keeps the limit (0, to begin with) and one that surely does not (most + 1). "
        "Every trial halves what lies between. The answer is the first number when nothing lies between them.",
        "good, bad = 0, most + 1\n"
        "while there is a budget between good and bad:\n"
        "    try the middle one\n"
        "    if its gap is at most the limit: it is the new good one\n"
        "    else: it is the new bad one\n"
        "return the good one",
    ),
)
