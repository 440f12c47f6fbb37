"""Answers to task 05.2, ``selective_attention_mask``: wrong ones with the words of their diagnoses, and right ones."""

import itertools

import numpy as np


def grid(slices, rule, new_only=False):
    """rule(i, k, cached, new) for column k of the own request; False elsewhere."""
    total, start, rows = sum(c + n for c, n in slices), 0, []
    for cached, new in slices:
        for i in range(new):
            own = [bool(rule(i, k, cached, new)) for k in range(cached + new)]
            rows.append([False] * start + own + [False] * (total - start - len(own)))
        start += cached + new
    return rows


def mask_right(slices):
    return grid(slices, lambda i, k, cached, new: k <= cached + i)


def mask_leaks(slices):
    rows, start = [], 0
    total = sum(c + n for c, n in slices)
    for cached, new in slices:
        rows += [[k <= start + cached + i for k in range(total)] for i in range(new)]
        start += cached + new
    return rows


def mask_future(slices):
    return grid(slices, lambda i, k, cached, new: True)


def mask_no_cache(slices):
    return grid(slices, lambda i, k, cached, new: cached <= k <= cached + i)


def mask_no_offset(slices):
    return grid(slices, lambda i, k, cached, new: k <= i)


def mask_not_itself(slices):
    return grid(slices, lambda i, k, cached, new: k < cached + i)


def mask_inverted(slices):
    return [[not x for x in row] for row in mask_right(slices)]


def mask_transposed(slices):
    return [list(column) for column in zip(*mask_right(slices), strict=True)]


def mask_new_only(slices):
    return mask_right([[0, n] for _, n in slices])


def mask_all_rows(slices):
    return mask_right([[0, c + n] for c, n in slices])


def mask_caches_first(slices):
    caches, columns = sum(c for c, _ in slices), sum(c + n for c, n in slices)
    rows, a, b = [], 0, caches
    for cached, new in slices:
        rows += [[a <= k < a + cached or b <= k <= b + i for k in range(columns)] for i in range(new)]
        a, b = a + cached, b + new
    return rows


def mask_additive(slices):
    return [[0.0 if x else float("-inf") for x in row] for row in mask_right(slices)]


def mask_one_column_short(slices):
    return [row[:-1] for row in mask_right(slices)]


def mask_by_owner(slices):
    """Write down owner and position of every column and every row, then compare; ones and zeros."""
    columns = [(r, p) for r, (c, n) in enumerate(slices) for p in range(c + n)]
    rows = [(r, p) for r, (c, n) in enumerate(slices) for p in range(c, c + n)]
    return [[int(a == b and k <= q) for b, k in columns] for a, q in rows]


def moving(slices, step):
    """A right mask, but for where the columns of the next request begin."""
    total, start, rows = sum(c + n for c, n in slices), 0, []
    for cached, new in slices:
        rows += [[start <= k <= start + cached + i for k in range(total)] for i in range(new)]
        start += step(cached, new)
    return rows


def mask_start_stays(slices):
    return moving(slices, lambda cached, new: 0)


def mask_start_by_new(slices):
    return moving(slices, lambda cached, new: new)


def mask_one_too_far(slices):
    total, start, rows = sum(c + n for c, n in slices), 0, []
    for cached, new in slices:
        rows += [[start <= k <= start + cached + i + 1 for k in range(total)] for i in range(new)]
        start += cached + new
    return rows


def mask_first_column(slices):
    return grid(slices, lambda i, k, cached, new: 0 < k <= cached + i)


def mask_everything(slices):
    return [[True] * sum(map(sum, slices)) for _ in range(sum(n for _, n in slices))]


def mask_nothing(slices):
    mask = [[False] * sum(map(sum, slices)) for _ in range(sum(n for _, n in slices))]
    for row in mask:
        row = [True] * len(row)
    return mask


def mask_itself_and_cache(slices):
    return grid(slices, lambda i, k, cached, new: k < cached or k == cached + i)


def mask_row_a_request(slices):
    return grid([[c + n - 1, 1] for c, n in slices], lambda i, k, cached, new: k <= cached + i)


def mask_flat(slices):
    return [x for row in mask_right(slices) for x in row]


def mask_blocks(slices):
    return [mask_right([one]) for one in slices]


def mask_ragged(slices):
    return [[True] * (cached + i + 1) for cached, new in slices for i in range(new)]


def mask_none(slices):
    return [[].append(row) for row in mask_right(slices)]


def mask_numpy(slices):
    blocks = [np.tri(new, cached + new, cached, dtype=bool) for cached, new in slices]
    mask = np.zeros(np.sum([b.shape for b in blocks], axis=0), bool)
    row = column = 0
    for b in blocks:
        mask[row : row + b.shape[0], column : column + b.shape[1]] = b
        row, column = row + b.shape[0], column + b.shape[1]
    return mask


def mask_torch(slices):
    import torch

    return torch.block_diag(*[torch.ones(new, cached + new).tril(cached) for cached, new in slices]).bool()


def mask_from_packed(slices):
    """The mask of all tokens, then without the rows of the cached ones."""
    ends = [*itertools.accumulate((c + n for c, n in slices), initial=0)]
    whole = [[a <= k <= q for k in range(ends[-1])] for a, b in itertools.pairwise(ends) for q in range(a, b)]
    return [whole[end - new + i] for end, (_, new) in zip(ends[1:], slices) for i in range(new)]


def mask_generators(slices):
    columns, start = sum(map(sum, slices)), 0
    for cached, new in slices:
        for end in range(start + cached, start + cached + new):
            yield (start <= k <= end for k in range(columns))
        start += cached + new


def mask_by_pieces(slices):
    """False, then True, then False, each as long as it has to be."""
    total, before, rows = sum(c + n for c, n in slices), 0, []
    for cached, new in slices:
        for seen in range(cached + 1, cached + new + 1):
            rows.append((*[0] * before, *[1] * seen, *[0] * (total - before - seen)))
        before += cached + new
    return tuple(rows)


WRONG = [
    (mask_leaks, "the batch leaks"),
    (mask_future, "sees a later one of its own prompt"),
    (mask_no_cache, "does not see its own cache"),
    (mask_no_offset, "stand *behind* the cache"),
    (mask_not_itself, "may look at itself"),
    (mask_inverted, "the wrong way round"),
    (mask_transposed, "rows and columns are swapped"),
    (mask_new_only, "columns of the cached tokens are missing"),
    (mask_all_rows, "rows for cached tokens"),
    (mask_caches_first, "all caches first"),
    (mask_additive, "no -inf"),
    (mask_one_column_short, "one column for each cached or new token"),
    (mask_start_stays, "begin at column 0"),
    (mask_start_by_new, "move on by the new tokens alone"),
    (mask_one_too_far, "one further than itself"),
    (mask_first_column, "the first column of each request is left out"),
    (mask_everything, "every token sees every token"),
    (mask_nothing, "no token sees anything"),
    (mask_itself_and_cache, "misses new ones before it"),
    (mask_row_a_request, "one row for each request"),
    (mask_flat, "one flat list"),
    (mask_blocks, "a small mask for each request"),
    (mask_ragged, "the rows have different lengths"),
    (mask_none, "a row is None"),
]

RIGHT = [
    mask_right,
    mask_by_owner,
    mask_numpy,
    mask_torch,
    mask_from_packed,
    mask_generators,
    mask_by_pieces,
]
