"""Answers to task 02.1, ``left_pad``: wrong ones with the words of their diagnoses, and right ones."""

import itertools
from collections import deque
from typing import NamedTuple

import numpy as np


def padded(prompts, pad_id, width=None, mask=None, position=None, side="left"):
    """A left_pad to be spoilt: each wrong answer below changes one thing."""
    width = width or max(map(len, prompts))
    rows, masks, positions = [], [], []
    for p in prompts:
        gap = width - len(p)
        row, ones, place = [pad_id] * gap + p, [0] * gap + [1] * len(p), [0] * gap + list(range(len(p)))
        if side == "right":
            row, ones, place = p + [pad_id] * gap, [1] * len(p) + [0] * gap, list(range(len(p))) + [0] * gap
        rows.append(row)
        masks.append(mask(row, ones) if mask else ones)
        positions.append(position(width, place) if position else place)
    return rows, masks, positions


def pad_right(prompts, pad_id):
    return padded(prompts, pad_id, side="right")


def pad_positions_count_padding(prompts, pad_id):
    return padded(prompts, pad_id, position=lambda width, place: list(range(width)))


def pad_mask_all_ones(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: [1] * len(row))


def pad_mask_by_value(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: [int(t != pad_id) for t in row])


def pad_mask_inverted(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: [1 - x for x in ones])


def pad_one_too_wide(prompts, pad_id):
    return padded(prompts, pad_id, width=max(map(len, prompts)) + 1)


def pad_nothing(prompts, pad_id):
    return prompts, [[1] * len(p) for p in prompts], [list(range(len(p))) for p in prompts]


def pad_cuts(prompts, pad_id):
    width = min(map(len, prompts))
    return padded([p[-width:] for p in prompts], pad_id)


def pad_sorts(prompts, pad_id):
    return padded(sorted(prompts, key=len), pad_id)


def pad_in_place(prompts, pad_id):
    """Right, but for the prompts of the caller."""
    answer = padded([list(p) for p in prompts], pad_id)
    for p in prompts:
        p[:0] = [pad_id] * (len(answer[0][0]) - len(p))
    return answer


def pad_by_hand(prompts, pad_id):
    """Cell by cell, with another number under the padding."""
    width = len(max(prompts, key=len))
    cells = [
        [(p[c - width + len(p)], True, c - width + len(p)) if c >= width - len(p) else (pad_id, False, 1) for c in range(width)]
        for p in prompts
    ]
    return tuple([[cell[part] for cell in row] for row in cells] for part in range(3))


def pad_by_turning(prompts, pad_id):
    """Turn round, fill on the right, turn back."""
    columns = itertools.zip_longest(*[reversed(p) for p in prompts], fillvalue=None)
    rows = [list(reversed(r)) for r in zip(*columns)]
    mask = [[int(t is not None) for t in r] for r in rows]
    positions = [[max(0, n - 1) for n in itertools.accumulate(m)] for m in mask]
    return [[pad_id if t is None else t for t in r] for r in rows], mask, positions


def mask_of_ids(prompts, pad_id):
    ids, _, positions = padded(prompts, pad_id)
    return ids, ids, positions


