"""Which of the recorded graphs carries out a step of so many rows."""

import random
from collections.abc import Sequence
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

FIT = "the answer is the smallest bucket that holds all rows"
NONE = "0 says that no bucket holds so many rows"


def right(rows: int, buckets: Sequence[int]) -> int:
    return min((b for b in buckets if b >= rows), default=0)


def judge(args: Args, got: Any) -> Finding | None:
    rows, buckets = args
    want = right(rows, buckets)

    def wrong(cause: str, slip: str) -> Finding:
        told = f"{rows} row{'s' * (rows > 1)}, buckets {buckets}"
        return Finding(FIT if want else NONE, f"{cause}. ({told})", slip, want, got)

    if isinstance(got, list):
        return wrong("this is a list: return the one bucket, a number", "a list")
    if isinstance(got, bool) or not isinstance(got, int):
        return wrong(f"this is {got!r}, no whole number: return a bucket, or 0", "no whole number")
    if got == want:
        return None
    return likeliest(wrong, mistakes(rows, buckets, want, got)) or wrong(
        f"{CANNOT_TELL}: {got} is no answer to this", "other number"
    )


def mistakes(rows: int, buckets: Sequence[int], want: int, got: int) -> list[tuple[str, str]]:
    """(cause, slip) of all mistakes that give this very answer, the likeliest first."""
    enough = [b for b in buckets if b >= rows]
    made = [
        (
            got == min((b for b in buckets if b > rows), default=0),
            "a bucket of just as many rows holds them, and this answer passes it over",
            "strictly larger",
        ),
        (
            bool(enough) and got == max(enough),
            "this one holds the rows, and so does a smaller one, with less padding",
            "the largest",
        ),
        (
            bool(enough) and got == enough[0],
            "this is the first in the list that is large enough: the list is in no order, and a smaller one stands behind",
            "first in the list",
        ),
        (
            not want and got == max(buckets),
            "the rows are more than the largest bucket holds, and a graph cannot grow",
            "largest when none fits",
        ),
        (not want and got == -1, "where none fits the answer is 0, not -1", "-1 for none"),
        (
            got in buckets and abs(got - rows) == min(abs(b - rows) for b in buckets),
            "this is the bucket nearest to the number of rows, and it is too small for them",
            "the nearest",
        ),
        (
            got > 0 and got == max((b for b in buckets if b <= rows), default=0),
            "this bucket has fewer rows than the batch: some requests would get no token",
            "too small",
        ),
        (got == rows, "this is the number of rows, and no graph was recorded for that", "the rows"),
        (want > 0 and got == want - rows, "this is the number of padding rows, not a bucket", "the padding"),
        (
            want > 0 and got == list(buckets).index(want),
            "this is the place of the bucket in the list, not the bucket",
            "its place",
        ),
        (
            want > 0 and got == sorted(buckets).index(want),
            "this is the place of the bucket among the sorted ones, not the bucket",
            "its place when sorted",
        ),
        (
            got == 1 << (rows - 1).bit_length(),
            "this is a power of two, and no graph was recorded for it: only the buckets of the list exist",
            "a power of two",
        ),
        (want > 0 and got == 0, "there is a bucket that holds the rows, and this says there is none", "gives up"),
    ]
    return [(cause, slip) for holds, cause, slip in made if holds]


def generate(rng: random.Random, size: int) -> tuple:
    buckets = rng.sample(range(1, 6 + 8 * size), rng.randint(1, min(2 + size, 8)))
    rows = rng.choice([rng.choice(buckets), max(buckets) + rng.randint(1, 4), rng.randint(1, max(buckets))])
    return rows, buckets


def valid(args: Args) -> bool:
    rows, buckets = args
    return rows >= 1 and bool(buckets) and min(buckets) >= 1 and len(set(buckets)) == len(buckets)


def on_error(args: Args, error: str, text: str) -> str | None:
    if not right(*args) and error in ("ValueError", "IndexError", "StopIteration"):
        return f"no bucket holds {args[0]} rows, so there was nothing to choose from"
    return None


TASK = Task(
    id="11.2",
    name="pick_bucket",
    title="The graph for so many rows",
    points=10,
    returns="a whole number: one of the buckets, or 0",
    cases=(
        Case((1, [1]), 1),
        Case((2, [1]), 0),
        Case((3, [4, 2]), 4),
        Case((5, [1, 2, 4, 8, 16]), 8),
        Case((5, [16, 8, 4, 2, 1]), 8),
        Case((8, [16, 8, 4]), 8),
        Case((17, [16, 8, 4]), 0),
        Case((20, [64, 32, 24, 48]), 24),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    hints=(
        "Buckets 16, 4 and 8, five requests. Which buckets would do at all? Which of them wastes least?",
        "Two questions: which buckets hold the rows, and which of those is smallest. Without any, 0.",
        "keep the buckets that are at least as large as rows\nif there are none: 0\nelse: the smallest of them",
    ),
)
