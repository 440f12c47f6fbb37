"""The timeline of a trace: who had which seat when, and what for (``draw/seats.py`` says what it shows)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..draw.look import FILLS, GRID, INK
from ..draw.seats import Cell, cells, kinds_of, seat_shapes
from ..observe.trace import StepRecord
from .style import Picture, new_figure, paint


def timeline(
    trace: Iterable[StepRecord],
    by: str = "step",
    seats: int | None = None,
    title: str = "",
    *,
    slots: int | None = None,
) -> Picture:
    """Seats against steps (``by="step"``) or seconds (``by="time"``).

    seats: how many rows to draw; as many as were used at once if not given. ``slots`` is its older name.
    """
    return compare({title: trace}, by, seats, slots=slots)


def compare(
    traces: dict[str, Iterable[StepRecord]],
    by: str = "step",
    seats: int | None = None,
    *,
    slots: int | None = None,
) -> Picture:
    """Timelines of several traces, one above the other on one axis. ``seats`` (or ``slots``)
    as in ``timeline``.
    """
    if by not in ("step", "time"):
        raise ValueError(f"by={by!r}: choose 'step' or 'time'")
    drawn = {name: (list(trace), cells(list(trace))) for name, trace in traces.items()}
    rows = seats or slots or max((cell.seat + 1 for _, found in drawn.values() for cell in found), default=1)
    end = max((edge(r, i, by) for records, _ in drawn.values() for i, r in enumerate(records)), default=1.0)
    figure, axes = new_figure(0.75 + len(drawn) * (0.45 + 0.24 * rows), len(drawn), share_x=True)
    for ax, (name, (_, found)) in zip(axes, drawn.items(), strict=True):
        draw(ax, found, by, rows, end)
        ax.set_title(name, loc="left", fontsize=10, color=INK)
    axes[-1].set_xlabel("step" if by == "step" else "time (s)", color=INK)
    legend(figure, [cell for _, found in drawn.values() for cell in found])
    words = [describe(name, records, found, rows, by) for name, (records, found) in drawn.items()]
    return Picture(figure, " ".join(words))


def legend(figure: Figure, found: Sequence[Cell]) -> None:
    """What the colours of these cells mean, below the figure."""
    used = kinds_of(found)
    handles = [
        Patch(facecolor=FILLS[k].face, hatch=FILLS[k].hatch, edgecolor=INK, lw=0.4, label=FILLS[k].label)
        for k in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(used), frameon=False, fontsize=9)


def edge(record: StepRecord, index: int, by: str) -> float:
    """Where a step ends on the axis."""
    return index + 1 if by == "step" else record.start + record.duration


def draw(ax: Axes, found: Sequence[Cell], by: str, rows: int, end: float) -> None:
    """One timeline."""
    paint(ax, seat_shapes(found, by, end))
    ax.set(ylim=(rows - 0.5, -0.5), xlim=(0, end), yticks=range(rows))
    ax.set_ylabel("seat", color=INK)
    if by == "step":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="x", color=GRID, lw=0.5)
    ax.set_axisbelow(True)


def describe(
    name: str, records: Sequence[StepRecord], found: Sequence[Cell], rows: int, by: str = "step"
) -> str:
    """The picture in words: how long, how many requests, and how the seats were used. Shares are those of
    the areas that are drawn: of seats × steps, or of seats × seconds from the first step to the last.
    """
    seconds = max(r.start + r.duration for r in records) - records[0].start if records else 0.0
    total = rows * (seconds if by == "time" else len(records)) or 1
    share = dict.fromkeys(("prompt", "decode", "recompute", "finished"), 0.0)
    for cell in found:
        share[cell.kind] += (cell.end - cell.start if by == "time" else 1) / total
    idle = 1 - sum(share.values())
    words = [f"{FILLS[kind].label} {100 * part:.0f} %" for kind, part in share.items() if part]
    padding = sum(record.padding for record in records)
    words += [f"empty or paused {100 * idle:.0f} %"] if round(100 * idle) else []
    words += [f"{padding} positions of padding"] if padding else []
    label = f"{name}: " if name else ""
    requests = len({cell.request for cell in found})
    size = f"{requests} requests on {rows} seats in {len(records)} steps"
    if by == "time":
        return f"{label}{size} and {seconds:.3g} seconds; of all seats and seconds {', '.join(words)}."
    return f"{label}{size}; of all seats and steps {', '.join(words)}."
