"""Answers to task 06.1, ``slot_mapping``: wrong ones with the words of their diagnoses, and right ones."""


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


WRONG = [
    (slots_positions, "these are the positions"),
    (slots_blocks, "these are block numbers"),
    (slots_first_of_block, "overwrite each other"),
    (slots_not_multiplied, "not multiplied by block_size"),
    (slots_run_on, "into its neighbour"),
    (slots_rest_forgotten, "the whole position is added"),
    (slots_place_from_start, "counted from start"),
    (slots_from_zero, "begin at start"),
    (slots_all, "have their slots already"),
    (slots_end_included, "one slot too many"),
    (slots_swapped, "ran past the end of the table"),
]

RIGHT = [slots_right, slots_all_then_cut]
