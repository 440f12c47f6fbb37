"""The mask of selective batching: new tokens of several requests against everybody's cache."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

Slices = list[list[int]]  # [cached, new] of each request
Pairs = set[tuple[int, int]]  # (row, column)

RULE = "a new token sees all cached tokens of its own request, and of its new ones those up to itself"


def pairs_of(slices: Slices) -> tuple[dict[tuple[int, int], str], int, int]:
    """{(row, column): what stands there}: "cached", "past", "self", "future" of the own request; the rest is foreign."""
    found: dict[tuple[int, int], str] = {}
    row, column = 0, 0
    for cached, new in slices:
        for i in range(new):
            for k in range(cached + new):
                place = k - cached
                kind = "cached" if place < 0 else "self" if place == i else "past" if place < i else "future"
                found[row + i, column + k] = kind
        row, column = row + new, column + cached + new
    return found, row, column


def judge_mask(args: Args, got: Any) -> Finding | None:
    (slices,) = args
    kinds, rows, columns = pairs_of(slices)

    def wrong(cause: str, slip: str, expected: Any) -> Finding:
        return Finding(RULE, cause, slip, expected, got)

    if len(got) != rows or any(len(row) != columns for row in got):
        return wrong(*shape_slip(got, slices, rows, columns), f"{rows} rows of {columns}")
    if any(x not in (0, 1) for row in got for x in row):
        return wrong("each entry says yes or no: True or False, no -inf", "not True or False", "True and False only")
    seen = {(q, k) for q in range(rows) for k in range(columns) if got[q][k]}
    should = {pair for pair, kind in kinds.items() if kind != "future"}
    if seen == should:
        return None
    pair = min(seen ^ should)
    expected = f"row {pair[0]} {'sees' if pair in should else 'does not see'} column {pair[1]}"
    return wrong(*name_slip(seen, should, kinds, slices, rows, columns), expected)


def shape_slip(got: Any, slices: Slices, rows: int, columns: int) -> tuple[str, str]:
    """The cause of a mask of another shape."""
    size = len(got), len(got[0]) if got else 0
    if size == (rows, rows):
        return "the columns of the cached tokens are missing: a new token looks at its cache too", "no cache columns"
    if size == (columns, columns):
        return "there are rows for cached tokens. They have been computed already: only new tokens look", "rows for cached"
    if size == (columns, rows):
        return "rows and columns are swapped: the row is the new token that looks", "mask transposed"
    return "there is one row for each new token, one column for each cached or new token", "mask shape"


def name_slip(
    seen: Pairs, should: Pairs, kinds: dict[tuple[int, int], str], slices: Slices, rows: int, columns: int
) -> tuple[str, str]:
    """The cause of a mask of the right shape."""
    everything = {(q, k) for q in range(rows) for k in range(columns)}
    missing, foreign = should - seen, seen - kinds.keys()
    future = {pair for pair in seen if kinds.get(pair) == "future"}
    lost = {kinds[pair] for pair in missing}
    if seen == everything - should:
        return "the mask is the wrong way round: True means 'may look'", "mask inverted"
    if rows == columns and {(k, q) for q, k in seen} == should:
        return "rows and columns are swapped: the row is the new token that looks", "mask transposed"
    if seen == caches_first(slices):
        return (
            "your columns hold all caches first, then all new tokens. Here the tokens of one request stand together: "
            "its cached ones, then its new ones",
            "caches first",
        )
    if foreign:
        if not missing and not future and all(kinds.get((q, k)) != "future" for q, k in foreign):
            return "the batch leaks: a request reads the cache of another one", "leaks across requests"
        return "a border is wrong: columns of one request are given to another", "border off"
    if future and not missing:
        return "a new token sees a later one of its own prompt. That is the future: it is not computed yet", "sees the future"
    if missing and not future and lost == {"self"}:
        return "a new token may look at itself: what it writes to the cache is there before it looks", "misses itself"
    if missing and not future and lost == {"cached"}:
        return "a request does not see its own cache: it would answer as if its prompt had never been", "misses the cache"
    return (
        "the new tokens stand *behind* the cache: new token i has position cached + i, and sees everything up to there",
        "forgets the offset",
    )


def caches_first(slices: Slices) -> Pairs:
    """The pairs of a right mask whose columns are laid out as all caches, then all new tokens."""
    found: Pairs = set()
    row, cache, new_column = 0, 0, sum(c for c, _ in slices)
    for cached, new in slices:
        for i in range(new):
            found |= {(row + i, cache + k) for k in range(cached)} | {(row + i, new_column + k) for k in range(i + 1)}
        row, cache, new_column = row + new, cache + cached, new_column + new
    return found


def generate_mask(rng: random.Random, size: int) -> tuple:
    """Decodes, newcomers, and now and then a prompt of which a part is there already."""
    most = 2 + size // 2
    kinds: Slices = []
    for _ in range(rng.randint(1, 1 + size // 2)):
        some, more = rng.randint(1, most), rng.randint(1, most)
        kinds.append(rng.choice(([some, 1], [some, 1], [0, more], [0, more], [some, more])))
    return (kinds,)


TASK = Task(
    id="05.2",
    name="selective_attention_mask",
    title="The mask of selective batching",
    points=30,
    returns="a list of rows of True and False: mask[new token][cached or new token]",
    cases=(
        Case(([[0, 1]],), [[True]]),
        Case(([[2, 1]],), [[True, True, True]]),
        Case(([[0, 2]],), [[True, False], [True, True]]),
        Case(([[1, 1], [0, 1]],), [[True, True, False], [False, False, True]]),
        Case(([[0, 1], [2, 1]],), [[True, False, False, False], [False, True, True, True]]),
        Case(([[1, 2]],), [[True, True, False], [True, True, True]]),
        Case(
            ([[1, 1], [0, 2]],),
            [[True, True, False, False], [False, False, True, False], [False, False, True, True]],
        ),
    ),
    judge=judge_mask,
    generate=generate_mask,
    valid=lambda args: len(args[0]) >= 1 and all(len(s) == 2 and s[0] >= 0 and s[1] >= 1 for s in args[0]),
    picture="mask",
    hints=(
        "One request with 2 cached tokens computes 1 more. How many rows has its mask, how many columns, and which are True? "
        "Now a newcomer with a prompt of 2 comes behind it.",
        "Go through the requests and keep count of where each one's columns begin. Row i of a request is False before its "
        "columns, True for cached + i + 1 of them, and False for everything after.",
        "total = all cached and new tokens\n"
        "start = 0\n"
        "for each (cached, new):\n"
        "    for i from 0 to new - 1:\n"
        "        add a row: column k is True when  start <= k <= start + cached + i\n"
        "    start grows by cached + new",
    ),
)
