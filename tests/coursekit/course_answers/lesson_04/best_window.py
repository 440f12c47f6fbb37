"""Answers to task 04.3, ``best_window``: wrong ones with the words of their diagnoses, and right ones."""

import heapq
import math
import statistics

import numpy as np


def p95(latencies):
    ordered = sorted(latencies)
    return ordered[math.ceil(len(ordered) * 95 / 100) - 1]


def pick(runs, limit, measure=p95, prefer=lambda r: (r[2], r[0])):
    kept = [r for r in runs if measure(r[1]) <= limit]
    return min(kept, key=prefer)[0] if kept else -1


def pick_by_counting(runs, limit):
    """Without sorting: at most one request in twenty may be slower than the limit."""
    best = None
    for window, latencies, busy in runs:
        slow = sum(x > limit for x in latencies)
        if 20 * slow <= len(latencies) and (best is None or (busy, window) < best):
            best = busy, window
    return best[1] if best else -1


def pick_place(runs, limit):
    found = pick(runs, limit)
    return found if found == -1 else 1000 + [r[0] for r in runs].index(found)


def pick_always(runs, limit):
    return pick(runs, limit) if pick(runs, limit) != -1 else min(runs, key=lambda r: (r[2], r[0]))[0]


def pick_by_inverted_cdf(runs, limit):
    return pick(runs, limit, lambda x: np.percentile(x, 95, method="inverted_cdf"))


def rank(number):
    """A P95 that takes the latency with that number of the sorted list, counted from 1."""
    return lambda latencies: sorted(latencies)[max(1, min(len(latencies), number(len(latencies)))) - 1]


def pick_busy(runs, limit):
    found = pick(runs, limit)
    return next((busy for window, _, busy in runs if window == found), -1)


def pick_latency(runs, limit):
    found = pick(runs, limit)
    return next((p95(latencies) for window, latencies, _ in runs if window == found), -1)


def pick_run(runs, limit):
    found = pick(runs, limit)
    return next((run for run in runs if run[0] == found), -1)


def pick_number(runs, limit):
    found = pick(runs, limit)
    return found if found == -1 else [r[0] for r in runs].index(found)


def pick_none(runs, limit):
    found = pick(runs, limit)
    return None if found == -1 else found


def pick_first_of_equals(runs, limit):
    return pick(runs, limit, prefer=lambda r: r[2])


def pick_without_a_guard(runs, limit):
    return min((busy, window) for window, latencies, busy in runs if p95(latencies) <= limit)[1]


def pick_trimmed(runs, limit):
    """Leaves one in twenty out, and looks at the slowest of the rest."""
    kept = [(busy, window) for window, x, busy in runs if max(sorted(x)[: len(x) - len(x) // 20]) <= limit]
    return min(kept, default=(0, -1))[1]


def pick_heap(runs, limit):
    """The slowest, a few of them, the last of these."""
    line = sorted(runs, key=lambda r: (r[2], r[0]))
    good = (w for w, x, _ in line if heapq.nlargest(len(x) // 20 + 1, x)[-1] <= limit)
    return next(good, -1)


def pick_limit_in_the_list(runs, limit):
    """Where would the limit stand in the sorted list?"""
    best = (math.inf, -1)
    for window, latencies, busy in runs:
        if np.searchsorted(np.sort(latencies), limit, side="right") >= 0.95 * len(latencies):
            best = min(best, (busy, window))
    return best[1]


def pick_share(runs, limit):
    ok = {w: busy for w, x, busy in runs if 100 * sum(t <= limit for t in x) >= 95 * len(x)}
    return min(ok, key=lambda w: (ok[w], w)) if ok else -1


def pick_in_exact_numbers(runs, limit):
    best = []
    for window, latencies, busy in runs:
        n = len(latencies)
        place = (95 * n + 99) // 100 - 1
        if sorted(latencies, reverse=True)[n - 1 - place] <= limit:
            best.append({"window": window, "busy": busy})
    best.sort(key=lambda run: (run["busy"], run["window"]))
    return best[0]["window"] if best else -1


def pick_together(runs, limit):
    everybody = [x for run in runs for x in run[1]]
    return pick(runs, limit, lambda x: p95(everybody))


def pick_from_the_slowest(runs, limit):
    """The slowest first: one in twenty may be passed by."""
    return pick(runs, limit, lambda x: sorted(x, reverse=True)[5 * len(x) // 100])


WRONG = [
    (lambda runs, limit: pick(runs, limit, lambda x: sum(x) / len(x)), "compare the mean"),
    (lambda runs, limit: pick(runs, limit, max), "the slowest request"),
    (lambda runs, limit: pick(runs, limit, lambda x: np.percentile(x, 95)), "as np.percentile has it"),
    (lambda runs, limit: pick(runs, limit, lambda x: sorted(x)[int(0.95 * len(x))]), "rank is one too large"),
    (lambda runs, limit: pick(runs, limit, lambda x: x[math.ceil(len(x) * 95 / 100) - 1]), "sort them first"),
    (lambda runs, limit: pick(runs, limit - 1), "a P95 that equals the limit keeps it"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: -r[0]), "the longest window"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: r[0]), "the shortest window"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: p95(r[1])), "the smallest P95"),
    (pick_always, "forget the limit"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: (r[2], -r[0])), "two windows cost the same"),
    (pick_place, "none of the windows"),
    (lambda runs, limit: -1, "there is a window that keeps the limit"),
    (lambda runs, limit: pick(runs, limit, lambda x: np.percentile(x, 95, method="nearest")), "rounded to the nearest"),
    (
        lambda runs, limit: pick(runs, limit, lambda x: statistics.quantiles([*x, *x[:1]][: max(2, len(x))], n=20)[-1]),
        "as statistics",
    ),
    (lambda runs, limit: pick(runs, limit, rank(lambda n: math.ceil(0.95 * n) - 1)), "rank is one too small"),
    (lambda runs, limit: pick(runs, limit, rank(lambda n: int(0.95 * n))), "rank is rounded down"),
    (lambda runs, limit: pick(runs, limit, rank(lambda n: math.ceil(0.9 * n))), "this is a P90"),
    (lambda runs, limit: pick(runs, limit, statistics.median), "compare the median"),
    (lambda runs, limit: pick(runs, limit, lambda x: sorted(x)[::-1][math.ceil(len(x) * 95 / 100) - 1]), "slowest to the front"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: (-r[2], r[0])), "the most busy time"),
    (pick_first_of_equals, "whichever is first in the list"),
    (pick_busy, "this is a busy time"),
    (pick_latency, "this is a latency"),
    (pick_run, "more than a number"),
    (pick_number, "its place in the list"),
    (pick_none, "is it reached on every path"),
    (pick_without_a_guard, "nothing to take the least of"),
    (pick_together, "one P95 of all windows together"),
]

RIGHT = [
    pick,
    pick_by_counting,
    pick_by_inverted_cdf,
    pick_trimmed,
    pick_heap,
    pick_limit_in_the_list,
    pick_share,
    pick_in_exact_numbers,
    pick_from_the_slowest,
]
