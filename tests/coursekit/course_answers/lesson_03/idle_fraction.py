"""Answers to task 03.1, ``idle_fraction``: wrong ones with the words of their diagnoses, and right ones."""

import heapq
import itertools

import numpy as np


def cut(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]


def seats_of(lengths, size):
    return sum(size * max(b) for b in cut(lengths, size))


def idle(lengths, size):
    return 1 - sum(lengths) / seats_of(lengths, size) if lengths else 0.0


def idle_busy(lengths, size):
    return 1 - idle(lengths, size) if lengths else 0.0


def idle_percent(lengths, size):
    return 100 * idle(lengths, size)


def idle_count(lengths, size):
    return seats_of(lengths, size) - sum(lengths)


def idle_one_batch(lengths, size):
    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def idle_rows_only(lengths, size):
    return 1 - sum(lengths) / sum(len(b) * max(b) for b in cut(lengths, size)) if lengths else 0.0


def idle_mean_of_shares(lengths, size):
    shares = [1 - sum(b) / (size * max(b)) for b in cut(lengths, size)]
    return sum(shares) / len(shares) if shares else 0.0


def idle_sorted(lengths, size):
    return idle(sorted(lengths), size)


def idle_loses_last(lengths, size):
    return idle(lengths[: len(lengths) - len(lengths) % size], size)


def idle_no_empty(lengths, size):
    return 1 - sum(lengths) / seats_of(lengths, size)


def idle_step_by_step(lengths, size):
    """Walk through the steps, and count the seats that hold nobody or somebody who is done."""
    empty = seats = 0
    waiting = list(lengths)
    while waiting:
        batch, waiting = waiting[:size], waiting[size:]
        for step in range(max(batch)):
            seats += size
            empty += size - sum(step < n for n in batch)
    return empty / seats if seats else 0


def idle_over_tokens(lengths, size):
    return (seats_of(lengths, size) - sum(lengths)) / sum(lengths) if lengths else 0.0


def idle_negative(lengths, size):
    return -idle(lengths, size)


def idle_whole(lengths, size):
    return (seats_of(lengths, size) - sum(lengths)) // seats_of(lengths, size) if lengths else 0


def idle_rounded(lengths, size):
    return round(idle(lengths, size), 2)


def idle_longest_of_all(lengths, size):
    return 1 - sum(lengths) / (len(cut(lengths, size)) * size * max(lengths)) if lengths else 0.0


def idle_refills(lengths, size):
    free = [0] * size
    for n in lengths:
        heapq.heapreplace(free, free[0] + n)
    return 1 - sum(lengths) / (size * max(free)) if lengths else 0.0


def idle_steps(lengths, size):
    return 1 - sum(lengths) / sum(map(max, cut(lengths, size))) if lengths else 0.0


def idle_last_is_longest(lengths, size):
    return 1 - sum(lengths) / (size * sum(b[-1] for b in cut(lengths, size))) if lengths else 0.0


def idle_empty_is_all(lengths, size):
    return idle(lengths, size) if lengths else 1.0


def idle_list(lengths, size):
    return [1 - sum(b) / (size * max(b)) for b in cut(lengths, size)]


def idle_forgets_return(lengths, size):
    if lengths:
        return idle(lengths, size)


def idle_numpy(lengths, size):
    """A rectangle of batches, filled up with answers of no token."""
    seats = np.array([*lengths, *[0] * (-len(lengths) % size)], dtype=float).reshape(-1, size)
    whole = seats.max(axis=1, keepdims=True) * size if lengths else np.zeros((0, 1))
    return 1 - seats.sum() / whole.sum() if lengths else np.float32(0)


def idle_running_max(lengths, size):
    """One pass: remembers the longest of the batch that is being filled."""
    seats = longest = 0
    for i, n in enumerate(lengths):
        longest = n if i % size == 0 else max(longest, n)
        if (i + 1) % size == 0 or i + 1 == len(lengths):
            seats += longest * size
    return (seats - sum(lengths)) / seats if seats else 0.0


def idle_weighed(lengths, size):
    """The mean of the batches' shares, each weighed with its steps."""
    batches = list(cut(lengths, size))
    steps = [max(b) for b in batches]
    shares = [1 - sum(b) / (size * n) for b, n in zip(batches, steps)]
    return sum(s * n for s, n in zip(shares, steps)) / sum(steps) if steps else 0.0


def idle_by_step(lengths, size):
    """How many answers are longer than t, for each step t of each batch."""
    seats = [sum(n > t for n in b) for b in cut(lengths, size) for t in range(max(b))]
    return sum(size - busy for busy in seats) / max(1, size * len(seats))


def idle_islice(lengths, size):
    line, idle_seats, seats = iter(lengths), 0, 0
    while batch := list(itertools.islice(line, size)):
        batch += [0] * (size - len(batch))
        idle_seats += sum(max(batch) - n for n in batch)
        seats += size * max(batch)
    try:
        return idle_seats / seats
    except ZeroDivisionError:
        return 0


def idle_seats_of_one_batch(lengths, size):
    return 1 - sum(lengths) / (size * max(lengths)) if lengths else 0.0


def idle_shortest(lengths, size):
    return 1 - sum(lengths) / (size * sum(map(min, cut(lengths, size)))) if lengths else 0.0


def idle_first_batch(lengths, size):
    return idle(lengths[:size], size)


def idle_overwrites(lengths, size):
    seats = 0
    for batch in cut(lengths, size):
        seats = size * max(batch)
    return 1 - sum(lengths) / seats if seats else 0.0


def idle_recursive(lengths, size):
    def seats(rest):
        return size * max(rest[:size]) + seats(rest[size:]) if rest else 0

    return 1 - sum(lengths) / seats(lengths) if lengths else 0


WRONG = [
    (idle_busy, "this is the busy share"),
    (idle_percent, "percentage"),
    (idle_count, "number of idle seats"),
    (idle_one_batch, "all requests into one batch"),
    (idle_seats_of_one_batch, "the seats of one batch only"),
    (idle_rows_only, "left its empty seats out"),
    (idle_mean_of_shares, "mean of the batches' shares"),
    (idle_sorted, "sorted the requests by length"),
    (idle_loses_last, "it runs as well"),
    (idle_no_empty, "no request at all"),
    (idle_over_tokens, "you divide by the tokens"),
    (idle_negative, "this is negative"),
    (idle_whole, "throws the fraction away"),
    (idle_rounded, "rounded to two digits"),
    (idle_longest_of_all, "the longest answer of all"),
    (idle_refills, "A static batch ends whole"),
    (idle_steps, "you count steps"),
    (idle_last_is_longest, "a batch ends with its last request"),
    (idle_empty_is_all, "nothing is idle: 0.0"),
    (idle_list, "one number between 0 and 1"),
    (idle_forgets_return, "is it reached on every path"),
    (idle_shortest, "ends with its shortest answer"),
    (idle_first_batch, "the first batch alone"),
    (idle_overwrites, "the last batch alone"),
]

RIGHT = [idle, idle_step_by_step, idle_numpy, idle_running_max, idle_weighed, idle_by_step, idle_islice, idle_recursive]
