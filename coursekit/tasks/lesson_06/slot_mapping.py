"""From the positions of a text to the slots of its blocks."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...task import Args, Case, Finding, Task

SLOT_RULE = "position i lies in block block_table[i // block_size], at place i % block_size of that block"


def judge_slots(args: Args, got: Any) -> Finding | None:
    table, start, end, size = args

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(SLOT_RULE, cause, slip, {"positions": f"{start} to {end - 1}", "slots": want}, got)

    where = [divmod(i, size) for i in range(start, end)]
    want = [size * table[row] + place for row, place in where]
    if got == want:
        return None
    if len(got) != len(want):
        if len(got) == len(want) + 1:
            return wrong("one slot too many: end is one past the last position, as in a Python slice", "end included")
        if len(got) == end and start:
            return wrong("you start at position 0: the tokens before start have their slots already", "start ignored")
        return wrong("there is one slot for each position from start to end - 1", "other length")
    return wrong_numbers(args, got, where, wrong)


def wrong_numbers(args: Args, got: Any, where: list[tuple[int, int]], wrong: Callable[[str, str], Finding]) -> Finding:
    """One slot for each position, but the wrong ones: which mistake gives exactly these?"""
    table, start, end, size = args
    by_mistake = {
        "table ignored": (
            list(range(start, end)),
            "these are the positions: the table says in which block each of them lies, and blocks lie anywhere",
        ),
        "block, not slot": (
            [table[row] for row, _ in where],
            "these are block numbers: slot = block x block_size + place within the block",
        ),
        "place missing": (
            [size * table[row] for row, _ in where],
            "every token of a block gets the block's first slot: they would overwrite each other. Add the place, i % block_size",
        ),
        "block not multiplied": (
            [table[row] + place for row, place in where],
            "the block number is not multiplied by block_size: block b begins at slot b x block_size",
        ),
        "runs on": (
            list(range(size * table[start // size] + start % size, size * table[start // size] + start % size + end - start)),
            "the slots run on past the end of a block into its neighbour, which belongs to somebody else: look into the table "
            "again at every border",
        ),
        "rest forgotten": (
            [size * table[row] + i for i, (row, _) in enumerate(where, start)],
            "the whole position is added to the block's first slot: add the place within the block only, i % block_size",
        ),
        "place from start": (
            [size * table[row] + (i - start) % size for i, (row, _) in enumerate(where, start)],
            "the place is counted from start: count it from the beginning of the block, i % block_size",
        ),
        "from zero": (
            [size * table[i // size] + i % size for i in range(end - start)],
            "these are the slots of the first positions of the text: begin at start",
        ),
    }
    made = [(cause, slip) for slip, (slots, cause) in by_mistake.items() if got == slots]
    if made:
        return replace(wrong(*made[0]), instead=made[1:])
    return wrong("a slot is not that of its position", "other slots")


def slots_error(args: Args, error: str, text: str) -> str | None:
    if error == "IndexError":
        return (
            "your index ran past the end of the table: the index into the table is the position divided by block_size "
            "(whole division), and the place is the rest"
        )
    return None


def generate_slots(rng: random.Random, size: int) -> tuple:
    block = rng.randint(1, 1 + size)
    table = rng.sample(range(12), rng.randint(1, 1 + size // 2))
    end = rng.randint(1, block * len(table))
    return table, rng.randint(0, end), end, block


def valid_slots(args: Args) -> bool:
    table, start, end, size = args
    unique = len(set(table)) == len(table) and min(table, default=0) >= 0
    return size >= 1 and unique and 0 <= start <= end <= size * len(table)


TASK = Task(
    id="06.1",
    name="slot_mapping",
    title="From positions to slots",
    points=20,
    returns="a list of slot numbers, one for each position from start to end - 1",
    cases=(
        Case(([0], 0, 1, 4), [0]),
        Case(([5], 0, 3, 4), [20, 21, 22]),
        Case(([7, 2], 0, 4, 2), [14, 15, 4, 5]),
        Case(([7, 2, 9], 3, 5, 2), [5, 18]),
        Case(([3, 1], 4, 5, 4), [4]),
        Case(([3, 1], 2, 2, 4), []),
        Case(([4, 0, 3], 0, 10, 4), [16, 17, 18, 19, 0, 1, 2, 3, 12, 13]),
    ),
    judge=judge_slots,
    generate=generate_slots,
    valid=valid_slots,
    on_error=slots_error,
    hints=(
        "Blocks of 4, and a text whose table is [7, 2]. Where does its token 0 lie? Its token 3? Its token 4?",
        "Two questions for each position: how many whole blocks stand before it (that is the index into the table), and how "
        "far into its block it is. A block b covers the slots b x block_size up to b x block_size + block_size - 1.",
        "slots = []\n"
        "for each position i from start up to, not including, end:\n"
        "    which = i divided by block_size, rounded down\n"
        "    place = what is left over\n"
        "    slots gets (the table's entry number which) x block_size + place",
    ),
)
