"""Answers to task 05.1, ``true_times``: wrong ones with the words of their diagnoses, and right ones."""

import heapq


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
        waiting, seats, steps = list(lengths), [], 0
        while waiting or seats:
            if not gate or not seats:
                while waiting and len(seats) < seats:
                    seats.append(waiting.pop(0))
            seats = [n - 1 for n in seats if n > 1]
            steps += 1
        made.append(steps)
    bound = 0
    while lengths and (bound * seats < sum(lengths) or bound < max(lengths)):
        bound += 1
    return [*made, bound]


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
    (times_longest_only, "a seat for everybody"),
    (times_bound_longest, "you left out the work"),
    (times_bound_work, "you left out the longest"),
    (times_bound_half, "half a step does not exist"),
    (times_swapped, "static and continuous are swapped"),
    (times_two, "the answer is three numbers"),
    (times_no_empty, "nobody may be waiting"),
]

RIGHT = [times, times_step_by_step]
