"""A rerun as a table: published figure, ours, the ratio, and all that one must know to judge it."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure. ``low`` and ``high`` bound what counts as reproduced: ratios to the published figure or, with
    ``absolute``, values. ``why`` says what keeps it apart when it does not.
    """

    what: str
    published: float | None
    ours: float
    low: float = 0.85
    high: float = 1.15
    absolute: bool = False
    why: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.published if self.published else None

    @property
    def reproduced(self) -> bool | None:
        """None where there is nothing to compare with."""
        value = self.ours if self.absolute else self.ratio
        return None if value is None else self.low <= value <= self.high

    @property
    def verdict(self) -> str:
        if self.reproduced is None:
            return "not published"
        span = f"{self.low:g} to {self.high:g}" + ("" if self.absolute else " of it")
        return f"reproduces ({span})" if self.reproduced else f"does not ({span})"


@dataclass
class Table:
    """All figures of a paper's rerun, its set-up, what was assumed, and what the simulator leaves out."""

    title: str
    setup: str
    assumed: dict[str, str]
    not_modelled: list[str]
    rows: list[Row] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.title, *wrap("set-up: " + self.setup), ""]
        wide = max(len(row.what) for row in self.rows)
        lines.append(f"{'':{wide}}  {'published':>9}  {'ours':>9}  {'ratio':>6}")
        for row in self.rows:
            lines.append(f"{row.what:{wide}}  {number(row.published)}  {number(row.ours)}  {number(row.ratio, 6)}  {row.verdict}")
            if row.why and row.reproduced is False:
                lines += wrap(row.why, "    why: ", "         ")
        lines += ["", "assumed (none adjusted to a result):", *(f"  {k}: {v}" for k, v in self.assumed.items())]
        lines += ["not modelled:", *(f"  {text}" for text in self.not_modelled)]
        return "\n".join(lines)

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        rows = [asdict(row) | {"ratio": row.ratio, "reproduced": row.reproduced} for row in self.rows]
        return {
            "title": self.title,
            "setup": self.setup,
            "assumed": self.assumed,
            "not_modelled": self.not_modelled,
            "rows": rows,
        }


def number(value: float | None, width: int = 9) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:{width},.{0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2}f}"


def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=first, subsequent_indent=rest)
