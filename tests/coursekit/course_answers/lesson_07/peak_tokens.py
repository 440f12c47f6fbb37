"""Answers to task 07.3, ``peak_tokens``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np


def together(requests, step):
    return sum(held + step for held, left in requests if left >= step)


def peak_right(requests):
    return max((together(requests, left) for _, left in requests), default=0)


def peak_all_full(requests):
    return sum(held + left for held, left in requests)


def peak_longest_added(requests):
    return sum(held for held, _ in requests) + max((left for _, left in requests), default=0)


def peak_nobody_leaves(requests):
    """Those with the fewest steps left are added up first."""
    used = peak = 0
    for i, (held, left) in enumerate(sorted(requests, key=lambda r: r[1]), 1):
        used += held
        peak = max(peak, used + i * left)
    return peak


def peak_now(requests):
    return sum(held for held, _ in requests)


def peak_next_step(requests):
    return sum(held + 1 for held, _ in requests)


def peak_leaves_late(requests):
    last = max((left for _, left in requests), default=0)
    return max((sum(h + s for h, n in requests if n >= s - 1) for s in range(1, last + 2)), default=0)


def peak_leaves_early(requests):
    last = max((left for _, left in requests), default=0)
    return max((sum(h + s for h, n in requests if n > s) for s in range(1, last + 1)), default=0)


def peak_largest(requests):
    return max((held + left for held, left in requests), default=0)


def peak_at_the_end(requests):
    return together(requests, max((left for _, left in requests), default=0))


def peak_at_the_first_end(requests):
    return together(requests, min((left for _, left in requests), default=0))


def peak_one_token_a_step(requests):
    last = max((left for _, left in requests), default=0)
    return max((sum(h for h, n in requests if n >= s) + s for s in range(1, last + 1)), default=0)


def peak_nothing_freed(requests):
    last = max((left for _, left in requests), default=0)
    steps = range(1, last + 1)
    return max((sum(h for h, _ in requests) + s * sum(n >= s for _, n in requests) for s in steps), default=0)


def peak_last_token_missing(requests):
    return max((together(requests, left) - sum(n >= left for _, n in requests) for _, left in requests), default=0)


def peak_step(requests):
    return max((left for _, left in sorted(requests, key=lambda r: r[1])), key=lambda s: together(requests, s), default=0)


def peak_summed(requests):
    return sum(together(requests, s) for s in range(1, max((n for _, n in requests), default=0) + 1))


def peak_every_step(requests):
    return [together(requests, s) for s in range(1, max((n for _, n in requests), default=0) + 1)]


def peak_of_nobody(requests):
    return max(together(requests, left) for _, left in requests)


def peak_two_maxima(requests):
    return max((h for h, _ in requests), default=0) + max((n for _, n in requests), default=0)


def peak_last_step_missing(requests):
    last = max((n for _, n in requests), default=0)
    return max((together(requests, s) for s in range(last)), default=0)


def by_steps(requests):
    """Play it, step by step."""
    live, peak = [list(r) for r in requests], 0
    while live:
        live = [[held + 1, left - 1] for held, left in live]
        peak = max(peak, sum(held for held, _ in live))
        live = [r for r in live if r[1]]
    return peak


def sorted_downwards(requests):
    """LightLLM's: the i with most steps left, at the moment when the last of them leaves."""
    used = peak = 0
    for i, (held, left) in enumerate(sorted(requests, key=lambda r: -r[1]), 1):
        used += held
        peak = max(peak, used + i * left)
    return peak


def by_numpy(requests):
    if not requests:
        return 0
    held, left = np.array(requests).T
    steps = np.arange(1, left.max() + 1)[:, None]
    return int(np.where(left >= steps, held + steps, 0).sum(1).max())


def by_sums(requests):
    order = sorted(requests, key=lambda r: r[1], reverse=True)
    helds = itertools.accumulate(held for held, _ in order)
    return max((used + (i + 1) * order[i][1] for i, used in enumerate(helds)), default=0)


def recursive(requests):
    """Until the next one leaves all grow; then the rest."""
    if not requests:
        return 0
    next_end = min(left for _, left in requests)
    rest = [(held + next_end, left - next_end) for held, left in requests if left > next_end]
    return max(sum(held + next_end for held, _ in requests), recursive(rest))


WRONG = [
    (peak_all_full, "at its own end"),
    (peak_longest_added, "each live request takes one"),
    (peak_nobody_leaves, "nobody leaves"),
    (peak_now, "what is held now"),
    (peak_next_step, "after the next step"),
    (peak_leaves_late, "in the step after it"),
    (peak_leaves_early, "it leaves after that step"),
    (peak_largest, "the largest of them alone"),
    (peak_at_the_end, "when the last one ends"),
    (peak_at_the_first_end, "when the first one leaves"),
    (peak_one_token_a_step, "however many are there"),
    (peak_nothing_freed, "frees nothing"),
    (peak_last_token_missing, "the token of the step itself is missing"),
    (peak_step, "the step of the peak"),
    (peak_summed, "added up: take the largest"),
    (peak_every_step, "return one number"),
    (peak_of_nobody, "the peak is 0"),
    (peak_two_maxima, "belong to different requests"),
    (peak_last_step_missing, "the last step is missing"),
]

RIGHT = [peak_right, by_steps, sorted_downwards, by_numpy, by_sums, recursive]
