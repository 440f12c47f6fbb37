"""Answers to task 04.3, ``best_window``: wrong ones with the words of their diagnoses, and right ones."""

import math

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


WRONG = [
    (lambda runs, limit: pick(runs, limit, lambda x: sum(x) / len(x)), "compare the mean"),
    (lambda runs, limit: pick(runs, limit, max), "the slowest request"),
    (lambda runs, limit: pick(runs, limit, lambda x: np.percentile(x, 95)), "as np.percentile has it"),
    (lambda runs, limit: pick(runs, limit, lambda x: sorted(x)[int(0.95 * len(x))]), "rank is one too large"),
    (lambda runs, limit: pick(runs, limit, lambda x: x[math.ceil(len(x) * 95 / 100) - 1]), "sort them first"),
    (lambda runs, limit: pick(runs, limit - 1), "strictly below"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: -r[0]), "the longest window"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: r[0]), "the shortest window"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: p95(r[1])), "the smallest P95"),
    (pick_always, "forget the limit"),
    (lambda runs, limit: pick(runs, limit, prefer=lambda r: (r[2], -r[0])), "two windows cost the same"),
    (pick_place, "none of the windows"),
    (lambda runs, limit: -1, "there is a window that keeps the limit"),
    (lambda runs, limit: pick(runs, limit, lambda x: np.percentile(x, 95, method="nearest")), "nearest to a P95"),
]

RIGHT = [pick, pick_by_counting, pick_by_inverted_cdf]
