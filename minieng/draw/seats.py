"""The timeline of a trace in shapes: who had which seat at which step, and what the seat was used for.

A seat is a place in the batch, a row of it (vLLM says slot, which here is a place in the KV cache). Its cell
at a step is filled by what was computed there: prompt, decode, tokens computed again after a preemption,
padding of a rectangle, or a row that was done already; white is a seat that is empty or pauses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .look import FILLS
from .shapes import Box, Label, Shape

if TYPE_CHECKING:
    from ..observe.record import StepRecord


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
        for request in (*record.aborted, *record.preempted):
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


def kinds_of(found: Sequence[Cell]) -> list[str]:
    """The kinds of work that these cells show, in the order of a legend."""
    used = {cell.kind for cell in found} | {"idle"}
    used |= {"padding"} if any(cell.share < 1 for cell in found) else set()
    return [kind for kind in FILLS if kind in used]


def seat_shapes(found: Sequence[Cell], by: str, end: float) -> Iterator[Shape]:
    """A box for each seat and step, padding on its left as it lies in the rectangle, and the requests' names.

    x runs from 0 to ``end`` in steps or, ``by="time"``, seconds; the middle of seat i lies at y = i.
    """
    spans: dict[tuple[int, str], tuple[float, float]] = {}  # (seat, request) → where its name may stand
    for left, right, cell in merged(found, by, 0.006 * end):
        middle = right - (right - left) * cell.share
        if cell.share < 1:
            yield box(left, middle, cell.seat, "padding")
        yield box(middle, right, cell.seat, cell.kind)
        begin, _ = spans.get((cell.seat, cell.request), (left, right))
        # behind the prompt and its padding, which a name would hide
        spans[cell.seat, cell.request] = (right if cell.kind == "prompt" else begin), right
    for (seat, request), (left, right) in spans.items():
        if (right - left) / end > 0.014 * len(request):  # else the name does not fit
            yield Label(left + end * 0.005, seat, request, "name")


def box(left: float, right: float, seat: int, kind: str) -> Box:
    fill = FILLS[kind]
    return Box(left, seat - 0.42, right - left, 0.84, fill.face, fill.hatch)


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
