"""How many steps a queue takes: static, continuous, and the bound that no schedule beats."""

import itertools
import random
from functools import partial
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Slips = tuple[tuple[float, str, str], ...]  # the number that a mistake gives, its words, its name

STATIC_RULE = "static: each batch takes the next `seats` requests and runs as many steps as its longest"
CONTINUOUS_RULE = "continuous: in order of arrival, each request takes the seat that is free first, and keeps it to its end"
BOUND_RULE = "no schedule is faster than the longest request, nor than all the work shared evenly by the seats"
NAMES = ("static", "continuous", "bound")
UNKNOWN = {
    "static": "Draw the batches on paper, one after the other, each as long as its longest",
    "continuous": "Draw the seats on paper: the next request takes the one that is free first",
    "bound": "It is the larger of two numbers, the longest length and sum / seats rounded up",
}


def judge_times(args: Args, got: Any) -> Finding | None:
    from minieng.sim.facts import steps_continuous, steps_static

    lengths, seats = args
    longest = max(lengths, default=0)
    truth = [
        steps_static(lengths, seats),
        steps_continuous(lengths, seats) if lengths else 0,
        max(longest, -(-sum(lengths) // seats)),
    ]

    def wrong(rule: str, cause: str, slip: str) -> Finding:
        return Finding(rule, cause, slip, dict(zip(NAMES, truth)), dict(zip(NAMES, got)))

    if problem := not_three_numbers(got):
        return Finding(STATIC_RULE, *problem, truth, got)
    if got != truth:
        for order in itertools.permutations(range(len(NAMES))):
            if len(set(truth)) == len(NAMES) and [truth[i] for i in order] == got:
                told = ", ".join(NAMES[i] for i in order)
                return wrong(STATIC_RULE, f"the numbers stand in another order: {told}. Return {', '.join(NAMES)}", "swapped")
    slips = static_slips(lengths, seats), continuous_slips(lengths, seats, truth[0], truth[2]), bound_slips(lengths, seats, truth)
    for place, (name, rule, likely) in enumerate(zip(NAMES, (STATIC_RULE, CONTINUOUS_RULE, BOUND_RULE), slips)):
        if got[place] != truth[place]:
            made = [(f"{name}: {cause}", slip) for number, cause, slip in likely if got[place] == number]
            unknown = f"{name}: {CANNOT_TELL}. {UNKNOWN[name]}", f"other {name}"
            return likeliest(partial(wrong, rule), made or [unknown])
    return None


def not_three_numbers(got: Any) -> tuple[str, str] | None:
    """(cause, slip) of an answer that is not three numbers, or None."""
    if not isinstance(got, list):
        return f"the answer is three numbers: {', '.join(NAMES)}", "not three numbers"
    if len(got) != len(NAMES):
        return f"the answer is three numbers, {', '.join(NAMES)}; yours holds {len(got)}", "not three numbers"
    for name, number in zip(NAMES, got):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return f"{name} is {number!r}: the answer is three whole numbers", "no number"
    return None


def static_slips(lengths: list[int], seats: int) -> Slips:
    from minieng.sim.facts import steps_static

    batches = [lengths[i : i + seats] for i in range(0, len(lengths), seats)]
    whole = lengths[: len(lengths) // seats * seats]
    return (
        (
            max(lengths, default=0),
            "you put all requests into one batch, but a batch has only `seats` places",
            "one batch",
        ),
        (steps_static(whole, seats), "the last batch is missing. It may be smaller, and runs as well", "loses last batch"),
        (steps_static(sorted(lengths), seats), "you sorted the requests. They are served in order of arrival", "sorted"),
        (sum(lengths), "you ran the requests one after the other. The rows of a batch run side by side", "one by one"),
        (sum(map(min, batches)), "a batch ends with its shortest request, you say: it ends with its longest", "shortest"),
        (sum(batch[-1] for batch in batches), "a batch ends with its last request, you say: it ends with its longest", "last"),
        (
            sum(sum(batch) / len(batch) for batch in batches),
            "a batch takes the mean of its lengths, you say: it ends with its longest",
            "mean",
        ),
        (len(batches), "this is the number of batches: add up how many steps each of them takes", "counts batches"),
        (
            len(batches) * max(lengths, default=0),
            "every batch runs as long as the longest request of all, you say: it ends with its own longest",
            "longest of all",
        ),
    )


def continuous_slips(lengths: list[int], seats: int, static: int, bound: int) -> Slips:
    from minieng.sim.facts import steps_continuous

    def served(order: list[int]) -> int:
        return steps_continuous(order, seats) if order else 0

    work, down = sum(lengths), sorted(lengths, reverse=True)
    dealt = [sum(lengths[i::seats]) for i in range(seats)]
    free = [0] * seats
    for n in lengths:
        free[free.index(min(free))] += n
    return (
        (work, "the sum of all lengths is the time of a single seat. The seats work side by side", "one seat"),
        (
            work / seats,
            "sum / seats is right only if a request could be spread over several seats. It cannot: "
            "each of its tokens needs the one before",
            "splits requests",
        ),
        (-(-work // seats), "rounding up sum / seats still spreads one request over several seats", "splits, rounded"),
        (
            max(dealt, default=0),
            "you dealt the requests out like cards, seat after seat. The next one takes whichever seat is free first",
            "deals like cards",
        ),
        (
            served(down),
            "you served the longest first. Nobody knows the lengths beforehand: requests come in order of arrival",
            "longest first",
        ),
        (served(down[::-1]), "you served the shortest first: requests come in order of arrival", "shortest first"),
        (served(lengths[::-1]), "you served the last first: requests come in order of arrival", "last first"),
        (bound, "this is the bound. With requests in order of arrival it can take longer", "bound"),
        (
            max(lengths, default=0),
            "the longest alone is right only if there is a seat for everybody",
            "seat for everybody",
        ),
        (static, "this is the static time. A freed seat takes the next request at once", "as static"),
        (min(free), "this is when the first seat has nothing more to do: take the last", "first free"),
        (sum(free[-1:]), "this is when the last seat of the list is free: take the one that is free last", "last seat"),
    )


def bound_slips(lengths: list[int], seats: int, truth: list[int]) -> Slips:
    work, longest = sum(lengths), max(lengths, default=0)
    half = (
        (number, "half a step does not exist. Round sum / seats up", "bound not rounded")
        for number in (work / seats, work // seats)
    )
    return (
        (longest, "you left out the work. All tokens together must fit into seats x steps", "bound without work"),
        *(half if longest <= work / seats else ()),
        *(
            (number, "you left out the longest request. It takes its length, whatever the seats", "bound without longest")
            for number in (work / seats, work // seats, -(-work // seats), min(longest, -(-work // seats)))
        ),
        (longest + -(-work // seats), "you added the two numbers: take the larger one", "bound added"),
        (truth[1], "this is the continuous time, which a better order could beat", "bound as continuous"),
        (truth[0], "this is the static time: the bound is the larger of two numbers that no schedule beats", "bound as static"),
    )


def generate_times(rng: random.Random, size: int) -> tuple:
    count = rng.randint(1, 2 + size)
    return [rng.choice([1, 2, 3, 5, 8, 3 * size]) for _ in range(count)], rng.randint(1, 4)


def times_error(args: Args, error: str, text: str) -> str | None:
    if error in ("ValueError", "IndexError") and not args[0]:
        return "nobody may be waiting at all: without a request all three times are 0"
    return None


TASK = Task(
    id="05.1",
    name="true_times",
    title="The true times",
    points=25,
    returns="(static, continuous, bound), three whole numbers of steps",
    cases=(
        Case(([3], 1), [3, 3, 3]),
        Case(([2, 3], 1), [5, 5, 5]),
        Case(([2, 3], 2), [3, 3, 3]),
        Case(([1, 4, 2], 2), [6, 4, 4]),
        Case(([4, 1, 3], 2), [7, 4, 4]),
        Case(([1, 1, 5], 2), [6, 6, 5]),
        Case(([3, 7, 2, 5, 4, 3], 4), [11, 7, 7]),
        Case(([100, 50, 200, 80, 150], 5), [200, 200, 200]),
        Case(([100, 50, 200, 80, 150], 2), [450, 330, 290]),
        Case(([], 2), [0, 0, 0]),
    ),
    judge=judge_times,
    generate=generate_times,
    valid=lambda args: args[1] >= 1 and all(n >= 1 for n in args[0]),
    on_error=times_error,
    hints=(
        "Draw 1, 4 and 2 on two seats, once in batches, once refilled at once. Which seat takes the 2, and at which step?",
        "For continuous, all you must know of a seat is the step at which it is free again. A request of n tokens takes the "
        "seat with the smallest such number and adds n to it. The answer is the largest of them at the end.",
        "static: cut the list into pieces of `seats`; add up the largest of each piece\n"
        "free = a list of `seats` zeros\n"
        "for each length:\n"
        "    the smallest entry of free grows by that length\n"
        "continuous: the largest entry of free\n"
        "bound: the larger of (longest length) and (sum / seats, rounded up); all are 0 for an empty list",
    ),
)
