"""The share of a padded rectangle that holds no token."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

WASTE_RULE = "waste = padded cells / all cells of the rectangle"


def judge_waste(args: Args, got: Any) -> Finding | None:
    (lengths,) = args
    real, cells = sum(lengths), len(lengths) * max(lengths, default=0)
    padded = cells - real

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(WASTE_RULE, cause, slip, f"{padded} padded of {cells} cells", got)

    def near(x: float) -> bool:
        return abs(got - x) < 1e-9

    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return wrong("the answer is one number between 0 and 1", "not a number")
    if cells == 0:
        return None if near(0) else wrong("a batch without a single cell wastes nothing: 0.0", "empty batch")
    if near(padded / cells):
        return None
    if near(padded / real if real else -1):
        return wrong(
            "the denominator is wrong: you divide by the real tokens. Divide by every cell of the rectangle, padding included",
            "wrong denominator",
        )
    if near(real / cells):
        return wrong("this is the useful share: the waste is what is left of 1", "useful share")
    if near(100 * padded / cells):
        return wrong("this is a percentage: return a share between 0 and 1", "percent")
    if near(padded):
        return wrong("this is the number of padded cells: divide it by the number of all cells", "count, not share")
    if near(padded // cells):
        return wrong("`//` throws the fraction away: divide with `/`", "whole division")
    if near(1 - real / (len(lengths) * (max(lengths) + 1))):
        return wrong("your rectangle is one column too wide: it is as wide as the longest prompt, no wider", "too wide")
    return wrong("count the cells of the rectangle, rows times longest, and how many of them hold no token", "other number")


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
