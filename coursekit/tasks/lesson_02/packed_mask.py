"""The mask that keeps packed prompts apart."""

import random
from collections.abc import Callable
from typing import Any

from ...task import Args, Case, Finding, Task

Pairs = set[tuple[int, int]]  # (query, key)

MASK_RULE = "token q may look at token k only if both are of one prompt and k is not after q"


def owners(cu: list[int]) -> list[int]:
    """Which prompt each packed token belongs to: [0, 2, 3] -> [0, 0, 1]."""
    return [i for i, (a, b) in enumerate(zip(cu, cu[1:])) for _ in range(b - a)]


def judge_mask(args: Args, got: Any) -> Finding | None:
    (cu,) = args
    owner, total = owners(cu), cu[-1]

    def wrong(cause: str, slip: str, expected: Any) -> Finding:
        return Finding(MASK_RULE, cause, slip, expected, got)

    if len(got) != total or any(len(row) != total for row in got):
        return wrong("the mask is square: one row and one column for each packed token", "mask shape", f"{total} rows of {total}")
    if any(x not in (0, 1) for row in got for x in row):
        return wrong(
            "each entry says yes or no: True or False (the -inf comes later, when the mask is added to the scores)",
            "not True or False",
            "True and False only",
        )
    seen = {(q, k) for q in range(total) for k in range(total) if got[q][k]}
    own = {(q, k) for q in range(total) for k in range(total) if owner[q] == owner[k]}
    missing = {(q, k) for q, k in own - seen if k <= q}
    return judge_seen(wrong, seen, own, missing, total)


def judge_seen(wrong: Callable[..., Finding], seen: Pairs, own: Pairs, missing: Pairs, total: int) -> Finding | None:
    """Name the mistake in the pairs (query, key) that are seen but should not be, or the other way round."""
    future, foreign = {(q, k) for q, k in seen & own if k > q}, seen - own
    blocked = {(q, k) for q in range(total) for k in range(total)} - seen
    if not (missing or future or foreign):
        return None
    pair = min(missing | future | foreign)
    expected = f"token {pair[0]} {'sees' if pair in missing else 'does not see'} token {pair[1]}"
    if blocked == {(q, k) for q, k in own if k <= q}:
        return wrong("the mask is the wrong way round: here True means 'may look'", "mask inverted", expected)
    if not blocked:
        return wrong(
            "every token sees every token: neither of the two conditions holds anything back. (If you wrote both: "
            "[[False] * T] * T is one row under T names, so a tick in one row is in all)",
            "sees everything",
            expected,
        )
    if {(k, q) for q, k in seen} == {(q, k) for q, k in own if k <= q}:
        return wrong(
            "rows and columns are swapped: the row is the token that looks, the column the one looked at",
            "mask transposed",
            expected,
        )
    if missing and not future and not foreign and all(q == k for q, k in missing):
        return wrong(
            "a token may look at itself. Without that the first token of a prompt sees nothing at all, and a "
            "softmax over nothing is NaN",
            "misses itself",
            expected,
        )
    if (
        foreign
        and {k <= q for q, k in foreign} == {True}
        and not missing
        and seen >= {(q, k) for q in range(total) for k in range(q)}
    ):
        return wrong(
            "the packing leaks: a request reads the tokens of the request packed in front of it",
            "leaks across requests",
            expected,
        )
    if future and not foreign and not missing:
        return wrong("a token sees the future: inside a prompt the mask is causal, k <= q", "sees the future", expected)
    if foreign:
        return wrong(
            "a border is off by one: prompt i owns the tokens from cu[i] up to, but not including, cu[i+1]",
            "border off by one",
            expected,
        )
    return wrong("a token is kept from one that it may look at", "hides a token", expected)


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
