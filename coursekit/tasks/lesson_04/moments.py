"""The moment at which a dynamic batch begins, and what each way of missing it is called."""

import math
from collections.abc import Sequence

EPS = 1e-6


def moments(times: Sequence[float], size: int, window: float) -> tuple[float, float]:
    """(when the batch is full, when the oldest has waited long enough), for the arrivals of those not served yet."""
    return (times[size - 1] if len(times) >= size else math.inf), times[0] + window


def early_causes(times: Sequence[float], free: float, start: float, size: int, window: float) -> list[tuple[str, str]]:
    """(words, slip) of each mistake that explains a batch that began too early; times: arrivals of those not served yet."""
    full, due = moments(times, size, window)
    here = sum(t <= start + EPS for t in times)
    not_full = f"it holds {here} of {size} requests, and its window of {window:g} is not over"
    one_less = times[size - 2] if 2 <= size <= len(times) + 1 else math.inf
    likely = (
        (times[0], f"a batch starts as soon as somebody is there: {not_full}", "starts at once"),
        (
            times[0] + window / 1000,
            f"your window is a thousandth of what it is: {not_full}. Both times are in one unit already",
            "other unit",
        ),
        (
            min(one_less, due),
            f"a batch starts with one seat empty: {not_full}. It is full when batch_size requests wait",
            "one too few",
        ),
        (
            min(full, due, times[-1]),
            f"a batch starts because nobody comes after it. You cannot know that beforehand: {not_full}",
            "knows the future",
        ),
    )
    made = [(cause, slip) for moment, cause, slip in likely if abs(start - max(free, moment)) <= EPS]
    return made or [(f"a batch starts too early: {not_full}", "starts early")]


def asked_anew(times: Sequence[float], free: float, window: float) -> float:
    """When a batch begins whose plan is asked at ``free`` and at each arrival, and waits for a whole window each time."""
    now = free
    while now < times[0] + window - EPS:
        now = min([t for t in times if t > now + EPS] + [now + window])
    return now


def late_causes(times: Sequence[float], free: float, start: float, size: int, window: float) -> list[tuple[str, str]]:
    """(words, slip) of each mistake that explains a batch that began too late; times: arrivals of those not served yet."""
    full, due = moments(times, size, window)
    free_for_all, one_more = max(free, times[0]), times[size] if len(times) > size else math.inf
    last = times[-1] if full == math.inf else full  # where a batch is never full, all wait for the last arrival

    def at(*moments: float) -> bool:
        return any(abs(start - max(free, moment)) <= EPS for moment in moments)

    likely = (
        (
            full <= due and at(min(one_more, due)),
            "a full batch waits for one request more: it is full when batch_size requests wait",
            "one too many",
        ),
        (
            full <= due and at(due),
            "a full batch sleeps on: nobody else has a seat in it, so it starts at once",
            "sleeps though full",
        ),
        (
            full <= due and at(free_for_all + window, free + window),
            "a full batch sleeps on, for a whole window after the machine became free: nobody else has a seat in it",
            "sleeps though full",
        ),
        (at(last) and last > due, "a batch waits until it is full, although its window is over", "waits for full"),
        (
            any(at(t + window) for t in times[1:] if t <= start),
            "the window is counted from the newest request: it belongs to the oldest, and runs on when others come",
            "newest counts",
        ),
        (
            at(min(full, free_for_all + window)),
            "the window is counted from when the machine became free. It begins when the oldest request arrives",
            "free counts",
        ),
        (
            at(min(full, asked_anew(times, free_for_all, window))),
            "the window begins anew each time the plan is asked. The time to wake up is the arrival of the oldest + window, not "
            "now + window",
            "window anew",
        ),
        (
            at(min(full, due + window)),
            "a batch waits for two windows: one, counted from the arrival of the oldest, is enough",
            "two windows",
        ),
        (
            full < math.inf and at(max(full, due)),
            "a batch waits until it is full and its window is over: one of the two is enough",
            "waits for both",
        ),
        (
            any(at(t) for t in times if t > due),
            "the window ended, but the scheduler slept on until the next arrival: give the Plan its wait_until",
            "sleeps past window",
        ),
    )
    made = [(cause, slip) for is_so, cause, slip in likely if is_so]
    return made or [("a batch starts late, although the machine was free and its window over", "starts late")]
