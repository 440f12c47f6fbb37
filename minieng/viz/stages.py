"""The stages of a pipeline against time: who works on which batch, and who waits."""

from __future__ import annotations

from collections.abc import Iterable

from ..draw.look import GRID, INK, SERIES
from ..observe.record import StepRecord
from .style import Picture, new_figure


def stages(trace: Iterable[StepRecord], title: str = "") -> Picture:
    """A row for each stage, a box for each batch that it worked on; white is the bubble.

    A batch has the colour of its turn: the first, the second and so on of those in flight. Raises ValueError
    if the trace knows of no stages.
    """
    steps = [step for step in trace if step.stages]
    if not steps:
        raise ValueError("no step of this trace passed through stages: record it with stages=2 or more")
    count = len(steps[0].stages)
    begin = min(step.stages[0][0] for step in steps)
    end = max(step.stages[-1][1] for step in steps)
    figure, (ax,) = new_figure(0.9 + 0.4 * count)
    busy = [0.0] * count
    turns = turns_of(steps)
    for step, turn in zip(steps, turns, strict=True):
        for row, (left, right) in enumerate(step.stages):
            busy[row] += right - left
            ax.barh(
                row, right - left, left=left - begin, height=0.8, color=SERIES[turn % len(SERIES)],
                edgecolor=INK, lw=0.4,
            )  # fmt: skip
            if right - left > 0.03 * (end - begin):
                ax.text(
                    (left + right) / 2 - begin, row, str(step.step), ha="center", va="center", fontsize=8,
                    color="white",
                )  # fmt: skip
    ax.set(ylim=(count - 0.5, -0.5), xlim=(0, end - begin), yticks=range(count))
    ax.set_ylabel("stage", color=INK)
    ax.set_title(title, loc="left", fontsize=10, color=INK)
    ax.set_xlabel("time (s)", color=INK)
    ax.grid(axis="x", color=GRID, lw=0.5)
    ax.set_axisbelow(True)
    shares = [1 - each / (end - begin) for each in busy]
    told = ", ".join(f"stage {i} waits {share:.0%} of it" for i, share in enumerate(shares))
    name = f"{title}: " if title else ""
    words = f"{name}{len(steps)} batches pass {count} stages in {end - begin:.3g} s, "
    words += f"up to {max(turns) + 1} in flight; {told}."
    return Picture(figure, words)


def turns_of(steps: list[StepRecord]) -> list[int]:
    """For each batch the first place that is free when it enters the first stage:
    0 if none is in flight then.
    """
    ends: list[float] = []
    found = []
    for step in steps:
        enters, leaves = step.stages[0][0], step.stages[-1][1]
        free = next((i for i, end in enumerate(ends) if end <= enters + 1e-9), len(ends))
        ends[free : free + 1] = [leaves]
        found.append(free)
    return found