def mask_of_words(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    return ids, [["look" if x else "" for x in row] for row in mask], positions


def mask_of_nan(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    return ids, [[float("nan") if x else 0 for x in row] for row in mask], positions


def pad_with_zero(prompts, pad_id):
    return padded(prompts, 0)


def pad_reversed(prompts, pad_id):
    return padded([p[::-1] for p in prompts], pad_id)


def pad_both_sides(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    gaps = [len(ids[0]) - len(p) for p in prompts]
    return [[pad_id] * (gap // 2) + p + [pad_id] * (gap - gap // 2) for gap, p in zip(gaps, prompts)], mask, positions


def pad_one_row(prompts, pad_id):
    """Writes into rows that are one and the same list."""
    _, mask, positions = padded(prompts, pad_id)
    rows = [[pad_id] * len(mask[0])] * len(prompts)
    for row, p in zip(rows, prompts):
        row[len(row) - len(p) :] = p
    return rows, mask, positions


def pad_by_max(prompts, pad_id):
    width = len(max(prompts))
    rows = [[pad_id] * (width - len(p)) + p for p in prompts]
    return rows, [[int(t != pad_id) for t in row] for row in rows], [list(range(len(row))) for row in rows]


def mask_without_padding(prompts, pad_id):
    ids, _, positions = padded(prompts, pad_id)
    return ids, [[1] * len(p) for p in prompts], positions


def mask_one_late(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: [0, *ones][: len(ones)])


def mask_one_early(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: ones[1:] + [1])


def mask_right(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: ones[::-1])


def mask_flat(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    return ids, [x for row in mask for x in row], positions


def positions_from_one(prompts, pad_id):
    """A running sum of the mask, and nothing taken off."""
    ids, mask, _ = padded(prompts, pad_id)
    return ids, mask, [list(itertools.accumulate(row)) for row in mask]


def positions_count_down(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    return ids, mask, [[max(row) - x for x in row] for row in positions]


def positions_without_padding(prompts, pad_id):
    ids, mask, _ = padded(prompts, pad_id)
    return ids, mask, [list(range(len(p))) for p in prompts]


def positions_are_the_mask(prompts, pad_id):
    ids, mask, _ = padded(prompts, pad_id)
    return ids, mask, mask


def pad_other_order(prompts, pad_id):
    ids, mask, positions = padded(prompts, pad_id)
    return ids, positions, mask


def pad_two_lists(prompts, pad_id):
    return padded(prompts, pad_id)[:2]


def pad_each_prompt(prompts, pad_id):
    return list(zip(*padded(prompts, pad_id)))


def pad_numpy(prompts, pad_id):
    width = max(len(p) for p in prompts)
    ids = np.full((len(prompts), width), pad_id)
    for row, p in zip(ids, prompts):
        row[width - len(p) :] = p
    column = np.arange(width) - np.array([[width - len(p)] for p in prompts])
    return ids, (column >= 0).astype(int), column  # negative where the padding is: nobody looks there


def pad_torch(prompts, pad_id):
    """Pads on the right, as torch does by itself, then turns everything round."""
    import torch

    turned = torch.nn.utils.rnn.pad_sequence([torch.tensor(p[::-1]) for p in prompts], batch_first=True, padding_value=-1)
    ids = turned.flip(1)
    mask = ids >= 0
    return ids.masked_fill(~mask, pad_id), mask, (mask.cumsum(1) - 1).clamp(min=0)


def pad_deques(prompts, pad_id):
    """Pushes padding in at the left until every row is long enough."""
    rows = [deque(p) for p in prompts]
    ones = [deque([1] * len(p)) for p in prompts]
    places = [deque(range(len(p))) for p in prompts]
    for grid, filler in ((rows, pad_id), (ones, 0), (places, 0)):
        for row in grid:
            while len(row) < max(map(len, prompts)):
                row.appendleft(filler)
    return [rows, ones, places]


def pad_generator(prompts, pad_id):
    """Gives one list after the other."""
    width = max(map(len, prompts))
    yield [[*itertools.repeat(pad_id, width - len(p)), *p] for p in prompts]
    yield ([int(c + len(p) >= width) for c in range(width)] for p in prompts)
    yield (range(len(p) - width, len(p)) for p in prompts)


def pad_recursive(prompts, pad_id, width=None):
    """The first prompt, then the rest."""
    if not prompts:
        return [], [], []
    width = width or max(map(len, prompts))
    ids, mask, positions = pad_recursive(prompts[1:], pad_id, width)
    gap = width - len(prompts[0])
    first = [pad_id] * gap + prompts[0], [False] * gap + [True] * len(prompts[0]), [*[7] * gap, *range(len(prompts[0]))]
    return [first[0], *ids], [first[1], *mask], [first[2], *positions]


def mask_of_zeros(prompts, pad_id):
    return padded(prompts, pad_id, mask=lambda row, ones: [int(t != 0) for t in row])


def positions_run_on(prompts, pad_id):
    ids, mask, _ = padded(prompts, pad_id)
    count = itertools.count()
    return ids, mask, [[next(count) if x else 0 for x in row] for row in mask]


def pad_list_in_row(prompts, pad_id):
    _, mask, positions = padded(prompts, pad_id)
    return [[[pad_id] * (len(mask[0]) - len(p)), *p] for p in prompts], mask, positions


def pad_by_name(prompts, pad_id):
    return dict(zip(("input_ids", "attention_mask", "position_ids"), padded(prompts, pad_id)))


def pad_np_pad(prompts, pad_id):
    width = max(map(len, prompts))
    ids = np.stack([np.pad(p, (width - len(p), 0), constant_values=pad_id) for p in prompts])
    mask = np.arange(width) >= width - np.array([[len(p)] for p in prompts])
    return ids, mask, np.where(mask, mask.cumsum(1) - 1, 0)


class Padded(NamedTuple):
    input_ids: list
    attention_mask: list
    position_ids: list


def pad_named(prompts, pad_id):
    """The fields have names, and it is a tuple all the same."""
    return tuple(Padded(*padded(prompts, pad_id)))


WRONG = [
    (pad_right, "the padding is on the right"),
    (pad_positions_count_padding, "position ids count the padding"),
    (pad_mask_all_ones, "lets a padded key in, and all others"),
    (pad_mask_by_value, "hides a real token that happens to equal pad_id"),
    (pad_mask_inverted, "the mask is the wrong way round"),
    (pad_one_too_wide, "wider than the longest prompt"),
    (pad_nothing, "no rectangle"),
    (pad_cuts, "tokens were cut off"),
    (pad_sorts, "another order than the prompts"),
    (pad_in_place, "changes the lists that it is given"),
    (mask_of_ids, "these are the token ids once more"),
    (mask_of_words, "the mask holds 'look'"),
    (mask_of_nan, "the mask holds nan"),
    (pad_with_zero, "something else than pad_id"),
    (pad_reversed, "stand in reverse"),
    (pad_both_sides, "on both sides of a prompt"),
    (pad_one_row, "one list under n names"),
    (pad_by_max, "max compares lists by their tokens"),
    (mask_without_padding, "each padded cell needs its 0"),
    (mask_one_late, "one column too late"),
    (mask_one_early, "one column too early"),
    (mask_right, "padded on the right, and the ids on the left"),
    (mask_flat, "attention_mask is one flat list"),
    (positions_from_one, "position ids start at 1"),
    (positions_count_down, "count down"),
    (positions_without_padding, "a number for each padded cell too"),
    (positions_are_the_mask, "these are the numbers of the mask"),
    (pad_other_order, "in another order than input_ids"),
    (pad_two_lists, "yours holds 2"),
    (pad_each_prompt, "three rows for each prompt"),
    (mask_of_zeros, "asks whether a token is 0"),
    (positions_run_on, "run on from one prompt into the next"),
    (pad_list_in_row, "padding and prompt are one list"),
    (pad_by_name, "this is a dict"),
]

RIGHT = [
    padded,
    pad_by_hand,
    pad_by_turning,
    pad_numpy,
    pad_torch,
    pad_deques,
    pad_generator,
    pad_recursive,
    pad_np_pad,
    pad_named,
]
