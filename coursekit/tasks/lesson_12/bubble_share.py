"""The idle share of a pipeline's stages, from the order of its batches and their times."""

import random
from collections.abc import Sequence
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Times = Sequence[Sequence[float]]  # a row for each batch: its ms on every stage

SHARE = "the bubble: of the time of all stages, from 0 until the last batch is out, the share in which they do nothing"


def leaves(order: Sequence[str], times: Times, back: str = "last", follows: bool = True, alone: bool = True) -> list[list[float]]:
    """When each batch leaves each stage, in an answer that may forget one of the rules.

    back     a group's next batch waits until its last one has left the "last" stage; "nobody": it does not wait; "everybody":
             it waits for all batches before it
    follows  a batch enters a stage when it has left the one before
    alone    a stage has one batch at a time
    """
    free, rows = [0.0] * len(times[0]), []
    ready: dict[str, float] = {}
    for group, row in zip(order, times):
        key = "" if back == "everybody" else group
        at = 0.0 if back == "nobody" else ready.get(key, 0.0)
        entered, gone = at, []
        for stage, ms in enumerate(row):
            begin = max(at if follows else entered, free[stage] if alone else 0.0)
            at = begin + ms
            free[stage] = max(free[stage], at)
            gone.append(at)
        ready[key] = max(gone)
        rows.append(gone)
    return rows


def idle(times: Times, rows: list[list[float]]) -> float:
    """The share of all stages' time that is not work."""
    return 1 - sum(map(sum, times)) / (len(times[0]) * last(rows))


def last(rows: list[list[float]]) -> float:
    return max(map(max, rows))


def windows(times: Times, rows: list[list[float]]) -> float:
    """The idle share where each stage is looked at from its first batch to its last only."""
    spans = [rows[-1][s] - (rows[0][s] - times[0][s]) for s in range(len(times[0]))]
    return 1 - sum(map(sum, times)) / sum(spans)


def mistakes(order: Sequence[str], times: Times) -> list[tuple[str, str, float]]:
    """Words, slip, and what an answer with that mistake returns; the likeliest first."""
    rows, count, batches = leaves(order, times), len(times[0]), len(order)
    end, work = last(rows), sum(map(sum, times))
    alike = [[row[0]] * count for row in times]
    busy = [sum(row[s] for row in times) for s in range(count)]
    return [
        (
            "a group's next batch enters before its last one has come back: its next token needs the last one",
            "no feedback",
            idle(times, leaves(order, times, back="nobody")),
        ),
        (
            "each batch waits until the one before is out, whatever its group: batches of other groups may follow it",
            "one batch in flight",
            idle(times, leaves(order, times, back="everybody")),
        ),
        (
            "a batch is on several stages at once: it enters a stage when it has left the one before",
            "all stages at once",
            idle(times, leaves(order, times, follows=False)),
        ),
        (
            "a stage works on several batches at once: the next one enters when the stage is free",
            "stage not free",
            idle(times, leaves(order, times, alone=False)),
        ),
        (
            "this is (p - 1) / (m + p - 1), which is for equal batches that wait for nobody: follow the batches one by one",
            "formula",
            (count - 1) / (batches + count - 1),
        ),
        ("this counts the last stage alone: take the time of all stages", "last stage only", 1 - busy[-1] / end),
        ("this counts the first stage alone: take the time of all stages", "first stage only", 1 - busy[0] / end),
        ("this is the idlest stage alone: take the time of all stages", "idlest stage", 1 - min(busy) / end),
        ("this is the share in which the stages work: the bubble is the rest", "busy share", work / (count * end)),
        ("this is in per cent: return a share from 0 to 1", "per cent", 100 * idle(times, rows)),
        (
            "the idle time of all stages is divided by the time of one: there are as many times as there are stages",
            "divided by one stage",
            count * idle(times, rows),
        ),
        ("idle time is divided by work: divide it by all the time there is", "divided by work", count * end / work - 1),
        ("this is the idle time in ms: divide it by the time of all stages", "no share", count * end - work),
        ("this is when the last batch is out, in ms: the question is what share is idle until then", "the end", end),
        (
            "each stage is looked at from its first batch to its last: the time before and after counts, too, from 0 to the end",
            "without fill and drain",
            windows(times, rows),
        ),
        (
            "every stage takes as long as the first one does: each has a time of its own, times[i][stage]",
            "first stage's times",
            idle(alike, leaves(order, alike)),
        ),
    ]  # fmt: skip


