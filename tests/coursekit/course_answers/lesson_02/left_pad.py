"""Answers to task 02.1, ``left_pad``: wrong ones with the words of their diagnoses, and right ones."""

import itertools


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


WRONG = [
    (pad_right, "the padding is on the right"),
    (pad_positions_count_padding, "position ids count the padding"),
    (pad_mask_all_ones, "lets a padded key in"),
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
]

RIGHT = [padded, pad_by_hand, pad_by_turning]
