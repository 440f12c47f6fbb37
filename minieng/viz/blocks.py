"""Where the KV cache's memory is: block tables at one step, and how full the cache is over a run."""

from __future__ import annotations

from collections import Counter

from matplotlib.axes import Axes

from ..draw.blocks import Looks, block_shapes, block_title, height_of, listed, looks, num_free
from ..draw.look import FILLS, INK, SERIES
from ..observe.trace import StepRecord, Trace
from .style import Picture, new_figure, paint


def block_map(trace: Trace, step: int = -1, columns: int = 16) -> Picture:
    """The pool at one step, block by block: who holds it,
    and how many tables hold it where more than one does.

    step: index into the trace, counted from the end if negative.
    """
    record, tables = trace[step], trace.tables(step)
    figure, (ax,) = new_figure(0.5 + 0.36 * height_of(record, tables, columns))
    draw_blocks(ax, record, tables, columns, looks(trace))
    return Picture(figure, describe(record, tables))


def draw_blocks(
    ax: Axes, record: StepRecord, tables: dict[str, list[int]], columns: int, look: Looks
) -> None:
    """The blocks in reading order, and below them each request's table with its colour and hatching."""
    paint(ax, block_shapes(record, tables, columns, look))
    ax.set(xlim=(-0.1, columns), ylim=(height_of(record, tables, columns), -0.2), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(block_title(record, tables), loc="left", fontsize=10)


def describe(record: StepRecord, tables: dict[str, list[int]]) -> str:
    counts = Counter(block for table in tables.values() for block in table)
    shared = {block: count for block, count in counts.items() if count > 1}
    held = (
        "; ".join(f"{request} holds blocks {listed(table)}" for request, table in tables.items())
        or "nobody holds a block"
    )
    common = ", ".join(f"block {block} is held by {count}" for block, count in sorted(shared.items()))
    free = f"{num_free(record, tables)} of {record.blocks_total} blocks are free"
    return f"At step {record.step} {free}: {held}." + (f" Shared: {common}." if common else "")


def kv_use(traces: dict[str, Trace], block_size: int) -> Picture:
    """Tokens of KV over time: what holds computed tokens,
    and what is held by block tables (the gap is waste).

    block_size: tokens in a block, to put both on one axis.
    """
    figure, axes = new_figure(0.6 + 1.9 * len(traces), len(traces), share_x=True)
    words = []
    for ax, (name, trace) in zip(axes, traces.items(), strict=True):
        times = [record.start for record in trace]
        held = [(record.blocks_total - record.blocks_free) * block_size for record in trace]
        used = [record.kv_used for record in trace]
        hatched = {"facecolor": FILLS["padding"].face, "hatch": "///", "label": "held"}
        ax.fill_between(times, held, step="post", edgecolor=INK, lw=0.5, **hatched)
        ax.fill_between(
            times, used, step="post", facecolor=SERIES[0], edgecolor=INK, lw=0.5,
            label="holding computed tokens",
        )  # fmt: skip
        ax.axhline(trace[0].blocks_total * block_size, color=SERIES[1], ls="--", lw=1.2, label="whole cache")
        ax.set_ylabel("KV (tokens)", color=INK)
        ax.set_title(name, loc="left", fontsize=10, color=INK)
        share = sum(used) / max(1, sum(held))
        words.append(
            f"{name}: {100 * share:.1f} % of the KV held holds computed tokens, at most {max(held)} tokens "
            "are held."
        )
    axes[-1].set_xlabel("time (s)", color=INK)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return Picture(figure, " ".join(words))
