"""How pictures are made, in one place; their colours are those of ``draw/look.py``.

They are drawn without pyplot, so nothing is global and the same data gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..draw.look import GROUND, INK
from ..draw.shapes import Label, Shape

WIDTH = 9.0  # inches: a notebook's text column
DPI = 100
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass
class Picture:
    """A finished figure with its description. As the last line of a cell it shows itself;
    ``save`` writes a PNG.
    """

    figure: Figure
    description: str

    def alt_text(self) -> str:
        """What the picture shows, in words and numbers taken from the data."""
        return self.description

    def png(self) -> bytes:
        """The picture as PNG, its description stored in the file."""
        buffer = io.BytesIO()
        FigureCanvasAgg(self.figure)
        with matplotlib.rc_context({"hatch.linewidth": 0.6}):
            self.figure.savefig(
                buffer, format="png", dpi=DPI, metadata={"Software": "", "Description": self.description}
            )
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        path = Path(path)
        path.write_bytes(self.png())
        return path

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict:
        return {"image/png": self.png(), "text/plain": fill(self.description, 110)}


class InWords:
    """A figure's description, folded where a page can fold:
    it is there for those who do not see the figure.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return fill(f"Figure: {self.text}", 110)

    def _repr_html_(self) -> str:
        """Begins with a line of a space: JupyterLab shows that line in place of a folded output."""
        return f" \n<details><summary>The figure in words</summary>\n{escape(self.text)}\n</details>"


def in_words(told: Picture | str) -> None:
    """Display a figure's description, its own or one that is given. Call it before the figure is shown."""
    from IPython.display import display

    display(InWords(told if isinstance(told, str) else told.alt_text()))


def new_figure(height: float, rows: int = 1, share_x: bool = False) -> tuple[Figure, list]:
    """A figure at notebook width with one column of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor=GROUND)
    axes = figure.subplots(rows, 1, squeeze=False, sharex=share_x)[:, 0]
    for ax in axes:
        ax.set_facecolor(GROUND)
        ax.tick_params(colors=INK, labelsize=9)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure, list(axes)


WORDS: dict[str, dict[str, Any]] = {  # kind of label → how it is written
    "name": {"fontsize": 7.5, "color": "white", "weight": "bold",
             "bbox": {"facecolor": INK, "pad": 0.8, "lw": 0}},
    "block": {"fontsize": 8, "color": INK, "ha": "center",
              "bbox": {"facecolor": "white", "lw": 0, "pad": 1.0, "alpha": 0.9}},
    "table": {"fontsize": 9, "color": INK, "family": "monospace"},
}  # fmt: skip


def paint(ax: Axes, shapes: Iterable[Shape]) -> None:
    """Boxes and labels of ``minieng.draw`` on axes."""
    for shape in shapes:
        if isinstance(shape, Label):
            style = {"ha": "left", "va": "center"} | WORDS[shape.kind]
            ax.text(shape.x, shape.y, shape.text, **style)
        else:
            ax.add_patch(
                Rectangle(
                    (shape.x, shape.y), shape.width, shape.height, facecolor=shape.face, hatch=shape.hatch,
                    edgecolor=shape.edge, lw=shape.line,
                )
            )  # fmt: skip
