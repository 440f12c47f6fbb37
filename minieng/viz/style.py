"""How pictures look, in one place: colours that colour-blind readers can tell apart,
each with its own hatching.

Colours are those of Okabe and Ito (2008). Figures have an opaque light ground, so they read the same in a
light and in a dark notebook. They are drawn without pyplot, so nothing is global and the same data gives the
same bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 9.0  # inches: a notebook's text column
DPI = 100
INK, GRID, GROUND = "#222222", "#d9d9d9", "#ffffff"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


class Fill(NamedTuple):
    """Colour, hatching and the word for it in a legend."""

    face: str
    hatch: str
    label: str


FILLS = {
    "prompt": Fill("#0072B2", "", "prompt"),
    "decode": Fill("#009E73", "..", "decode"),
    "recompute": Fill("#CC79A7", "xx", "recomputed"),
    "padding": Fill("#E8E8E8", "///", "padding"),
    "finished": Fill("#F5C26B", "\\\\\\", "row already done"),
    "idle": Fill("#FFFFFF", "", "empty or paused"),
}
# For requests, whose blocks stand beside the kinds of work above: none of those colours
OWNERS = ("#56B4E9", "#F0E442", "#D55E00", "#999933", "#882255", "#BBBBBB")


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
        return f"<details><summary>The figure in words</summary>\n{escape(self.text)}\n</details>"


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
