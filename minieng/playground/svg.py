"""Shapes as SVG text, and curves of counts over time: pictures that need no library to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..draw.look import FILLS, INK, SERIES
from ..draw.seats import Cell, kinds_of, seat_shapes
from ..draw.shapes import Box, Label, Shape
from ..observe.record import StepRecord

WIDTH, LEFT, SEAT, CURVE = 640, 40, 22, 70  # pixels: the drawing, its left edge, a seat, a curve's height
COLUMNS = 300  # of a curve: more cannot be told apart
LINES = {
    "/": "M0 8L8 0", "\\": "M0 0L8 8", "x": "M0 8L8 0M0 0L8 8", "-": "M0 4H8", "+": "M0 4H8M4 0V8",
}  # fmt: skip
STYLE = "font:12px system-ui,sans-serif;display:block;width:100%;min-width:26rem;height:auto;background:#fff"


def timeline(found: Sequence[Cell], rows: int, end: float, words: str, prefix: str) -> str:
    """Seats against seconds.

    end     of the axis, in seconds
    words   what is to be seen, for who does not see it
    prefix  of this drawing's pattern names, which no other drawing of a page may have
    """
    scale, height = (WIDTH - LEFT - 4) / (end or 1.0), rows * SEAT + 4
    paint = Paint(LEFT, SEAT / 2 + 2, scale, SEAT, prefix)
    shapes = "".join(map(paint.shape, seat_shapes(found, "time", end or 1.0)))
    seats = "".join(text(LEFT - 8, 2 + SEAT * (i + 0.5), str(i), "end") for i in range(rows))
    inside = paint.patterns() + seats + shapes + axis(end, scale, height)
    return drawing(inside, height + 34, f"Seats against time. {words}")


def legend(found: Sequence[Cell], prefix: str) -> str:
    """The colours of these cells, as a list."""
    items = []
    for i, kind in enumerate(kinds_of(found)):
        fill, paint = FILLS[kind], Paint(0, 0, 1, 1, f"{prefix}k{i}")
        icon = paint.shape(Box(0.5, 0.5, 25, 13, fill.face, fill.hatch))
        inside = paint.patterns() + icon
        small = f'<svg viewBox="0 0 26 14" width="26" height="14" aria-hidden="true">{inside}</svg>'
        items.append(f"<li>{small} {escape(fill.label)}</li>")
    return f'<ul class="mp-key">{"".join(items)}</ul>'


def curve(
    records: Sequence[StepRecord], values: Sequence[float], most: float, end: float, color: int, name: str
) -> str:
    """A count over time as a filled stair: in each column the most that it was there. ``most``: axis' top."""
    scale, top = (WIDTH - LEFT - 4) / (end or 1.0), max(most, 1)
    columns = [0.0] * COLUMNS
    for record, value in zip(records, values, strict=True):
        first = min(COLUMNS - 1, int(record.start / (end or 1.0) * COLUMNS))
        last = min(COLUMNS - 1, int((record.start + record.duration) / (end or 1.0) * COLUMNS))
        for i in range(first, last + 1):
            columns[i] = max(columns[i], value)
    step, path = (WIDTH - LEFT - 4) / COLUMNS, f"M{LEFT} {CURVE + 4}"
    for i, value in enumerate(columns):
        path += f"V{CURVE + 4 - CURVE * value / top:.1f}H{LEFT + (i + 1) * step:.1f}"
    look = f'fill="{SERIES[color]}" fill-opacity=".75" stroke="{INK}" stroke-width=".5"'
    area = f'<path d="{path}V{CURVE + 4}Z" {look}/>'
    frame = f'<path d="M{LEFT} 4V{CURVE + 4}H{WIDTH - 4}" fill="none" stroke="{INK}" stroke-width=".8"/>'
    ends = text(LEFT - 6, CURVE, "0", "end") + text(LEFT - 6, 10, f"{top:g}", "end")
    words = f"{name}: at most {max(values, default=0):g}, the axis ends at {top:g}."
    return drawing(area + frame + ends + axis(end, scale, CURVE + 4), CURVE + 38, words)


def axis(end: float, scale: float, y: float) -> str:
    """Seconds below a drawing: some round numbers."""
    every = next(e * 10.0**k for k in range(-6, 9) for e in (1, 2, 5) if (end or 1.0) / (e * 10.0**k) <= 6)
    marks = [i * every for i in range(int((end or 1.0) / every) + 1)]
    lines = "".join(f'<path d="M{LEFT + t * scale:.1f} {y}v4" stroke="{INK}"/>' for t in marks)
    words = "".join(text(LEFT + t * scale, y + 13, f"{t:.6g}", "middle") for t in marks)
    return lines + words + text(WIDTH / 2, y + 27, "time (s)", "middle")


def drawing(inside: str, height: float, words: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" style="{STYLE}"'
    )
    return f'<div class="mp-sheet" tabindex="0">{head} aria-label="{escape(words)}">{inside}</svg></div>'


def text(x: float, y: float, words: str, anchor: str = "start", style: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="central"'
    return f'<text {place} fill="{INK}"{style}>{escape(words)}</text>'


class Paint:
    """Puts shapes on a drawing: x and y in their own units times a scale; hatchings become patterns."""

    def __init__(self, left: float, top: float, x_scale: float, y_scale: float, prefix: str) -> None:
        self.left, self.top, self.x_scale, self.y_scale, self.prefix = left, top, x_scale, y_scale, prefix
        self.fills: dict[tuple[str, str], str] = {}

    def shape(self, shape: Shape) -> str:
        x, y = self.left + shape.x * self.x_scale, self.top + shape.y * self.y_scale
        if isinstance(shape, Label):
            halo = ' font-weight="bold" font-size="11" stroke="#fff" stroke-width="4" paint-order="stroke"'
            return text(x, y, shape.text, style=halo)
        size = f'width="{shape.width * self.x_scale:.2f}" height="{shape.height * self.y_scale:.2f}"'
        place = f'x="{x:.2f}" y="{y:.2f}" {size}'
        return f'<rect {place} fill="{self.fill(shape)}" stroke="{shape.edge}" stroke-width="{shape.line}"/>'

    def fill(self, box: Box) -> str:
        if not box.hatch:
            return box.face
        name = self.fills.setdefault((box.face, box.hatch), f"{self.prefix}{len(self.fills)}")
        return f"url(#{name})"

    def patterns(self) -> str:
        return "".join(pattern(name, *look) for look, name in self.fills.items())


def pattern(name: str, face: str, hatch: str) -> str:
    mark = f'<path d="{LINES.get(hatch[0], "")}" stroke="{INK}" stroke-width=".8" fill="none"/>'
    if hatch[0] == ".":
        mark = f'<circle cx="4" cy="4" r="1.1" fill="{INK}"/>'
    ground = f'<rect width="8" height="8" fill="{face}"/>'
    return f'<pattern id="{name}" width="8" height="8" patternUnits="userSpaceOnUse">{ground}{mark}</pattern>'
