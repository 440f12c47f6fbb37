"""Answers to task 11.2, ``pick_bucket``: wrong ones with the words of their diagnoses, and right ones."""


def smallest(rows, buckets):
    enough = [bucket for bucket in buckets if bucket >= rows]
    return min(enough) if enough else 0


def in_order(rows, buckets):
    for bucket in sorted(buckets):
        if rows <= bucket:
            return bucket
    return 0


def with_default(rows, buckets):
    return min(filter(lambda bucket: not bucket < rows, buckets), default=0)


def bisected(rows, buckets):
    import bisect

    buckets = sorted(buckets)
    at = bisect.bisect_left(buckets, rows)
    return (buckets + [0])[at]


def counted_up(rows, buckets):
    while rows not in buckets:
        if rows > max(buckets):
            return 0
        rows += 1
    return rows


def by_padding(rows, buckets):
    padding = sorted((bucket - rows, bucket) for bucket in buckets)
    return next((bucket for gap, bucket in padding if gap >= 0), 0)


def strictly(rows, buckets):
    return min((b for b in buckets if b > rows), default=0)


def largest(rows, buckets):
    return max(buckets) if max(buckets) >= rows else 0


def first_in_list(rows, buckets):
    return next((b for b in buckets if b >= rows), 0)


def largest_when_none(rows, buckets):
    return smallest(rows, buckets) or max(buckets)


def minus_one(rows, buckets):
    return smallest(rows, buckets) or -1


def too_small(rows, buckets):
    return max((b for b in buckets if b <= rows), default=0)


def nearest(rows, buckets):
    return min(buckets, key=lambda b: abs(b - rows))


def the_rows(rows, buckets):
    return rows if rows <= max(buckets) else 0


def the_padding(rows, buckets):
    found = smallest(rows, buckets)
    return found - rows if found else 0


def the_place(rows, buckets):
    found = smallest(rows, buckets)
    return buckets.index(found) if found else 0


def the_sorted_place(rows, buckets):
    found = smallest(rows, buckets)
    return sorted(buckets).index(found) if found else 0


def power_of_two(rows, buckets):
    return 1 << (rows - 1).bit_length() if rows <= max(buckets) else 0


def unguarded(rows, buckets):
    return min(b for b in buckets if b >= rows)


def a_list(rows, buckets):
    return [b for b in buckets if b >= rows]


def a_float(rows, buckets):
    return float(smallest(rows, buckets))


def sorts_in_place(rows, buckets):
    buckets.sort()
    return first_in_list(rows, buckets)


WRONG = [
    (strictly, "passes it over"),
    (largest, "so does a smaller one"),
    (first_in_list, "the list is in no order"),
    (largest_when_none, "a graph cannot grow"),
    (minus_one, "the answer is 0, not -1"),
    (too_small, "fewer rows than the batch"),
    (nearest, "nearest to the number of rows"),
    (the_rows, "this is the number of rows"),
    (the_padding, "the number of padding rows"),
    (the_place, "the place of the bucket in the list"),
    (the_sorted_place, "among the sorted ones"),
    (power_of_two, "this is a power of two"),
    (unguarded, "nothing to choose from"),
    (a_list, "this is a list"),
    (a_float, "no whole number"),
    (sorts_in_place, "changes the lists that it is given"),
]

RIGHT = [smallest, in_order, with_default, bisected, counted_up, by_padding]
