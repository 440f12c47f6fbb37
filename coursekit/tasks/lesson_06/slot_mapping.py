"""From the positions of a text to the slots of its blocks."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

SLOT_RULE = "position i lies in block block_table[i // block_size], at place i % block_size of that block"


def judge_slots(args: Args, got: Any) -> Finding | None:
    table, start, end, size = args
    where = [divmod(i, size) for i in range(start, end)]
    want = [size * table[row] + place for row, place in where]
    if got == want:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(SLOT_RULE, cause, slip, want, got)

    if not isinstance(got, list):
        return wrong("the answer is a list of slots, one number for each position", "no list")
    if any(isinstance(slot, list) for slot in got):
        return wrong("there is a pair or a list for a position: a slot is one number, block x block_size + place", "pairs")
    if len(got) != len(want):
        return wrong(*other_length(args, want, got))
    at, (row, place) = next((i, w) for (i, w), a, b in zip(enumerate(where, start), got, want) if a != b)
    unknown = (
        f"{CANNOT_TELL}: position {at} is at place {place} of block {table[row]}, which is entry {row} of the table: slot "
        f"{table[row]} x {size} + {place}"
    )
    made = [(cause, slip) for slots, cause, slip in likely_slots(args, where) if got == slots]
    return likeliest(wrong, made or [(unknown, "other slots")])


def other_length(args: Args, want: list[int], got: list[Any]) -> tuple[str, str]:
    """The cause of more slots than positions, or fewer."""
    table, start, end, size = args
    whole = [size * block + place for block in table for place in range(size)]
    if len(got) == len(want) + 1:
        return "one slot too many: end is one past the last position, as in a Python slice", "end included"
    if got in (want[:-1], want[1:]) and want:
        side = "last" if got == want[:-1] else "first"
        return f"one slot too few: the {side} position is missing, from start to end - 1 both are in", f"{side} missing"
    if got == whole:
        return "these are all slots of the table: only the positions from start to end - 1 are asked for", "whole table"
    if len(got) == end and start:
        return "you start at position 0: the tokens before start have their slots already", "start ignored"
    if len(got) == len(set(i // size for i in range(start, end))):
        return "there is one number for each block: each position has a slot of its own", "one a block"
    return f"there is one slot for each position from start to end - 1: {len(want)}, not {len(got)}", "other length"


def likely_slots(args: Args, where: list[tuple[int, int]]) -> list[tuple[list[int], str, str]]:
    """What each likely mistake gives, with its words."""
    table, start, end, size = args
    first = size * table[start // size] + start % size if start < end else 0
    return [
        (
            list(range(start, end)),
            "these are the positions: the table says in which block each of them lies, and blocks lie anywhere",
            "table ignored",
        ),
        (
            [table[row] for row, _ in where],
            "these are block numbers: slot = block x block_size + place within the block",
            "block, not slot",
        ),
        ([place for _, place in where], "these are the places within the blocks: add block x block_size", "place alone"),
        (
            [size * table[row] for row, _ in where],
            "every token of a block gets the block's first slot: they would overwrite each other. Add the place, i % block_size",
            "place missing",
        ),
        (
            [table[row] + place for row, place in where],
            "the block number is not multiplied by block_size: block b begins at slot b x block_size",
            "block not multiplied",
        ),
        (
            list(range(first, first + end - start)),
            "the slots run on past the end of a block into its neighbour, which belongs to somebody else: look into the table "
            "again at every border",
            "runs on",
        ),
        (
            [size * table[row] + i for i, (row, _) in enumerate(where, start)],
            "the whole position is added to the block's first slot: add the place within the block only, i % block_size",
            "rest forgotten",
        ),
        (
            [size * table[row] + (i - start) % size for i, (row, _) in enumerate(where, start)],
            "the place is counted from start: count it from the beginning of the block, i % block_size",
            "place from start",
        ),
        (
            [size * table[i // size] + i % size for i in range(end - start)],
            "these are the slots of the first positions of the text: begin at start",
            "from zero",
        ),
        *other_slots(args, where),
    ]


def other_slots(args: Args, where: list[tuple[int, int]]) -> list[tuple[list[int], str, str]]:
    """What the rarer mistakes give, with their words."""
    table, start, end, size = args
    want = [size * table[row] + place for row, place in where]
    last = len(table) - 1
    return [
        (
            [size * table[(i - start) // size] + i % size for i in range(start, end)],
            "the index into the table is counted from start: position i is in entry i // block_size of the whole table",
            "entry from start",
        ),
        (
            [size * row + place for row, place in where],
            "the place in the table is taken for the block: entry i // block_size of the table holds the block's number",
            "entry, not block",
        ),
        (
            [len(table) * table[row] + place for row, place in where],
            "the block number is multiplied by the length of the table: block b begins at slot b x block_size",
            "times length",
        ),
        ([x + 1 for x in want], "every slot is one too large: places in a block count from 0", "places from 1"),
        ([x - 1 for x in want], "every slot is one too small: places in a block count from 0", "one too small"),
        (
            [size * table[min((i + 1) // size, last)] + i % size for i in range(start, end)],
            "the next block begins one position too early: position i is in entry i // block_size",
            "border too early",
        ),
        (
            [size * table[row] + size - 1 - place for row, place in where],
            "a block is filled from its end: the first token of a block is in its first slot",
            "filled from the end",
        ),
        (
            [size * sorted(table)[row] + place for row, place in where],
            "the table is sorted: its order is that of the text, whatever the numbers of the blocks are",
            "table sorted",
        ),
        (
            [size * table[last - row] + place for row, place in where],
            "the table is read from its end: entry 0 holds the first positions",
            "table reversed",
        ),
        (want[::-1], "the slots stand in reverse: the slot of position start comes first", "reversed"),
        (
            [size * (table[row] + place) for row, place in where],
            "the place is multiplied too: block x block_size + place, without a bracket around the sum",
            "place multiplied",
        ),
        (
            [size * table[row] + row for row, _ in where],
            "what is added is the index into the table: add the place within the block, i % block_size",
            "entry added",
        ),
        (
            [(size - 1) * table[row] + place for row, place in where],
            "the block number is multiplied by block_size - 1: a block has block_size slots",
            "size less one",
        ),
    ]


def slots_error(args: Args, error: str, text: str) -> str | None:
    if error == "IndexError":
        return (
            "your index ran past the end of the table. The positions go from start to end - 1, and position i is in entry "
            "i // block_size of the table"
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
