"""The mask of selective batching: new tokens of several requests against everybody's cache."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

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
    should = {pair for pair, kind in kinds.items() if kind != "future"}

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(RULE, cause, slip, [[(q, k) in should for k in range(columns)] for q in range(rows)], got)

    if shape := shape_slip(got, slices, rows, columns):
        return wrong(*shape)
    if any(x not in (0, 1) for row in got for x in row):
        return wrong("each entry says yes or no: True or False, no -inf", "not True or False")
    seen = {(q, k) for q in range(rows) for k in range(columns) if got[q][k]}
    if seen == should:
        return None
    made = [(cause, slip) for is_so, cause, slip in likely_slips(seen, should, kinds, slices, rows, columns) if is_so]
    q, k = min(seen ^ should)
    told = (
        f"row {q} {'does not see' if (q, k) in should else 'sees'} column {k}, and it {'may' if (q, k) in should else 'must not'}"
    )
    return likeliest(wrong, made or [(f"{CANNOT_TELL}: {told}", "other pairs")])


def shape_slip(got: Any, slices: Slices, rows: int, columns: int) -> tuple[str, str] | None:
    """(cause, slip) of a mask of another shape, or None."""
    if any(row is None for row in got):
        return "a row is None: append and extend change a list and return nothing. Call them, then use the list", "rows None"
    if got and not any(isinstance(row, list) for row in got):
        return "this is one flat list: the mask has a row, which is a list, for each new token", "flat list"
    if got and all(isinstance(row, list) and row and all(isinstance(x, list) for x in row) for row in got):
        return "there is a small mask for each request: put them together, with a column for every token of all", "many masks"
    size = len(got), len(got[0]) if got else 0
    if any(len(row) != size[1] for row in got):
        return "the rows have different lengths: each has a column for every token of all requests", "ragged rows"
    if size == (rows, columns):
        return None
    if size == (rows, rows):
        return "the columns of the cached tokens are missing: a new token looks at its cache too", "no cache columns"
    if size == (columns, columns):
        return "there are rows for cached tokens. They have been computed already: only new tokens look", "rows for cached"
    if size == (columns, rows):
        return "rows and columns are swapped: the row is the new token that looks", "mask transposed"
    if size == (len(slices), columns):
        return "there is one row for each request: there is one for each of its new tokens", "row a request"
    return f"there is one row for each new token, one column for each cached or new token: {rows} rows of {columns}", "mask shape"


def likely_slips(
    seen: Pairs, should: Pairs, kinds: dict[tuple[int, int], str], slices: Slices, rows: int, columns: int
) -> list[tuple[bool, str, str]]:
    """Whether a mistake explains a mask of the right shape, and its words."""
    everything = {(q, k) for q in range(rows) for k in range(columns)}
    own = {kind: {pair for pair, this in kinds.items() if this == kind} for kind in ("cached", "past", "self", "future")}
    begins = {q: min(c for r, c in kinds if r == q) for q in range(rows)}
    foreign_past = {(q, k) for q, k in everything - kinds.keys() if k < begins[q]}
    return [
        (seen == everything - should, "the mask is the wrong way round: True means 'may look'", "mask inverted"),
        (
            rows == columns and {(k, q) for q, k in seen} == should,
            "rows and columns are swapped: the row is the new token that looks",
            "mask transposed",
        ),
        (
            seen == laid_out(slices, caches_first=True),
            "your columns hold all caches first, then all new tokens. Here the tokens of one request stand together: "
            "its cached ones, then its new ones",
            "caches first",
        ),
        (
            seen == everything,
            "every token sees every token: neither of the two conditions holds anything back",
            "sees everything",
        ),
        (not seen, "no token sees anything: is the mask filled in after it was made?", "sees nothing"),
        (
            seen == should | foreign_past,
            "the batch leaks: a request reads the cache of another one",
            "leaks across requests",
        ),
        (
            seen == should | own["future"],
            "a new token sees a later one of its own prompt. That is the future: it is not computed yet",
            "sees the future",
        ),
        (
            seen == should - own["self"],
            "a new token may look at itself: what it writes to the cache is there before it looks",
            "misses itself",
        ),
        (
            seen == should - own["cached"],
            "a request does not see its own cache: it would answer as if its prompt had never been",
            "misses the cache",
        ),
        (
            seen == laid_out(slices, offset=False),
            "the new tokens stand *behind* the cache: new token i has position cached + i, and sees everything up to there",
            "forgets the offset",
        ),
        (
            seen == should - own["past"] or seen == own["self"],
            "a new token sees itself and misses new ones before it: of its new tokens it sees all up to itself",
            "misses the past",
        ),
        (
            seen == laid_out(slices, moves=0),
            "every request's columns begin at column 0: the next request's begin where those of the last one end",
            "start stays 0",
        ),
        (
            seen == laid_out(slices, moves=1),
            "your columns move on by the new tokens alone: each request has a column for its cached ones, too",
            "start by new",
        ),
        (
            seen == {(q, k) for q, k in everything if (q, k) in should or kinds.get((q, k - 1)) == "self"},
            "a new token sees one further than itself: new token i sees the columns up to start + cached + i, that one included",
            "one too far",
        ),
        (
            seen == {(q, k) for q, k in should if (q, k - 1) in should},
            "the first column of each request is left out: it begins at `start`, that one included",
            "first column lost",
        ),
    ]


def laid_out(slices: Slices, caches_first: bool = False, offset: bool = True, moves: int = 2) -> Pairs:
    """The pairs of a mask that is right but for how its columns are laid out.

    caches_first: the columns hold all caches, then all new tokens. offset: new token i stands behind the cache.
    moves: the next request's columns begin behind cached and new tokens (2), behind as many as there are new ones (1), at 0 (0).
    """
    found: Pairs = set()
    row, start, behind = 0, 0, sum(c for c, _ in slices)
    for cached, new in slices:
        for i in range(new):
            if caches_first:
                found |= {(row + i, start + k) for k in range(cached)} | {(row + i, behind + k) for k in range(i + 1)}
            else:
                found |= {(row + i, start + k) for k in range(cached * offset + i + 1)}
        row, behind = row + new, behind + new
        start += cached if caches_first else (0, new, cached + new)[moves]
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
