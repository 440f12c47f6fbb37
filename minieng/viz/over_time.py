"""What changes while an engine runs: who waits, who runs, how full the cache is, what a scheduler adjusts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..draw.look import INK, SERIES
from ..observe.record import StepRecord
from .curves import LINES, finish_axes
from .style import MARKERS, Picture, new_figure

# name → (what a legend calls it, its unit, its value after a step)
QUANTITIES: dict[str, tuple[str, str, Callable[[StepRecord], float]]] = {
    "num_waiting": ("waiting", "requests", lambda record: record.num_waiting),
    "num_running": ("running", "requests", lambda record: record.num_running),
    "kv_held": ("KV held", "% of the blocks", lambda r: 100 * (1 - r.blocks_free / r.blocks_total)),
    "preempted": ("preempted in the step", "preemptions", lambda record: len(record.preempted)),
    "num_tokens": ("computed in the step", "tokens", lambda record: record.num_tokens),
    "recomputed": ("of these, again", "tokens", lambda record: record.recomputed),
}


def over_time(
    trace: Iterable[StepRecord],
    *names: str,
    more: Mapping[str, Sequence[float]] | None = None,
    by: str = "time",
    title: str = "",
) -> Picture:
    """Quantities of a trace after each step, those of one unit in one panel.

        over_time(llm.trace, "num_waiting", "num_running", more={"target (requests)": targets})

    names  of QUANTITIES: num_waiting, num_running, kv_held, preempted, num_tokens, recomputed
    more   label → a value for each step, such as a ratio that was read while it ran. What stands in brackets
           at the label's end is its unit: "target (requests)" is drawn where the requests are
    by     "time" (seconds on the engine's clock) or "step"

    Raises ValueError for a name that is none, nothing to draw, or a list that is not as long as the trace.
    """
    steps = list(trace)
    lines = [line_of(name, steps) for name in names]
    lines += [own_line(label, values, len(steps)) for label, values in (more or {}).items()]
    if by not in ("time", "step"):
        raise ValueError(f"by={by!r}: choose 'time' or 'step'")
    if not steps or not lines:
        raise ValueError(
            f"{len(lines)} quantities of {len(steps)} steps: name one or more, of a trace that holds steps"
        )
    units = list(dict.fromkeys(unit for _, unit, _ in lines))
    x = np.array([step.start + step.duration if by == "time" else step.step for step in steps], float)
    figure, axes = new_figure(0.7 + 1.6 * len(units), rows=len(units), share_x=True)
    for i, (label, unit, values) in enumerate(lines):
        ax = axes[units.index(unit)]
        look = dict(
            color=SERIES[i % 6],
            ls=LINES[i % 4],
            lw=1.4,
            marker=MARKERS[i % 6],
            ms=4,
            markevery=max(1, len(steps) // 12),
        )
        ax.plot(x, values, drawstyle="steps-post", label=label, **look)
    for ax, unit in zip(axes, units, strict=True):
        finish_axes(ax, "", unit)
        ax.set_ylim(bottom=min(0.0, *(min(values) for _, of, values in lines if of == unit)))
        whole = all(float(v).is_integer() for _, of, values in lines if of == unit for v in values)
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
        ax.legend(
            frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1
        )
    axes[-1].set_xlabel("time (s)" if by == "time" else "step", color=INK)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    span = f"{x[-1]:.3g} s" if by == "time" else f"{len(steps)} steps"
    return Picture(figure, f"{f'{title}: ' if title else ''}over {span}. " + " ".join(map(told, lines)))


Line = tuple[str, str, list[float]]  # label, unit, a value for each step


def line_of(name: str, steps: Sequence[StepRecord]) -> Line:
    if name not in QUANTITIES:
        raise ValueError(
            f"{name!r} is no quantity of a step: choose {', '.join(QUANTITIES)}, or pass values of your own "
            "as more="
        )
    label, unit, value = QUANTITIES[name]
    return label, unit, [float(value(step)) for step in steps]


def own_line(label: str, values: Sequence[float], steps: int) -> Line:
    """Of the reader's own values. What stands in brackets at the label's end is the unit, else the label."""
    if len(values) != steps:
        raise ValueError(
            f"{label!r} has {len(values)} values, the trace {steps} steps: give one for each step"
        )
    name, bracket, unit = label.rpartition(" (")
    return (
        (name, unit.rstrip(")"), list(values))
        if bracket and label.endswith(")")
        else (label, label, list(values))
    )


def told(line: Line) -> str:
    label, unit, values = line
    of = "" if unit == label else f" {unit}"
    first, last = (f"{value:.3g}" for value in (values[0], values[-1]))
    return f"{label}: {first}{of} at first, {min(values):.3g} to {max(values):.3g}, {last} at the end."
