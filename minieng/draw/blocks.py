"""The KV cache at one step in shapes: the pool block by block, and below it each request's block table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .look import FILLS, GRID, HATCHES, INK, OWNERS
from .shapes import Box, Label, Shape

if TYPE_CHECKING:
    from ..observe.record import StepRecord

Looks = dict[str, tuple[str, str]]


def looks(records: Iterable[StepRecord]) -> Looks:
    """Colour and hatching of each request, the same at every step:
    they go by the order in which requests got blocks.
    """
    records = list(records)
    names = dict.fromkeys(name for record in records for name, _ in record.taken)
    names |= dict.fromkeys(name for record in records for name, _, _ in record.slices)
    return {name: (OWNERS[i % len(OWNERS)], HATCHES[i % len(HATCHES)]) for i, name in enumerate(names)}


def num_shown(record: StepRecord, tables: dict[str, list[int]], columns: int) -> int:
    """A small pool is drawn whole, of a large one only as far as blocks are held."""
    if record.blocks_total <= 8 * columns:
        return record.blocks_total
    return max([columns, *(block + 1 for table in tables.values() for block in table)])


def height_of(record: StepRecord, tables: dict[str, list[int]], columns: int) -> float:
    """Height of the drawing in rows of blocks."""
    return -(-num_shown(record, tables, columns) // columns) + 0.7 * len(tables) + 0.6


def block_shapes(
    record: StepRecord, tables: dict[str, list[int]], columns: int, look: Looks
) -> Iterator[Shape]:
    """The blocks in reading order, and below them each request's table with its colour and hatching.

    A block is one wide and, with the gap below it, one high.
    """
    shown = num_shown(record, tables, columns)
    rows = -(-shown // columns)
    holders: dict[int, list[str]] = {}
    for request, table in tables.items():
        for block in table:
            holders.setdefault(block, []).append(request)
    for block in range(shown):
        yield from one_block(block, columns, holders.get(block, []), look)
    for i, (request, table) in enumerate(tables.items()):
        y, (face, hatch) = rows + 0.3 + 0.7 * i, look[request]
        yield Box(0, y, 0.5, 0.5, face, hatch, line=0.6)
        yield Label(0.65, y + 0.27, f"{request}: {listed(table)}", "table")


def one_block(block: int, columns: int, names: list[str], look: Looks) -> Iterator[Shape]:
    """One block: its number, a stripe in the colour of each holder, and a count if it is shared."""
    x, y = block % columns, block // columns
    stripes = [look[name] for name in names] or [(FILLS["idle"].face, "")]
    part, edge = 0.94 / len(stripes), INK if names else GRID
    for i, (face, hatch) in enumerate(stripes):
        yield Box(x + i * part, y, part, 0.9, face, hatch, edge, 0.6)
    yield Label(x + 0.47, y + 0.45, f"{block}" + (f" ×{len(names)}" if len(names) > 1 else ""), "block")


def listed(table: Sequence[int], most: int = 20) -> str:
    return " ".join(map(str, table[:most])) + (f" … {len(table) - most} more" if len(table) > most else "")


def num_free(record: StepRecord, tables: dict[str, list[int]]) -> int:
    """Free blocks as drawn, while the step ran: the record counts them after it, without those who left."""
    staying = {block for name, table in tables.items() if name not in record.finished for block in table}
    leaving = {block for name in record.finished for block in tables.get(name, [])}
    return record.blocks_free - len(leaving - staying)


def block_title(record: StepRecord, tables: dict[str, list[int]]) -> str:
    """What stands above the blocks."""
    return f"KV blocks at step {record.step}: {num_free(record, tables)} of {record.blocks_total} free"
