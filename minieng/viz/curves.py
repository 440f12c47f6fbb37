"""Curves: how latency is distributed, what it costs in throughput, and where steps lie under the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..draw.look import GRID, INK, SERIES
from ..observe.latency import samples
from ..request import Request
from .style import MARKERS, Picture, new_figure

LINES = ("-", "--", "-.", ":")


NAMES = {"ttft": "time to first token", "itl": "gap between tokens", "e2el": "end-to-end latency"}


def latencies(requests: Iterable[Request], which: str) -> list[float]:
    """Seconds of "ttft", "itl" (pooled gaps) or "e2el" of the requests that finished."""
    if which not in NAMES:
        raise ValueError(f"which={which!r}: choose 'ttft', 'itl' or 'e2el'")
    return samples([r for r in requests if r.token_times and r.finish_time is not None], which)


def latency_cdf(runs: dict[str, Iterable[Request]], which: str = "ttft") -> Picture:
    """Share of requests (of gaps, for "itl") that took at most so long; one line a run."""
    figure, (ax,) = new_figure(3.2)
    words = []
    for i, (name, requests) in enumerate(runs.items()):
        values = np.sort(np.array(latencies(requests, which))) * 1e3
        if not len(values):
            raise ValueError(f"{name!r} holds no finished request: nothing to draw")
        share = np.arange(1, len(values) + 1) / len(values)
        ax.step(values, share, where="post", color=SERIES[i % 6], ls=LINES[i % 4], lw=1.8, label=name)
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        words.append(f"{name}: P50 {p50:.1f} ms, P95 {p95:.1f} ms, P99 {p99:.1f} ms.")
    finish_axes(ax, f"{NAMES[which]} (ms)", "share of " + ("gaps" if which == "itl" else "requests"))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(0, 1.02)
    ax.legend(frameon=False, fontsize=9)
    return Picture(figure, f"Distribution of {NAMES[which]}. " + " ".join(words))


def tradeoff(runs: dict[str, Sequence[tuple[float, float]]], x: str, y: str) -> Picture:
    """One curve a run through (x, y) points in the order given, such as throughput against P95 latency.

    x, y: axis labels with units.
    """
    figure, (ax,) = new_figure(3.4)
    words = []
    for i, (name, points) in enumerate(runs.items()):
        xs, ys = zip(*points, strict=True)
        ax.plot(xs, ys, color=SERIES[i % 6], marker=MARKERS[i % 6], ls=LINES[i % 4], lw=1.6, ms=6, label=name)
        words.append(
            f"{name}: from ({xs[0]:.3g}, {ys[0]:.3g}) to ({xs[-1]:.3g}, {ys[-1]:.3g}) in {len(points)} "
            "points."
        )
    finish_axes(ax, x, y)
    ax.legend(frameon=False, fontsize=9)
    return Picture(figure, f"{y} against {x}. " + " ".join(words))


def roofline(
    points: dict[str, tuple[float, float]], bandwidth: float, peak: float, machine: str = ""
) -> Picture:
    """The roofline of a machine with measured points on it.

    points     name → (arithmetic intensity in FLOP/byte, reached FLOP/s)
    bandwidth  bytes/s, peak in FLOP/s. Roof: min(peak, intensity · bandwidth) (Williams et al., CACM 2009).
    """
    figure, (ax,) = new_figure(3.6)
    ridge = peak / bandwidth
    measured, speeds = zip(*points.values(), strict=True)
    low, high = min(ridge / 4, *measured) / 2, max(ridge * 4, *measured) * 2
    floor = min(low * bandwidth, *speeds) / 1.5
    intensity = np.geomspace(low, high, 200)
    ax.plot(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, color=INK, lw=2)
    ax.axvline(ridge, color=GRID, lw=1)
    ax.text(ridge, peak / 1e9 * 1.15, f"ridge {ridge:.0f} FLOP/byte", ha="center", fontsize=8.5, color=INK)
    words = []
    for i, (name, (at, reached)) in enumerate(points.items()):
        ax.plot([at], [reached / 1e9], MARKERS[i % 6], color=SERIES[i % 6], ms=8, label=name, ls="none")
        roof = min(peak, at * bandwidth)
        words.append(
            f"{name}: {at:.1f} FLOP/byte, {reached / 1e9:.3g} GFLOP/s, {100 * reached / roof:.0f} % of the "
            "roof."
        )
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(floor / 1e9, peak / 1e9 * 2))
    finish_axes(ax, "arithmetic intensity (FLOP/byte)", "GFLOP/s")
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    ceiling = f"{peak / 1e9:.3g} GFLOP/s above {ridge:.0f} FLOP/byte, {bandwidth / 1e9:.3g} GB/s below"
    return Picture(figure, f"Roofline{f' of {machine}' if machine else ''}: {ceiling}. " + " ".join(words))


def finish_axes(ax, x: str, y: str) -> None:
    ax.set_xlabel(x, color=INK)
    ax.set_ylabel(y, color=INK)
    ax.grid(color=GRID, lw=0.6)
    ax.set_axisbelow(True)
