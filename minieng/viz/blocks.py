"""Where the KV cache's memory is: block tables at one step, and how full the cache is over a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..observe.trace import StepRecord, Trace
from .style import FILLS, GRID, INK, OWNERS, SERIES, Picture, new_figure

HATCHES = ("", "///", "..", "\\\\\\", "xx", "--", "++")  # one more than colours: 42 requests look different


def block_map(trace: Trace, step: int = -1, columns: int = 16) -> Picture:
    """The pool at one step, block by block: who holds it,
    and how many tables hold it where more than one does.

    step: index into the trace, counted from the end if negative.
    """
    record, tables = trace[step], trace.tables(step)
    figure, (ax,) = new_figure(0.5 + 0.36 * height_of(record, tables, columns))
    draw_blocks(ax, record, tables, columns, looks(trace))
    return Picture(figure, describe(record, tables))


def looks(trace: Trace) -> dict[str, tuple[str, str]]:
    """Colour and hatching of each request, the same at every step:
    they go by the order in which requests got blocks.
    """
    names = dict.fromkeys(name for record in trace for name, _ in record.taken)
    names |= dict.fromkeys(name for record in trace for name, _, _ in record.slices)
    return {name: (OWNERS[i % len(OWNERS)], HATCHES[i % len(HATCHES)]) for i, name in enumerate(names)}


def num_shown(record: StepRecord, tables: dict[str, list[int]], columns: int) -> int:
    """A small pool is drawn whole, of a large one only as far as blocks are held."""
    if record.blocks_total <= 8 * columns:
        return record.blocks_total
    return max([columns, *(block + 1 for table in tables.values() for block in table)])


def height_of(record: StepRecord, tables: dict[str, list[int]], columns: int) -> float:
    """Height of the drawing in rows of blocks."""
    return -(-num_shown(record, tables, columns) // columns) + 0.7 * len(tables) + 0.6


def draw_blocks(
    ax: Axes, record: StepRecord, tables: dict[str, list[int]], columns: int, look: dict[str, tuple[str, str]]
) -> None:
    """The blocks in reading order, and below them each request's table with its colour and hatching."""
    shown = num_shown(record, tables, columns)
    rows = -(-shown // columns)
    holders: dict[int, list[str]] = {}
    for request, table in tables.items():
        for block in table:
            holders.setdefault(block, []).append(request)
    for block in range(shown):
        draw_block(ax, block, columns, holders.get(block, []), look)
    for i, (request, table) in enumerate(tables.items()):
        y, (face, hatch) = rows + 0.3 + 0.7 * i, look[request]
        ax.add_patch(Rectangle((0, y), 0.5, 0.5, facecolor=face, hatch=hatch, edgecolor=INK, lw=0.6))
        ax.text(
            0.65, y + 0.27, f"{request}: {listed(table)}", fontsize=9, family="monospace", color=INK,
            va="center",
        )  # fmt: skip
    ax.set(xlim=(-0.1, columns), ylim=(height_of(record, tables, columns), -0.2), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(
        f"KV blocks at step {record.step}: {record.blocks_free} of {record.blocks_total} free",
        loc="left",
        fontsize=10,
    )


def draw_block(
    ax: Axes, block: int, columns: int, names: list[str], look: dict[str, tuple[str, str]]
) -> None:
    """One block: its number, a stripe in the colour of each holder, and a count if it is shared."""
    x, y = block % columns, block // columns
    stripes = [look[name] for name in names] or [(FILLS["idle"].face, "")]
    for i, (face, hatch) in enumerate(stripes):
        part = 0.94 / len(stripes)
        edge = INK if names else GRID
        ax.add_patch(
            Rectangle((x + i * part, y), part, 0.9, facecolor=face, hatch=hatch, edgecolor=edge, lw=0.6)
        )
    label = f"{block}" + (f" ×{len(names)}" if len(names) > 1 else "")
    box = {"facecolor": "white", "lw": 0, "pad": 1.0, "alpha": 0.9}
    ax.text(x + 0.47, y + 0.45, label, ha="center", va="center", fontsize=8, color=INK, bbox=box)


def listed(table: Sequence[int], most: int = 20) -> str:
    return " ".join(map(str, table[:most])) + (f" … {len(table) - most} more" if len(table) > most else "")


def describe(record: StepRecord, tables: dict[str, list[int]]) -> str:
    counts = Counter(block for table in tables.values() for block in table)
    shared = {block: count for block, count in counts.items() if count > 1}
    held = (
        "; ".join(f"{request} holds blocks {listed(table)}" for request, table in tables.items())
        or "nobody holds a block"
    )
    common = ", ".join(f"block {block} is held by {count}" for block, count in sorted(shared.items()))
    free = f"{record.blocks_free} of {record.blocks_total} blocks are free"
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
