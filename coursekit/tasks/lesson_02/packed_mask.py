"""The mask that keeps packed prompts apart."""

import random
from collections.abc import Callable
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

MASK_RULE = "token q may look at token k only if both are of one prompt and k is not after q"


def owners(cu: list[int]) -> list[int]:
    """Which prompt each packed token belongs to: [0, 2, 3] -> [0, 0, 1]."""
    return [i for i, (a, b) in enumerate(zip(cu, cu[1:])) for _ in range(b - a)]


def judge_mask(args: Args, got: Any) -> Finding | None:
    (cu,) = args
    owner, total = owners(cu), cu[-1]
    right = [[owner[q] == owner[k] and k <= q for k in range(total)] for q in range(total)]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(MASK_RULE, cause, slip, right, got)

    if shape := shape_slip(cu, got):
        return wrong(*shape)
    if any(x not in (0, 1) for row in got for x in row):
        return wrong(
            "each entry says yes or no: True or False (the -inf comes later, when the mask is added to the scores)",
            "not True or False",
        )
    seen = [[bool(x) for x in row] for row in got]
    if seen == right:
        return None
    return likeliest(wrong, [(cause, slip) for mask, cause, slip in likely_masks(cu, right) if seen == mask] or [
        unknown_slip(seen, right)
    ])  # fmt: skip


def shape_slip(cu: list[int], got: Any) -> tuple[str, str] | None:
    """(cause, slip) of an answer that is no square of rows, or None."""
    total, lengths = cu[-1], [b - a for a, b in zip(cu, cu[1:])]
    if any(row is None for row in got):
        return "a row is None: append and extend change a list and return nothing. Call them, then use the list", "rows None"
    if got and not any(isinstance(row, list) for row in got):
        return "this is one flat list: the mask has a row, which is a list, for each packed token", "flat list"
    if [len(row) for row in got] == [total] * total:
        return None
    if [len(mask) for mask in got] == lengths and all(isinstance(row, list) for mask in got for row in mask):
        return (
            "there is a small mask for each prompt: here all are one, with a row and a column for each packed token",
            "many masks",
        )
    if [len(row) for row in got] == [n for n in lengths for _ in range(n)]:
        return (
            "your rows end with their prompts: each has a column for every packed token, of the other prompts too",
            "short rows",
        )
    return "the mask is square: one row and one column for each packed token", "mask shape"


