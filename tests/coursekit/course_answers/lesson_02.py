"""Answers to exercise 02, wrong in every way that was thought of, and right in more than one."""

import itertools


# ---------------------------------------------------------------- 02.1 left_pad
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


# ---------------------------------------------------------------- 02.2 padding_waste
def share(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def waste_over_tokens(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) / sum(lengths) if lengths else 0.0


def waste_useful(lengths):
    return 1 - share(lengths) if lengths else 0.0


def waste_percent(lengths):
    return 100 * share(lengths)


def waste_count(lengths):
    return len(lengths) * max(lengths) - sum(lengths) if lengths else 0


def waste_no_empty(lengths):
    return 1 - sum(lengths) / (len(lengths) * max(lengths))


def waste_too_wide(lengths):
    return 1 - sum(lengths) / (len(lengths) * (max(lengths) + 1)) if lengths else 0.0


def waste_whole(lengths):
    return (len(lengths) * max(lengths) - sum(lengths)) // (len(lengths) * max(lengths)) if lengths else 0


def waste_by_mean(lengths):
    longest = max(lengths, default=0)
    return 1 - (sum(lengths) / len(lengths)) / longest if longest else 0


def waste_by_counting(lengths):
    cells = [c < n for n in lengths for c in range(max(lengths))]
    return cells.count(False) / len(cells) if cells else 0.0


# ---------------------------------------------------------------- 02.3 bucket_by_length
def cut(order, size):
    return [order[i : i + size] for i in range(0, len(order), size)]


def in_order(lengths):
    return sorted(range(len(lengths)), key=lengths.__getitem__)


def bucket_arrival(lengths, batch_size):
    return cut(list(range(len(lengths))), batch_size)


def bucket_lengths(lengths, batch_size):
    return cut(sorted(lengths), batch_size)


def bucket_loses_last(lengths, batch_size):
    return [b for b in cut(in_order(lengths), batch_size) if len(b) == batch_size]


def bucket_index(lengths, batch_size):
    return cut([lengths.index(x) for x in sorted(lengths)], batch_size)


def bucket_dict(lengths, batch_size):
    known = {length: i for i, length in enumerate(lengths)}
    return cut([known[length] for length in sorted(known)], batch_size)


def bucket_alone(lengths, batch_size):
    return [[i] for i in in_order(lengths)]


def bucket_one(lengths, batch_size):
    return [in_order(lengths)] if lengths else []


def bucket_as_text(lengths, batch_size):
    return cut(sorted(range(len(lengths)), key=lambda i: str(lengths[i])), batch_size)


def bucket_from_one(lengths, batch_size):
    return [[i + 1 for i in b] for b in cut(in_order(lengths), batch_size)]


def bucket_longest_first(lengths, batch_size):
    return cut(in_order(lengths)[::-1], batch_size)


def bucket_by_taking(lengths, batch_size):
    """Take the shortest that is left, again and again; the odd batch comes first."""
    left, batches = dict(enumerate(lengths)), []
    room = len(lengths) % batch_size or batch_size
    while left:
        batch = sorted(left, key=lambda i: (left[i], i))[:room]
        batches.append(tuple(left.pop(i) and i for i in batch))
        room = batch_size
    return batches


# ---------------------------------------------------------------- 02.4 pack
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


# ---------------------------------------------------------------- 02.5 packed_mask
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


WRONG = {
    "02.1": [
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
    ],
    "02.2": [
        (waste_over_tokens, "the denominator is wrong"),
        (waste_useful, "the useful share"),
        (waste_percent, "percentage"),
        (waste_count, "number of padded cells"),
        (waste_no_empty, "a batch can be empty"),
        (waste_too_wide, "one column too wide"),
        (waste_whole, "throws the fraction away"),
    ],
    "02.3": [
        (bucket_arrival, "follow the order of arrival"),
        (bucket_lengths, "the lengths themselves"),
        (bucket_loses_last, "the last batch is missing"),
        (bucket_index, "finds the first one twice"),
        (bucket_dict, "as in a dict"),
        (bucket_alone, "more batches than needed"),
        (bucket_one, "holds more than batch_size"),
        (bucket_as_text, "sorted as text"),
        (bucket_from_one, "indices start at 1"),
    ],
    "02.4": [
        (pack_positions_run_on, "position ids run on"),
        (pack_no_zero, "the leading 0 is missing"),
        (pack_no_total, "the total at the end is missing"),
        (pack_off_by_one, "off by one"),
        (pack_lengths, "running sum"),
        (pack_separator, "no padding and no separator"),
        (pack_not_flat, "one flat list"),
        (pack_swapped, "the last two lists are swapped"),
        (pack_positions_from_one, "position ids start at 1"),
    ],
    "02.5": [
        (mask_leaks, "the packing leaks"),
        (mask_future, "sees the future"),
        (mask_strict, "may look at itself"),
        (mask_inverted, "the wrong way round"),
        (mask_transposed, "rows and columns are swapped"),
        (mask_border, "a border is off by one"),
        (mask_additive, "True or False"),
        (mask_small, "the mask is square"),
        (mask_everything, "every token sees every token"),
    ],
}

RIGHT = {
    "02.1": [padded, pad_by_hand, pad_by_turning],
    "02.2": [share, waste_by_mean, waste_by_counting],
    "02.3": [lambda n, b: cut(in_order(n), b), bucket_longest_first, bucket_by_taking],
    "02.4": [packed, pack_by_sum],
    "02.5": [mask_right, mask_by_rows],
}
