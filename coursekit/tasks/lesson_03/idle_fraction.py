"""The share of a static batch's seats that make no token."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .batches import batches_of, is_number

WHOLE = "whole division"
IDLE_RULE = "idle share = seats that make no token / all seats; a batch has batch_size seats in each of its steps"


def judge_idle(args: Args, got: Any) -> Finding | None:
    lengths, size = args
    seats, used = sum(size * max(batch) for batch in batches_of(lengths, size)), sum(lengths)
    right = (seats - used) / seats if seats else 0.0

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(IDLE_RULE, cause, slip, right, got)

    def near(x: float) -> bool:
        return abs(got - x) < 1e-9

    if not is_number(got):
        return wrong("the answer is one number between 0 and 1", "not a number")
    if near(right):
        return None
    if not lengths:
        return wrong("without a request there is no batch, and nothing is idle: 0.0", "no request")
    made = [(cause, slip) for value, cause, slip in likely_shares(lengths, size, used, seats) if near(value)]
    made = [pair for pair in made if pair[1] != WHOLE or type(got) is int]
    counted = f"{CANNOT_TELL}: the batches have {seats} seats, batch_size in each step, and {seats - used} of them make no token"
    return likeliest(wrong, made or [(counted, "other number")])


def likely_shares(lengths: list[int], size: int, used: int, seats: int) -> list[tuple[float, str, str]]:
    """What each likely mistake gives, with its words."""
    idle = seats - used
    return [
        (used / seats, "this is the busy share, the utilisation: idle is what is left of 1", "busy share"),
        (100 * idle / seats, "this is a percentage: return a share between 0 and 1", "percent"),
        (idle, "this is the number of idle seats: divide it by the number of all seats", "count, not share"),
        (idle / used, "you divide by the tokens: divide by all seats, those that make no token too", "wrong denominator"),
        (-idle / seats, "this is negative: idle seats are all seats less the tokens, not the other way round", "negative"),
        (idle // seats, "`//` throws the fraction away: divide with `/`", WHOLE),
        (round(idle / seats, 2), "the share is rounded to two digits: return it as it is", "rounded"),
        *other_batches(lengths, size, used),
    ]


def other_batches(lengths: list[int], size: int, used: int) -> list[tuple[float, str, str]]:
    """What each wrong idea of the batches gives, with its words."""
    batches = batches_of(lengths, size)
    whole = [b for b in batches if len(b) == size] if len(lengths) % size else []
    steps = sum(map(max, batches))
    return [
        (
            (1 - sum(map(sum, whole)) / sum(size * max(b) for b in whole) if whole else 0.0) if len(lengths) % size else -1.0,
            "the last batch is not full, but it runs as well: count it",
            "last batch lost",
        ),
        (
            1 - used / (len(lengths) * max(lengths)),
            "you put all requests into one batch: at most batch_size of them run together, then the next ones",
            "one big batch",
        ),
        (
            1 - used / (size * max(lengths)),
            "you count the seats of one batch only: each batch has its own steps, so add up the seats of all of them",
            "seats of one batch",
        ),
        (
            1 - used / (size * len(batches) * max(lengths)),
            "you let every batch run as long as the longest answer of all: a batch ends with its own longest",
            "longest of all",
        ),
        (
            1 - used / sum(len(b) * max(b) for b in batches),
            "the last batch has fewer requests than batch_size, and you left its empty seats out: they are idle too",
            "empty seats forgotten",
        ),
        (
            sum(1 - sum(b) / (size * max(b)) for b in batches) / len(batches),
            "you took the mean of the batches' shares. A batch with more steps weighs more: add up seats first, divide once",
            "mean of shares",
        ),
        (
            1 - used / sum(size * max(b) for b in batches_of(sorted(lengths), size)),
            "you sorted the requests by length. Nobody knows the lengths in advance: batches form in order of arrival",
            "sorted by length",
        ),
        (
            1 - used / (size * max(1, steps_continuous(lengths, size))),
            "you let the next request take a seat as soon as it is free: that is another schedule. A static batch ends whole",
            "refills seats",
        ),
        (
            1 - used / (size * sum(map(min, batches))),
            "a batch ends with its shortest answer, you say: it ends with its longest",
            "shortest as longest",
        ),
        (
            1 - sum(batches[0]) / (size * max(batches[0])),
            "this is the share of the first batch alone: go on to the others, and divide once, at the end",
            "first batch alone",
        ),
        (
            1 - used / (size * max(batches[-1])),
            "these are the seats of the last batch alone: add them up, `seats += ...`",
            "seats of the last batch",
        ),
        (1 - used / steps, "you count steps: each step has batch_size seats", "steps, not seats"),
        (
            1 - used / (size * sum(b[-1] for b in batches)),
            "a batch ends with its last request, you say: it ends with its longest",
            "last as longest",
        ),
    ]


def steps_continuous(lengths: list[int], seats: int) -> int:
    """Steps of a schedule that refills each seat at once."""
    free = [0] * seats
    for n in lengths:
        free[free.index(min(free))] += n
    return max(free)


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
