"""Lengths and arrival times as random draws, each from a seeded generator.

A length distribution is a function (generator, n) → n whole numbers of at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

Lengths = Callable[[np.random.Generator, int], np.ndarray]


def fixed(length: int) -> Lengths:
    """All alike."""
    return lambda rng, n: np.full(n, length)


def uniform(low: int, high: int) -> Lengths:
    """Every length from ``low`` to ``high``, both included, equally often."""
    return lambda rng, n: rng.integers(low, high, n, endpoint=True)


def exponential(mean: float, most: int | None = None) -> Lengths:
    """Exponential, rounded up. With ``most``, longer ones are drawn again (so the mean is below ``mean``).

    Drawn by inverting F(x) = (1 − e^(−x/mean)) / (1 − e^(−most/mean)), which is what drawing again leads to.
    """
    share = 1.0 if most is None else -math.expm1(-most / mean)
    return lambda rng, n: np.maximum(1, np.ceil(-mean * np.log1p(-share * rng.random(n)))).astype(int)


def lognormal(mean: float, sigma: float, most: int | None = None) -> Lengths:
    """Log-normal with this mean; ``sigma`` is the standard deviation of the logarithm.

    With ``most``, longer ones are drawn again, and the curve is shifted so that the mean stays ``mean``.
    """
    normal, mu, share = NormalDist(), _location(mean, sigma, most), 1.0
    if most is not None:
        share = normal.cdf((math.log(most) - mu) / sigma)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        z = [normal.inv_cdf(u) for u in share * (1.0 - rng.random(n))]  # 1 - u: never 0
        return np.clip(np.rint(np.exp(mu + sigma * np.array(z))), 1, most).astype(int)

    return draw


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
        raise ValueError(f"a log-normal of mean {mean} is not cut off at {most}: at {2 * mean:.0f} or above, please")
    phi, high = NormalDist().cdf, math.log(most) + 3 * sigma
    for _ in range(60):
        mu = (low + high) / 2
        z = (math.log(most) - mu) / sigma
        short = math.exp(mu + sigma**2 / 2) * phi(z - sigma) < mean * phi(z)
        low, high = (mu, high) if short else (low, mu)
    return low


def arrivals(rng: np.random.Generator, n: int, rate: float, burstiness: float = 1.0) -> np.ndarray:
    """Arrival times [n] as ``vllm bench serve`` makes them (vllm/benchmarks/serve.py, get_request).

    Gaps are Gamma(shape = burstiness, scale = 1/(rate·burstiness)): mean 1/rate, coefficient of variation
    1/√burstiness. 1 is Poisson, below 1 bursty, inf constant. All times are then stretched so that the last
    is n/rate exactly. ``rate=inf``: everything at 0.
    """
    if not rate > 0 or not burstiness > 0:
        raise ValueError(f"rate={rate}, burstiness={burstiness}: both must be above 0 (inf is allowed)")
    if math.isinf(rate):
        return np.zeros(n)
    constant = np.full(n, 1 / rate)
    gaps = constant if math.isinf(burstiness) else rng.gamma(burstiness, 1 / (rate * burstiness), n)
    times = np.cumsum(gaps)
    return times * (n / rate / times[-1]) if n and times[-1] > 0 else np.cumsum(constant)
