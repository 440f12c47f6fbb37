"""What a drawing is made of, whatever paints it: boxes and labels, in its own units, y downwards."""

from __future__ import annotations

from typing import NamedTuple

from .look import INK


class Box(NamedTuple):
    """A filled rectangle. Left, top, width and height in the drawing's units; line width in points."""

    x: float
    y: float
    width: float
    height: float
    face: str
    hatch: str = ""
    edge: str = INK
    line: float = 0.35


class Label(NamedTuple):
    """A word on a drawing, its middle at height y; it begins at x (a "block" or "tick": its middle; a "seat":
    its end).

    kind  "name" (a request in its seat), "block" (a block's number), "table" (a request's blocks); on the
          page "seat" and "tick" too (numbers on the axes)
    """

    x: float
    y: float
    text: str
    kind: str


Shape = Box | Label
