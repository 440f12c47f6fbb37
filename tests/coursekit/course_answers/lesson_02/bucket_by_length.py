"""Answers to task 02.3, ``bucket_by_length``: wrong ones with the words of their diagnoses, and right ones."""


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
]

RIGHT = [lambda n, b: cut(in_order(n), b), bucket_longest_first, bucket_by_taking]