def likely_masks(cu: list[int], right: list[list[bool]]) -> list[tuple[list[list[bool]], str, str]]:
    """The mask that a mistake gives, and its words."""
    owner, total = owners(cu), cu[-1]
    last = {end - 1 for end in cu[1:]}

    def mask(rule: Callable[[int, int], bool]) -> list[list[bool]]:
        return [[rule(q, k) for k in range(total)] for q in range(total)]

    return [
        (mask(lambda q, k: not right[q][k]), "the mask is the wrong way round: here True means 'may look'", "mask inverted"),
        (
            mask(lambda q, k: True),
            "every token sees every token: neither of the two conditions holds anything back. (If you wrote both: "
            "[[False] * T] * T is one row under T names, so a tick in one row is in all)",
            "sees everything",
        ),
        (
            mask(lambda q, k: right[k][q]),
            "rows and columns are swapped: the row is the token that looks, the column the one looked at",
            "mask transposed",
        ),
        (
            mask(lambda q, k: right[q][k] and q != k),
            "a token may look at itself. Without that the first token of a prompt sees nothing at all, and a "
            "softmax over nothing is NaN",
            "misses itself",
        ),
        (
            mask(lambda q, k: k <= q),
            "the packing leaks: a request reads the tokens of the request packed in front of it",
            "leaks across requests",
        ),
        (
            mask(lambda q, k: owner[q] == owner[k]),
            "a token sees the future: inside a prompt the mask is causal, k <= q",
            "sees the future",
        ),
        (
            mask(lambda q, k: right[q][k] or k == cu[owner[q]] - 1),
            "a prompt begins one token too early, with the last one of the prompt in front of it: its first token is cu[i]",
            "begins too early",
        ),
        (
            mask(lambda q, k: right[q][k] or q in cu and 0 < q and cu[owner[q] - 1] <= k <= q),
            "a border is off by one: prompt i owns the tokens from cu[i] up to, but not including, cu[i+1]",
            "border off by one",
        ),
        (
            mask(lambda q, k: right[q][k] and q not in last and k not in last),
            "the last token of each prompt is left out: prompt i owns the tokens up to, but not including, cu[i+1], "
            "and range and slices leave their end out by themselves",
            "last token left out",
        ),
        (
            mask(lambda q, k: right[q][k] and owner[q] < owner[-1]),
            "the last prompt has no mask: with B + 1 borders there are B prompts. Does your loop reach the last?",
            "last prompt lost",
        ),
        (
            mask(lambda q, k: right[q][k] and owner[q] > 0),
            "the first prompt has no mask: it begins at cu[0], which is 0",
            "first prompt lost",
        ),
        (mask(lambda q, k: q == k), "each token sees itself alone: it looks at those before it in its prompt, too", "diagonal"),
        (
            mask(lambda q, k: right[q][k] and q - k <= 1),
            "a token sees itself and the one before it: it looks at all of its prompt up to itself",
            "one step back",
        ),
        (
            mask(lambda q, k: q <= k),
            "both conditions are amiss: a token sees itself and what comes after it, of all prompts. It is k <= q, in one prompt",
            "upper triangle",
        ),
        (mask(lambda q, k: False), "no token sees anything: is the mask filled in after it was made?", "sees nothing"),
        ([right[-1]] * total, "all rows are alike: `[[False] * T] * T` is one row under T names", "one row T times"),
    ]


def unknown_slip(seen: list[list[bool]], right: list[list[bool]]) -> tuple[str, str]:
    q, k = next((q, k) for q, row in enumerate(right) for k, x in enumerate(row) if seen[q][k] != x)
    told = f"token {q} {'does not see' if right[q][k] else 'sees'} token {k}, and it {'may' if right[q][k] else 'must not'}"
    return f"{CANNOT_TELL}: {told}", "other pairs"


def generate_mask(rng: random.Random, size: int) -> tuple:
    cu = [0]
    for _ in range(rng.randint(1, 1 + size // 2)):
        cu.append(cu[-1] + rng.randint(1, 1 + size // 2))
    return (cu,)


def valid_mask(args: Args) -> bool:
    (cu,) = args
    return len(cu) >= 2 and cu[0] == 0 and all(a < b for a, b in zip(cu, cu[1:]))


TASK = Task(
    id="02.5",
    name="packed_mask",
    title="Keep packed prompts apart",
    points=20,
    returns="a square list of rows of True and False: mask[query][key]",
    cases=(
        Case(([0, 1],), [[True]]),
        Case(([0, 2],), [[True, False], [True, True]]),
        Case(([0, 1, 2],), [[True, False], [False, True]]),
        Case(([0, 2, 3],), [[True, False, False], [True, True, False], [False, False, True]]),
        Case(([0, 1, 3],), [[True, False, False], [False, True, False], [False, True, True]]),
        Case(
            ([0, 2, 4],),
            [
                [True, False, False, False],
                [True, True, False, False],
                [False, False, True, False],
                [False, False, True, True],
            ],
        ),
    ),
    judge=judge_mask,
    generate=generate_mask,
    valid=valid_mask,
    picture="mask",
    hints=(
        "Two prompts of two tokens, packed: A a B b. Draw a 4 x 4 grid. Which boxes may B tick? And b?",
        "Two conditions, and both must hold: same prompt, and not in the future. The first alone gives square blocks "
        "along the diagonal; the second cuts each block to a triangle.",
        "owner = the number of its prompt, for each packed token\nmask[q][k] is True when  owner[q] == owner[k]  and  k <= q",
    ),
)
