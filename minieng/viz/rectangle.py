"""The padding rectangle: ragged prompts laid side by side, and what it costs to make them one matrix."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ..draw.look import FILLS, INK
from .style import Picture, new_figure


def padding_rectangle(lengths: Sequence[int], width: int | None = None, side: str = "left") -> Picture:
    """Rows of tokens padded to ``width`` (default: the longest) on the left or right.

    lengths: tokens in each row. Raises ValueError if a row does not fit.
    """
    if not lengths:
        raise ValueError("lengths is empty: there is nothing to draw")
    width = width if width is not None else max(lengths)
    if max(lengths) > width:
        raise ValueError(f"width={width}: the longest row has {max(lengths)} tokens")
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r}: choose 'left' or 'right'")
    figure, (ax,) = new_figure(0.9 + 0.32 * len(lengths))
    for row, length in enumerate(lengths):
        start = width - length if side == "left" else 0
        for column in range(width):
            kind = "prompt" if start <= column < start + length else "padding"
            fill = FILLS[kind]
            ax.add_patch(
                Rectangle(
                    (column, row - 0.42),
                    0.94,
                    0.84,
                    facecolor=fill.face,
                    hatch=fill.hatch,
                    edgecolor=INK,
                    lw=0.4,
                )
            )
    ax.set(xlim=(-0.1, width), ylim=(len(lengths) - 0.5, -0.5), yticks=range(len(lengths)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("position in the row (tokens)", color=INK)
    ax.set_ylabel("request", color=INK)
    used = [FILLS["prompt"]._replace(label="token"), FILLS["padding"]]
    handles = [Patch(facecolor=f.face, hatch=f.hatch, edgecolor=INK, lw=0.4, label=f.label) for f in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    total, tokens = width * len(lengths), sum(lengths)
    share = 100 * (total - tokens) / total
    return Picture(
        figure,
        f"{len(lengths)} rows of {', '.join(map(str, lengths))} tokens padded on the {side} to {width}: "
        f"{tokens} of {total} positions hold tokens, {total - tokens} ({share:.1f} %) hold padding.",
    )
