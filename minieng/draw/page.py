"""The step player as a page: one HTML file that needs no kernel, no server and nothing from elsewhere.

The page's script only puts shapes in and takes them out; what they are and what is said of them is decided
here, by the code that the notebook's pictures come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .blocks import block_shapes, block_title, height_of, looks
from .look import FILLS, INK
from .seats import cells, kinds_of, seat_shapes
from .shapes import Label, Shape
from .words import moments

if TYPE_CHECKING:
    from ..observe.trace import Trace

TEMPLATE = Path(__file__).with_name("player.html")
SCHEMA, VERSION = "minieng.player", 1
WIDTH, MARGIN, SEAT, ROW = 900, 44, 24, 36  # pixels: the drawing, its left edge, a seat, a row of blocks
MOST_STEPS = 500
MOST_OWNERS = 42  # so many requests look different


class Sheet:
    """Shapes of one drawing as short lists of numbers, each different one once, in pixels."""

    def __init__(self, left: float, top: float, x_scale: float, y_scale: float, shown: Styles) -> None:
        self.left, self.top, self.x_scale, self.y_scale = left, top, x_scale, y_scale
        self.shown = shown
        self.numbers: dict[tuple, int] = {}

    def add(self, shapes: Iterable[Shape]) -> list[int]:
        """The numbers of these shapes, in their order."""
        return [self.numbers.setdefault(self.flat(shape), len(self.numbers)) for shape in shapes]

    def flat(self, shape: Shape) -> tuple:
        x = round(self.left + shape.x * self.x_scale, 1)
        y = round(self.top + shape.y * self.y_scale, 1)
        if isinstance(shape, Label):
            return (x, y, shape.text, shape.kind)
        size = (round(shape.width * self.x_scale, 1), round(shape.height * self.y_scale, 1))
        return (x, y, *size, self.shown.number(shape.face, shape.hatch, shape.edge, shape.line))

    def shapes(self) -> list[tuple]:
        return list(self.numbers)


class Styles:
    """Each way that a box looks, once: (colour, hatching, edge, line width)."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str, str, float], int] = {}

    def number(self, face: str, hatch: str, edge: str = INK, line: float = 0.6) -> int:
        return self.numbers.setdefault((face, hatch, edge, line), len(self.numbers))


def player_data(
    trace: Trace, *, columns: int = 16, last: int = MOST_STEPS, title: str = ""
) -> dict[str, Any]:
    """What the page shows, as plain data for JSON: the player's stored form.

    columns  blocks in a row of the block map
    last     so many steps are shown at most, the last ones
    Raises ValueError for a trace without steps, or one that was recorded without names (``detail=False``).
    """
    if not len(trace):
        raise ValueError("the trace holds no steps: run something first")
    if not trace.detail:
        raise ValueError("the trace holds numbers only: record it with detail=True to see who did what")
    if last < 1 or columns < 1:
        raise ValueError(f"last={last}, columns={columns}: show 1 step or more, 1 block or more in a row")
    first, look, styles = max(0, len(trace) - last), looks(trace), Styles()
    timeline = seats_sheet(trace, first, styles)
    frames: list[dict] = []
    blocks = Sheet(4, 6, (WIDTH - 8) / columns, ROW, styles)
    height, before = 0.0, set[int]()
    for moment in list_from(moments(trace), first):
        record, tables = moment.record, moment.tables
        height = max(height, height_of(record, tables, columns))
        now = set(blocks.add(block_shapes(record, tables, columns, look)))
        frames.append({"step": record.step, "title": block_title(record, tables), "words": moment.words,
                       "waiting": ", ".join(moment.waiting) or "nobody",
                       "in": sorted(now - before), "out": sorted(before - now)})  # fmt: skip
        before = now
    owners = [[styles.number(*look[name]), name] for name in list(look)[:MOST_OWNERS]]
    return {
        "schema": SCHEMA, "version": VERSION, "title": title or "Step player",
        "left_out": first, "width": WIDTH, "timeline": timeline,
        "blocks": {"height": round(ROW * height + 12), "shapes": blocks.shapes()},
        "frames": frames, "owners": owners, "more_owners": max(0, len(look) - MOST_OWNERS),
        "styles": list(styles.numbers),
    }  # fmt: skip


def list_from(items: Iterator, first: int) -> Iterator:
    """All but the first so many."""
    for i, item in enumerate(items):
        if i >= first:
            yield item


def seats_sheet(trace: Trace, first: int, styles: Styles) -> dict[str, Any]:
    """The timeline from step number ``first`` of the trace on, with its axes and its legend."""
    found = [cell._replace(step=cell.step - first) for cell in cells(list(trace)) if cell.step >= first]
    count, rows = len(trace) - first, 1 + max((cell.seat for cell in found), default=0)
    scale, bottom = (WIDTH - MARGIN - 4) / count, SEAT * rows + 4
    sheet = Sheet(MARGIN, 4 + SEAT / 2, scale, SEAT, styles)
    sheet.add(seat_shapes(found, "step", count))
    sheet.add(Label(-8 / scale, seat, str(seat), "seat") for seat in range(rows))
    number = trace[first].step
    every = next(e * 10**k for k in range(9) for e in (1, 2, 5) if count / (e * 10**k) <= 20)
    ticks = range(-number % every, count, every)
    sheet.add(Label(i + 0.5, rows - 0.5 + 12 / SEAT, str(number + i), "tick") for i in ticks)
    legend = [[styles.number(FILLS[k].face, FILLS[k].hatch), FILLS[k].label] for k in kinds_of(found)]
    return {"left": MARGIN, "scale": scale, "bottom": bottom, "height": bottom + 20, "legend": legend,
            "shapes": sheet.shapes()}  # fmt: skip


def player_text(data: dict[str, Any]) -> str:
    """The stored form as JSON in one line: a notebook would give each number a line of its own."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def player_page(data: dict[str, Any]) -> str:
    """The stored form as a page of its own."""
    text = player_text(data).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{title}}", escape(data["title"]))
    return page.replace("{{data}}", text)
