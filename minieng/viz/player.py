"""Step through a trace: timeline, block map, waiting queue, and what each step decided, in words.

Frames are pictures, so what is shown on GitHub and in an exported page is the first of them, and nothing can
go missing. Works with ipywidgets 7.7 (Colab) and 8.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..observe.trace import StepRecord, Trace
from .blocks import draw_blocks, height_of, looks
from .style import INK, SERIES, Picture, new_figure
from .timeline import cells, draw, legend


def step_in_words(trace: Trace, index: int) -> str:
    """What a step did, as one would tell it: "step 7: r5 admitted with 48 prompt tokens; r6 refused:
    needs 4 blocks".
    """
    record, held = trace[index], trace.tables(index)
    parts = [f"{name} preempted" for name in record.preempted]
    parts += newcomers_in_words(trace, index)
    writers = [
        name for (name, _, _), kind in zip(record.slices, record.kinds, strict=True) if kind == "decode"
    ]
    if writers:
        parts.append(f"one token{' each' if len(writers) > 1 else ''} for {', '.join(writers)}")
    if record.padding:
        parts.append(counted(record.padding, "position") + " of padding")
    if record.finished_rows:
        parts.append(counted(record.finished_rows, "position") + " computed for rows that are done")
    parts += [f"{name} refused: {reason}" for name, reason in record.refused]
    parts += [
        f"{name} finished, {counted(len(held.get(name, [])), 'block')} given back" for name in record.finished
    ]
    return f"step {record.step}: " + "; ".join(parts or ["nothing to do"])


def newcomers_in_words(trace: Trace, index: int) -> list[str]:
    """Who was admitted, came back after a preemption, or went on with a prompt."""
    record, parts = trace[index], []
    seen = {name for earlier in list(trace)[:index] for name, _, _ in earlier.slices}
    running = running_before(trace, index)
    for (name, before, n), kind in zip(record.slices, record.kinds, strict=True):
        if kind == "decode":
            parts += [] if name in running else [f"{name} comes back, all its KV found again"]
            continue
        verb = (
            "admitted with" if name not in seen else "goes on with" if name in running else "comes back with"
        )
        cached = (
            f" after {counted(before, 'token')} found in the cache" if name not in running and before else ""
        )
        what = counted(n, "prompt token") if kind == "prompt" else counted(n, "token") + " to compute again"
        parts.append(f"{name} {verb} {what}{cached}")
    return parts


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def running_before(trace: Trace, index: int) -> set[str]:
    """Who held blocks when the step began."""
    if not index:
        return set()
    return set(trace.tables(index - 1)) - set(trace[index - 1].finished)


def waiting_at(trace: Trace, record: StepRecord, index: int) -> list[str]:
    """Requests that had arrived by the step and hold nothing during it, in order of arrival."""
    gone = {name for earlier in list(trace)[:index] for name in (*earlier.finished, *earlier.aborted)}
    held = trace.tables(index)
    waiting = [
        r for r in trace.requests.values() if r.arrival_time <= record.start and r.request_id not in gone
    ]
    waiting.sort(key=lambda r: (r.arrival_time, r.sequence))
    return [r.request_id for r in waiting if r.request_id not in held]


class Player:
    """Shows one frame a step of a trace. As the last line of a cell it displays itself.

    In a notebook: Play, a slider, and the picture. ``frame(i)`` is the picture of step i.
    """

    def __init__(self, trace: Trace, columns: int = 16) -> None:
        if not len(trace):
            raise ValueError("the trace holds no steps: run something first")
        self.trace, self.columns = trace, columns
        self._cells, self._looks = cells(list(trace)), looks(trace)
        self._frames: dict[int, bytes] = {}

    def frame(self, index: int) -> Picture:
        """The picture of one step."""
        record, tables = self.trace[index], self.trace.tables(index)
        rows = 1 + max(cell.seat for cell in self._cells)
        most = max(height_of(r, self.trace.tables(i), self.columns) for i, r in enumerate(self.trace))
        heights = (0.5 + 0.24 * rows, 0.4 + 0.3 * most, 0.7)
        figure, _ = new_figure(sum(heights) + 0.3)
        figure.clear()
        top, middle, bottom = figure.subplots(3, 1, height_ratios=heights)
        draw(top, self._cells, "step", rows, len(self.trace))
        top.axvspan(index, index + 1, facecolor="none", edgecolor=SERIES[1], lw=2.5, zorder=5)
        top.set_xlabel("step", color=INK)
        draw_blocks(middle, record, tables, self.columns, self._looks)
        legend(figure, self._cells)
        waiting = waiting_at(self.trace, record, index)
        words = step_in_words(self.trace, index)
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
            "text/plain": f"<player of {len(self.trace)} steps> {self.frame(0).alt_text()}",
        }
        display(bundle, raw=True)


def wrapped(text: str, width: int = 118) -> str:
    from textwrap import fill

    return fill(text, width)


def player(trace: Trace, columns: int = 16) -> Player:
    """Step through a trace with Play and a slider. ``columns``: blocks in a row of the block map."""
    return Player(trace, columns)
