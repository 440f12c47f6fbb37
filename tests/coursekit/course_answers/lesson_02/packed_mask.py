"""Answers to task 02.5, ``packed_mask``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np


def grid(cu, rule):
    owner = [i for i in range(len(cu) - 1) for _ in range(cu[i + 1] - cu[i])]
    return [[rule(q, k, owner) for k in range(cu[-1])] for q in range(cu[-1])]


def mask_right(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and k <= q)


def mask_leaks(cu):
    return grid(cu, lambda q, k, o: k <= q)


def mask_future(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k])


def mask_everything(cu):
    return [[True] * cu[-1]] * cu[-1]


def mask_strict(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and k < q)


def mask_inverted(cu):
    return grid(cu, lambda q, k, o: not (o[q] == o[k] and k <= q))


def mask_transposed(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and q <= k)


def mask_border(cu):
    """The last token of each prompt also sees the first of the next: an inclusive end."""
    inside = [{*range(a, min(b + 1, cu[-1]))} for a, b in zip(cu, cu[1:])]
    return grid(cu, lambda q, k, o: any(q in s and k in s for s in inside) and k <= q)


def mask_additive(cu):
    return grid(cu, lambda q, k, o: 0.0 if o[q] == o[k] and k <= q else float("-inf"))


def mask_small(cu):
    return [row[:-1] for row in mask_right(cu)[:-1]]


def mask_by_rows(cu):
    """Start of the own prompt for each row; ones and zeros in place of True and False."""
    rows = []
    for q in range(cu[-1]):
        start = max(c for c in cu if c <= q)
        rows.append([0] * start + [1] * (q - start + 1) + [0] * (cu[-1] - q - 1))
    return rows


def mask_border_late(cu):
    """The first token of each prompt belongs to the prompt in front of it too."""
    inside = [{*range(max(0, a - 1), b)} for a, b in zip(cu, cu[1:])]
    return grid(cu, lambda q, k, o: any(q in s and k in s for s in inside) and k <= q)


def mask_last_token(cu):
    mask = [[False] * cu[-1] for _ in range(cu[-1])]
    for start, end in zip(cu, cu[1:]):
        for q in range(start, end - 1):
            for k in range(start, q + 1):
                mask[q][k] = True
    return mask


def mask_last_prompt(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and k <= q and o[q] < len(cu) - 2)


def mask_first_prompt(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and k <= q and o[q])


def mask_diagonal(cu):
    return grid(cu, lambda q, k, o: q == k)


def mask_one_back(cu):
    return grid(cu, lambda q, k, o: o[q] == o[k] and k in (q, q - 1))


def mask_upper(cu):
    return grid(cu, lambda q, k, o: q <= k)


def mask_nothing(cu):
    mask = np.zeros((cu[-1], cu[-1]), bool)
    for a, b in zip(cu, cu[1:]):
        mask[a:b][:, a:b].copy()[:] = True
    return mask


def mask_same_row(cu):
    """The rows are one list, and every prompt wipes it first."""
    mask = [[False] * cu[-1]] * cu[-1]
    for a, b in zip(cu, cu[1:]):
        for q in range(a, b):
            mask[q][:] = [a <= k <= q for k in range(cu[-1])]
    return mask


def mask_flat(cu):
    return [x for row in mask_right(cu) for x in row]


def mask_blocks(cu):
    return [[row[a:b] for row in mask_right(cu)[a:b]] for a, b in zip(cu, cu[1:])]


def mask_short_rows(cu):
    return [row for block in mask_blocks(cu) for row in block]


def mask_none(cu):
    return [[].append(row) for row in mask_right(cu)]


def mask_numpy(cu):
    owner = np.searchsorted(cu, np.arange(cu[-1]), side="right")
    return np.tril(owner[:, None] == owner[None, :])


def mask_torch(cu):
    import torch

    return torch.block_diag(*[torch.ones(b - a, b - a).tril() for a, b in zip(cu, cu[1:])])


def mask_by_copying(cu):
    """Each row is the row above and itself, but at a border it begins anew."""
    rows = []
    for q in range(cu[-1]):
        row = [False] * cu[-1] if q in cu else list(rows[-1])
        row[q] = True
        rows.append(row)
    return tuple(rows)


def mask_generators(cu):
    pairs = itertools.pairwise(cu)
    return ((a <= k <= q for k in range(cu[-1])) for a, b in pairs for q in range(a, b))


def mask_as_numbers(cu):
    """Row q as a binary number, lowest bit first."""
    rows = [(2 << q) - (1 << a) for a, b in zip(cu, cu[1:]) for q in range(a, b)]
    return [[number >> k & 1 for k in range(cu[-1])] for number in rows]


WRONG = [
    (mask_leaks, "the packing leaks"),
    (mask_future, "sees the future"),
    (mask_strict, "may look at itself"),
    (mask_inverted, "the wrong way round"),
    (mask_transposed, "rows and columns are swapped"),
    (mask_border, "a border is off by one"),
    (mask_additive, "True or False"),
    (mask_small, "the mask is square"),
    (mask_everything, "every token sees every token"),
    (mask_last_token, "the last token of each prompt is left out"),
    (mask_last_prompt, "the last prompt has no mask"),
    (mask_first_prompt, "the first prompt has no mask"),
    (mask_diagonal, "each token sees itself alone"),
    (mask_one_back, "itself and the one before it"),
    (mask_upper, "both conditions are amiss"),
    (mask_nothing, "no token sees anything"),
    (mask_same_row, "all rows are alike"),
    (mask_flat, "one flat list"),
    (mask_blocks, "a small mask for each prompt"),
    (mask_short_rows, "your rows end with their prompts"),
    (mask_none, "a row is None"),
    (mask_border_late, "one token too early"),
]

RIGHT = [mask_right, mask_by_rows, mask_numpy, mask_torch, mask_by_copying, mask_generators, mask_as_numbers]
