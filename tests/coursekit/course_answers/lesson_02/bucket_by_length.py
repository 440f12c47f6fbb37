"""Answers to task 02.3, ``bucket_by_length``: wrong ones with the words of their diagnoses, and right ones."""

import bisect
import heapq
import itertools

import numpy as np


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


def bucket_pieces_overlap(lengths, batch_size):
    step, order = max(1, batch_size - 1), in_order(lengths)
    return [order[i : i + batch_size] for i in range(0, len(lengths), step)]


def bucket_loses_at_borders(lengths, batch_size):
    order = in_order(lengths)
    return [order[i : i + batch_size - 1] for i in range(0, len(lengths), batch_size)]


def bucket_loses_first(lengths, batch_size):
    return cut([i for i in in_order(lengths) if i], batch_size)


def bucket_ranks(lengths, batch_size):
    return cut([int(x) for x in np.argsort(np.argsort(lengths, kind="stable"), kind="stable")], batch_size)


def bucket_pairs(lengths, batch_size):
    return cut(sorted((length, i) for i, length in enumerate(lengths)), batch_size)


def bucket_flat(lengths, batch_size):
    return in_order(lengths)


def bucket_filled_up(lengths, batch_size):
    return list(itertools.zip_longest(*[iter(in_order(lengths))] * batch_size))


def bucket_rest_in_last(lengths, batch_size):
    batches = cut(in_order(lengths), batch_size)
    if len(batches) > 1 and len(batches[-1]) < batch_size:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


def bucket_so_many(lengths, batch_size):
    return (
        [[int(i) for i in part] for part in np.array_split(in_order(lengths), min(batch_size, len(lengths)) or 1)]
        if lengths
        else []
    )


def bucket_equal_only(lengths, batch_size):
    groups = itertools.groupby(in_order(lengths), key=lengths.__getitem__)
    return [piece for _, group in groups for piece in cut(list(group), batch_size)]


def bucket_dealt(lengths, batch_size):
    order, count = in_order(lengths), -(-len(lengths) // batch_size)
    return [order[i::count] for i in range(count)]


def bucket_sorted_inside(lengths, batch_size):
    return [sorted(b, key=lengths.__getitem__) for b in bucket_arrival(lengths, batch_size)]


def bucket_empty_end(lengths, batch_size):
    return cut(in_order(lengths), batch_size) + [[]]


def bucket_by_key(lengths, batch_size):
    return {lengths[b[0]]: b for b in cut(in_order(lengths), batch_size)}


def bucket_in_place(lengths, batch_size):
    order = in_order(lengths)
    lengths.sort()
    return cut(order, batch_size)


def bucket_numpy(lengths, batch_size):
    order = np.argsort(lengths)
    return np.split(order, range(batch_size, len(order), batch_size)) if lengths else []


def bucket_by_heap(lengths, batch_size):
    heap = [(length, i) for i, length in enumerate(lengths)]
    heapq.heapify(heap)
    while heap:
        yield [heapq.heappop(heap)[1] for _ in range(min(batch_size, len(heap)))]


def bucket_by_counting(lengths, batch_size):
    """A shelf for each length; then along the shelves."""
    shelves = [[] for _ in range(max(lengths, default=0) + 1)]
    for i, length in enumerate(lengths):
        shelves[length].append(i)
    line = itertools.chain.from_iterable(shelves)
    return list(iter(lambda: list(itertools.islice(line, batch_size)), []))


def bucket_by_insertion(lengths, batch_size):
    line = []
    for i in reversed(range(len(lengths))):
        bisect.insort(line, i, key=lengths.__getitem__)
    return map(tuple, cut(line, batch_size))


def bucket_recursive(lengths, batch_size, left=None):
    left = in_order(lengths)[::-1] if left is None else left
    return [left[:batch_size], *bucket_recursive(lengths, batch_size, left[batch_size:])] if left else []


def bucket_cleared(lengths, batch_size):
    """Every batch is one and the same list."""
    batches, batch = [], []
    for i in in_order(lengths):
        batch.append(i)
        if len(batch) == batch_size:
            batches.append(batch)
            batch.clear()
    return batches + [batch] * bool(batch)


WRONG = [
    (bucket_arrival, "follow the order of arrival"),
    (bucket_lengths, "the lengths themselves"),
    (bucket_loses_last, "the last batch is missing"),
    (bucket_index, "finds the first one twice"),
    (bucket_dict, "as in a dict"),
    (bucket_alone, "more batches than needed"),
    (bucket_one, "holds more than batch_size"),
    (bucket_as_text, "sorted as text"),
    (bucket_from_one, "indices start at 1"),
    (bucket_pieces_overlap, "your pieces overlap"),
    (bucket_loses_at_borders, "lost at each border"),
    (bucket_loses_first, "number 0, is missing"),
    (bucket_ranks, "places of the requests in the sorted line"),
    (bucket_pairs, "indices alone, not pairs"),
    (bucket_flat, "one flat list"),
    (bucket_filled_up, "filled up with None"),
    (bucket_rest_in_last, "it is a batch of its own"),
    (bucket_so_many, "you made batch_size batches"),
    (bucket_equal_only, "like lengths are enough"),
    (bucket_dealt, "like cards"),
    (bucket_sorted_inside, "Sort all of them, then cut"),
    (bucket_empty_end, "a batch is empty"),
    (bucket_by_key, "this is a dict"),
    (bucket_in_place, "changes the lists that it is given"),
    (bucket_cleared, "which you clear and fill again"),
]

RIGHT = [
    lambda n, b: cut(in_order(n), b),
    bucket_longest_first,
    bucket_by_taking,
    bucket_numpy,
    bucket_by_heap,
    bucket_by_counting,
    bucket_by_insertion,
    bucket_recursive,
]
