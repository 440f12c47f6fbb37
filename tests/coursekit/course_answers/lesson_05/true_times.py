"""Answers to task 05.1, ``true_times``: wrong ones with the words of their diagnoses, and right ones."""

import heapq
import math

import numpy as np


def static_time(lengths, seats):
    return sum(max(lengths[i : i + seats]) for i in range(0, len(lengths), seats))


def continuous_time(lengths, seats):
    free = [0] * seats
    for n in lengths:
        heapq.heapreplace(free, free[0] + n)
    return max(free)


def lower_bound(lengths, seats):
    return max(max(lengths, default=0), -(-sum(lengths) // seats))


def times(lengths, seats, static=static_time, continuous=continuous_time, bound=lower_bound):
    """A right answer to be spoilt: each wrong one below changes one part."""
    return static(lengths, seats), continuous(lengths, seats), bound(lengths, seats)


def times_claim(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: sum(n))


def times_split(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: sum(n) / s)


def times_split_rounded(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: -(-sum(n) // s))


def times_one_batch(lengths, seats):
    return times(lengths, seats, static=lambda n, s: max(n, default=0))


def times_loses_last(lengths, seats):
    return times(lengths, seats, static=lambda n, s: static_time(n[: len(n) // s * s], s))


def times_sorted(lengths, seats):
    return times(lengths, seats, static=lambda n, s: static_time(sorted(n), s))


def times_dealt(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: max(sum(n[i::s]) for i in range(s)))


def times_as_static(lengths, seats):
    return times(lengths, seats, continuous=static_time)


def times_longest_first(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: continuous_time(sorted(n)[::-1], s))


def times_longest_only(lengths, seats):
    return times(lengths, seats, continuous=lambda n, s: max(n, default=0))


def times_bound_longest(lengths, seats):
    return times(lengths, seats, bound=lambda n, s: max(n, default=0))


def times_bound_work(lengths, seats):
    return times(lengths, seats, bound=lambda n, s: -(-sum(n) // s))


def times_bound_half(lengths, seats):
    return times(lengths, seats, bound=lambda n, s: max(max(n, default=0), sum(n) / s))


def times_swapped(lengths, seats):
    static, continuous, bound = times(lengths, seats)
    return continuous, static, bound


def times_two(lengths, seats):
    return times(lengths, seats)[:2]


def times_no_empty(lengths, seats):
    return times(lengths, seats, bound=lambda n, s: max(max(n), -(-sum(n) // s)))


def times_step_by_step(lengths, seats):
    """Play both schedules, one step after the other."""
    made = []
    for gate in (True, False):
        waiting, left, steps = list(lengths), [], 0
        while waiting or left:
            if not gate or not left:
                while waiting and len(left) < seats:
                    left.append(waiting.pop(0))
            left = [n - 1 for n in left if n > 1]
            steps += 1
        made.append(steps)
    bound = 0
    while lengths and (bound * seats < sum(lengths) or bound < max(lengths)):
        bound += 1
    return [*made, bound]


def times_shortest(lengths, slots):
    return times(lengths, slots, static=lambda n, s: sum(min(n[i : i + s]) for i in range(0, len(n), s)))


def times_last_of_batch(lengths, slots):
    return times(lengths, slots, static=lambda n, s: sum(n[i : i + s][-1] for i in range(0, len(n), s)))


def times_one_by_one(lengths, slots):
    return times(lengths, slots, static=lambda n, s: sum(n))


def times_counts_batches(lengths, slots):
    return times(lengths, slots, static=lambda n, s: math.ceil(len(n) / s))


def times_longest_of_all(lengths, slots):
    return times(lengths, slots, static=lambda n, s: math.ceil(len(n) / s) * max(n, default=0))


def times_shortest_first(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: continuous_time(sorted(n), s))


def times_last_first(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: continuous_time(n[::-1], s))


def times_first_free(lengths, slots):
    def first_free(lengths, slots):
        free = [0] * slots
        for n in lengths:
            free[free.index(min(free))] += n
        return min(free)

    return times(lengths, slots, continuous=first_free)


def times_last_seat(lengths, slots):
    def last_seat(lengths, slots):
        free = [0] * slots
        for n in lengths:
            free[free.index(min(free))] += n
        return free[-1]

    return times(lengths, slots, continuous=last_seat)


def times_bound_added(lengths, slots):
    return times(lengths, slots, bound=lambda n, s: max(n, default=0) + -(-sum(n) // s))


def times_bound_is_continuous(lengths, slots):
    return times(lengths, slots, bound=continuous_time)


def times_turned(lengths, slots):
    static, continuous, bound = times(lengths, slots)
    return bound, static, continuous


def times_words(lengths, slots):
    return tuple(f"{n} steps" for n in times(lengths, slots))


def times_sum(lengths, slots):
    return sum(times(lengths, slots))


def times_none(lengths, slots):
    static, continuous, _ = times(lengths, slots)
    return static, continuous, [].append(continuous)


def times_numpy(lengths, slots):
    rows = np.array([*lengths, *[0] * (-len(lengths) % slots)]).reshape(-1, slots)
    free = np.zeros(slots, int)
    for n in lengths:
        free[free.argmin()] += n
    return np.array(
        [rows.max(axis=1).sum() if lengths else 0, free.max(), max(rows.max(initial=0), math.ceil(rows.sum() / slots))]
    )


def times_events(lengths, slots):
    """From one end of a request to the next."""
    line, running, now = list(lengths[::-1]), [], 0
    while line or running:
        while line and len(running) < slots:
            running.append(now + line.pop())
        now = min(running)
        running = [end for end in running if end > now]
    return [static_time(lengths, slots), now, lower_bound(lengths, slots)]


def times_recursive(lengths, slots):
    def static(left):
        return max(left[:slots]) + static(left[slots:]) if left else 0

    def continuous(left, free):
        return continuous(left[1:], sorted([free[0] + left[0], *free[1:]])) if left else free[-1]

    longest = sorted([0, *lengths])[-1]
    return static(lengths), continuous(lengths, [0] * slots), max(longest, (sum(lengths) + slots - 1) // slots)


def times_generator(lengths, slots):
    """Seats as dictionaries; gives the three numbers one after the other."""
    yield sum(max(b) for b in zip(*[iter(lengths + [0] * (-len(lengths) % slots))] * slots))
    seats = dict.fromkeys(range(slots), 0)
    for n in lengths:
        seats[min(seats, key=seats.get)] += n
    yield max(seats.values())
    yield float(max([math.ceil(sum(lengths) / slots), *lengths]))


def times_by_filling(lengths, slots):
    """Paints cells: a row for each seat."""
    rows = [[] for _ in range(slots)]
    for name, n in enumerate(lengths):
        min(rows, key=len).extend([name] * n)
    static = top = 0
    for i, n in enumerate(lengths):
        top = n if i % slots == 0 else max(top, n)
        static += top if (i + 1) % slots == 0 or i + 1 == len(lengths) else 0
    return static, max(map(len, rows)), lower_bound(lengths, slots)


def times_by_name(lengths, slots):
    return dict(zip(("static", "continuous", "bound"), times(lengths, slots)))


def times_as_floats(lengths, slots):
    return [float(number) for number in times(lengths, slots)]


WRONG = [
    (times_claim, "the time of a single seat"),
    (times_split, "spread over several seats"),
    (times_split_rounded, "rounding up sum / seats"),
    (times_one_batch, "all requests into one batch"),
    (times_loses_last, "the last batch is missing"),
    (times_sorted, "you sorted the requests"),
    (times_dealt, "dealt the requests out like cards"),
    (times_as_static, "this is the static time"),
    (times_longest_first, "served the longest first"),
    (times_longest_only, "the longest alone is right"),
    (times_bound_longest, "you left out the work"),
    (times_bound_work, "you left out the longest"),
    (times_bound_half, "half a step does not exist"),
    (times_swapped, "in another order: continuous, static, bound"),
    (times_two, "yours holds 2"),
    (times_no_empty, "nobody may be waiting"),
    (times_shortest, "ends with its shortest"),
    (times_last_of_batch, "ends with its last"),
    (times_one_by_one, "one after the other"),
    (times_counts_batches, "this is the number of batches"),
    (times_longest_of_all, "the longest request of all"),
    (times_shortest_first, "served the shortest first"),
    (times_last_first, "served the last first"),
    (times_first_free, "when the first seat has nothing"),
    (times_last_seat, "when the last seat of the list"),
    (times_bound_added, "you added the two numbers"),
    (times_bound_is_continuous, "which a better order could beat"),
    (times_turned, "in another order: bound, static, continuous"),
    (times_words, "steps': the answer is three whole numbers"),
    (times_sum, "the answer is three numbers: static"),
    (times_none, "bound is None"),
    (times_by_name, "this is a dict"),
]

RIGHT = [
    times,
    times_step_by_step,
    times_numpy,
    times_events,
    times_recursive,
    times_generator,
    times_by_filling,
    times_as_floats,
]
