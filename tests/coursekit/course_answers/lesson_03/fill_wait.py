"""Answers to task 03.2, ``fill_wait``: wrong ones with the words of their diagnoses, and right ones."""

from .idle_fraction import cut


def fill(arrivals, size):
    return [b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_since_first(arrivals, size):
    return [a - b[0] for b in cut(arrivals, size) for a in b]


def fill_same(arrivals, size):
    return [b[-1] - b[0] for b in cut(arrivals, size) for _ in b]


def fill_times(arrivals, size):
    return [b[-1] for b in cut(arrivals, size) for _ in b]


def fill_sliding(arrivals, size):
    return [arrivals[min(i + size - 1, len(arrivals) - 1)] - a for i, a in enumerate(arrivals)]


def fill_next_gap(arrivals, size):
    return [b - a for a, b in zip(arrivals, [*arrivals[1:], *arrivals[-1:]])]


def fill_loses_last(arrivals, size):
    return fill(arrivals[: len(arrivals) - len(arrivals) % size], size)


def fill_for_ever(arrivals, size):
    return [None if len(b) < size else b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_last_at_once(arrivals, size):
    return [0.0 if len(b) < size else b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_negative(arrivals, size):
    return [-w for w in fill(arrivals, size)]


def fill_milliseconds(arrivals, size):
    return [1000 * w for w in fill(arrivals, size)]


def fill_one_more(arrivals, size):
    return fill(arrivals, size + 1)


def fill_formula(arrivals, size):
    return (size - 1) / 2 * (arrivals[-1] / len(arrivals)) if arrivals else 0.0


def fill_reaches_past(arrivals, size):
    return [arrivals[i // size * size + size - 1] - a for i, a in enumerate(arrivals)]


def fill_backwards(arrivals, size):
    """From the last to the first: remember when the batch of the one before starts."""
    waits, start = [], 0.0
    for i in range(len(arrivals) - 1, -1, -1):
        if i == len(arrivals) - 1 or (i + 1) % size == 0:
            start = arrivals[i]
        waits.insert(0, start - arrivals[i])
    return waits


def fill_by_index(arrivals, batch_size):
    size, last = batch_size, len(arrivals)
    return [arrivals[min(arrivals.index(a) // size * size + size, last) - 1] - a for a in arrivals]


def fill_whole_seconds(arrivals, batch_size):
    starts = [arrivals[min(i // batch_size * batch_size + batch_size, len(arrivals)) - 1] for i in range(len(arrivals))]
    return [int(start - a) for start, a in zip(starts, arrivals)]


WRONG = [
    (fill_since_first, "since the first request of the batch came"),
    (fill_same, "the same wait"),
    (fill_times, "the time at which the batch starts"),
    (fill_sliding, "as if a batch began with it"),
    (fill_next_gap, "gap to the next arrival"),
    (fill_loses_last, "its requests are missing"),
    (fill_for_ever, "waits for ever"),
    (fill_last_at_once, "start each of its requests at once"),
    (fill_negative, "negative"),
    (fill_milliseconds, "milliseconds"),
    (fill_one_more, "one too large"),
    (fill_formula, "one flat list"),
    (fill_reaches_past, "reaches past the last arrival"),
    (fill_by_index, "finds the first of them twice"),
    (fill_whole_seconds, "cut to whole seconds"),
]

RIGHT = [fill, fill_backwards]
