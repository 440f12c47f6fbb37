"""Lengths and arrival times as random draws, each from a seeded generator of Python's own.

A length distribution is a function (generator, n) → list of n whole numbers of at least 1. Nothing here needs
numpy: the same seed gives the same requests wherever Python runs, in a web page too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from random import Random
from statistics import NormalDist

from .job import MOST_SECONDS

Lengths = Callable[[Random, int], list[int]]
EVEN = 1e32  # burstiness from which gaps vary by less than a double can tell, CV 1e-16


def fixed(length: int) -> Lengths:
    """All alike."""
    return lambda rng, n: [length] * n


def uniform(low: int, high: int) -> Lengths:
    """Every length from ``low`` to ``high``, both included, equally often."""
    return lambda rng, n: [rng.randint(low, high) for _ in range(n)]


def exponential(mean: float, most: int | None = None) -> Lengths:
    """Exponential, rounded up. With ``most``, longer ones are drawn again (so the mean is below ``mean``).

    Drawn by inverting F(x) = (1 − e^(−x/mean)) / (1 − e^(−most/mean)), which is what drawing again leads to.
    """
    share = 1.0 if most is None else -math.expm1(-most / mean)
    return lambda rng, n: [max(1, math.ceil(-mean * math.log1p(-share * rng.random()))) for _ in range(n)]


def lognormal(mean: float, sigma: float, most: int | None = None) -> Lengths:
    """Log-normal with this mean; ``sigma`` is the standard deviation of the logarithm.

    With ``most``, longer ones are drawn again, and the curve is shifted so that the mean stays ``mean``.
    """
    normal, mu, share = NormalDist(), _location(mean, sigma, most), 1.0
    if most is not None:
        share = normal.cdf((math.log(most) - mu) / sigma)

    def draw(rng: Random, n: int) -> list[int]:
        z = [normal.inv_cdf(share * _above_zero(rng)) for _ in range(n)]
        lengths = [max(1, round(math.exp(mu + sigma * each))) for each in z]
        return lengths if most is None else [min(length, most) for length in lengths]

    return draw


def _above_zero(rng: Random) -> float:
    """Evenly between 0 and 1, never 0. Without a cut-off it may be 1 - 2^-53 at most,
    so it has an inverse too.
    """
    return rng.random() or 2.0**-53


def _location(mean: float, sigma: float, most: int | None) -> float:
    """The μ for which a log-normal, cut off above ``most``, has this mean (bisection: the mean rises with μ).

    E[X | X ≤ c] = e^(μ + σ²/2) · Φ((ln c − μ − σ²)/σ) / Φ((ln c − μ)/σ).
    """
    if not (mean > 0 and sigma > 0):
        raise ValueError(f"mean={mean}, sigma={sigma}: both must be above 0")
    low = math.log(mean) - sigma**2 / 2
    if most is None:
        return low
    if mean > most / 2:
        raise ValueError(
            f"a log-normal of mean {mean} is not cut off at {most}: at {2 * mean:.0f} or above, please"
        )
    phi, high = NormalDist().cdf, math.log(most) + 3 * sigma
    for _ in range(60):
        mu = (low + high) / 2
        z = (math.log(most) - mu) / sigma
        short = math.exp(mu + sigma**2 / 2) * phi(z - sigma) < mean * phi(z)
        low, high = (mu, high) if short else (low, mu)
    return low


def arrivals(rng: Random, n: int, rate: float, burstiness: float = 1.0) -> list[float]:
    """Arrival times [n] as ``vllm bench serve`` makes them (vllm/benchmarks/serve.py, get_request).

    Gaps are Gamma(shape = burstiness, scale = 1/(rate·burstiness)): mean 1/rate, coefficient of variation
    1/√burstiness. 1 is Poisson, below 1 bursty, inf constant. All times are then stretched so that the last
    is n/rate exactly. ``rate=inf``: everything at 0.
    """
    if not rate > 0 or not burstiness > 0:
        raise ValueError(f"rate={rate}, burstiness={burstiness}: both must be above 0 (inf is allowed)")
    if n / rate > MOST_SECONDS:
        raise ValueError(
            f"rate={rate}: {n} requests would take more than {MOST_SECONDS:,.0f} s: raise the rate"
        )
    if math.isinf(rate):
        return [0.0] * n
    times = list(accumulate([1.0] * n if burstiness >= EVEN else _gaps(rng, n, burstiness)))
    return [time / times[-1] * (n / rate) for time in times]


def _gaps(rng: Random, n: int, shape: float) -> list[float]:
    """``n`` Gamma variates up to a common factor: the largest is 1.

    Of a small shape nearly every variate is too small for a double. So their logarithms are drawn, as
    Gamma(shape) = Gamma(shape + 1) · U^(1/shape), and what is left of each beside the largest is kept.
    """
    logs = [shape * math.log(rng.gammavariate(shape + 1, 1)) + math.log(_above_zero(rng)) for _ in range(n)]
    largest = max(logs, default=0.0)
    return [math.exp((each - largest) / shape) for each in logs]
