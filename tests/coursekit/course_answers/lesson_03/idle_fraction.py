"""Answers to task 03.1, ``idle_fraction``: wrong ones with the words of their diagnoses, and right ones."""


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


WRONG = [
    (idle_busy, "this is the busy share"),
    (idle_percent, "percentage"),
    (idle_count, "number of idle seats"),
    (idle_one_batch, "all requests into one batch"),
    (idle_rows_only, "left its empty seats out"),
    (idle_mean_of_shares, "mean of the batches' shares"),
    (idle_sorted, "sorted the requests by length"),
    (idle_loses_last, "it runs as well"),
    (idle_no_empty, "no request at all"),
]

RIGHT = [idle, idle_step_by_step]
