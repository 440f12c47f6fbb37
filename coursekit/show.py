"""What the learner sees: one message as text and as HTML, with expected and got side by side."""

import html
import sys
from collections.abc import Sequence
from typing import Any

from .plain import brief, readable
from .task import Finding, Task

GOOD, BAD, QUIET = "#0072b2", "#d55e00", "#666"  # blue and vermilion: apart for every kind of colour vision
MAX_SIDE = 24


def show(text: str, page: str | None = None) -> None:
    """Display in a notebook, print elsewhere. The text says everything that the page says."""
    text, page = readable(text), page and readable(page)
    if page and in_notebook():
        from IPython.display import display

        display({"text/plain": text, "text/html": page}, raw=True)
    else:
        print(text)


def in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return bool(shell is not None and getattr(shell, "kernel", None) is not None)


def escape(value: Any) -> str:
    return html.escape(str(value))


def box(colour: str, title: str, body: str) -> str:
    return (
        f'<div style="border-left:5px solid {colour};padding:.3em .9em;margin:.3em 0;max-width:52em">'
        f'<div style="font-weight:bold">{title}</div>{body}</div>'
    )


# ---------------------------------------------------------------- expected and got
def parts(value: Any, names: list[str]) -> list[tuple[str, Any]]:
    """A value as (name, grid) pairs that can be drawn; a tuple of three grids has three names."""
    if isinstance(value, dict):
        return [(k, v) for k, v in value.items()]
    if names and isinstance(value, list) and len(value) == len(names):
        return list(zip(names, value))
    return [("", value)]


def is_grid(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_SIDE
        and all(isinstance(r, list) for r in value)
        and all(0 < len(r) <= MAX_SIDE and all(not isinstance(x, (list, dict)) for x in r) for r in value)
    )


def part_names(task: Task) -> list[str]:
    """The names inside ``returns``: "(input_ids, position_ids, cu_seqlens), three flat lists" -> those three."""
    text = task.returns
    return [name.strip() for name in text[1 : text.index(")")].split(",")] if text.startswith("(") else []


def is_mask(value: Any) -> bool:
    return is_grid(value) and all(x in (0, 1) for row in value for x in row)


def form_of(pair: Sequence[Any], picture: str = "auto") -> str:
    """How two values that stand side by side are drawn, both alike: "mask", "grid" or "line".

    One row alone would lose its brackets in a grid, and [[0]] is not 0.
    """
    if picture == "mask" and all(map(is_mask, pair)):
        return "mask"
    return "grid" if all(is_grid(value) and len(value) > 1 for value in pair) else "line"


def text_of(value: Any, form: str = "line", width: int = 1) -> str:
    """``value`` as text. width: of a cell of a grid, so that two grids line up."""
    if form == "mask":
        return "\n".join(" ".join("■" if x else "·" for x in row) for row in value)
    if form == "grid":
        return "\n".join(" ".join(str(x).rjust(width) for x in row) for row in value)
    return value if isinstance(value, str) else brief(value, 300)


def widest(grids: Sequence[list[list[Any]]]) -> int:
    return max(len(str(x)) for grid in grids for row in grid for x in row)


def side_by_side(left: str, right: str, gap: int = 4) -> str:
    """Two blocks of text as columns."""
    a, b = left.split("\n"), right.split("\n")
    width = max(map(len, a))
    rows = max(len(a), len(b))
    a, b = a + [""] * (rows - len(a)), b + [""] * (rows - len(b))
    return "\n".join((x.ljust(width) + " " * gap + y).rstrip() for x, y in zip(a, b))


def column_text(title: str, value: Any, other: Any, task: Task) -> str:
    """One column of text. other: what stands in the other column; a part that both have is drawn alike in both."""
    lines, others = [title], dict(parts(other, part_names(task)))
    for name, part in parts(value, part_names(task)):
        pair = [part, others[name]] if name in others else [part]
        form = form_of(pair, task.picture)
        drawn = text_of(part, form, widest(pair) if form == "grid" else 1)
        lines += [f"{name}: {drawn}"] if name and "\n" not in drawn else [*([name] if name else []), drawn]
    return "\n".join(lines)


def compare_text(finding: Finding, task: Task) -> str:
    a, b = finding.expected, finding.got
    block = side_by_side(column_text("expected", a, b, task), column_text("got", b, a, task))
    return "\n".join("  " + line for line in block.split("\n"))


def cell_html(x: Any, other: Any, mask: bool) -> str:
    differs = other is not None and x != other
    mark = f"outline:2px solid {BAD};outline-offset:-2px;" if differs else ""
    if mask:
        fill = GOOD if x else "#fff"
        ink = "#fff" if x else "#999"
        style = f"width:1.5em;text-align:center;border:1px solid #bbb;background:{fill};color:{ink};{mark}"
        return f'<td style="{style}">{"✓" if x else "·"}</td>'
    weight = "font-weight:bold;" if differs else ""
    return f'<td style="text-align:right;border:1px solid #bbb;padding:.1em .5em;{weight}{mark}">{escape(x)}</td>'


def grid_html(grid: list[list[Any]], other: Any, mask: bool) -> str:
    alike = is_grid(other) and [len(r) for r in other] == [len(r) for r in grid]
    rows = "".join(
        "<tr>" + "".join(cell_html(x, other[i][j] if alike else None, mask) for j, x in enumerate(row)) + "</tr>"
        for i, row in enumerate(grid)
    )
    return f'<table style="border-collapse:collapse;margin:.2em 0">{rows}</table>'


def value_html(value: Any, form: str, other: Any) -> str:
    """other: the value whose cells this one's are compared with, None to mark no difference."""
    if form != "line":
        return grid_html(value, other, form == "mask")
    text = escape(text_of(value))
    return f'<pre style="margin:.2em 0">{text}</pre>' if "\n" in text else f"<div><code>{text}</code></div>"


def column_html(title: str, value: Any, other: Any, task: Task, marked: bool) -> str:
    """One column, as ``column_text``. marked: frame the cells that differ from the other column's."""
    others, inner = dict(parts(other, part_names(task))), ""
    for name, part in parts(value, part_names(task)):
        form = form_of([part, others[name]] if name in others else [part], task.picture)
        inner += f'<div style="color:{QUIET}">{escape(name)}</div>' if name else ""
        inner += value_html(part, form, others.get(name) if marked else None)
    return f'<td style="vertical-align:top;text-align:left;padding-right:2em"><b>{title}</b>{inner}</td>'


def compare_html(finding: Finding, task: Task) -> str:
    a, b = finding.expected, finding.got
    return "<table><tr>" + column_html("expected", a, b, task, False) + column_html("got", b, a, task, True) + "</tr></table>"
