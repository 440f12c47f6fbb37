"""A bug hunt: the batcher that sleeps."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task, likeliest
from .moments import EPS, early_causes, late_causes, moments

MOMENT = "start = max(machine is free, min(batch is full, window of the oldest is over))"
SOMEBODY = "a batch holds at least one request, at most size, in order of arrival, each request once"


def judge_batcher(args: Args, got: Any) -> Finding | None:
    arrivals, size, window, takes = args
    if finding := judge_form(got):
        return finding
    waiting, free, before = list(range(len(arrivals))), 0, 0
    for number, (start, rows) in enumerate(got):
        finding = judge_rows(arrivals, waiting, number, start, rows, size, window, got) or judge_start(
            [arrivals[i] for i in waiting], number, start, rows, free, size, window, got
        )
        if finding:
            if number and start == free - takes + takes * before and start != free:
                cause = f"batch {number}, at tick {start}: a batch runs for `takes` ticks whatever its size, not for each request"
                return Finding(MOMENT, cause, "takes for each", {"batch": [free, rows]}, {"batch": [start, rows]})
            return finding
        waiting, free, before = waiting[len(rows) :], start + takes, len(rows)
    if waiting:
        cause = f"the loop ends although request {waiting[0]} has not been served"
        return Finding(SOMEBODY, cause, "requests lost", {"requests without a batch": []}, {"requests without a batch": waiting})
    return None


def judge_form(got: Any) -> Finding | None:
    """A list of pairs, a number and a list."""

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(
            "there is a pair for each batch: (start, [request numbers])", cause, slip, "[(start, [numbers]), ...]", got
        )

    for entry in got:
        if not isinstance(entry, list) or len(entry) != 2:
            return wrong(f"an entry is {entry!r}, which is no pair", "no pairs")
        if isinstance(entry[0], list):
            return wrong("the pairs are the wrong way round: the start comes first, then the requests", "pair reversed")
        if not isinstance(entry[1], list):
            return wrong(
                f"an entry is {entry!r}: its second part is the list of the whole batch, there is no entry a request", "no list"
            )
    return None


def judge_rows(
    arrivals: list[int], waiting: list[int], number: int, start: float, rows: list[int], size: int, window: int, got: Any
) -> Finding | None:
    present = [i for i in waiting if arrivals[i] <= start]

    def wrong(cause: str, slip: str) -> Finding:
        told = f"batch {number}, at tick {start}: {cause}"
        return Finding(SOMEBODY, told, slip, {"batch": [start, present[:size]]}, {"batch": [start, rows]})

    if not rows:
        return wrong("it is empty. The model would run a pass for nobody", "empty batch")
    if len(rows) > size:
        return wrong(f"it holds {len(rows)} requests, size is {size}", "batch too large")
    if rows != waiting[: len(rows)]:
        return wrong(*other_requests(arrivals, waiting, rows))
    if len(rows) > len(present):
        return wrong(f"it holds request {rows[len(present)]}, which has not come yet", "not there yet")
    if len(rows) < min(size, len(present)):
        late = present[len(rows)]
        closes = arrivals[waiting[0]] + window
        if closes < start and rows == [i for i in present if arrivals[i] <= closes][:size]:
            return wrong(
                f"request {late} is left out, which came after the window of the oldest was over but before the batch began. "
                "While the machine is busy the batch is still open: it holds whoever is there when it starts",
                "closed at due",
            )
        if rows == [i for i in present if arrivals[i] < start][:size]:
            return wrong(f"request {late} is left out, which comes at this very tick: it is there", "tick of the start")
        return wrong(f"request {late} is left out, though it is there and a seat is free", "left out")
    return None


def other_requests(arrivals: list[int], waiting: list[int], rows: list[int]) -> tuple[str, str]:
    """The cause of a batch of others than the first who wait."""
    first = waiting[: len(rows)]
    if rows == [i + 1 for i in first]:
        return "your numbers start at 1: the first request is number 0", "numbers from 1"
    if rows == [arrivals[i] for i in first]:
        return "these are the arrivals: a batch holds the numbers of its requests", "arrivals, not numbers"
    if set(rows) - set(waiting) and set(rows) <= set(range(len(arrivals))):
        again = min(set(rows) - set(waiting))
        return f"request {again} has been served before: who is in a batch waits no longer", "served twice"
    return "these are not the requests that have waited longest, each once", "other requests"


def judge_start(
    times: list[int], number: int, start: float, rows: list[int], free: float, size: int, window: int, got: Any
) -> Finding | None:
    full, due = moments(times, size, window)
    right = max(free, min(full, due))
    if abs(start - right) <= EPS:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        told = f"batch {number}, at tick {start}: {cause}"
        return Finding(MOMENT, told, slip, {"batch": [right, rows]}, {"batch": [start, rows]})

    if start < free:
        return wrong(f"it starts while the batch before it runs, until tick {free}", "machine busy")
    if start < right:
        return likeliest(wrong, early_causes(times, free, start, size, window))
    if abs(start - right - 1) <= EPS and right == due:
        return wrong("it starts one tick late: at arrival + window the window is over", "one tick late")
    return likeliest(wrong, late_causes(times, free, start, size, window))


def generate_batcher(rng: random.Random, size: int) -> tuple:
    n, at, arrivals = rng.randint(1, 2 + size), 0, []
    for _ in range(n):
        at += rng.choice([0, 0, 1, 1, 2, 3, 9, 20])
        arrivals.append(at)
    return arrivals, rng.randint(1, 4), rng.randint(3, 7), rng.choice([1, 2, 4, 6, 9, 15])


def valid_batcher(args: Args) -> bool:
    arrivals, size, window, takes = args
    return bool(arrivals) and arrivals == sorted(arrivals) and arrivals[0] >= 0 and size >= 1 and window >= 1 and takes >= 1


TASK = Task(
    id="04.2",
    name="batcher",
    title="Bug hunt: the batcher that sleeps",
    points=25,
    returns="a list of (start, [request numbers]), one for each batch",
    cases=(
        Case(([0], 1, 5, 4), [[0, [0]]]),
        Case(([0], 2, 5, 4), [[5, [0]]]),
        Case(([0, 2], 2, 5, 4), [[2, [0, 1]]]),
        Case(([0, 30], 2, 5, 4), [[5, [0]], [35, [1]]]),
        Case(([0, 1, 2, 9, 30], 3, 5, 4), [[2, [0, 1, 2]], [14, [3]], [35, [4]]]),
        Case(([0, 1, 2, 3, 4, 5], 2, 5, 4), [[1, [0, 1]], [5, [2, 3]], [9, [4, 5]]]),
        Case(([0, 0, 0, 1], 3, 6, 4), [[0, [0, 1, 2]], [7, [3]]]),
        Case(([0, 3, 9], 3, 2, 10), [[2, [0]], [12, [1, 2]]]),
        Case(([0, 3, 5, 12], 4, 5, 20), [[5, [0, 1, 2]], [25, [3]]]),
    ),
    judge=judge_batcher,
    generate=generate_batcher,
    valid=valid_batcher,
    hints=(
        "Run the broken code on ([0, 30], 2, 5, 4) and print what it returns. Which batch serves nobody? Then on "
        "([0, 2], 2, 5, 4): what does the loop do between tick 2 and tick 5?",
        "Three moments decide: when the machine is free, when the last seat of the batch is taken, and when the oldest waiting "
        "request has waited for a window. No sleep is needed to compute the start from them.",
        "as long as somebody is not served:\n"
        "    due  = arrival of the first of them + window\n"
        "    full = arrival of the one who takes the last seat, or never\n"
        "    the batch starts at the earlier of the two, but not before the machine is free\n"
        "    it holds those who have come by then, at most size\n"
        "    the machine is free again takes ticks later",
    ),
)
