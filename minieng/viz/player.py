"""Step through a trace: timeline, block map, waiting queue, and what each step decided, in words.

Frames are pictures, so what is shown on GitHub and in an exported page is the first of them, and nothing can
go missing. A notebook also stores the player's data, from which the site makes a player that needs no kernel
(``draw/page.py``); the shapes are the same. Works with ipywidgets 7.7 (Colab) and 8.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..draw import player_data, player_text
from ..draw.blocks import height_of, looks
from ..draw.look import INK, SERIES
from ..draw.seats import cells
from ..draw.words import moment_at
from ..observe.trace import Trace
from .blocks import draw_blocks
from .style import Picture, new_figure
from .timeline import draw, legend

STORED = "application/vnd.minieng.player"  # text that holds JSON


class Player:
    """Shows one frame a step of a trace. As the last line of a cell it displays itself.

    In a notebook: Play, a slider, and the picture. ``frame(i)`` is the picture of step i.
    """

    def __init__(self, trace: Trace, columns: int = 16) -> None:
        if not len(trace):
            raise ValueError("the trace holds no steps: run something first")
        self.trace, self.columns = trace, columns
        self._cells, self._looks = cells(list(trace)), looks(trace)
        pairs = zip(trace, trace.every_table(), strict=True)
        self._most = max(height_of(record, tables, columns) for record, tables in pairs)
        self._frames: dict[int, bytes] = {}

    def frame(self, index: int) -> Picture:
        """The picture of one step."""
        record, tables, waiting, words = moment_at(self.trace, index)
        rows = 1 + max(cell.seat for cell in self._cells)
        heights = (0.5 + 0.24 * rows, 0.4 + 0.3 * self._most, 0.7)
        figure, _ = new_figure(sum(heights) + 0.3)
        figure.clear()
        top, middle, bottom = figure.subplots(3, 1, height_ratios=heights)
        draw(top, self._cells, "step", rows, len(self.trace))
        top.axvspan(index, index + 1, facecolor="none", edgecolor=SERIES[1], lw=2.5, zorder=5)
        top.set_xlabel("step", color=INK)
        draw_blocks(middle, record, tables, self.columns, self._looks)
        legend(figure, self._cells)
        bottom.axis("off")
        text = f"{wrapped(words)}\nwaiting: {', '.join(waiting) or 'nobody'}"
        bottom.text(0, 1, text, transform=bottom.transAxes, fontsize=9.5, color=INK, va="top")
        return Picture(figure, f"{words}. Waiting: {', '.join(waiting) or 'nobody'}.")

    def png(self, index: int) -> bytes:
        """The picture of one step as PNG, drawn once."""
        if index not in self._frames:
            self._frames[index] = self.frame(index).png()
        return self._frames[index]

    @cached_property
    def widget(self) -> Any:
        """Play, slider and picture as one widget."""
        import ipywidgets as widgets

        last = len(self.trace) - 1
        image = widgets.Image(value=self.png(0), format="png")
        image.layout.width, image.layout.max_width = "auto", "100%"
        slider = widgets.IntSlider(value=0, min=0, max=last, description="step")
        play = widgets.Play(value=0, min=0, max=last, interval=700)
        widgets.jslink((play, "value"), (slider, "value"))

        def show(change: dict) -> None:
            image.value = self.png(change["new"])

        slider.observe(show, names="value")
        return widgets.VBox([widgets.HBox([play, slider]), image])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        bundle = {
            "application/vnd.jupyter.widget-view+json": view,
            "image/png": self.png(0),
            STORED: player_text(player_data(self.trace, columns=self.columns)),
            "text/plain": f"<player of {len(self.trace)} steps> {self.frame(0).alt_text()}",
        }
        display(bundle, raw=True)


def wrapped(text: str, width: int = 118) -> str:
    from textwrap import fill

    return fill(text, width)


def player(trace: Trace, columns: int = 16) -> Player:
    """Step through a trace with Play and a slider. ``columns``: blocks in a row of the block map."""
    return Player(trace, columns)
