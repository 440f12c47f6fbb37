"""The share of a padded rectangle that holds no token."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

WHOLE = "whole division"
WASTE_RULE = "waste = padded cells / all cells of the rectangle"


def judge_waste(args: Args, got: Any) -> Finding | None:
    (lengths,) = args
    cells = len(lengths) * max(lengths, default=0)
    padded = cells - sum(lengths)
    right = padded / cells if cells else 0.0

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(WASTE_RULE, cause, slip, right, got)

    def near(x: float) -> bool:
        return abs(got - x) < 1e-9

    if isinstance(got, str):
        return wrong("this is a text: return the number itself, a share between 0 and 1", "a text")
    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return wrong("the answer is one number between 0 and 1", "not a number")
    if near(right):
        return None
    if cells == 0:
        return wrong("a batch without a single cell wastes nothing: 0.0", "empty batch")
    made = [(cause, slip) for value, cause, slip in likely_wastes(lengths, padded, cells) if near(value)]
    made = [pair for pair in made if pair[1] != WHOLE or type(got) is int]
    counted = f"{CANNOT_TELL}: the rectangle has {cells} cells, rows times longest, and {padded} of them hold no token"
    return likeliest(wrong, made or [(counted, "other number")])


def likely_wastes(lengths: list[int], padded: int, cells: int) -> list[tuple[float, str, str]]:
    """What each likely mistake gives, with its words."""
    n, real, longest = len(lengths), sum(lengths), max(lengths)
    widths = {
        "too wide": (longest + 1, "your rectangle is one column too wide: it is as wide as the longest prompt, no wider"),
        "shortest as width": (min(lengths), "your rectangle is as wide as the shortest prompt: take the longest"),
        "last as width": (lengths[-1], "your rectangle is as wide as the last prompt. They need not be sorted: take the longest"),
        "first as width": (
            lengths[0],
            "your rectangle is as wide as the first prompt. They need not be sorted: take the longest",
        ),
    }
    return [
        (
            padded / real,
            "the denominator is wrong: you divide by the real tokens. Divide by every cell of the rectangle, padding included",
            "wrong denominator",
        ),
        (real / cells, "this is the useful share: the waste is what is left of 1", "useful share"),
        (100 * padded / cells, "this is a percentage: return a share between 0 and 1", "percent"),
        (padded, "this is the number of padded cells: divide it by the number of all cells", "count, not share"),
        (padded // cells, "`//` throws the fraction away: divide with `/`", WHOLE),
        (1 - real / n * longest, "`a / b * c` is (a / b) * c: put brackets around the product below the line", "no brackets"),
        *((1 - real / (n * width), cause, slip) for slip, (width, cause) in widths.items()),
        (
            sum(x < longest for x in lengths) / n,
            "this is the share of the prompts that are padded: one that lacks a token weighs as much as one that lacks many. "
            "Count cells",
            "counts prompts",
        ),
        (padded / n, "this is the padding of a prompt on average: divide by all cells, rows times longest", "divided by prompts"),
        (padded / longest, "you divide by the cells of one row: the rectangle has one for each prompt", "one row"),
        (1 - real / longest**2, "your rectangle is as high as it is wide: it has one row for each prompt", "square"),
        (-padded / cells, "this is negative: padded cells are all cells less the tokens, not the other way round", "negative"),
        (round(padded / cells, 2), "the share is rounded to two digits: return it as it is", "rounded"),
        (round(padded / cells, 1), "the share is rounded to one digit: return it as it is", "rounded"),
    ]


def generate_lengths(rng: random.Random, size: int) -> tuple:
    return ([rng.randint(1, 2 * size) for _ in range(rng.randint(1, size + 1))],)


def waste_error(args: Args, error: str, text: str) -> str | None:
    if error in ("ZeroDivisionError", "ValueError") and not any(args[0]):
        return "a batch can be empty, and then there is nothing to divide by: such a batch wastes 0.0"
    return None


TASK = Task(
    id="02.2",
    name="padding_waste",
    title="How much of the rectangle is padding?",
    points=15,
    returns="one number between 0 and 1",
    cases=(
        Case(([3],), 0.0),
        Case(([2, 2],), 0.0),
        Case(([1, 2],), 0.25),
        Case(([1, 4],), 0.375),
        Case(([1, 4, 4, 1],), 0.375),
        Case(([1, 1, 1, 5],), 0.6),
        Case(([50, 100, 200, 500],), 0.575),
        Case(([],), 0.0),
    ),
    judge=judge_waste,
    generate=generate_lengths,
    valid=lambda args: all(n >= 1 for n in args[0]),
    on_error=waste_error,
    hints=(
        "Draw the lengths 1 and 4 as two rows of boxes, both as wide as the longer. Count all boxes, then the empty.",
        "The rectangle has (number of prompts) x (longest prompt) cells. Every token fills one. The rest is waste.",
        "if there is no prompt: return 0.0\n"
        "cells = number of lengths x the largest\n"
        "filled = sum of the lengths\n"
        "return (cells - filled) / cells",
    ),
)
