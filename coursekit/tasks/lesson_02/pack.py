"""Packing instead of padding: one flat batch, and where each prompt begins in it."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

NAMES = ("input_ids", "position_ids", "cu_seqlens")
IDS_RULE = "the packed ids are the prompts, one after the other, with nothing in between"
RESTART_RULE = "the position ids start again at 0 with every prompt"
CU_RULE = "cu_seqlens holds where each prompt starts, and the total at the end: prompt i is ids[cu[i]:cu[i+1]]"


def judge_pack(args: Args, got: Any) -> Finding | None:
    (prompts,) = args
    if finding := judge_lists(prompts, got):
        return finding
    ids, positions, cu = got
    return judge_packed_ids(prompts, ids) or judge_cu(prompts, cu) or judge_restart(prompts, positions)


def judge_lists(prompts: list[list[int]], got: Any) -> Finding | None:
    """Three flat lists, in this order."""

    def wrong(cause: str, slip: str) -> Finding:
        return Finding("the answer is three flat lists", cause, slip, right, got)

    flat, starts, ends = [t for p in prompts for t in p], restarts(prompts), borders(prompts)
    right = [flat, starts, ends]
    if len(got) != len(NAMES):
        return wrong(f"the answer is three lists, {', '.join(NAMES)}; yours holds {len(got)}", "not three lists")
    for name, values in zip(NAMES, got):
        if values is None:
            cause = f"{name} is None: append, extend and sort change a list and return nothing. Call them, then return the list"
            return wrong(cause, "a list is None")
        if not isinstance(values, list):
            return wrong(f"{name} is {values!r}, which is no list", "no list")
        if any(isinstance(x, list) for x in values):
            return wrong(*nested(name, values))
    if got == [flat, ends, starts] != right:
        return wrong("the last two lists are swapped: first position_ids, then cu_seqlens", "lists swapped")
    return None


def nested(name: str, values: list[Any]) -> tuple[str, str]:
    """The cause of a list that holds lists."""
    if name == "cu_seqlens":
        return "cu_seqlens holds pairs: the end of one prompt is the start of the next, so one number a border is enough", "pairs"
    return f"{name} is still one list a prompt: a packed batch is one flat list", "not flat"


def restarts(prompts: list[list[int]]) -> list[int]:
    return [place for p in prompts for place in range(len(p))]


def borders(prompts: list[list[int]]) -> list[int]:
    return [sum(map(len, prompts[:i])) for i in range(len(prompts) + 1)]


def judge_packed_ids(prompts: list[list[int]], ids: list[Any]) -> Finding | None:
    right = [t for p in prompts for t in p]
    if right == ids:
        return None
    longest = max(map(len, prompts))
    likely = [
        (
            len(ids) > len(right),
            "there are more ids than tokens. Packing needs no padding and no separator: cu_seqlens says where a prompt ends",
            "padding between",
        ),
        (
            ids == [t for p in prompts[::-1] for t in p],
            "the prompts stand in reverse order: the first one comes first",
            "prompts reversed",
        ),
        (ids == [t for p in prompts for t in p[::-1]], "the tokens of each prompt stand in reverse", "tokens reversed"),
        (
            ids == [p[i] for i in range(longest) for p in prompts if i < len(p)],
            "the prompts are mixed token by token, first the first token of each: lay one whole prompt after the other",
            "mixed by columns",
        ),
        (sorted(ids) == sorted(right) == ids, "the tokens are sorted: they stay in the order of the prompts", "tokens sorted"),
        (
            ids == [t for p in prompts[:-1] for t in p],
            "the last prompt is missing: does your loop reach all of them?",
            "last prompt lost",
        ),
        (
            ids == [t for p in prompts[1:] for t in p],
            "the first prompt is missing: prompt 0 belongs to them",
            "first prompt lost",
        ),
        (
            ids == list(dict.fromkeys(right)),
            "a token that comes twice is there once only, as in a set or a dict: keep every token",
            "tokens lost",
        ),
    ]
    made = [(cause, slip) for is_so, cause, slip in likely if is_so]
    made = made or [(f"{CANNOT_TELL}: the tokens are not those of the prompts in their order", "other tokens")]
    return likeliest(lambda cause, slip: Finding(IDS_RULE, cause, slip, {"input_ids": right}, {"input_ids": ids}), made)


def judge_cu(prompts: list[list[int]], cu: list[int]) -> Finding | None:
    right = borders(prompts)
    if cu == right:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(CU_RULE, cause, slip, {"cu_seqlens": right}, {"cu_seqlens": cu})

    return likeliest(wrong, [(cause, slip) for values, cause, slip in likely_borders(prompts, right) if cu in values] or [
        (f"{CANNOT_TELL}: the steps from one entry to the next are not the lengths of the prompts", "other boundaries")
    ])  # fmt: skip


def likely_borders(prompts: list[list[int]], right: list[int]) -> list[tuple[list[list[int]], str, str]]:
    """The borders that a mistake gives, and its words."""
    lengths, total, count = [len(p) for p in prompts], right[-1], len(prompts)
    first = [right[prompts.index(p)] for p in prompts]
    return [
        (
            [[*first, total], [*first, right[prompts.index(prompts[-1]) + 1]]],
            "two equal prompts start at one place: `prompts.index(p)` finds the first of them twice",
            "index twice",
        ),
        (
            [lengths, [*lengths, 0], [0, *lengths]],
            "these are the lengths: cu_seqlens is their running sum (cu is short for cumulative)",
            "lengths, not sums",
        ),
        ([right[1:]], "the leading 0 is missing: with B prompts there are B + 1 entries", "no leading 0"),
        ([right[:-1]], "the total at the end is missing: the last prompt would have no end", "no total"),
        (
            [[0, *(x - 1 for x in right[1:])], [*right[:-1], total - 1]],
            "off by one: an entry is one past the last token of a prompt, as in a Python slice",
            "off by one",
        ),
        ([[x + 1 for x in right]], "off by one: the first prompt starts at 0, so the first entry is 0", "first entry"),
        ([[0, *right]], "there is a 0 too many in front: B prompts have B + 1 entries", "two zeros"),
        ([[*right, total]], "the total stands there twice: B prompts have B + 1 entries", "two totals"),
        (
            [list(range(count + 1)), list(range(count))],
            "these are the numbers of the prompts: an entry counts the tokens that stand before a prompt",
            "counts prompts",
        ),
        (
            [[x + i for i, x in enumerate(right)]],
            "each border is one further than the one before it needs: nothing stands between two prompts, not even one cell",
            "counts separators",
        ),
        ([[0] * (count + 1)], "all entries are 0: is the running sum put back after each prompt?", "all 0"),
    ]


def judge_restart(prompts: list[list[int]], positions: list[int]) -> Finding | None:
    right = restarts(prompts)
    if positions == right:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(RESTART_RULE, cause, slip, {"position_ids": right}, {"position_ids": positions})

    likely = [
        (
            list(range(len(right))),
            "your position ids run on from one prompt into the next: a prompt does not know its neighbours",
            "positions run on",
        ),
        (
            [x + 1 for x in right],
            "your position ids start at 1: the first token of a prompt is at position 0",
            "positions from 1",
        ),
        (
            [i for i, p in enumerate(prompts) for _ in p],
            "these are the numbers of the prompts: a position is the place of a token in its own prompt",
            "numbers of prompts",
        ),
        (
            [p.index(t) for p in prompts for t in p],
            "a token comes twice in a prompt, and `prompt.index(token)` finds the first of them twice: count the tokens",
            "index of token",
        ),
        (
            [x for p in prompts for x in range(len(p))[::-1]],
            "your position ids count down: the first token of a prompt is at position 0",
            "positions count down",
        ),
        ([0] * len(right), "every position is 0: they count 0, 1, 2, ... within a prompt", "positions all 0"),
    ]
    made = [(cause, slip) for values, cause, slip in likely if positions == values]
    if len(positions) != len(right):
        made.append((f"there is one position for each token: {len(right)}, not {len(positions)}", "other count of positions"))
    unknown = f"{CANNOT_TELL}: within each prompt the positions are 0, 1, 2, ..."
    return likeliest(wrong, made or [(unknown, "other positions")])


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
