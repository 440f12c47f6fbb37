"""Answers to task 06.1, ``slot_mapping``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np


def slots_right(table, start, end, size):
    return [table[i // size] * size + i % size for i in range(start, end)]


def slots_all_then_cut(table, start, end, size):
    """Write all slots of the table down, then cut."""
    every = [block * size + place for block in table for place in range(size)]
    return tuple(every[start:end])


def slots_positions(table, start, end, size):
    return list(range(start, end))


def slots_blocks(table, start, end, size):
    return [table[i // size] for i in range(start, end)]


def slots_first_of_block(table, start, end, size):
    return [table[i // size] * size for i in range(start, end)]


def slots_not_multiplied(table, start, end, size):
    return [table[i // size] + i % size for i in range(start, end)]


def slots_run_on(table, start, end, size):
    if start == end:
        return []
    first = table[start // size] * size + start % size
    return list(range(first, first + end - start))


def slots_rest_forgotten(table, start, end, size):
    return [table[i // size] * size + i for i in range(start, end)]


def slots_place_from_start(table, start, end, size):
    return [table[i // size] * size + (i - start) % size for i in range(start, end)]


def slots_from_zero(table, start, end, size):
    return slots_right(table, 0, end - start, size)


def slots_all(table, start, end, size):
    return slots_right(table, 0, end, size)


def slots_end_included(table, start, end, size):
    return slots_right([*table, max(table) + 1], start, end + 1, size)


def slots_swapped(table, start, end, size):
    return [table[i % size] * size + i // size for i in range(start, end)]


def by_place(rule):
    """A slot_mapping by a rule for (table, position, start, size)."""

    def slots(table, start, end, size):
        return [rule(table, i, start, size) for i in range(start, end)]

    return slots


def slots_entry_from_start(table, start, end, size):
    return [table[(i - start) // size] * size + i % size for i in range(start, end)]


def slots_early_border(table, start, end, size):
    return [table[min((i + 1) // size, len(table) - 1)] * size + i % size for i in range(start, end)]


def slots_pairs(table, start, end, size):
    return [(table[i // size], i % size) for i in range(start, end)]


def slots_last_missing(table, start, end, size):
    return slots_right(table, start, max(start, end - 1), size)


def slots_first_missing(table, start, end, size):
    return slots_right(table, min(start + 1, end), end, size)


def slots_whole_table(table, start, end, size):
    return [block * size + place for block in table for place in range(size)]


def slots_one_a_block(table, start, end, size):
    return [table[row] * size for row in sorted({i // size for i in range(start, end)})]


def slots_sorted(table, start, end, size):
    return slots_right(sorted(table), start, end, size)


def slots_reversed(table, start, end, size):
    return slots_right(table, start, end, size)[::-1]


def slots_from_the_back(table, start, end, size):
    return slots_right(table[::-1], start, end, size)


def slots_sorting(table, start, end, size):
    table.sort()
    return slots_right(table, start, end, size)


def slots_numpy(table, start, end, size):
    at = np.arange(start, end)
    return np.array(table)[at // size] * size + at % size


def slots_torch(table, start, end, size):
    import torch

    return (torch.tensor(table)[:, None] * size + torch.arange(size)).flatten()[start:end]


def slots_by_block(table, start, end, size):
    """A range for each block, cut where the text begins and ends."""
    slots = []
    for k, block in enumerate(table):
        low, high = max(start, k * size), min(end, (k + 1) * size)
        slots += range(block * size + low - k * size, block * size + high - k * size) if low < high else ()
    return slots


def slots_stepping(table, start, end, size):
    """Walks from slot to slot, and jumps at the borders."""
    row, place = divmod(start, size)
    for _ in range(end - start):
        if place == size:
            row, place = row + 1, 0
        yield table[row] * size + place
        place += 1


def slots_islice(table, start, end, size):
    return itertools.islice((b * size + p for b, p in itertools.product(table, range(size))), start, end)


def slots_by_position(table, start, end, size):
    return {i: table[i // size] * size + i % size for i in range(start, end)}


def slots_taken(table, start, end, size):
    return np.take(table, np.arange(start, end) // size) * size + np.arange(start, end) % size


WRONG = [
    (slots_positions, "these are the positions"),
    (slots_blocks, "these are block numbers"),
    (slots_first_of_block, "overwrite each other"),
    (slots_not_multiplied, "not multiplied by block_size"),
    (slots_run_on, "into its neighbour"),
    (slots_rest_forgotten, "the whole position is added"),
    (slots_place_from_start, "the place is counted from start"),
    (slots_from_zero, "begin at start"),
    (slots_all, "have their slots already"),
    (slots_end_included, "one slot too many"),
    (slots_swapped, "ran past the end of the table"),
    (slots_entry_from_start, "counted from start: position i is in entry"),
    (slots_early_border, "one position too early"),
    (slots_pairs, "a slot is one number"),
    (slots_last_missing, "the last position is missing"),
    (slots_first_missing, "the first position is missing"),
    (slots_whole_table, "all slots of the table"),
    (slots_one_a_block, "one number for each block"),
    (slots_sorted, "the table is sorted"),
    (slots_reversed, "stand in reverse"),
    (slots_from_the_back, "read from its end"),
    (slots_sorting, "changes the lists that it is given"),
    (by_place(lambda table, i, start, size: i % size), "these are the places"),
    (by_place(lambda table, i, start, size: table[i // size] * len(table) + i % size), "length of the table"),
    (by_place(lambda table, i, start, size: table[i // size] * size + i % size + 1), "one too large"),
    (by_place(lambda table, i, start, size: table[i // size] * size + size - 1 - i % size), "filled from its end"),
    (by_place(lambda table, i, start, size: (table[i // size] + i % size) * size), "without a bracket"),
    (by_place(lambda table, i, start, size: table[i // size] * size + i // size), "the index into the table"),
    (by_place(lambda table, i, start, size: table[i // size] * (size - 1) + i % size), "by block_size - 1"),
    (by_place(lambda table, i, start, size: table[i // size] * size + (i % size) ** 2), "I cannot tell"),
    (slots_by_position, "this is a dict"),
]

RIGHT = [slots_right, slots_all_then_cut, slots_numpy, slots_torch, slots_by_block, slots_stepping, slots_islice, slots_taken]
