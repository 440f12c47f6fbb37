"""Answers to task 02.4, ``pack``: wrong ones with the words of their diagnoses, and right ones."""

import itertools


def packed(prompts):
    ids = [t for p in prompts for t in p]
    positions = [i for p in prompts for i in range(len(p))]
    return ids, positions, list(itertools.accumulate(map(len, prompts), initial=0))


def pack_positions_run_on(prompts):
    ids, positions, cu = packed(prompts)
    return ids, list(range(len(ids))), cu


def pack_no_zero(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, cu[1:]


def pack_no_total(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, cu[:-1]


def pack_off_by_one(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [0] + [c - 1 for c in cu[1:]]


def pack_lengths(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [0] + [len(p) for p in prompts]


def pack_separator(prompts):
    ids, positions, cu = packed([p + [0] for p in prompts])
    return ids, positions, cu


def pack_not_flat(prompts):
    return prompts, *packed(prompts)[1:]


def pack_swapped(prompts):
    ids, positions, cu = packed(prompts)
    return ids, cu, positions


def pack_positions_from_one(prompts):
    ids, positions, cu = packed(prompts)
    return ids, [p + 1 for p in positions], cu


def pack_by_sum(prompts):
    cu = [sum(len(p) for p in prompts[:i]) for i in range(len(prompts) + 1)]
    return sum(prompts, []), [i - max(c for c in cu if c <= i) for i in range(cu[-1])], tuple(cu)


def pack_by_index(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [cu[prompts.index(p)] for p in prompts] + cu[-1:]


def pack_by_hand(prompts):
    """One loop over tokens; numbers are floats where Python lets them be."""
    ids, positions, cu = [], [], [0]
    for prompt in prompts:
        for place, token in enumerate(prompt):
            ids.append(token)
            positions.append(place)
        cu.append(len(ids))
    return [ids, positions, cu]


WRONG = [
    (pack_positions_run_on, "position ids run on"),
    (pack_no_zero, "the leading 0 is missing"),
    (pack_no_total, "the total at the end is missing"),
    (pack_off_by_one, "off by one"),
    (pack_lengths, "running sum"),
    (pack_separator, "no padding and no separator"),
    (pack_not_flat, "one flat list"),
    (pack_swapped, "the last two lists are swapped"),
    (pack_positions_from_one, "position ids start at 1"),
    (pack_by_index, "finds the first of them twice"),
]

RIGHT = [packed, pack_by_sum, pack_by_hand]
