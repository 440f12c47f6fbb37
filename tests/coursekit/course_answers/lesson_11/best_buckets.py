"""Answers to task 11.3, ``best_buckets``: wrong ones with the words of their diagnoses, and right ones."""

from functools import cache
from itertools import combinations


def padding(counts, sizes):
    return sum(times * (min(s for s in sizes if s >= rows) - rows) for rows, times in enumerate(counts) if rows)


def forwards(counts, graphs):
    """best[n]: (padding, sizes) of the batches up to n rows, with one size more in each round."""
    most = len(counts) - 1
    best = {0: (0, [])}
    for _ in range(graphs):
        better = dict(best)
        for n in range(1, most + 1):
            for low, (cost, sizes) in best.items():
                if low < n:
                    total = cost + sum(counts[rows] * (n - rows) for rows in range(low + 1, n + 1))
                    if n not in better or total < better[n][0]:
                        better[n] = total, [*sizes, n]
        best = better
    return best[most][1]


def recursive(counts, graphs):
    @cache
    def best(size, left):
        alone = sum(counts[rows] * (size - rows) for rows in range(1, size))
        options = [(alone, (size,))]
        if left > 1:
            for low in range(1, size):
                cost, sizes = best(low, left - 1)
                options.append((cost + sum(counts[r] * (size - r) for r in range(low + 1, size)), (*sizes, size)))
        return min(options)

    return list(best(len(counts) - 1, graphs)[1])


def all_pairs(counts, graphs):
    """Every choice of sizes below the largest; the calls are small enough."""
    most = len(counts) - 1
    occurring = [rows for rows in range(1, most) if counts[rows]]
    chosen = min(graphs - 1, len(occurring))
    return min(([*some, most] for some in combinations(occurring, chosen)), key=lambda sizes: padding(counts, sizes))


def with_prefix_sums(counts, graphs):
    import numpy as np

    most = len(counts) - 1
    steps, rows = np.cumsum(counts), np.cumsum(np.arange(most + 1) * np.array(counts))
    cost, back = np.full((graphs + 1, most + 1), np.inf), np.zeros((graphs + 1, most + 1), int)
    cost[:, 0] = 0
    for g in range(1, graphs + 1):
        for n in range(1, most + 1):
            options = [cost[g - 1, low] + n * (steps[n] - steps[low]) - (rows[n] - rows[low]) for low in range(n)]
            back[g, n] = int(np.argmin(options))
            cost[g, n] = options[back[g, n]]
    sizes, n, g = [], most, graphs
    while n:
        sizes.append(n)
        n, g = int(back[g, n]), g - 1
    return sizes


def shortest_path(counts, graphs):
    """Sizes as places, jumps between them as roads: Bellman and Ford, as many rounds as graphs."""
    most = len(counts) - 1
    roads = [
        (low, high, sum(counts[r] * (high - r) for r in range(low + 1, high)))
        for high in range(1, most + 1)
        for low in range(high)
    ]
    reach = {0: (0, ())}
    for _ in range(graphs):
        new = dict(reach)
        for low, high, cost in roads:
            if low in reach:
                way = (reach[low][0] + cost, (high, *reach[low][1]))
                new[high] = min(new.get(high, way), way)
        reach = new
    return list(reach[most][1])


def commonest(counts, graphs):
    ranked = sorted(range(1, len(counts) - 1), key=lambda rows: -counts[rows])
    return [*ranked[: graphs - 1], len(counts) - 1]


def equal(counts, graphs):
    most = len(counts) - 1
    return [-(-most * (i + 1) // graphs) for i in range(graphs)]


def powers(counts, graphs):
    most = len(counts) - 1
    some = [1 << i for i in range(most.bit_length()) if 1 << i < most]
    return [*some[max(0, len(some) - graphs + 1) :], most]


def the_smallest(counts, graphs):
    return [*range(1, graphs), len(counts) - 1]


def the_largest(counts, graphs):
    return list(range(len(counts) - graphs, len(counts)))


def equal_shares(counts, graphs):
    total, sizes = sum(counts), []
    for i in range(1, graphs):
        sizes.append(next(n for n in range(1, len(counts)) if sum(counts[: n + 1]) * graphs >= total * i))
    return sorted({*sizes, len(counts) - 1})


def greedy(counts, graphs):
    most = len(counts) - 1
    sizes = [most]
    while len(sizes) < graphs:
        sizes.append(min((n for n in range(1, most) if n not in sizes), key=lambda n: padding(counts, [*sizes, n])))
    return sizes


def not_weighed(counts, graphs):
    return forwards([0] + [1] * (len(counts) - 1), graphs)


def one_for_all(counts, graphs):
    return [len(counts) - 1]


def without_largest(counts, graphs):
    """The best sizes for all batches but the largest."""
    return forwards([*counts[:-2], counts[-2] + 1], graphs) if len(counts) > 2 else []


def every_size(counts, graphs):
    return list(range(1, len(counts)))


def from_zero(counts, graphs):
    return [0, *forwards(counts, max(1, graphs - 1))]


def one_larger(counts, graphs):
    return [size + 1 for size in forwards(counts, graphs)]


def twice(counts, graphs):
    found = forwards(counts, graphs)
    return [*found, found[-1]]


def one_left_over(counts, graphs):
    return forwards(counts, max(1, graphs - 1)) if graphs > 2 else forwards(counts, graphs)


def how_much(counts, graphs):
    return padding(counts, forwards(counts, graphs))


def unguarded(counts, graphs):
    return forwards(counts, graphs) if graphs > 1 else [min([])]


WRONG = [
    (commonest, "occur most often"),
    (equal, "at equal distances"),
    (powers, "these are powers of two"),
    (the_smallest, "these are the smallest sizes"),
    (the_largest, "these are the largest sizes"),
    (equal_shares, "evens out steps, not padding"),
    (greedy, "one size after the other"),
    (not_weighed, "weigh each size by its steps"),
    (one_for_all, "use all the graphs"),
    (without_largest, "is always among the sizes"),
    (every_size, "graphs may be recorded"),
    (from_zero, "sizes begin at 1"),
    (one_larger, "larger than any batch"),
    (twice, "named twice"),
    (one_left_over, "one more would save padding"),
    (how_much, "return the sizes as a list"),
    (unguarded, "nothing to choose"),
]

RIGHT = [forwards, recursive, all_pairs, with_prefix_sums, shortest_path]
