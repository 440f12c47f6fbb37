"""A bug hunt: the batcher that sleeps."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task
from .moments import EPS, late_cause, moments

MOMENT = "start = max(machine is free, min(batch is full, window of the oldest is over))"
SOMEBODY = "a batch holds at least one request, at most size, in order of arrival, each request once"


def judge_batcher(args: Args, got: Any) -> Finding | None:
    arrivals, size, window, takes = args
    waiting, free = list(range(len(arrivals))), 0
    for number, (start, rows) in enumerate(got):
        finding = judge_rows(arrivals, waiting, number, start, rows, size, window, got) or judge_start(
            [arrivals[i] for i in waiting], number, start, rows, free, size, window, got
        )
        if finding:
            return finding
        waiting, free = waiting[len(rows) :], start + takes
    if waiting:
        cause = "requests are lost: the loop ends although they have not been served"
        return Finding(SOMEBODY, cause, "requests lost", {"still waiting": waiting}, got)
    return None


def judge_rows(
    arrivals: list[int], waiting: list[int], number: int, start: float, rows: list[int], size: int, window: int, got: Any
) -> Finding | None:
    present = [i for i in waiting if arrivals[i] <= start]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(SOMEBODY, f"batch {number}, at tick {start}: {cause}", slip, {"the first who wait": present[:size]}, got)

    if not rows:
        return wrong("it is empty. The model would run a pass for nobody", "empty batch")
    if len(rows) > size:
        return wrong(f"it holds {len(rows)} requests, size is {size}", "batch too large")
    if rows != waiting[: len(rows)]:
        return wrong("these are not the requests that have waited longest, each once", "other requests")
    if len(rows) > len(present):
        return wrong("it holds a request that has not come yet", "not there yet")
    if len(rows) < min(size, len(present)):
        closes = arrivals[waiting[0]] + window
        if closes < start and rows == [i for i in present if arrivals[i] <= closes][:size]:
            late = present[len(rows)]
            return wrong(
                f"request {late} is left out, which came after the window of the oldest was over but before the batch began. "
                "While the machine is busy the batch is still open: it holds whoever is there when it starts",
                "closed at due",
            )
        return wrong("somebody who is there is left out. A request that comes at the very tick of the start is there", "left out")
    return None


def judge_start(
    times: list[int], number: int, start: float, rows: list[int], free: float, size: int, window: int, got: Any
) -> Finding | None:
    full, due = moments(times, size, window)
    right = max(free, min(full, due))
    if abs(start - right) <= EPS:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(MOMENT, f"batch {number}, at tick {start}: {cause}", slip, {"start": right}, got)

    if start < free:
        return wrong(f"it starts while the batch before it runs, until tick {free}", "machine busy")
    if start < right:
        return wrong("it starts too early: it is not full, and the oldest has not waited for a whole window", "starts early")
    return wrong(*late_cause(times, free, start, len(rows) == size, full, due, window))


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
