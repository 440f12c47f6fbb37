"""Batches of like length; any grouping that keeps the properties is right."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

EACH_ONCE = "every request is in exactly one batch"
FULL = "no batch is larger than batch_size, and there are as few batches as that allows"
ALIKE = "requests of like length share a batch: sort the batches by length, and no two overlap"


def judge_buckets(args: Args, got: Any) -> Finding | None:
    lengths, batch_size = args
    return (
        judge_form(lengths, got)
        or judge_members(lengths, batch_size, got)
        or judge_sizes(lengths, batch_size, got)
        or judge_overlap(lengths, batch_size, got)
    )


def judge_form(lengths: list[int], got: Any) -> Finding | None:
    """A list of lists of whole numbers."""

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(EACH_ONCE, cause, slip, "a list of lists of indices", got)

    if got and not any(isinstance(batch, list) for batch in got):
        return wrong("this is one flat list: cut it into batches, each of them a list", "flat list")
    for batch in got:
        for entry in batch:
            if isinstance(entry, list):
                return wrong(f"a batch holds {entry}: it holds indices alone, not pairs", "pairs")
            if entry is None:
                return wrong("a batch is filled up with None: the last batch may be smaller than the others", "filled up")
    return None


def judge_members(lengths: list[int], batch_size: int, got: Any) -> Finding | None:
    flat = [i for batch in got for i in batch]
    everybody = list(range(len(lengths)))
    if sorted(flat) == everybody:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        right = {"all indices, sorted": everybody}
        return Finding(EACH_ONCE, cause, slip, right, {"all indices, sorted": sorted(flat), "batches": got})

    made = [(cause, slip) for is_so, cause, slip in likely_members(lengths, batch_size, flat, got) if is_so]
    missing, twice = sorted(set(everybody) - set(flat)), sorted(i for i in set(flat) if flat.count(i) > 1)
    told = (
        f"request {missing[0]} is missing" if missing else f"request {twice[0]} is there twice" if twice else "there is none so"
    )
    strange = next((f"{i} is no request" for i in flat if i not in everybody), told)
    return likeliest(wrong, made or [(f"{CANNOT_TELL}: {strange}", "requests lost")])


def likely_members(lengths: list[int], batch_size: int, flat: list[int], got: Any) -> list[tuple[bool, str, str]]:
    """Whether a mistake explains that somebody is missing, or there twice; and its words."""
    n = len(lengths)
    order = sorted(range(n), key=lambda i: lengths[i])
    equal = len(set(lengths)) < n
    repeats = len(set(flat)) < len(flat)
    short = [i for at in range(0, n, batch_size) for i in order[at : at + batch_size - 1]]
    return [
        (
            sorted(flat) == sorted(lengths),
            "these are the lengths themselves: return the indices of the requests",
            "lengths, not indices",
        ),
        (
            sorted(flat) == list(range(1, n + 1)),
            "your indices start at 1: the first request is number 0",
            "indices from 1",
        ),
        (
            repeats and equal and sorted(flat) == sorted(lengths.index(x) for x in lengths),
            "a request is in two batches. With two equal lengths, `lengths.index(x)` finds the first one twice",
            "index twice",
        ),
        (
            len(got) > 1 and all(batch == got[0] for batch in got),
            "all batches are alike: they are one list, which you clear and fill again. Begin a new list for each batch",
            "one list again",
        ),
        (
            repeats and any(set(a) & set(b) for a, b in zip(got, got[1:])),
            "a request is in two batches: your pieces overlap. The next one begins where the last one ended",
            "pieces overlap",
        ),
        (
            bool(n % batch_size) and len(flat) == n - n % batch_size and not repeats,
            "the last batch is missing: it is smaller than the others, but its requests want an answer too",
            "last batch lost",
        ),
        (
            len(flat) == len(set(lengths)) < n and set(flat) < set(range(n)),
            "a request is missing: of those with equal lengths only one is left, as in a dict with the length as its key",
            "equal lengths lost",
        ),
        (
            sorted(flat) == sorted(short) != order,
            "a request is lost at each border: a slice ends before its second number, so order[a:b] holds b - a of them",
            "lost at borders",
        ),
        (
            sorted(flat) == list(range(1, n)),
            "the first request, number 0, is missing: indices go from 0 to n - 1",
            "first lost",
        ),
    ]


def judge_sizes(lengths: list[int], batch_size: int, got: Any) -> Finding | None:
    n = len(lengths)
    fewest = -(-n // batch_size)
    sizes = [len(batch) for batch in got]

    def wrong(cause: str, slip: str) -> Finding:
        expected = {"batches": fewest, "requests in each": f"at most {batch_size}"}
        return Finding(FULL, cause, slip, expected, {"batches": len(got), "requests in each": sizes})

    made = [("you made batch_size batches. batch_size is the most requests in one of them", "so many batches")]
    made = made if len(got) == min(batch_size, n) else []
    if max(sizes, default=0) > batch_size:
        if len(got) == n // batch_size and sizes[:-1] == [batch_size] * (len(got) - 1):
            cause = "what was left over is put into the last batch, which is too large now: it is a batch of its own"
            made.append((cause, "rest in the last"))
        too_large = f"a batch holds more than batch_size = {batch_size} requests"
        return likeliest(wrong, made or [(too_large, "batch too large")])
    if 0 in sizes:
        return wrong("a batch is empty: leave it out", "empty batch")
    if len(got) > fewest:
        alike = [-(-lengths.count(length) // batch_size) for length in set(lengths)]
        if all(len({lengths[i] for i in batch}) == 1 for batch in got) and len(got) == sum(alike):
            cause = (
                "only requests of one and the same length share a batch, so there are too many batches: like lengths are enough"
            )
            made.append((cause, "equal lengths only"))
        many = (
            "there are more batches than needed. Small batches waste no padding, but each is one more pass over all the weights"
        )
        return likeliest(wrong, [*made, (many, "too many batches")])
    return None


def judge_overlap(lengths: list[int], batch_size: int, got: Any) -> Finding | None:
    spans = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for b in got)
    if all(a[1] <= b[0] for a, b in zip(spans, spans[1:])):
        return None
    name, flat = "lengths in the batches", [i for batch in got for i in batch]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    sorted_up = [[lengths[i] for i in order[at : at + batch_size]] for at in range(0, len(order), batch_size)]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(ALIKE, cause, slip, {name: sorted_up}, {name: [[lengths[i] for i in batch] for batch in got]})

    made = [(cause, slip) for is_so, cause, slip in likely_orders(lengths, order, flat, got) if is_so]
    mixed = f"{CANNOT_TELL}: a batch mixes short and long requests while another one lies between them"
    return likeliest(wrong, made or [(mixed, "mixed lengths")])


def likely_orders(lengths: list[int], order: list[int], flat: list[int], got: Any) -> list[tuple[bool, str, str]]:
    """Whether a mistake explains the order in which the requests were cut into batches, and its words."""
    n = len(lengths)
    inside = [sorted(batch) for batch in got]
    return [
        (
            flat == list(range(n)),
            "the batches follow the order of arrival, so a short request is padded to a long neighbour: sort by length first",
            "arrival order",
        ),
        (
            [i for batch in inside for i in batch] == list(range(n)),
            "you cut the requests into batches first and sorted within each of them. Sort all of them, then cut",
            "sorted inside",
        ),
        (
            flat == sorted(range(n), key=lambda i: str(lengths[i])),
            "the lengths are sorted as text, where '10' comes before '9': sort the numbers",
            "sorted as text",
        ),
        (
            [list(batch) for batch in got] == [order[at :: len(got)] for at in range(len(got))],
            "you dealt the sorted requests out like cards, so each batch has some of all lengths: cut the line into pieces",
            "dealt like cards",
        ),
        (
            flat == [order.index(i) for i in range(n)],
            "these are the places of the requests in the sorted line: return the requests themselves, the shortest first",
            "ranks, not indices",
        ),
    ]


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
