"""How long requests took, in seconds on the engine's clock, and how such figures are spread. Needs no numpy.

    TTFT   first token − arrival
    ITL    gaps between tokens; all gaps of all requests are pooled
    E2EL   the request left − arrival. A row of a static batch leaves with the batch, and its text with it
    TPOT   (E2EL − TTFT) / (output tokens − 1); none for a single token

TTFT and ITL go by when a token was computed, as if it were streamed at once. So a static batch looks as good
as it can there, and what its short rows wait for its long ones shows in E2EL and TPOT.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..request import Request

PERCENTILES = (50, 90, 95, 99)


def ttft(request: Request) -> float:
    return request.token_times[0] - request.arrival_time


def e2el(request: Request) -> float:
    assert request.finish_time is not None, f"{request.request_id} has not ended"
    return request.finish_time - request.arrival_time


def tpot(request: Request) -> float:
    """0 for a single token, which then meets any objective (so does ``vllm bench serve``)."""
    gaps = request.num_output_tokens - 1
    return (e2el(request) - ttft(request)) / gaps if gaps > 0 else 0.0


def itl(request: Request) -> list[float]:
    return [after - before for before, after in pairwise(request.token_times)]


def samples(requests: Iterable[Request], which: str) -> list[float]:
    """All measurements of "ttft", "tpot", "itl" or "e2el" of finished requests, in seconds."""
    if which == "itl":
        return [gap for request in requests for gap in itl(request)]
    if which == "tpot":
        return [tpot(request) for request in requests if request.num_output_tokens > 1]
    measure = {"ttft": ttft, "e2el": e2el}[which]
    return [measure(request) for request in requests]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in ascending order, linear between the two nearest: numpy's default.
    ``percent`` from 0 to 100.
    """
    place = (len(ordered) - 1) * (percent / 100)
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    low, high, share = ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


@dataclass(frozen=True)
class Latency:
    """How one latency is spread over a run, in milliseconds; 0 where there was nothing to measure."""

    mean: float
    median: float
    std: float
    p50: float
    p90: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency:
        ms = sorted(value * 1e3 for value in seconds) or [0.0]
        mean = math.fsum(ms) / len(ms)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in ms) / len(ms))
        return cls(mean, percentile(ms, 50), std, *(percentile(ms, percent) for percent in PERCENTILES))
