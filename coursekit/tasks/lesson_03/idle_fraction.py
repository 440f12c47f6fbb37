"""The share of a static batch's seats that make no token."""

import random
from dataclasses import replace
from typing import Any

from ...task import Args, Case, Finding, Task
from .batches import batches_of, is_number

IDLE_RULE = "idle share = seats that make no token / all seats; a batch has batch_size seats in each of its steps"


def judge_idle(args: Args, got: Any) -> Finding | None:
    lengths, size = args
    batches = batches_of(lengths, size)
    seats, used = sum(size * max(batch) for batch in batches), sum(lengths)

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(IDLE_RULE, cause, slip, f"{seats - used} idle of {seats} seats", got)

    def near(x: float) -> bool:
        return abs(got - x) < 1e-9

    if not is_number(got):
        return wrong("the answer is one number between 0 and 1", "not a number")
    if not lengths:
        return None if near(0) else wrong("without a request there is no batch, and nothing is idle: 0.0", "no request")
    if near((seats - used) / seats):
        return None
    whole = [b for b in batches if len(b) == size]
    if len(whole) < len(batches) and near(1 - sum(map(sum, whole)) / max(1, sum(size * max(b) for b in whole))):
        return wrong("the last batch is not full, but it runs as well: count it", "last batch lost")
    made = [(cause, slip) for value, cause, slip in likely_shares(lengths, size, used, seats) if near(value)]
    if made:
        return replace(wrong(*made[0]), instead=made[1:])
    return wrong("count, batch by batch: steps = the longest answer, seats = batch_size times steps, tokens", "other number")


def likely_shares(lengths: list[int], size: int, used: int, seats: int) -> tuple[tuple[float, str, str], ...]:
    """What each likely mistake gives, with its words."""
    batches = batches_of(lengths, size)
    rows = sum(len(batch) * max(batch) for batch in batches)
    in_order = batches_of(sorted(lengths), size)
    idle = seats - used
    return (
        (used / seats, "this is the busy share, the utilisation: idle is what is left of 1", "busy share"),
        (100 * idle / seats, "this is a percentage: return a share between 0 and 1", "percent"),
        (idle, "this is the number of idle seats: divide it by the number of all seats", "count, not share"),
        (
            1 - used / (len(lengths) * max(lengths)),
            "you put all requests into one batch: at most batch_size of them run together, then the next ones",
            "one big batch",
        ),
        (
            1 - used / rows,
            "the last batch has fewer requests than batch_size, and you left its empty seats out: they are idle too",
            "empty seats forgotten",
        ),
        (
            sum(1 - sum(b) / (size * max(b)) for b in batches) / len(batches),
            "you took the mean of the batches' shares. A batch with more steps weighs more: add up seats first, divide once",
            "mean of shares",
        ),
        (
            1 - used / sum(size * max(batch) for batch in in_order),
            "you sorted the requests by length. Nobody knows the lengths in advance: batches form in order of arrival",
            "sorted by length",
        ),
    )


def generate_idle(rng: random.Random, size: int) -> tuple:
    return [rng.randint(1, 2 * size) for _ in range(rng.randint(1, 2 * size))], rng.randint(1, size)


def idle_error(args: Args, error: str, text: str) -> str | None:
    if error in ("ZeroDivisionError", "ValueError") and not args[0]:
        return "there may be no request at all, and then there is nothing to divide by: the answer is 0.0"
    return None


TASK = Task(
    id="03.1",
    name="idle_fraction",
    title="How much of the machine is idle?",
    points=25,
    returns="one number between 0 and 1",
    cases=(
        Case(([4], 1), 0.0),
        Case(([1, 2], 2), 0.25),
        Case(([3], 4), 0.75),
        Case(([2, 8, 3, 5], 4), 0.4375),
        Case(([2, 8, 3, 5, 1, 3], 4), 0.5),
        Case(([1, 4, 2, 4], 2), 0.3125),
        Case(([50, 100, 200, 500], 4), 0.575),
        Case(([], 4), 0.0),
    ),
    judge=judge_idle,
    generate=generate_idle,
    valid=lambda args: args[1] >= 1 and all(n >= 1 for n in args[0]),
    on_error=idle_error,
    hints=(
        "Draw answers of 2, 8, 3 and 5 tokens as four rows of boxes, eight steps wide. How many boxes are there, how many "
        "hold a token? Then draw the next batch behind them: answers of 1 and 3 tokens, still on four seats.",
        "A batch takes as many steps as its longest answer, and each of its steps has batch_size seats, whoever is in them. "
        "All tokens together fill sum(lengths) seats. Add up over the batches, and divide once, at the end.",
        "if there is no request: return 0.0\n"
        "seats = 0\n"
        "for each batch (the next batch_size lengths):\n"
        "    seats += batch_size x its largest length\n"
        "return (seats - sum of all lengths) / seats",
    ),
)
