"""Answers to task 04.2, ``batcher``: wrong ones with the words of their diagnoses, and right ones."""

import math


def mended(arrivals, size, window, takes, **spoil):
    """One pass over the arrivals; each wrong answer below changes one thing."""
    free, first, log = 0, 0, []
    while first < len(arrivals):
        due = arrivals[first] + window
        full = arrivals[first + size - 1] if first + size <= len(arrivals) else math.inf
        start = spoil.get("start", lambda free, full, due: max(free, min(full, due)))(free, full, due)
        present = [i for i in range(first, len(arrivals)) if arrivals[i] <= start]
        rows = present[: spoil.get("seats", size)]
        log.append((start, rows))
        first += len(rows)
        free = start + takes
    return log


def tick_by_tick(arrivals, size, window, takes):
    """Lets time pass one tick after the other."""
    now, free, waiting, log = 0, 0, [], []
    coming = list(enumerate(arrivals))
    while coming or waiting:
        while coming and coming[0][1] <= now:
            waiting.append(coming.pop(0))
        if waiting and now >= free and (len(waiting) >= size or now - waiting[0][1] >= window):
            log.append([now, [i for i, _ in waiting[:size]]])
            waiting, free = waiting[size:], now + takes
        now += 1
    return log


def sleeps(arrivals, size, window, takes):
    """The code as it is handed out."""
    now, log, waiting = 0, [], list(range(len(arrivals)))
    while waiting:
        now += window
        batch = [i for i in waiting if arrivals[i] <= now][:size]
        log.append((now, batch))
        waiting = waiting[len(batch) :]
        now += takes
    return log


def runs_empty(arrivals, size, window, takes):
    """Wakes up when the batch is full, but also when nobody has come for a window."""
    log, free = [], 0
    for start, rows in mended(arrivals, size, window, takes):
        if arrivals[rows[0]] > free + window:
            log.append((free + window, []))
        log.append((start, rows))
        free = start + takes
    return log


def no_window(arrivals, size, window, takes):
    """Starts as soon as somebody is there."""
    return tick_by_tick(arrivals, size, 0, takes)


def static(arrivals, size, window, takes):
    def start(free, full, due):
        return max(free, full if full < math.inf else due, arrivals[-1] if full == math.inf else 0)

    return mended(arrivals, size, window, takes, start=start)


def window_from_free(arrivals, size, window, takes):
    """A window for each batch that begins when the machine is free and somebody is there."""
    free, waiting, log = 0, list(range(len(arrivals))), []
    while waiting:
        begins = max(free, arrivals[waiting[0]])
        full = arrivals[waiting[size - 1]] if len(waiting) >= size else math.inf
        start = max(free, min(full, begins + window))
        rows = [i for i in waiting if arrivals[i] <= start][:size]
        log.append((start, rows))
        waiting, free = waiting[len(rows) :], start + takes
    return log


def loses_last(arrivals, size, window, takes):
    return mended(arrivals, size, window, takes)[:-1] or [(arrivals[0], [0])][:0]


def closed_at_due(arrivals, size, window, takes):
    """Only those who came while the oldest waited, although the machine was busy until later."""
    free, first, log = 0, 0, []
    while first < len(arrivals):
        full = arrivals[first + size - 1] if first + size <= len(arrivals) else math.inf
        until = min(full, arrivals[first] + window)
        rows = [i for i in range(first, len(arrivals)) if arrivals[i] <= until][:size]
        log.append((max(free, until), rows))
        free, first = log[-1][0] + takes, first + len(rows)
    return log


WRONG = [
    (sleeps, "sleeps on: nobody else has a seat"),
    (runs_empty, "it is empty"),
    (no_window, "starts too early"),
    (static, "waits until it is full"),
    (window_from_free, "when the machine became free"),
    (loses_last, "requests are lost"),
    (lambda a, s, w, t: mended(a, s, w, 0), "while the batch before it runs"),
    (lambda a, s, w, t: mended(a, s, w, t, seats=1), "is left out"),
    (lambda a, s, w, t: mended(a, s, w, t, seats=s + 1), "size is"),
    (closed_at_due, "While the machine is busy the batch is still open"),
]

RIGHT = [mended, tick_by_tick]
