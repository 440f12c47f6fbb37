"""What a promise costs: the share of requests that keep it, the highest rate at which enough of them do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..request import Request
from .metrics import check_goodput, is_good


def share_good(requests: Sequence[Request], goals: Mapping[str, float]) -> float:
    """Share of requests that meet all objectives, in milliseconds, such as {"ttft": 500, "tpot": 50}.
    1 if there are none.
    """
    goals = check_goodput(goals)
    return sum(is_good(request, goals) for request in requests) / len(requests) if requests else 1.0


def highest_rate(holds: Callable[[float], bool], low: float, high: float, rounds: int = 7) -> float:
    """Bisection, on a logarithmic scale, for the highest rate at which ``holds``.
    ``low`` if it never does.

    holds   serves at a rate, and says whether the promise was kept; it is asked ``rounds`` times
    rounds  each halves the range: after 7 the last rate is within (high / low) ** (1 / 128) of the border

    Raises ValueError unless 0 < low < high.
    """
    if not 0 < low < high:
        raise ValueError(f"low={low}, high={high}: rates, the second above the first, both above 0")
    for _ in range(rounds):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
