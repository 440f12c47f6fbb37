"""Answers to task 04.2, ``batcher``: wrong ones with the words of their diagnoses, and right ones."""

import bisect
import collections
import heapq
import math

import numpy as np


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


def numbers_from_one(arrivals, size, window, takes):
    return [(start, [i + 1 for i in rows]) for start, rows in mended(arrivals, size, window, takes)]


def arrival_times(arrivals, size, window, takes):
    return [(start, [arrivals[i] for i in rows]) for start, rows in mended(arrivals, size, window, takes)]


def reversed_pairs(arrivals, size, window, takes):
    return [(rows, start) for start, rows in mended(arrivals, size, window, takes)]


def entry_a_request(arrivals, size, window, takes):
    return [(start, i) for start, rows in mended(arrivals, size, window, takes) for i in rows]


def starts_only(arrivals, size, window, takes):
    return [start for start, _ in mended(arrivals, size, window, takes)]


def takes_for_each(arrivals, size, window, takes):
    free, first, log = 0, 0, []
    while first < len(arrivals):
        full = arrivals[first + size - 1] if first + size <= len(arrivals) else math.inf
        start = max(free, min(full, arrivals[first] + window))
        rows = [i for i in range(first, len(arrivals)) if arrivals[i] <= start][:size]
        log.append((start, rows))
        free, first = start + takes * len(rows), first + len(rows)
    return log


def one_tick_late(arrivals, size, window, takes):
    return mended(arrivals, size, window, takes, start=lambda free, full, due: max(free, min(full, due + 1)))


def two_windows(arrivals, size, window, takes):
    return mended(arrivals, size, window, takes, start=lambda free, full, due: max(free, min(full, due + window)))


def knows_the_future(arrivals, size, window, takes):
    """Does not wait for a window where nobody comes any more."""

    def start(free, full, due):
        return max(free, min(full, due, arrivals[-1]))

    return mended(arrivals, size, window, takes, start=start)


def one_seat_empty(arrivals, size, window, takes):
    free, first, log, n = 0, 0, [], len(arrivals)
    while first < n:
        seats = max(1, size - 1)
        full = arrivals[first + seats - 1] if first + seats <= n else math.inf
        start = max(free, min(full, arrivals[first] + window))
        rows = [i for i in range(first, n) if arrivals[i] <= start][:size]
        log.append((start, rows))
        free, first = start + takes, first + len(rows)
    return log


def one_more(arrivals, size, window, takes):
    """Full is when somebody waits outside."""
    free, first, log, n = 0, 0, [], len(arrivals)
    while first < n:
        full = arrivals[first + size] if first + size < n else math.inf
        start = max(free, min(full, arrivals[first] + window))
        rows = [i for i in range(first, n) if arrivals[i] <= start][:size]
        log.append((start, rows))
        free, first = start + takes, first + len(rows)
    return log


def before_the_tick(arrivals, size, window, takes):
    """Who comes at the very tick of the start is too late, but for the first."""
    free, first, log, n = 0, 0, [], len(arrivals)
    while first < n:
        full = arrivals[first + size - 1] if first + size <= n else math.inf
        start = max(free, min(full, arrivals[first] + window))
        rows = [i for i in range(first, n) if arrivals[i] < start][:size] or [first]
        log.append((start, rows))
        free, first = start + takes, first + len(rows)
    return log


def future_requests(arrivals, size, window, takes):
    log, free = [], 0
    for first in range(0, len(arrivals), size):
        rows = list(range(first, min(first + size, len(arrivals))))
        full = arrivals[rows[-1]] if len(rows) == size else math.inf
        start = max(free, min(full, arrivals[first] + window))
        log.append((start, rows))
        free = start + takes
    return log


def served_twice(arrivals, size, window, takes):
    """Steps on by one request less than the batch held."""
    free, first, log, n = 0, 0, [], len(arrivals)
    while first < n:
        full = arrivals[first + size - 1] if first + size <= n else math.inf
        start = max(free, min(full, arrivals[first] + window))
        rows = [i for i in range(first, n) if arrivals[i] <= start][:size]
        log.append((start, rows))
        free, first = start + takes, first + max(1, len(rows) - 1)
    return log


