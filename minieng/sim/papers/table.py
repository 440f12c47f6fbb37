"""A rerun as a table: published figure, ours, the ratio, and all that one must know to judge it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure. ``low`` and ``high`` bound what counts as reproduced: ratios to the published figure or,
    with ``absolute``, values. ``why`` says what keeps it apart when it does not.

    counts  an absolute value, so that it is among those whose errors are summed up. Not: a ratio of two of
            our own figures, or a figure from which a constant of ours was taken
    """

    what: str
    published: float | None
    ours: float
    low: float = 0.85
    high: float = 1.15
    absolute: bool = False
    why: str = ""
    counts: bool = True

    @property
    def ratio(self) -> float | None:
        return self.ours / self.published if self.published else None

    @property
    def error(self) -> float | None:
        """Share by which ours is off; None where nothing is compared, or not an absolute value."""
        return None if self.ratio is None or not self.counts else abs(self.ratio - 1)

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
            lines.append(
                f"{row.what:{wide}}  {number(row.published)}  {number(row.ours)}  {number(row.ratio, 6)}  "
                f"{row.verdict}"
            )
            if row.why and row.reproduced is False:
                lines += wrap(row.why, "    why: ", "         ")
        lines += [
            "",
            "assumed (none adjusted to a result):",
            *(f"  {k}: {v}" for k, v in self.assumed.items()),
        ]
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


QUANTILES = {"median": 0.5, "P90": 0.9, "P99": 0.99}


def errors(tables: Sequence[Table]) -> dict[str, dict[str, float]]:
    """How far off all absolute published values are, |ours / published - 1|,
    and all but those that say why they are.
    """
    rows = [row for table in tables for row in table.rows if row.error is not None]
    named = {
        "all absolute published values": rows,
        "all but those known not to reproduce": [row for row in rows if row.reproduced or not row.why],
    }
    figures: dict[str, dict[str, float]] = {}
    for name, some in named.items():
        if some:
            figures[name] = {"values": len(some)}
            figures[name] |= {
                what: rank([r.error or 0.0 for r in some], share) for what, share in QUANTILES.items()
            }
    return figures


def errors_in_words(tables: Sequence[Table]) -> str:
    lines = ["how far off, |ours / published - 1|:"]
    for name, found in errors(tables).items():
        lines.append(
            f"  {name} ({found['values']}): " + ", ".join(f"{what} {found[what]:.1%}" for what in QUANTILES)
        )
    apart = sum(not row.counts for table in tables for row in table.rows)
    return "\n".join([*lines, f"  apart from these: {apart} ratios and figures that check nothing"])


def rank(values: Sequence[float], share: float) -> float:
    """The smallest value that a share of all is not above (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def number(value: float | None, width: int = 9) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:{width},.{0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2}f}"


def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=first, subsequent_indent=rest)
