"""Choose a window under a P95 limit from what was measured."""

import math
import random
from collections.abc import Callable
from typing import Any

from ...task import Args, Case, Finding, Task

Measured = list[Any]  # [window, latencies, busy time]

CHOICE = "among the windows whose P95 keeps the limit, the one with the least busy time; of equal ones the shortest; else -1"


def rank95(latencies: list[float]) -> float:
    """The smallest latency that at least 95 of 100 requests do not exceed."""
    return sorted(latencies)[-(-95 * len(latencies) // 100) - 1]


def choose(
    runs: list[Measured], keeps: Callable[[Measured], bool], prefer: Callable[[Measured], Any] = lambda run: (run[2], run[0])
) -> float:
    """The window of the preferred run among those that keep the limit; -1 if there is none."""
    kept = [run for run in runs if keeps(run)]
    return min(kept, key=prefer)[0] if kept else -1


def below(order: list[float], n: int, share: int) -> float:
    return sorted(order)[max(0, min(n - 1, share))]


def between(latencies: list[float]) -> float:
    """The P95 with a straight line between two neighbours, as np.percentile draws it."""
    order, place = sorted(latencies), 0.95 * (len(latencies) - 1)
    low, high = order[int(place)], order[min(int(place) + 1, len(order) - 1)]
    return low + (high - low) * (place - int(place))


MISTAKES = (  # words, slip, what such an answer returns; told in this order
    ("you compare the mean with the limit, which hides the slowest requests", "mean", lambda runs, limit: choose(
        runs, lambda r: sum(r[1]) / len(r[1]) <= limit)),
    ("you compare the slowest request with the limit: one request in twenty may exceed it", "maximum", lambda runs, limit: choose(
        runs, lambda r: max(r[1]) <= limit)),
    ("your P95 lies between two measured latencies, as np.percentile has it: here it is one of them",
        "interpolated", lambda runs, limit: choose(runs, lambda r: between(r[1]) <= limit)),
    ("your rank is one too large: counted from 0, the 19th has number 18", "rank too large", lambda runs, limit: choose(
        runs, lambda r: below(r[1], len(r[1]), 95 * len(r[1]) // 100) <= limit)),
    ("you take the latencies in the order in which they were measured: sort them first", "not sorted", lambda runs, limit: choose(
        runs, lambda r: r[1][-(-95 * len(r[1]) // 100) - 1] <= limit)),
    ("your rank is one too small: of 20 sorted latencies the 19th is the P95, not the 18th", "rank too small", lambda runs, limit:
        choose(runs, lambda r: below(r[1], len(r[1]), math.ceil(0.95 * len(r[1])) - 2) <= limit)),
    ("you want the P95 strictly below the limit: a P95 that equals the limit keeps it", "strictly below", lambda runs, limit:
        choose(runs, lambda r: rank95(r[1]) < limit)),
    ("you take the longest window that keeps the limit. Longer is not always less work: compare the busy times", "longest window",
        lambda runs, limit: choose(runs, lambda r: rank95(r[1]) <= limit, lambda r: -r[0])),
    ("you take the shortest window that keeps the limit, whatever the machine has to do for it", "shortest window",
        lambda runs, limit: choose(runs, lambda r: rank95(r[1]) <= limit, lambda r: r[0])),
    ("you take the window with the smallest P95. The limit is enough: spend what it leaves on less work", "smallest P95",
        lambda runs, limit: choose(runs, lambda r: rank95(r[1]) <= limit, lambda r: (rank95(r[1]), r[0]))),
    ("you forget the limit: this is the window with the least busy time of all", "no limit", lambda runs, limit: choose(
        runs, lambda r: True)),
    ("two windows cost the same: take the shorter one, which can only be quicker at low load", "ties", lambda runs, limit: choose(
        runs, lambda r: rank95(r[1]) <= limit, lambda r: (r[2], -r[0]))),
)  # fmt: skip


def judge_window(args: Args, got: Any) -> Finding | None:
    runs, limit = args
    right = choose(runs, lambda r: rank95(r[1]) <= limit)
    if got == right and type(got) is not bool:
        return None
    table = [{"window": w, "P95": rank95(latencies), "busy": busy} for w, latencies, busy in runs]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(CHOICE, cause, slip, {"window": right, "of": table, "limit": limit}, got)

    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return wrong("the answer is one of the windows, a number, or -1", "not a window")
    made = [(words, slip) for words, slip, answer in MISTAKES if answer(runs, limit) == got]
    if made:
        return wrong("; or ".join(words for words, _ in made), made[0][1])
    if got == -1:
        return wrong("there is a window that keeps the limit", "gives up")
    if got not in [run[0] for run in runs]:
        return wrong("this is none of the windows that were tried (return it, not its place in the list)", "no such window")
    return wrong("another window keeps the limit with less busy time", "other window")


def generate_window(rng: random.Random, size: int) -> tuple:
    runs: list[list[Any]] = []
    n = rng.choice([5, 10, 20, 40])
    for window in rng.sample([0, 5, 10, 20, 30, 50, 80, 100], rng.randint(1, min(8, 1 + size))):
        latencies = [rng.randint(10, 60) for _ in range(n)]
        for _ in range(rng.randint(0, 2 + n // 10)):
            latencies[rng.randrange(n)] = rng.randint(60, 150)
        runs.append([window, latencies, rng.randint(10, 16)])
    p95s = [rank95(latencies) for _, latencies, _ in runs]
    return runs, rng.choice([rng.choice(p95s), rng.randint(40, 110), 30])


def valid_window(args: Args) -> bool:
    runs, _ = args
    windows = [run[0] for run in runs]
    return bool(runs) and all(len(r) == 3 and len(r[1]) >= 1 for r in runs) and len(set(windows)) == len(windows)


def window_error(args: Args, error: str, text: str) -> str | None:
    runs, limit = args
    if choose(runs, lambda r: rank95(r[1]) <= limit) == -1 and error == "ValueError":
        return "no window keeps this limit, so there is nothing to take the least of: return -1 then"
    return None


ONE_SLOW = [20] * 19 + [90]
TWO_SLOW = [20] * 18 + [70, 90]

TASK = Task(
    id="04.3",
    name="best_window",
    title="The best window under a P95 limit",
    points=30,
    returns="one of the windows, or -1",
    cases=(
        Case(([[0, [20], 10]], 20), 0),
        Case(([[0, [20], 10]], 19), -1),
        Case(([[0, [20, 30], 12], [10, [30, 40], 10]], 40), 10),
        Case(([[0, [20, 30], 12], [10, [30, 40], 10]], 35), 0),
        Case(([[10, [30, 40], 10], [0, [20, 30], 10]], 40), 0),
        Case(([[0, [20] * 20, 12], [5, ONE_SLOW, 11], [10, TWO_SLOW, 10]], 50), 5),
        Case(([[0, [90, *[20] * 19], 11], [50, [60] * 20, 12]], 60), 0),
        Case(([[0, [40] * 5, 13], [10, [30] * 5, 11], [50, [35] * 5, 12], [80, [99] * 5, 9]], 60), 10),
    ),
    judge=judge_window,
    generate=generate_window,
    valid=valid_window,
    on_error=window_error,
    hints=(
        "Sort twenty latencies. Which one is the P95, if exactly one request may be slower? Which one of forty?",
        "The P95 is the smallest latency that at least 95 of 100 requests do not exceed: number 0.95 n of the sorted list, "
        "rounded up, counted from 1. Whole numbers round up without surprises: -(-95 * n // 100).",
        "for each run:\n"
        "    sort its latencies and take the P95\n"
        "    if the P95 is at most the limit, keep (busy, window)\n"
        "nothing kept: return -1\n"
        "return the window of the smallest pair",
    ),
)