def by_deque(arrivals, size, window, takes):
    line, free = collections.deque(enumerate(arrivals)), 0
    while line:
        due = line[0][1] + window
        start = max(free, min([due, *[at for _, at in list(line)[size - 1 : size]]]))
        rows = []
        while line and len(rows) < size and line[0][1] <= start:
            rows.append(line.popleft()[0])
        yield start, rows
        free = start + takes


def recursive(arrivals, size, window, takes, first=0, free=0):
    if first == len(arrivals):
        return []
    seats = [*arrivals[first : first + size], *[math.inf] * size][:size]
    start = max(free, min(seats[-1], seats[0] + window))
    last = first + sum(at <= start for at in seats)
    return [(start, range(first, last)), *recursive(arrivals, size, window, takes, last, start + takes)]


def by_events(arrivals, size, window, takes):
    """A heap of moments at which something may begin."""
    events = [(t, "arrival") for t in arrivals] + [(t + window, "due") for t in arrivals]
    heapq.heapify(events)
    served, free, log = 0, 0, []
    while events:
        now, _ = heapq.heappop(events)
        here = sum(t <= now for t in arrivals)
        ready = here - served >= size or served < here and now >= arrivals[served] + window
        if now >= free and ready:
            rows = list(range(served, min(here, served + size)))
            log.append([now, rows])
            served, free = served + len(rows), now + takes
            heapq.heappush(events, (free, "free"))
    return log


def by_bisect(arrivals, size, window, takes):
    first, free, log = 0, 0, []
    while first < len(arrivals):
        begin = (
            min(arrivals[first] + window, *arrivals[first + size - 1 : first + size])
            if first + size <= len(arrivals)
            else arrivals[first] + window
        )
        begin = max(begin, free)
        last = min(first + size, bisect.bisect_right(arrivals, begin))
        log.append((begin, list(range(first, last))))
        first, free = last, begin + takes
    return log


def by_numpy(arrivals, size, window, takes):
    times, free, log = np.array(arrivals), 0, []
    numbers = np.arange(len(times))
    while len(numbers):
        start = max(free, min(times[numbers[0]] + window, times[numbers[size - 1]] if len(numbers) >= size else np.inf))
        batch = numbers[times[numbers] <= start][:size]
        log.append((start, batch))
        numbers, free = numbers[len(batch) :], start + takes
    return log


WRONG = [
    (sleeps, "sleeps on: nobody else has a seat"),
    (runs_empty, "it is empty"),
    (no_window, "as soon as somebody is there"),
    (static, "waits until it is full"),
    (window_from_free, "when the machine became free"),
    (loses_last, "has not been served"),
    (lambda a, s, w, t: mended(a, s, w, 0), "while the batch before it runs"),
    (lambda a, s, w, t: mended(a, s, w, t, seats=1), "a seat is free"),
    (lambda a, s, w, t: mended(a, s, w, t, seats=s + 1), "size is"),
    (closed_at_due, "While the machine is busy the batch is still open"),
    (numbers_from_one, "your numbers start at 1"),
    (arrival_times, "these are the arrivals"),
    (reversed_pairs, "the wrong way round"),
    (entry_a_request, "there is no entry a request"),
    (starts_only, "which is no pair"),
    (takes_for_each, "not for each request"),
    (one_tick_late, "one tick late"),
    (two_windows, "two windows"),
    (knows_the_future, "You cannot know that beforehand"),
    (one_seat_empty, "with one seat empty"),
    (one_more, "waits for one request more"),
    (before_the_tick, "at this very tick"),
    (future_requests, "which has not come yet"),
    (served_twice, "has been served before"),
]

RIGHT = [mended, tick_by_tick, by_deque, recursive, by_events, by_bisect, by_numpy]
