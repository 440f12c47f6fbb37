"""The moment at which a dynamic batch begins, and what each way of missing it is called."""

import math
from collections.abc import Sequence

EPS = 1e-6


def moments(times: Sequence[float], size: int, window: float) -> tuple[float, float]:
    """(when the batch is full, when the oldest has waited long enough), for the arrivals of those not served yet."""
    return (times[size - 1] if len(times) >= size else math.inf), times[0] + window


def late_cause(
    times: Sequence[float], free: float, start: float, is_full: bool, full: float, due: float, window: float
) -> tuple[str, str]:
    """(words, slip) for a batch that began too late; times: arrivals of those not served yet."""
    free_for_all = max(free, times[0])

    def at(moment: float) -> bool:
        return abs(start - moment) <= EPS

    if full <= due and start > full + EPS:
        if at(free_for_all + window) and not at(due):
            return "a full batch sleeps on, for a whole window after the machine became free", "sleeps though full"
        return "a full batch sleeps on: nobody else has a seat in it, so it starts at once", "sleeps though full"
    began_again = due <= free and full <= free_for_all + window
    if is_full and at(max(free, full)) and not began_again:
        return "a batch waits until it is full, although its window is over", "waits for full"
    if any(at(t + window) for t in times[1:] if t <= start):
        return (
            "the window is counted from the newest request, or begins anew whenever one comes. It belongs to the oldest",
            "newest counts",
        )
    if at(free_for_all + window) or began_again and at(full):
        return (
            "the window is counted from when the machine became free. It begins when the oldest request arrives",
            "free counts",
        )
    if any(at(t) for t in times):
        cause = "the window ended, but the scheduler slept on until the next arrival: give the Plan its wait_until"
        return cause, "sleeps past window"
    return "a batch starts late, although the machine was free and its window over", "starts late"
