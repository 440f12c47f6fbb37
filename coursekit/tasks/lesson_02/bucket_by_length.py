"""Batches of like length; any grouping that keeps the properties is right."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

EACH_ONCE = "every request is in exactly one batch"
FULL = "no batch is larger than batch_size, and there are as few batches as that allows"
ALIKE = "requests of like length share a batch: sort the batches by length, and no two overlap"


def judge_buckets(args: Args, got: Any) -> Finding | None:
    lengths, batch_size = args
    for batch in got:
        len(batch)  # a flat list of numbers is another shape
    return judge_members(lengths, batch_size, got) or judge_sizes(lengths, batch_size, got) or judge_overlap(lengths, got)


def judge_members(lengths: list[int], batch_size: int, got: Any) -> Finding | None:
    n, flat = len(lengths), [i for batch in got for i in batch]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(EACH_ONCE, cause, slip, {"indices": f"0 to {n - 1}, each once"}, got)

    if sorted(flat) == list(range(n)):
        return None
    if sorted(flat) == sorted(lengths):
        return wrong("these are the lengths themselves: return the indices of the requests", "lengths, not indices")
    if sorted(flat) == list(range(1, n + 1)):
        return wrong("your indices start at 1: the first request is number 0", "indices from 1")
    if len(set(flat)) < len(flat):
        return wrong(
            "a request is in two batches. With two equal lengths, `lengths.index(x)` finds the first one twice",
            "index twice",
        )
    if n % batch_size and len(flat) == n - n % batch_size:
        return wrong(
            "the last batch is missing: it is smaller than the others, but its requests want an answer too",
            "last batch lost",
        )
    if len(flat) == len(set(lengths)) < n and set(flat) < set(range(n)):
        return wrong(
            "a request is missing: of those with equal lengths only one is left, as in a dict with the length as its key",
            "equal lengths lost",
        )
    return wrong("a request is missing, or an index is no request", "requests lost")


def judge_sizes(lengths: list[int], batch_size: int, got: Any) -> Finding | None:
    fewest = -(-len(lengths) // batch_size)
    expected = {"batches": fewest, "at most in each": batch_size}
    if any(len(batch) > batch_size for batch in got):
        return Finding(FULL, f"a batch holds more than batch_size = {batch_size} requests", "batch too large", expected, got)
    if any(len(batch) == 0 for batch in got):
        return Finding(FULL, "a batch is empty: leave it out", "empty batch", expected, {"your batches": str(got)})
    if len(got) > fewest:
        return Finding(
            FULL,
            "there are more batches than needed. Small batches waste no padding, but each is one more pass over all the weights",
            "too many batches",
            expected,
            got,
        )
    return None


def judge_overlap(lengths: list[int], got: Any) -> Finding | None:
    spans = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for b in got)
    if all(a[1] <= b[0] for a, b in zip(spans, spans[1:])):
        return None
    expected = {"lengths": "shortest together ... longest together"}
    shown = [[lengths[i] for i in batch] for batch in got]
    flat = [i for batch in got for i in batch]
    if flat == list(range(len(lengths))):
        return Finding(
            ALIKE,
            "the batches follow the order of arrival, so a short request is padded to a long neighbour: sort by length first",
            "arrival order",
            expected,
            {"lengths in your batches": shown},
        )
    if flat == sorted(range(len(lengths)), key=lambda i: str(lengths[i])):
        return Finding(
            ALIKE,
            "the lengths are sorted as text, where '10' comes before '9': sort the numbers",
            "sorted as text",
            expected,
            {"lengths in your batches": shown},
        )
    return Finding(
        ALIKE,
        "a batch mixes short and long requests while another one lies between them",
        "mixed lengths",
        expected,
        {"lengths in your batches": shown},
    )


def generate_buckets(rng: random.Random, size: int) -> tuple:
    n = rng.randint(1, 2 * size)
    return [rng.randint(1, 12) for _ in range(n)], rng.randint(1, max(1, size))


TASK = Task(
    id="02.3",
    name="bucket_by_length",
    title="Put like with like",
    points=20,
    returns="a list of batches, each a list of request indices",
    cases=(
        Case(([], 2), []),
        Case(([4], 2), [[0]]),
        Case(([9, 1, 8], 2), [[1, 2], [0]]),
        Case(([1, 9, 1, 9], 2), [[0, 2], [1, 3]]),
        Case(([9, 10, 1, 2], 2), [[2, 3], [0, 1]]),
        Case(([3, 3, 3], 2), [[0, 1], [2]]),
        Case(([5, 1, 9, 2, 8, 1], 3), [[1, 5, 3], [0, 4, 2]]),
    ),
    judge=judge_buckets,
    generate=generate_buckets,
    exact=False,
    valid=lambda args: args[1] >= 1 and all(n >= 1 for n in args[0]),
    hints=(
        "Four requests of length 1, 9, 1, 9 in batches of two. Which two go together? How much padding is left?",
        "Once the requests stand in order of length, neighbours are alike: cut the line into pieces of batch_size. "
        "Sort the request numbers, not the lengths, or you cannot tell afterwards who is who.",
        "order = the indices 0 ... n-1, sorted by their length\n"
        "batches = order[0:batch_size], order[batch_size:2*batch_size], ...\n"
        "(the last piece may be shorter; keep it)",
    ),
)
