"""Answers to task 07.1, ``choose_victims``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np


def walk(line, need, free):
    gone = []
    for name, blocks, _ in line:
        if free >= need:
            break
        gone.append(name)
        free += blocks
    if free < need:
        raise MemoryError("not enough")
    return gone


def victims_oldest_first(running, need, free):
    return walk(running, need, free)


def victims_second_oldest_first(running, need, free):
    return walk(running[1:], need, free)


def victims_one_too_many(running, need, free):
    """Goes on while free <= need."""
    if free + sum(r[1] for r in running[1:]) < need:
        raise MemoryError
    gone = []
    for name, blocks, _ in reversed(running[1:]):
        if free > need:
            break
        gone.append(name)
        free += blocks
    return gone


def victims_free_forgotten(running, need, free):
    return walk(running[:0:-1], need, 0)


def victims_only_one(running, need, free):
    if free >= need:
        return []
    if free + sum(r[1] for r in running[1:]) < need:
        raise MemoryError
    return [running[-1][0]]


def victims_largest_first(running, need, free):
    return walk(sorted(running[1:], key=lambda r: -r[1]), need, free)


def victims_largest_of_all(running, need, free):
    return walk(sorted(running, key=lambda r: -r[1]), need, free)


def victims_fewest_output(running, need, free):
    return walk(sorted(running[1:], key=lambda r: r[2]), need, free)


def victims_all(running, need, free):
    walk(running[1:], need, free)
    return [r[0] for r in running[:0:-1]] if free < need else []


def victims_reversed(running, need, free):
    return walk(running[:0:-1], need, free)[::-1]


def victims_the_oldest_too(running, need, free):
    return walk(running[::-1], need, free)


def victims_empty(running, need, free):
    try:
        return walk(running[:0:-1], need, free)
    except MemoryError:
        return []


def victims_in_vain(running, need, free):
    gone = []
    for name, blocks, _ in running[:0:-1]:
        if free >= need:
            break
        gone.append(name)
        free += blocks
    return gone


def victims_one_block_each(running, need, free):
    walk(running[:0:-1], need, free)
    return [r[0] for r in running[:0:-1]][: max(0, need - free)]


def victims_one_too_few(running, need, free):
    return walk(running[:0:-1], need, free)[:-1]


def victims_entries(running, need, free):
    names = walk(running[:0:-1], need, free)
    return [r for r in running if r[0] in names]


def victims_gives_up(running, need, free):
    """Asks whether the largest alone is enough."""
    if free + max(r[1] for r in running) < need:
        raise MemoryError
    return walk(running[:0:-1], need, free)


def victims_value_error(running, need, free):
    try:
        return walk(running[:0:-1], need, free)
    except MemoryError:
        return None


def victims_pops(running, need, free):
    gone = []
    while free < need:
        name, blocks, _ = running.pop()
        gone.append(name)
        free += blocks
    return gone


def victims_right(running, need, free):
    left, gone = list(running), []
    while free < need:
        if len(left) == 1:
            raise MemoryError(f"{need} blocks are needed, {free} can be had")
        name, blocks, _ = left.pop()
        gone.append(name)
        free += blocks
    return gone


def by_sums(running, need, free):
    """What is free after nobody, after the newest, after the two newest ..."""
    others = running[:0:-1]
    sums = list(itertools.accumulate((r[1] for r in others), initial=free))
    for count, had in enumerate(sums):
        if had >= need:
            return [r[0] for r in others[:count]]
    raise MemoryError


def by_numpy(running, need, free):
    others = running[:0:-1]
    had = free + np.cumsum([0, *(r[1] for r in others)])
    if had[-1] < need:
        raise MemoryError
    return [str(r[0]) for r in others[: int(np.argmax(had >= need))]]


def recursive(running, need, free):
    if free >= need:
        return []
    if len(running) < 2:
        raise MemoryError
    return [running[-1][0], *recursive(running[:-1], need, free + running[-1][1])]


class TooFew(MemoryError):
    pass


def by_generator(running, need, free):
    def goers():
        had = free
        for i in range(len(running) - 1, -1, -1):
            if had >= need:
                return
            if i == 0:
                raise TooFew(need - had)
            had += running[i][1]
            yield running[i][0]

    return tuple(goers())


WRONG = [
    (victims_oldest_first, "Begin at the end of the list"),
    (victims_second_oldest_first, "the oldest but one goes first"),
    (victims_one_too_many, "one goes too many"),
    (victims_free_forgotten, "count them before"),
    (victims_only_one, "only one goes"),
    (victims_largest_first, "those who hold most go first"),
    (victims_largest_of_all, "the oldest among them"),
    (victims_fewest_output, "as in SGLang"),
    (victims_all, "everybody but the oldest goes"),
    (victims_reversed, "in the wrong order"),
    (victims_the_oldest_too, "nobody is left who is sure to go on"),
    (victims_empty, "An empty list says that nobody has to go"),
    (victims_in_vain, "it still does not suffice"),
    (victims_one_block_each, "count the blocks that each of them holds"),
    (victims_one_too_few, "one goes too few"),
    (victims_entries, "return a list of names"),
    (victims_gives_up, "the others give enough"),
    (victims_value_error, "raise MemoryError"),
    (victims_pops, "changes"),
]

RIGHT = [victims_right, by_sums, by_numpy, recursive, by_generator]
