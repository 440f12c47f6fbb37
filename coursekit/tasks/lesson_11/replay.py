"""A bug hunt: a recorded decode step that goes on answering for the batch it was recorded with."""

import random
from collections.abc import Sequence
from typing import Any

from ...plain import to_plain
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .tape import EMPTY, Tape, attend, store

Batch = Sequence[Sequence[Any]]  # [token, slots of the request's tokens so far, the new one last] of each request
KERNELS = 2

TOKENS = "every step gives the tokens of its own batch, as if each kernel had been launched for it"
RECORDED = "the step is recorded once and replayed from then on: launching costs more than computing"


def drive(answer: Any, args: Args) -> dict[str, Any]:
    """What each step gave, and how often the tape was recorded, replayed, and gone around."""
    rows, slots, steps = args
    tape = Tape()
    replay = answer(tape, store, attend, rows, slots)
    given = [to_plain(replay.step([[token, list(table)] for token, table in batch])) for batch in steps]
    return {"tokens": given, "recordings": tape.recordings, "replays": tape.replays, "launches": tape.launches}


def judge(args: Args, got: Any) -> Finding | None:
    rows, slots, steps = args
    given, want = got["tokens"], tokens_of(args)
    for number, batch in enumerate(steps):
        if given[number] == want[number]:
            continue

        def wrong(cause: str, slip: str, number: int = number) -> Finding:
            told = f"step {number}: {cause}"
            return Finding(TOKENS, told, slip, {"tokens": want[number]}, {"tokens": given[number]})

        if not isinstance(given[number], list) or len(given[number]) != len(batch):
            cause = f"the batch has {len(batch)} requests, and this answers {given[number]!r}: padding rows have no request"
            return wrong(cause, "padding rows answered")
        return likeliest(wrong, mistakes(args, given)) or wrong(
            f"{CANNOT_TELL}: other tokens than those of the batch", "other tokens"
        )
    return not_recorded(got, len(steps))


def not_recorded(got: dict[str, Any], steps: int) -> Finding | None:
    """All tokens are right: was it the recording that gave them?"""
    seen = {name: got[name] for name in ("recordings", "replays", "launches")}
    allowed = {"recordings": 1, "replays": steps, "launches": 0}
    if got["recordings"] == 0:
        return Finding(RECORDED, "nothing was recorded: every kernel is launched in every step", "never recorded", allowed, seen)
    if got["recordings"] > 1:
        cause = f"it was recorded {got['recordings']} times in {steps} steps: once is enough, if the lists stay where they are"
        return Finding(RECORDED, cause, "recorded again", allowed, seen)
    if got["launches"] > KERNELS or got["replays"] < steps - 1:
        cause = f"it was recorded, and {got['launches']} kernels were launched beside the recording: replay it"
        return Finding(RECORDED, cause, "launched beside it", allowed, seen)
    return None


def tokens_of(
    args: Args, stale: tuple[str, ...] = (), padding: str = "", late: bool = False, skipped: bool = False
) -> list[list[int]]:
    """The tokens of every step; with a mistake, those that it gives.

    stale: what is still that of the first batch ("tokens", "slots", "tables", "lengths", "most"; "wide tables": filled up with
    slot 0).
    padding: what rows without a request write: "zero" a 0 into slot 0, "old" their last token into its slot, "gone" a 0 there.
    late: the new token is stored behind the attention. skipped: the first step is not computed.
    """
    rows, slots, steps = args
    first, cache = steps[0], [0] * slots
    held: dict[int, tuple[int, int]] = {}
    given: list[list[int]] = []
    longest = max(len(table) for _, table in first)
    for number, batch in enumerate(steps):
        written = []
        for row in range(rows):
            token, slot = old_row(row, padding, held) if row >= len(batch) else (batch[row][0], batch[row][1][-1])
            token = at(first, row, (0, [EMPTY]))[0] if "tokens" in stale else token
            slot = at(first, row, (0, [EMPTY]))[1][-1] if "slots" in stale else slot
            held[row] = token, slot
            written.append((token, slot))
        if not late and not (skipped and number == 0):
            put(cache, written)
        answers = []
        for row, (_, table) in enumerate(batch):
            old = at(first, row, (0, []))[1]
            length = min(len(old if "lengths" in stale else table), longest if "most" in stale else slots)
            text = list(old if "tables" in stale or "wide tables" in stale else table)
            seen = (text + [0] * slots if "wide tables" in stale else text)[:length]
            answers.append(sum((place + 1) * cache[slot] for place, slot in enumerate(seen)) % 97)
        if late:
            put(cache, written)
        given.append([0] * len(batch) if skipped and number == 0 else answers)
    return given


