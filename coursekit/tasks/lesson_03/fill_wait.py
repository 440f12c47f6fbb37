"""How long each request waits until its batch is full."""

import random
from dataclasses import replace
from typing import Any

from ...task import Args, Case, Finding, Task
from .batches import batches_of, is_number

FILL_RULE = "a request waits until the last one of its batch has come; nobody comes after the last arrival"


def judge_fill(args: Args, got: Any) -> Finding | None:
    arrivals, size = args
    batches = batches_of(arrivals, size)
    want = [batch[-1] - a for batch in batches for a in batch]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(FILL_RULE, cause, slip, want, got)

    def alike(values: list[float]) -> bool:
        return len(values) == len(got) and all(abs(x - y) < 1e-9 for x, y in zip(values, got))

    if not isinstance(got, list) or any(isinstance(x, list) for x in got):
        return wrong("return one flat list: the wait of each request, in order of arrival", "not a list")
    if any(not is_number(x) or abs(x) == float("inf") for x in got):
        return wrong(
            "some request waits for ever. After the last arrival nobody else can come: the last batch starts then, full or not",
            "never starts",
        )
    full = len(arrivals) - len(arrivals) % size
    if len(got) == full < len(arrivals):
        return wrong("the last batch is not full, and its requests are missing: they are served too", "last batch lost")
    if len(got) != len(arrivals):
        return wrong("there is one wait for each request", "other length")
    if alike(want):
        return None
    made = [(cause, slip) for values, cause, slip in likely_waits(arrivals, size, want) if alike(values)]
    if made:
        return replace(wrong(*made[0]), instead=made[1:])
    return wrong("for each batch: when does its last request come? Each of them waits from its own arrival until then", "other")


def likely_waits(arrivals: list[float], size: int, want: list[float]) -> tuple[tuple[list[float], str, str], ...]:
    """What each likely mistake gives, with its words."""
    n, last = len(arrivals), arrivals[-1]
    full, batches = n - n % size, batches_of(arrivals, size)
    return (
        (
            [a - batch[0] for batch in batches for a in batch],
            "this is the time since the first request of the batch came. A request waits for those who come after it",
            "since the first",
        ),
        (
            [batch[-1] - batch[0] for batch in batches for _ in batch],
            "everybody in a batch gets the same wait, that of its first request. Who comes later waits less, the last not at all",
            "same for all",
        ),
        (
            [batch[-1] for batch in batches for _ in batch],
            "this is the time at which the batch starts. The wait is that time less the request's own arrival",
            "time, not wait",
        ),
        (
            [arrivals[min(i + size - 1, n - 1)] - a for i, a in enumerate(arrivals)],
            "each request waits for batch_size - 1 more, as if a batch began with it. A batch takes its requests away with it: "
            "the next batch begins with the next one",
            "sliding window",
        ),
        (
            [b - a for a, b in zip(arrivals, [*arrivals[1:], last])],
            "this is the gap to the next arrival. A batch starts when its last request has come, not its next",
            "next gap",
        ),
        (
            want[:full] + [0.0] * (n - full),
            "the last batch is not full, and you start each of its requests at once. It starts together, "
            "when the last request of all has come",
            "last batch at once",
        ),
        (
            [batches[arrivals.index(a) // size][-1] - a for a in arrivals],
            "two requests came at the same moment, and `arrivals.index(a)` finds the first of them twice: count the requests",
            "index twice",
        ),
        (
            [float(int(w)) for w in want],
            "the waits are cut to whole seconds: people come at fractions of a second too",
            "whole seconds",
        ),
        (
            [float(round(w)) for w in want],
            "the waits are rounded to whole seconds: people come at fractions of a second too",
            "rounded",
        ),
        ([-w for w in want], "these are negative: the wait is the start of the batch less the arrival", "negative"),
        ([w * 1000 for w in want], "this is in milliseconds: arrivals are in seconds, and so is the answer", "milliseconds"),
        (
            [batch[-1] - a for batch in batches_of(arrivals, size + 1) for a in batch],
            "your batches are one too large: a batch starts as soon as batch_size requests are there",
            "one too many",
        ),
    )


def generate_fill(rng: random.Random, size: int) -> tuple:
    at, arrivals = 0.0, []
    for _ in range(rng.randint(1, 1 + 2 * size)):
        arrivals.append(at)
        at += rng.choice([0.0, 0.25, 0.5, 1.0, 2.0, 3.75, 5.0, 7.0, 9.0])
    return arrivals, rng.randint(1, 1 + size)


def valid_fill(args: Args) -> bool:
    arrivals, size = args
    return size >= 1 and all(a >= 0 for a in arrivals) and arrivals == sorted(arrivals)


def fill_error(args: Args, error: str, text: str) -> str | None:
    if error == "IndexError" and len(args[0]) % args[1]:
        return "the last batch may hold fewer than batch_size requests: your code reaches past the last arrival"
    if not args[0]:
        return "there may be no request at all: the answer is an empty list then"
    return None


TASK = Task(
    id="03.2",
    name="fill_wait",
    title="Waiting for the batch to fill",
    points=25,
    returns="a list of seconds, one for each request",
    cases=(
        Case(([3.0], 1), [0.0]),
        Case(([0.0, 1.0], 2), [1.0, 0.0]),
        Case(([0.0, 1.0, 5.0], 2), [1.0, 0.0, 0.0]),
        Case(([0.0, 2.0, 3.0, 10.0, 11.0, 15.0], 3), [3.0, 1.0, 0.0, 5.0, 4.0, 0.0]),
        Case(([0.0, 0.0, 0.0], 3), [0.0, 0.0, 0.0]),
        Case(([0.0, 1.0, 2.0, 3.0, 60.0, 70.0], 4), [3.0, 2.0, 1.0, 0.0, 10.0, 0.0]),
        Case(([0.0, 0.75], 2), [0.75, 0.0]),
        Case(([0.0, 1.0, 1.0, 3.0], 2), [1.0, 0.0, 2.0, 0.0]),
        Case(([0.0, 4.0, 9.0], 8), [9.0, 5.0, 0.0]),
        Case(([], 2), []),
    ),
    judge=judge_fill,
    generate=generate_fill,
    valid=valid_fill,
    on_error=fill_error,
    hints=(
        "Requests come at 0, 2, 3, 10, 11 and 15 s, and a batch takes three. When does each of the two batches start?",
        "A batch starts at the arrival of its last request. So a request waits from its own arrival until that one. "
        "The last batch has a last request too, even if it is not full.",
        "waits = []\nfor each batch (the next batch_size arrivals, or what is left):\n    start = its last arrival\n"
        "    for each arrival in it: add start - arrival to waits\nreturn waits",
    ),
)
