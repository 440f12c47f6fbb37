"""The timeline of a trace: who had which seat at which step, and what the seat was used for.

A seat is a place in the batch, a row of it (vLLM says slot, which here is a place in the KV cache). Its cell
at a step is filled by what was computed there: prompt, decode, tokens computed again after a preemption,
padding of a rectangle, or a row that was done already; white is a seat that is empty or pauses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ..observe.trace import StepRecord
from .style import FILLS, GRID, INK, Picture, new_figure


class Cell(NamedTuple):
    """One seat during one step. ``share`` is the part of it that is not padding."""

    seat: int
    step: int
    start: float
    end: float
    kind: str
    request: str
    tokens: int
    share: float


def cells(records: Sequence[StepRecord]) -> list[Cell]:
    """Give each request the lowest free seat when it enters, and take the seat back when it leaves."""
    seats: dict[str, int] = {}
    found: list[Cell] = []
    for index, record in enumerate(records):
        for request in record.preempted:
            seats.pop(request, None)
        names = record.rows if record.rows is not None else [request for request, _, _ in record.slices]
        for request in names:
            if request not in seats:
                taken = set(seats.values())
                seats[request] = next(i for i in range(len(taken) + 1) if i not in taken)
        work = {request: (kind, n) for (request, _, n), kind in zip(record.slices, record.kinds, strict=True)}
        width = max((n for _, n in work.values()), default=0)
        for request in names:
            kind, n = work.get(request, ("finished", 0))
            share = n / width if record.rows is not None and n else 1.0
            start, end = record.start, record.start + record.duration
            found.append(Cell(seats[request], index, start, end, kind, request, n, share))
        for request in record.finished:
            seats.pop(request, None)
    return found


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
    return Picture(
        figure, " ".join(describe(name, records, found, rows) for name, (records, found) in drawn.items())
    )


def legend(figure: Figure, found: Sequence[Cell]) -> None:
    """What the colours of these cells mean, below the figure."""
    used = [kind for kind in FILLS if kind in kinds_of(found)]
    handles = [
        Patch(facecolor=FILLS[k].face, hatch=FILLS[k].hatch, edgecolor=INK, lw=0.4, label=FILLS[k].label)
        for k in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(used), frameon=False, fontsize=9)


def kinds_of(found: Sequence[Cell]) -> set[str]:
    return (
        {cell.kind for cell in found}
        | {"idle"}
        | ({"padding"} if any(cell.share < 1 for cell in found) else set())
    )


def edge(record: StepRecord, index: int, by: str) -> float:
    """Where a step ends on the axis."""
    return index + 1 if by == "step" else record.start + record.duration


def draw(ax: Axes, found: Sequence[Cell], by: str, rows: int, end: float) -> None:
    """One timeline: a box for each seat and step, padding on its left as it lies in the rectangle."""
    spans: dict[tuple[int, str], tuple[float, float]] = {}  # (seat, request) → where its name may stand
    for left, right, cell in merged(found, by, 0.006 * end):
        middle = right - (right - left) * cell.share
        if cell.share < 1:
            box(ax, left, middle, cell.seat, "padding")
        box(ax, middle, right, cell.seat, cell.kind)
        begin, _ = spans.get((cell.seat, cell.request), (left, right))
        # behind the prompt and its padding, which a name would hide
        spans[cell.seat, cell.request] = (right if cell.kind == "prompt" else begin), right
    for (seat, request), (left, right) in spans.items():
        if (right - left) / end > 0.014 * len(request):  # else the name does not fit
            style: dict[str, Any] = {
                "fontsize": 7.5, "color": "white", "weight": "bold", "ha": "left", "va": "center",
            }  # fmt: skip
            ax.text(left + end * 0.005, seat, request, **style, bbox={"facecolor": INK, "pad": 0.8, "lw": 0})
    ax.set(ylim=(rows - 0.5, -0.5), xlim=(0, end), yticks=range(rows))
    ax.set_ylabel("seat", color=INK)
    if by == "step":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="x", color=GRID, lw=0.5)
    ax.set_axisbelow(True)


def merged(found: Sequence[Cell], by: str, narrow: float) -> list[tuple[float, float, Cell]]:
    """(left, right, cell): steps too narrow for an outline of their own are
    drawn as one box with those beside them.
    """
    boxes: list[tuple[float, float, Cell]] = []
    latest: dict[int, int] = {}  # seat → its last box
    for cell in found:
        left, right = (cell.step, cell.step + 1) if by == "step" else (cell.start, cell.end)
        at = latest.get(cell.seat)
        if at is not None and right - left < narrow and cell.share == 1:
            start, end, before = boxes[at]
            alike = (before.kind, before.request, before.share) == (cell.kind, cell.request, 1)
            if alike and left - end < 0.1 * narrow:
                boxes[at] = start, right, before
                continue
        latest[cell.seat] = len(boxes)
        boxes.append((left, right, cell))
    return boxes


def box(ax: Axes, left: float, right: float, seat: int, kind: str) -> None:
    fill = FILLS[kind]
    ax.add_patch(
        Rectangle(
            (left, seat - 0.42),
            right - left,
            0.84,
            facecolor=fill.face,
            hatch=fill.hatch,
            edgecolor=INK,
            lw=0.35,
        )
    )


def describe(name: str, records: Sequence[StepRecord], found: Sequence[Cell], rows: int) -> str:
    """The picture in words: how long, how many requests, and how the seats were used."""
    total = max(1, len(records) * rows)
    kinds = ("prompt", "decode", "recompute", "finished")
    share = {kind: sum(1 for cell in found if cell.kind == kind) / total for kind in kinds}
    idle = 1 - len(found) / total
    words = [f"{FILLS[kind].label} {100 * part:.0f} %" for kind, part in share.items() if part]
    padding = sum(record.padding for record in records)
    words += [f"empty or paused {100 * idle:.0f} %"] if round(100 * idle) else []
    words += [f"{padding} positions of padding"] if padding else []
    label = f"{name}: " if name else ""
    requests = len({cell.request for cell in found})
    size = f"{requests} requests on {rows} seats in {len(records)} steps"
    return f"{label}{size}; of all seats and steps {', '.join(words)}."
