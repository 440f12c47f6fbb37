"""Packing instead of padding: one flat batch, and where each prompt begins in it."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

IDS_RULE = "the packed ids are the prompts, one after the other, with nothing in between"
RESTART_RULE = "the position ids start again at 0 with every prompt"
CU_RULE = "cu_seqlens holds where each prompt starts, and the total at the end: prompt i is ids[cu[i]:cu[i+1]]"


def judge_pack(args: Args, got: Any) -> Finding | None:
    (prompts,) = args
    ids, positions, cu = got
    right = [[t for p in prompts for t in p], restarts(prompts), borders(prompts)]
    if [positions, cu] == [borders(prompts), restarts(prompts)]:
        return Finding(
            CU_RULE, "the last two lists are swapped: first position_ids, then cu_seqlens", "lists swapped", right, got
        )
    return judge_packed_ids(prompts, ids) or judge_cu(prompts, cu) or judge_restart(prompts, positions)


def restarts(prompts: list[list[int]]) -> list[int]:
    return [place for p in prompts for place in range(len(p))]


def borders(prompts: list[list[int]]) -> list[int]:
    return [sum(map(len, prompts[:i])) for i in range(len(prompts) + 1)]


def judge_packed_ids(prompts: list[list[int]], ids: list[Any]) -> Finding | None:
    total = sum(map(len, prompts))
    if [t for p in prompts for t in p] == ids:
        return None
    expected = {"tokens": f"{total}, in the order of the prompts"}
    if ids and isinstance(ids[0], list):
        return Finding(
            IDS_RULE, "the ids are still one list a prompt: a packed batch is one flat list", "not flat", expected, ids
        )
    if len(ids) > total:
        return Finding(
            IDS_RULE,
            "there are more ids than tokens. Packing needs no padding and no separator: cu_seqlens says where a prompt ends",
            "padding between",
            expected,
            ids,
        )
    return Finding(IDS_RULE, "the tokens are not the prompts in their order", "other tokens", expected, ids)


def judge_cu(prompts: list[list[int]], cu: list[int]) -> Finding | None:
    lengths, total = [len(p) for p in prompts], sum(map(len, prompts))
    slices = len(cu) == len(prompts) + 1 and [b - a for a, b in zip(cu, cu[1:])] == lengths
    if slices and cu[0] == 0:
        return None
    expected = {"first": 0, "steps between": lengths, "last": total}

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(CU_RULE, cause, slip, expected, {"cu_seqlens": cu})

    if cu == [borders(prompts)[prompts.index(p)] for p in prompts] + [total]:
        return wrong("two equal prompts start at one place: `prompts.index(p)` finds the first of them twice", "index twice")
    if cu in (lengths, lengths + [0], [0] + lengths) and len(prompts) > 1:
        return wrong("these are the lengths: cu_seqlens is their running sum (cu is short for cumulative)", "lengths, not sums")
    if cu[:1] != [0] and len(cu) == len(prompts) and cu[-1:] == [total]:
        return wrong("the leading 0 is missing: with B prompts there are B + 1 entries", "no leading 0")
    if len(cu) == len(prompts) and cu[:1] == [0]:
        return wrong("the total at the end is missing: the last prompt would have no end", "no total")
    if len(cu) == len(prompts) + 1 and cu[0] == 0 and cu[-1] == total - 1:
        return wrong("off by one: an entry is one past the last token of a prompt, as in a Python slice", "off by one")
    if slices:
        return wrong("off by one: the first prompt starts at 0, so the first entry is 0", "first entry")
    return wrong("the steps from one entry to the next are not the lengths of the prompts", "other boundaries")


def judge_restart(prompts: list[list[int]], positions: list[int]) -> Finding | None:
    want = [list(range(len(p))) for p in prompts]
    total = sum(map(len, prompts))
    if positions == [x for row in want for x in row]:
        return None
    if positions == list(range(total)):
        cause, slip = (
            "your position ids run on from one prompt into the next: a prompt does not know its neighbours",
            "positions run on",
        )
    elif positions == [x + 1 for row in want for x in row]:
        cause, slip = "your position ids start at 1: the first token of a prompt is at position 0", "positions from 1"
    else:
        cause, slip = "within each prompt the positions are 0, 1, 2, ...; one number for each token", "other positions"
    return Finding(RESTART_RULE, cause, slip, {"positions of each prompt": want}, positions)


def generate_pack(rng: random.Random, size: int) -> tuple:
    count = rng.randint(1, 1 + size // 2)
    prompts = [[rng.randint(1, 9) for _ in range(rng.randint(1, size + 1))] for _ in range(count)]
    if rng.random() < 0.3:  # now and then two people ask the same
        prompts.append(list(rng.choice(prompts)))
    return (prompts,)


TASK = Task(
    id="02.4",
    name="pack",
    title="Pack instead of padding",
    points=20,
    returns="(input_ids, position_ids, cu_seqlens), three flat lists",
    cases=(
        Case(([[5]],), [[5], [0], [0, 1]]),
        Case(([[5], [6, 7]],), [[5, 6, 7], [0, 0, 1], [0, 1, 3]]),
        Case(([[6, 7], [5]],), [[6, 7, 5], [0, 1, 0], [0, 2, 3]]),
        Case(([[5], [5]],), [[5, 5], [0, 0], [0, 1, 2]]),
        Case(([[1, 2, 3], [4], [5, 6]],), [[1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 0, 1], [0, 3, 4, 6]]),
    ),
    judge=judge_pack,
    generate=generate_pack,
    valid=lambda args: len(args[0]) >= 1 and all(len(p) >= 1 for p in args[0]),
    hints=(
        "Lay [5] and [6, 7] end to end: 5 6 7. Nothing is wasted. What must you write down to tell them apart again?",
        "One number a border is enough: where each prompt starts, plus the end of the last. That is a running sum "
        "of the lengths, with a 0 in front. Positions restart at every border.",
        "ids = [], positions = [], cu = [0]\n"
        "for each prompt:\n"
        "    ids gets its tokens\n"
        "    positions gets 0, 1, 2, ... up to its length\n"
        "    cu gets (last entry + its length)",
    ),
)