def old_row(row: int, padding: str, held: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(token, slot) that a row without a request stores."""
    if padding == "zero":
        return 0, 0
    token, slot = held.get(row, (0, EMPTY)) if padding else (0, EMPTY)
    return (0 if padding == "gone" else token), slot


def at(batch: Batch, row: int, otherwise: Any) -> Any:
    return batch[row] if row < len(batch) else otherwise


def put(cache: list[int], written: Sequence[tuple[int, int]]) -> None:
    for token, slot in written:
        if slot != EMPTY:
            cache[slot] = token


NEW_LIST = (
    "the graph reads the list of {what} that it was recorded with, and this batch's {what} are in another one: write them into "
    "the old list, self.{name}[i] = …, instead of making a new one"
)
WAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (NEW_LIST.format(what="tokens", name="tokens"), "new list of tokens", {"stale": ("tokens",)}),
    (NEW_LIST.format(what="slots", name="slots"), "new list of slots", {"stale": ("slots",)}),
    (NEW_LIST.format(what="tables", name="tables"), "new list of tables", {"stale": ("tables",)}),
    (NEW_LIST.format(what="tables", name="tables"), "new list of tables", {"stale": ("wide tables",)}),
    (NEW_LIST.format(what="lengths", name="lengths"), "new list of lengths", {"stale": ("lengths",)}),
    (
        "a number is noted by its value: the longest text of the first batch is in the recording for good, and longer ones "
        "are cut. Hand attend a bound that always holds",
        "length noted as a number",
        {"stale": ("most",)},
    ),
    (
        "a row without a request wrote a 0 into slot 0, which belongs to somebody: its slot must be -1",
        "padding writes slot 0",
        {"padding": "zero"},
    ),
    (
        "a row without a request still has the slot of the one that left, and writes its last token there, where "
        "another request's lies by now: its slot must be -1",
        "padding keeps its slot",
        {"padding": "old"},
    ),
    (
        "a row without a request still has the slot of the one that left, and writes a 0 there: its slot must be -1",
        "padding clears a slot",
        {"padding": "gone"},
    ),
    (
        "while it is recorded, a step computes nothing, and out holds what it held before: replay it once before you read",
        "recorded and not run",
        {"skipped": True},
    ),
    (
        "attention runs before the new token is stored, so it reads what lay in that slot before: store first",
        "stored too late",
        {"late": True},
    ),
)


def mistakes(args: Args, given: list[list[int]]) -> list[tuple[str, str]]:
    """(cause, slip) of all mistakes that give these very tokens, the likeliest first."""
    made = [(cause, slip) for cause, slip, way in WAYS if tokens_of(args, **way) == given]
    if all(token == 0 for tokens in given for token in tokens):
        made.append(
            ("all tokens are 0: out was never written. Is attend recorded, with the list that you read?", "out never written")
        )
    elif len(given) > 1 and all(token in (0, *given[0]) for tokens in given for token in tokens):
        made.append(
            ("step after step the tokens of the first: the list that you read is not the one that attend writes", "another out")
        )
    return made


def generate(rng: random.Random, size: int) -> tuple:
    """Requests come, grow by a token a step, and go; slots of those that left are used again."""
    rows, slots = rng.randint(1, 4), rng.randint(6, 12)
    free = list(range(slots))
    tables: list[list[int]] = []
    steps: list[list[Any]] = []
    for _ in range(2 + size):
        for table in [table for table in tables if rng.random() < 0.25]:
            tables.remove(table)
            free += table
        for table in list(tables):
            if free:
                table.append(free.pop(rng.randrange(len(free))))
            else:
                tables.remove(table)
                free += table
        while free and len(tables) < rows and (not tables or rng.random() < 0.5):
            tables.append([free.pop(rng.randrange(len(free)))])
        steps.append([[rng.randint(1, 96), list(table)] for table in tables])
    return rows, slots, steps


def valid(args: Args) -> bool:
    """Whether every text begins with one token and goes on by one a step, and no slot has two owners."""
    rows, slots, steps = args
    before: list[list[int]] = []
    for batch in steps:
        tables = [table for _, table in batch]
        held = [slot for table in tables for slot in table]
        grown = all(len(table) == 1 or table[:-1] in before for table in tables)
        owned = len(set(held)) == len(held) and all(0 <= slot < slots for slot in held)
        if not (
            1 <= len(batch) <= rows
            and grown
            and owned
            and all(table for table in tables)
            and all(1 <= token <= 96 for token, _ in batch)
        ):
            return False
        before = tables
    return bool(steps)


def scene(args: Args) -> str:
    rows, slots, steps = args
    told = "; ".join(
        f"step {number}: " + ", ".join(f"token {token}, slots {table}" for token, table in batch)
        for number, batch in enumerate(steps)
    )
    return f"a graph of {rows} rows, {slots} slots. {told}"


GROWS = [[[5, [0]]], [[7, [0, 1]]], [[9, [0, 1, 2]]]]
LEAVES = [
    [[5, [1]], [6, [2]]],
    [[7, [1, 3]]],
    [[8, [1, 3, 2]]],
    [[9, [1, 3, 2, 4]], [4, [0]]],
    [[3, [0, 5]], [2, [1]]],
    [[1, [1, 4]]],
]

TASK = Task(
    id="11.4",
    name="Replay",
    title="Bug hunt: the step that answers for the old batch",
    points=20,
    returns="a class whose step(batch) gives the next token of each request",
    cases=(
        Case((1, 2, [[[5, [0]]]]), None),
        Case((1, 2, [[[5, [0]]], [[7, [0, 1]]]]), None),
        Case((1, 4, GROWS), None),
        Case((2, 4, [[[5, [0]]], [[7, [0, 1]], [6, [2]]]]), None),
        Case((2, 6, LEAVES), None),
        Case((4, 6, LEAVES), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    exact=False,
    hints=(
        "Which lists does the tape know after the first step? Print id(self.tokens) in two steps. What else did it note?",
        "There are three bugs. One makes a list where the recording knows another. One hands the tape a number that holds "
        "for the first batch only. One shows when a batch is smaller than the graph: what do the rows without a request store, "
        "and where?",
        "in every step, for each row of the graph:\n"
        "    a request's row: its token, slot, table and length, written into the lists of old\n"
        "    a row without one: slot -1, length 0\n"
        "record with numbers that hold for every batch: a text has at most as many tokens as there are slots\n"
        "then replay, and read the first len(batch) numbers of out",
    ),
)
