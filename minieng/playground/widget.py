"""The playground in a notebook. ipywidgets from 7.7.1 (Colab) on; nothing but fields, buttons and HTML."""

from __future__ import annotations

from typing import Any

from .ask import MORE, answer, drawn, face
from .choice import EXAMPLE, Choice
from .situations import SITUATIONS, Situation, situation

NONE = "(nothing)"


class Side:
    """The fields of one choice."""

    def __init__(self, title: str, schedulers: list[str], optional: bool) -> None:
        import ipywidgets as widgets

        words = [NONE, *schedulers] if optional else schedulers
        wide = {"width": "auto"}
        self.scheduler = widgets.Dropdown(options=words, description=title, layout=wide)
        self.knobs = widgets.Text(description="knobs", placeholder="max_num_seqs=4, order=sjf", layout=wide)
        self.source = widgets.Textarea(
            value=EXAMPLE, description="Python", layout={"width": "auto", "height": "15em"}
        )
        self.scheduler.observe(self.show_source, names="value")
        self.box = widgets.VBox([self.scheduler, self.knobs, self.source], layout={"flex": "1 1 20rem"})
        self.show_source()

    def show_source(self, change: Any = None) -> None:
        """The text box is there for a scheduler of one's own only."""
        self.source.layout.display = None if self.scheduler.value == "own" else "none"

    def put(self, choice: Choice) -> None:
        self.scheduler.value, self.knobs.value = choice.scheduler, choice.knobs
        self.source.value = choice.source or EXAMPLE

    def asked(self) -> dict[str, str] | None:
        if self.scheduler.value == NONE:
            return None
        own = self.scheduler.value == "own"
        return {
            "scheduler": self.scheduler.value, "knobs": self.knobs.value,
            "source": self.source.value if own else "",
        }  # fmt: skip


class Playground:
    """Fields, a button, and what came of the last run. As the last line of a cell it displays itself.

    ``put(situation)`` fills the fields, ``run()`` does what the button does; ``result`` is what ``answer``
    gave.
    """

    def __init__(self, first: Situation) -> None:
        import ipywidgets as widgets

        known, wide = face(), {"width": "auto"}
        self.result: dict[str, Any] = {}
        names = [(f"{each.lesson} · {each.title}", each.name) for each in SITUATIONS]
        self.situation = widgets.Dropdown(options=names, description="situation", layout=wide)
        self.look = widgets.HTML()
        self.workload = widgets.Textarea(description="requests", layout={"width": "auto", "height": "9em"})
        self.preset = widgets.Dropdown(options=known["presets"], description="draw from")
        self.count = widgets.BoundedIntText(value=24, min=1, max=500, description="requests")
        self.rate = widgets.FloatText(value=20.0, description="a second")
        self.seed = widgets.IntText(value=0, description="seed")
        draw = widgets.Button(description="Draw")
        draw.on_click(lambda _: self.draw())
        self.left = Side("left", known["schedulers"], optional=False)
        self.right = Side("right", known["schedulers"], optional=True)
        go = widgets.Button(description="Run", button_style="primary")
        go.on_click(lambda _: self.run())
        self.shown = widgets.HTML()
        self.situation.observe(lambda change: self.put(situation(change["new"])), names="value")
        flow = {"display": "flex", "flex_flow": "row wrap"}
        self.widget = widgets.VBox([
            self.situation, self.look, self.workload,
            widgets.Box([self.preset, self.count, self.rate, self.seed, draw], layout=flow),
            widgets.Box([self.left.box, self.right.box], layout=flow),
            widgets.HTML(f"<small>{MORE}</small>"), go, self.shown,
        ])  # fmt: skip
        self.put(first)
        self.situation.value = first.name
        self.run()

    def put(self, chosen: Situation) -> None:
        """Fill the fields from a situation."""
        self.look.value = f"<b>{chosen.title}.</b> {chosen.look}"
        self.workload.value = chosen.text
        self.left.put(chosen.left)
        self.right.put(chosen.right)

    def draw(self) -> None:
        """Fill the requests from a preset."""
        try:
            self.workload.value = drawn(self.preset.value, self.count.value, self.rate.value, self.seed.value)
        except ValueError as problem:
            self.tell(str(problem))

    def run(self) -> None:
        """Simulate both choices and show what came of them."""
        asked = {"workload": self.workload.value, "left": self.left.asked(), "right": self.right.asked()}
        self.result = answer(asked)
        if "error" in self.result:
            self.tell(self.result["error"])
        else:
            self.shown.value = self.result["html"]

    def tell(self, problem: str) -> None:
        from html import escape

        self.shown.value = f'<p role="alert"><b>{escape(problem)}</b></p>'

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        words = "<playground: run this cell to play>"
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": words}, raw=True)


def playground(name: str = "alone-or-together") -> Playground:
    """Two schedulers beside each other on requests of your own, simulated; begins with a situation.

    Choose a situation, or write or draw requests; choose schedulers and knobs, or write a scheduler; press
    Run. Raises ValueError with the names of the situations for one that there is not.
    """
    return Playground(situation(name))