def judge(args: Args, got: Any) -> Finding | None:
    order, times = args
    rows = leaves(order, times)
    right = idle(times, rows)

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(SHARE, f"{cause}. {drawn(order, times, rows)}", slip, right, got)

    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return wrong("return one number, the share", "not a number")
    if near(got, right):
        return None
    made = [(cause, slip) for cause, slip, value in mistakes(order, times) if near(value, got)]
    told = f"{CANNOT_TELL}: the stages work {sum(map(sum, times)):g} ms in all, and the last batch is out after {last(rows):g} ms"
    return likeliest(wrong, made or [(told, "other share")])


def near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(1.0, abs(b))


def drawn(order: Sequence[str], times: Times, rows: list[list[float]]) -> str:
    """When each batch is on each stage, in words."""
    spans = [
        f"{group} " + ", ".join(f"{end - ms:g}-{end:g}" for ms, end in zip(times[i], rows[i]))
        for i, group in enumerate(order[:8])
    ]
    return f"(ms on each stage: {'; '.join(spans)}{'; ...' if len(order) > 8 else ''})"


def generate(rng: random.Random, size: int) -> tuple:
    stages, groups = rng.randint(1, 4), "XYZW"[: rng.randint(1, 4)]
    order = [rng.choice(groups) for _ in range(rng.randint(1, 2 + size))]
    if rng.random() < 0.3:
        order = [groups[i % len(groups)] for i in range(len(order))]
    even = rng.random() < 0.4
    times = [[rng.randint(1, 9)] * stages if even else [rng.randint(1, 9) for _ in range(stages)] for _ in order]
    return order, times


def valid(args: Args) -> bool:
    order, times = args
    same = len({len(row) for row in times}) == 1 and len(times[0]) >= 1
    return len(order) == len(times) >= 1 and same and all(ms >= 1 for row in times for ms in row)


TASK = Task(
    id="12.1",
    name="bubble_share",
    title="The bubble of a pipeline",
    points=25,
    returns="one number from 0 to 1",
    cases=(
        Case((["X"], [[4]]), 0.0),
        Case((["X"], [[1, 1]]), 0.5),
        Case((["X", "X"], [[2, 2], [2, 2]]), 0.5),
        Case((["X", "Y"], [[2, 2], [2, 2]]), 1 / 3),
        Case((["X", "Y", "X", "Y"], [[2, 2], [2, 2], [2, 2], [2, 2]]), 0.2),
        Case((["X", "Y", "X"], [[2, 2], [8, 8], [2, 2]]), 0.4),
        Case((["X", "X", "Y"], [[2, 2], [2, 2], [2, 2]]), 0.4),
        Case((["X", "Y"], [[1, 3], [1, 3]]), 3 / 7),
        Case((["X", "Y", "Z"], [[2, 2, 2], [2, 2, 2], [2, 2, 2]]), 0.4),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    exact=False,
    hints=(
        "Draw X, Y, X on two stages, a letter a ms: a line for each stage. What does the second X wait for, and what would it "
        "wait for if it were a Z?",
        "A batch enters a stage at the later of two times: when it has left the stage before, and when the stage is free. On the "
        "first stage there is a third: when the last batch of its group has left the last stage.",
        "free = a zero for each stage; back = an empty dict\n"
        "for each batch, in order:\n"
        "    at = when its group came back, or 0\n"
        "    for each stage:\n"
        "        at = the later of at and free of the stage, plus the time there\n"
        "        the stage is free at that time\n"
        "    its group came back at that time\n"
        "1 - (all times together) / (number of stages * the end)",
    ),
)
