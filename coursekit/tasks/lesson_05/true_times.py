"""How many steps a queue takes: static, continuous, and the bound that no schedule beats."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

Slips = tuple[tuple[float, str, str], ...]  # the number that a mistake gives, its words, its name

STATIC_RULE = "static: each batch takes the next `seats` requests and runs as many steps as its longest"
CONTINUOUS_RULE = "continuous: in order of arrival, each request takes the seat that is free first, and keeps it to its end"
BOUND_RULE = "no schedule is faster than the longest request, nor than all the work shared evenly by the seats"


def judge_times(args: Args, got: Any) -> Finding | None:
    from minieng.sim.facts import steps_continuous, steps_static

    lengths, seats = args
    if len(got) != 3 or any(isinstance(x, bool) or not isinstance(x, (int, float)) for x in got):
        return Finding(STATIC_RULE, "the answer is three numbers: static, continuous, bound", "not three numbers", None, got)
    truth = steps_static(lengths, seats), (steps_continuous(lengths, seats) if lengths else 0)
    if truth[0] != truth[1] and [got[1], got[0]] == list(truth):
        return Finding(STATIC_RULE, "static and continuous are swapped: static comes first", "swapped", None, got)
    return (
        judge_one(STATIC_RULE, got, 0, truth[0], static_slips(lengths, seats))
        or judge_one(CONTINUOUS_RULE, got, 1, truth[1], continuous_slips(lengths, seats, truth[0]))
        or judge_bound(lengths, seats, got)
    )


def judge_one(rule: str, got: Any, place: int, truth: int, slips: Slips) -> Finding | None:
    """None, or the Finding whose number the answer is."""
    if got[place] == truth:
        return None
    name = ("static", "continuous")[place]
    for number, cause, slip in slips:
        if got[place] == number:
            return Finding(rule, cause, slip, {name: truth}, got)
    return Finding(
        rule, f"the number of {name} steps is another one: draw the seats on paper", f"other {name}", {name: truth}, got
    )


def static_slips(lengths: list[int], seats: int) -> Slips:
    from minieng.sim.facts import steps_static

    whole = lengths[: len(lengths) // seats * seats]
    return (
        (
            max(lengths, default=0),
            "static: you put all requests into one batch, but a batch has only `seats` places",
            "one batch",
        ),
        (
            steps_static(whole, seats),
            "static: the last batch is missing. It may be smaller, and runs as well",
            "loses last batch",
        ),
        (steps_static(sorted(lengths), seats), "static: you sorted the requests. They are served in order of arrival", "sorted"),
        (sum(lengths), "static: you ran the requests one after the other. The rows of a batch run side by side", "one by one"),
    )


def continuous_slips(lengths: list[int], seats: int, static: int) -> Slips:
    from minieng.sim.facts import steps_continuous

    work, longest_first = sum(lengths), sorted(lengths, reverse=True)
    tied = max((sum(lengths[i::seats]) for i in range(seats)), default=0)
    return (
        (work, "continuous: the sum of all lengths is the time of a single seat. The seats work side by side", "one seat"),
        (
            work / seats,
            "continuous: sum / seats is right only if a request could be spread over several seats. It cannot: "
            "each of its tokens needs the one before",
            "splits requests",
        ),
        (
            -(-work // seats),
            "continuous: rounding up sum / seats still spreads one request over several seats",
            "splits, rounded",
        ),
        (
            tied,
            "continuous: you dealt the requests out like cards, seat after seat. The next one takes whichever seat is free first",
            "deals like cards",
        ),
        (
            steps_continuous(longest_first, seats) if lengths else 0,
            "continuous: you served the longest first, or gave the bound. Nobody knows the lengths beforehand: with requests "
            "in order of arrival it can take longer than the bound",
            "longest first",
        ),
        (
            max(lengths, default=0),
            "continuous: the longest alone is right only if there is a seat for everybody",
            "seat for everybody",
        ),
        (static, "continuous: this is the static time. A freed seat takes the next request at once", "as static"),
    )


def judge_bound(lengths: list[int], seats: int, got: Any) -> Finding | None:
    work, longest = sum(lengths), max(lengths, default=0)
    bound = max(longest, -(-work // seats))

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(BOUND_RULE, cause, slip, {"bound": bound}, got)

    if got[2] == bound:
        return None
    if got[2] == longest:
        return wrong("bound: you left out the work. All tokens together must fit into seats x steps", "bound without work")
    if got[2] in (work / seats, work // seats) and longest <= work / seats:
        return wrong("bound: half a step does not exist. Round sum / seats up", "bound not rounded")
    if got[2] in (work / seats, work // seats, -(-work // seats)):
        return wrong("bound: you left out the longest request. It takes its length, whatever the seats", "bound without longest")
    return wrong("bound: the larger of two numbers, the longest length and sum / seats rounded up", "other bound")


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
