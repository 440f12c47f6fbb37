"""Answers to task 02.5, ``packed_mask``: wrong ones with the words of their diagnoses, and right ones."""


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
]

RIGHT = [mask_right, mask_by_rows]
