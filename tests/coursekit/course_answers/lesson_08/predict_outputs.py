"""Answers to task 08.1, ``predict_outputs``: wrong ones with the words of their diagnoses, and right ones."""

from bisect import bisect_right
from math import log
from statistics import mean, median


def cut(history, k):
    """(where each of k buckets begins, its answers)."""
    served = sorted(history)
    parts = [served[i * len(served) // k : (i + 1) * len(served) // k] for i in range(k)]
    return [part[0][0] for part in parts], [[o for _, o in part] for part in parts]


def by_rank(history, prompts):
    starts, answers = cut(history, 10)
    means = [mean(part) for part in answers]
    return [means[max(0, bisect_right(starts, p) - 1)] for p in prompts]


def nearest_thirty(history, prompts):
    return [mean(o for _, o in sorted(history, key=lambda row: abs(row[0] - p))[:30]) for p in prompts]


def smoothed(history, prompts):
    """Everybody counts, the less the farther away on a logarithmic scale."""

    def weight(a, b):
        return 2.0 ** -((log(a / b) / 0.15) ** 2)

    found = []
    for p in prompts:
        weights = [weight(q, p) + 1e-9 for q, _ in history]
        found.append(sum(w * o for w, (_, o) in zip(weights, history)) / sum(weights))
    return found


def equal_widths(history, prompts):
    """Buckets of equal width on a logarithmic scale; an empty one asks its neighbour."""
    rows = {}
    for p, o in history:
        rows.setdefault(round(2.5 * log(p)), []).append(o)
    return [median(rows[min(rows, key=lambda b: abs(b - 2.5 * log(p)))]) for p in prompts]


def split_again(history, prompts):
    """A regression tree: cut where the two halves differ most, until parts are small."""

    def grow(rows):
        rows = sorted(rows)
        inside = mean(log(o) for _, o in rows)
        if len(rows) < 50:
            return lambda p: inside
        best = None
        for i in range(20, len(rows) - 20, 2):
            if rows[i][0] == rows[i - 1][0]:
                continue
            left, right = [log(o) for _, o in rows[:i]], [log(o) for _, o in rows[i:]]
            gain = i * (len(rows) - i) * (sum(left) / i - sum(right) / (len(rows) - i)) ** 2
            if best is None or gain > best[0]:
                best = gain, i
        if best is None:
            return lambda p: inside
        low, high, border = grow(rows[: best[1]]), grow(rows[best[1] :]), rows[best[1]][0]
        return lambda p: low(p) if p < border else high(p)

    tree = grow(history)
    return [tree(p) for p in prompts]


def by_numpy(history, prompts):
    import numpy as np

    served = np.array(sorted(history), float)
    edges = np.quantile(served[:, 0], np.linspace(0, 1, 13)[1:-1])
    place, wanted = np.searchsorted(edges, served[:, 0], "right"), np.searchsorted(edges, prompts, "right")
    logs = np.array([np.log(served[place == k, 1]).mean() for k in range(12)])
    return np.exp(logs[wanted])


def overall_mean(history, prompts):
    return [mean(o for _, o in history)] * len(prompts)


def prompt_itself(history, prompts):
    return list(prompts)


def straight_line(history, prompts):
    x, y = mean(p for p, _ in history), mean(o for _, o in history)
    slope = sum((p - x) * (o - y) for p, o in history) / sum((p - x) ** 2 for p, _ in history)
    return [y + slope * (p - x) for p in prompts]


def line_of_logarithms(history, prompts):
    x, y = mean(log(p) for p, _ in history), mean(log(o) for _, o in history)
    slope = sum((log(p) - x) * (log(o) - y) for p, o in history) / sum((log(p) - x) ** 2 for p, _ in history)
    return [2.718281828 ** (y + slope * (log(p) - x)) for p in prompts]


def bucket_numbers(history, prompts):
    starts, _ = cut(history, 10)
    return [max(0, bisect_right(starts, p) - 1) for p in prompts]


def two_halves(history, prompts):
    starts, answers = cut(history, 2)
    return [mean(answers[p >= starts[1]]) for p in prompts]


def exact_lengths(history, prompts):
    known, everybody = {}, mean(o for _, o in history)
    for p, o in history:
        known.setdefault(p, []).append(o)
    return [mean(known[p]) if p in known else everybody for p in prompts]


def one_neighbour(history, prompts):
    return [min(history, key=lambda row: abs(row[0] - p))[1] for p in prompts]


def in_order_of_size(history, prompts):
    return sorted(by_rank(history, prompts))


def prompt_and_answer(history, prompts):
    starts, _ = cut(history, 10)
    _, answers = cut(history, 10)
    return [p + mean(answers[max(0, bisect_right(starts, p) - 1)]) for p in prompts]


def wrong_column(history, prompts):
    return by_rank([[o, p] for p, o in history], prompts)


def turned_round(history, prompts):
    return [-x for x in by_rank(history, prompts)]


def no_first_bucket(history, prompts):
    starts, answers = cut(history, 10)
    return [mean(answers[bisect_right(starts, p)]) for p in prompts]


def looked_up(history, prompts):
    known = {p: o for p, o in history}
    return [known[p] for p in prompts]


def only_the_history(history, prompts):
    return by_rank(history, [p for p, _ in history])


def with_prompts(history, prompts):
    return list(zip(prompts, by_rank(history, prompts)))


def as_a_dict(history, prompts):
    return dict(zip(prompts, by_rank(history, prompts)))


def empty_buckets(history, prompts):
    """Buckets of equal width in tokens, of which some hold nobody."""
    widths = [[o for p, o in history if p // 20 == k] for k in range(100)]
    return [mean(widths[p // 20]) for p in prompts]


def infinite_buckets(history, prompts):
    widths = [[o for p, o in history if p // 20 == k] for k in range(100)]
    return [mean(widths[p // 20]) if widths[p // 20] else float("inf") for p in prompts]


def by_chance(history, prompts):
    return [(p * 7919) % 499 for p in prompts]


WRONG = [
    (overall_mean, "it puts nobody in front of anybody"),
    (prompt_itself, "these are the lengths of the prompts"),
    (straight_line, "on one straight line"),
    (line_of_logarithms, "always gets more in your answer, or always less"),
    (bucket_numbers, "these are the numbers of buckets"),
    (two_halves, "only two different numbers"),
    (exact_lengths, "Hardly a prompt has exactly the length"),
    (one_neighbour, "A single answer says little"),
    (in_order_of_size, "your predictions come in order of size"),
    (prompt_and_answer, "prompt and answer together"),
    (wrong_column, "the first of a pair is the prompt, the second the answer"),
    (turned_round, "the order is turned round"),
    (no_first_bucket, "a list is shorter than your index"),
    (looked_up, "do not look it up"),
    (only_the_history, "one for each of the history"),
    (with_prompts, "a prediction is one number"),
    (as_a_dict, "this is no list"),
    (empty_buckets, "the mean of nobody"),
    (infinite_buckets, "is there a bucket with nobody in it?"),
    (by_chance, "no better than chance"),
]

RIGHT = [by_rank, nearest_thirty, smoothed, equal_widths, split_again, by_numpy]
