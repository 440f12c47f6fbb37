"""How long each request waits until its batch is full."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .batches import batches_of, is_number

FILL_RULE = "a request waits until the last one of its batch has come; nobody comes after the last arrival"


def judge_fill(args: Args, got: Any) -> Finding | None:
    arrivals, size = args
    want = [batch[-1] - a for batch in batches_of(arrivals, size) for a in batch]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(FILL_RULE, cause, slip, want, got)

    def alike(values: list[float]) -> bool:
        return len(values) == len(got) and all(abs(x - y) < 1e-9 for x, y in zip(values, got))

    if not isinstance(got, list):
        return wrong("return one flat list: the wait of each request, in order of arrival", "not a list")
    if any(isinstance(x, list) for x in got):
        return wrong("there is a list for each batch: put their waits into one flat list", "list of batches")
    strange = next((x for x in got if not is_number(x) and x is not None or x != x), None)
    if strange is not None:
        return wrong(f"a wait is {strange!r}, which is no number of seconds", "no number")
    if any(x is None or abs(x) == float("inf") for x in got):
        return wrong(
            "some request waits for ever. After the last arrival nobody else can come: the last batch starts then, full or not",
            "never starts",
        )
    if len(got) != len(want):
        return wrong(*other_length(arrivals, size, got))
    if alike(want):
        return None
    made = [(cause, slip) for values, cause, slip in likely_waits(arrivals, size, want) if alike(values)]
    at = next(i for i, (x, y) in enumerate(zip(want, got)) if abs(x - y) >= 1e-9)
    starts = f"request {at} comes at {arrivals[at]:g} s, and its batch starts at {arrivals[at] + want[at]:g} s"
    return likeliest(wrong, made or [(f"{CANNOT_TELL}: {starts}", "other")])


def other_length(arrivals: list[float], size: int, got: list[Any]) -> tuple[str, str]:
    """The cause of another number of waits than requests."""
    n = len(arrivals)
    if len(got) == n - n % size:
        return "the last batch is not full, and its requests are missing: they are served too", "last batch lost"
    if len(got) == -(-n // size):
        return "there is one number for each batch: each of its requests has a wait of its own", "one a batch"
    if len(got) == len(set(arrivals)) < n:
        cause = "two requests came at the same moment, and one wait is left for both, as in a dict with the arrival as its key"
        return cause, "equal arrivals lost"
    if len(got) == n - 1:
        return "there is one wait less than requests: these are the times between two of them", "between requests"
    return f"there is one wait for each request: {n}, not {len(got)}", "other length"


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
        (
            [batch[-1] - a for batch in batches_of(arrivals, max(1, size - 1)) for a in batch],
            "your batches are one too small: a batch starts when batch_size requests are there, itself among them",
            "one too few",
        ),
        (
            [(after or [last])[0] - a for batch, after in zip(batches, [*batches[1:], []]) for a in batch],
            "a batch starts when its own last request has come: you wait for the first of the next batch",
            "first of the next",
        ),
        ([last - a for a in arrivals], "everybody waits for the last arrival of all: a full batch starts before", "last of all"),
        (
            [sum(batch) / len(batch) - a for batch in batches for a in batch],
            "you take the mean arrival of the batch for its start: it starts when its last request has come",
            "mean arrival",
        ),
        (
            [(size - 1) / 2 * (last - arrivals[0]) / max(1, n - 1)] * n,
            "this is the formula for the mean of many batches. Here the arrivals are known: each request has a wait of its own",
            "formula for all",
        ),
        (list(arrivals), "these are the arrivals: the wait is the start of the batch less the arrival", "arrivals"),
        (
            [sum(batch[-1] - a for a in batch) / len(batch) for batch in batches for _ in batch],
            "everybody in a batch gets its mean wait: each has a wait of its own",
            "mean wait",
        ),
        (
            [w for batch in batches for w in [batch[-1] - a for a in batch][::-1]],
            "within each batch the waits stand in reverse: the first to come waits longest",
            "reversed in batches",
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
