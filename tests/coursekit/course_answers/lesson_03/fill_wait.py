"""Answers to task 03.2, ``fill_wait``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np

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


def fill_list_a_batch(arrivals, size):
    return [[b[-1] - a for a in b] for b in cut(arrivals, size)]


def fill_one_a_batch(arrivals, size):
    return [b[-1] - b[0] for b in cut(arrivals, size)]


def fill_between(arrivals, size):
    return [b - a for a, b in itertools.pairwise(arrivals)]


def fill_one_less(arrivals, size):
    return fill(arrivals, max(1, size - 1))


def fill_next_batch(arrivals, size):
    """Notices that a batch is full when the next request comes."""
    starts = [b[0] for b in cut(arrivals, size)][1:] + arrivals[-1:]
    return [start - a for start, b in zip(starts, cut(arrivals, size)) for a in b]


def fill_last_of_all(arrivals, size):
    return [arrivals[-1] - a for a in arrivals]


def fill_mean_arrival(arrivals, size):
    return [sum(b) / len(b) - a for b in cut(arrivals, size) for a in b]


def fill_mean_wait(arrivals, size):
    return [sum(b[-1] - x for x in b) / len(b) for b in cut(arrivals, size) for _ in b]


def fill_reversed(arrivals, size):
    return [w for b in cut(arrivals, size) for w in sorted(b[-1] - a for a in b)]


def fill_arrivals(arrivals, size):
    return arrivals


def fill_rounded(arrivals, size):
    return [round(w) for w in fill(arrivals, size)]


def fill_pops(arrivals, size):
    waits = []
    while arrivals:
        batch = [arrivals.pop(0) for _ in range(min(size, len(arrivals)))]
        waits += [batch[-1] - a for a in batch]
    return waits


def fill_prints(arrivals, size):
    print(fill(arrivals, size))


def fill_numpy(arrivals, size):
    at = np.arange(len(arrivals))
    return np.array(arrivals)[np.minimum(at // size * size + size, len(arrivals)) - 1] - arrivals if arrivals else np.zeros(0)


def fill_generator(arrivals, size):
    for i, a in enumerate(arrivals):
        yield arrivals[min(i - i % size + size, len(arrivals)) - 1] - a


def fill_clock(arrivals, size):
    """Lets people come one after the other, and a full batch leave."""
    waits, here = {}, []
    for i, a in enumerate(arrivals):
        here.append(i)
        if len(here) == size or i == len(arrivals) - 1:
            waits |= {j: a - arrivals[j] for j in here}
            here = []
    return list(waits.values())


def fill_gaps(arrivals, size):
    """Adds the gaps up, from the end of each batch."""
    waits = []
    for b in cut(arrivals, size):
        gaps = [y - x for x, y in itertools.pairwise(b)]
        waits += [*itertools.accumulate(reversed(gaps), initial=0.0)][::-1]
    return waits


def fill_recursive(arrivals, size):
    if not arrivals:
        return ()
    first, rest = arrivals[:size], arrivals[size:]
    return (*map(first[-1].__sub__, first), *fill_recursive(rest, size))


def fill_formula_for_all(arrivals, size):
    gaps = [b - a for a, b in itertools.pairwise(arrivals)]
    return [(size - 1) / 2 * sum(gaps) / max(1, len(gaps))] * len(arrivals)


def fill_text(arrivals, size):
    return [f"{wait:.1f}" for wait in fill(arrivals, size)]


def fill_nan(arrivals, size):
    return [float("nan")] * len(arrivals)


def fill_by_key(arrivals, size):
    return list(dict(zip(arrivals, fill(arrivals, size))).values())


def fill_numbered(arrivals, size):
    """The number of the last one of each batch, for all at once."""
    numbers = np.arange(len(arrivals))
    last = np.minimum((numbers // size + 1) * size, len(arrivals)) - 1
    return np.array(arrivals)[last] - np.array(arrivals) if len(arrivals) else []


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
    (fill_formula_for_all, "the formula for the mean"),
    (fill_reaches_past, "reaches past the last arrival"),
    (fill_by_index, "finds the first of them twice"),
    (fill_whole_seconds, "cut to whole seconds"),
    (fill_list_a_batch, "a list for each batch"),
    (fill_one_a_batch, "one number for each batch"),
    (fill_between, "times between two of them"),
    (fill_one_less, "one too small"),
    (fill_next_batch, "the first of the next batch"),
    (fill_last_of_all, "the last arrival of all"),
    (fill_mean_arrival, "the mean arrival"),
    (fill_mean_wait, "its mean wait"),
    (fill_reversed, "stand in reverse"),
    (fill_arrivals, "these are the arrivals"),
    (fill_rounded, "rounded to whole seconds"),
    (fill_pops, "changes the lists that it is given"),
    (fill_prints, "is there a `return` line"),
    (fill_text, "a wait is '"),
    (fill_nan, "a wait is nan"),
    (fill_by_key, "as in a dict with the arrival as its key"),
]

RIGHT = [fill, fill_backwards, fill_numpy, fill_generator, fill_clock, fill_gaps, fill_recursive, fill_numbered]
