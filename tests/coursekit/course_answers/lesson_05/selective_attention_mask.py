"""Answers to task 05.2, ``selective_attention_mask``: wrong ones with the words of their diagnoses, and right ones."""


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
    (mask_additive, "True or False"),
    (mask_one_column_short, "one column for each cached or new token"),
]

RIGHT = [mask_right, mask_by_owner]
