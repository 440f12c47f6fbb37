"""Choose a window under a P95 limit from what was measured."""

import math
import random
import statistics
from collections.abc import Callable
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

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


def nearest(latencies: list[float]) -> float:
    """The measured latency closest to the P95 that lies between two, as np.percentile has it with method="nearest"."""
    return sorted(latencies)[round(0.95 * (len(latencies) - 1))]


def at_rank(rank: Callable[[int], int]) -> Callable[[list[float]], float]:
    """The latency with that number of the sorted list, counted from 1; rank(n)."""
    return lambda latencies: below(latencies, len(latencies), rank(len(latencies)) - 1)


def spread_out(latencies: list[float]) -> float:
    """The P95 as statistics.quantiles has it, beyond the slowest where there are few."""
    return statistics.quantiles(latencies, n=20)[-1] if len(latencies) > 1 else latencies[0]


# words, slip, how such an answer measures a list of latencies. Told in this order: what explains less stands first.
MEASURES: tuple[tuple[str, str, Callable[[list[float]], float]], ...] = (
    (
        "your P95 lies between two measured latencies, as np.percentile has it: here it is one of them",
        "interpolated",
        between,
    ),
    (
        'your rank is rounded to the nearest, as np.percentile has it with method="nearest": 0.95 n is rounded up',
        "nearest",
        nearest,
    ),
    (
        "your rank is one too large: counted from 0, the 19th has number 18",
        "rank too large",
        at_rank(lambda n: 95 * n // 100 + 1),
    ),
    (
        "your P95 lies between two measured latencies, as statistics.quantiles has it: here it is one of them",
        "quantiles",
        spread_out,
    ),
    ("your rank is rounded down: 0.95 n is rounded up, counted from 1", "rank rounded down", at_rank(lambda n: 95 * n // 100)),
    (
        "you compare the slowest request with the limit, which is the P99 of so few as well: one in twenty may exceed it",
        "maximum",
        max,
    ),
    ("this is a P90: one request in ten may exceed it. At P95 it is one in twenty", "P90", at_rank(lambda n: -(-90 * n // 100))),
    ("you compare the median with the limit, which half of the requests exceed", "median", statistics.median),
    (
        "you compare the mean with the limit, which hides the slowest requests",
        "mean",
        lambda latencies: sum(latencies) / len(latencies),
    ),
    (
        "you take the latencies in the order in which they were measured: sort them first",
        "not sorted",
        lambda latencies: latencies[-(-95 * len(latencies) // 100) - 1],
    ),
    (
        "you sorted the slowest to the front: the P95 has few behind it, not before it",
        "sorted down",
        lambda latencies: sorted(latencies)[::-1][-(-95 * len(latencies) // 100) - 1],
    ),
    (
        "your rank is one too small: of 20 sorted latencies the 19th is the P95, not the 18th",
        "rank too small",
        at_rank(lambda n: -(-95 * n // 100) - 1),
    ),
    ("you want the P95 below the limit: a P95 that equals the limit keeps it", "strictly below", lambda x: rank95(x) + 1e-9),
    ("you forget the limit: this is the window with the least busy time of all", "no limit", lambda x: -math.inf),
)  # fmt: skip

# words, slip, what such an answer prefers among the runs that keep the limit
PREFERENCES: tuple[tuple[str, str, Callable[[Measured], Any]], ...] = (
    (
        "two windows cost the same: take the shorter one, which can only be quicker at low load",
        "ties",
        lambda r: (r[2], -r[0]),
    ),
    (
        "two windows cost the same, and you take whichever is first in the list: take the shorter one",
        "ties in the list's order",
        lambda r: r[2],
    ),
    (
        "you take the longest window that keeps the limit. Longer is not always less work: compare the busy times",
        "longest window",
        lambda r: -r[0],
    ),
    (
        "you take the shortest window that keeps the limit, whatever the machine has to do for it",
        "shortest window",
        lambda r: r[0],
    ),
    (
        "you take the window with the smallest P95. The limit is enough: spend what it leaves on less work",
        "smallest P95",
        lambda r: (rank95(r[1]), r[0]),
    ),
    ("this is the window with the most busy time: less work is what the window is for", "most busy", lambda r: (-r[2], r[0])),
)  # fmt: skip


def mistakes(runs: list[Measured], limit: float) -> list[tuple[str, str, float]]:
    """Words, slip, and what an answer with that mistake returns."""

    def measured(measure: Callable[[list[float]], float]) -> float:
        return choose(runs, lambda r: measure(r[1]) <= limit)

    def preferred(prefer: Callable[[Measured], Any]) -> float:
        return choose(runs, lambda r: rank95(r[1]) <= limit, prefer)

    found = [(words, slip, measured(measure)) for words, slip, measure in MEASURES]
    everybody = rank95([x for run in runs for x in run[1]])
    together = "you take one P95 of all windows together: each window has its own"
    found.insert(0, (together, "together", choose(runs, lambda run: everybody <= limit)))
    return found[:-1] + [(words, slip, preferred(prefer)) for words, slip, prefer in PREFERENCES] + found[-1:]


def judge_window(args: Args, got: Any) -> Finding | None:
    runs, limit = args
    right = choose(runs, lambda r: rank95(r[1]) <= limit)
    if got == right and type(got) is not bool:
        return None
    table = "; ".join(f"window {w}: P95 {rank95(latencies):g}, busy {busy:g}" for w, latencies, busy in runs)

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(CHOICE, f"{cause}. ({table}; limit {limit:g})", slip, right, got)

    if isinstance(got, bool) or not isinstance(got, (int, float)):
        what = "more than a number: return the window alone" if isinstance(got, list) else "no number: return a window, or -1"
        return wrong(f"this is {what}", "not a window")
    made = [(words, slip) for words, slip, answer in mistakes(runs, limit) if answer == got]
    if got not in [run[0] for run in runs] and got != -1:
        made += [("this is a busy time: return the window that has it", "busy time")] * (got in [run[2] for run in runs])
        made += [("this is a latency: return the window that has it", "latency")] * any(got in run[1] for run in runs)
        made += [("this is its place in the list of runs: return the window itself", "place")] * (got in range(len(runs)))
        made.append(("this is none of the windows that were tried", "no such window"))
    if got == -1:  # also where a mistake explains it: whoever always gives up is told so
        made.append((f"{CANNOT_TELL}: there is a window that keeps the limit", "gives up"))
    unknown = f"{CANNOT_TELL}: another window keeps the limit with less busy time"
    return likeliest(wrong, made or [(unknown, "other window")])


def generate_window(rng: random.Random, size: int) -> tuple:
    runs: list[list[Any]] = []
    n = rng.choice([5, 13, 19, 20, 31, 35, 39, 40, 40, 60])
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
        Case(([[50, [20], 10], [10, [20], 10], [80, [20], 10]], 20), 10),
        Case(([[0, [20] * 20, 12], [5, ONE_SLOW, 11], [10, TWO_SLOW, 10]], 50), 5),
        Case(([[0, [20] * 12 + [90], 10], [5, [50] * 13, 11]], 50), 5),
        Case(([[0, [20] * 33 + [80, 90], 10], [5, [50] * 35, 11]], 50), 5),
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
