"""Prompts as a rectangle: padded on the left, with a mask and with positions that count no padding."""

import random
from typing import Any

from ...task import Args, Case, Finding, Task

Grid = list[list[int]]

PAD_RULE = "each row is padding first, then the prompt, and every row is as wide as the longest prompt"
MASK_RULE = "the mask is 1 on every token of a prompt and 0 on every padded cell"
POSITION_RULE = "the position ids of a prompt are 0, 1, 2, ... whatever padding stands in front of it"


def judge_left_pad(args: Args, got: Any) -> Finding | None:
    prompts, pad_id = args
    ids, mask, positions = got
    width = max(map(len, prompts))
    return (
        judge_rows(prompts, pad_id, ids, width)
        or judge_attention(prompts, pad_id, ids, mask, width)
        or judge_positions(prompts, positions, width)
    )


def judge_rows(prompts: list[list[int]], pad_id: int, ids: Grid, width: int) -> Finding | None:
    def wrong(cause: str, slip: str, expected: Any, got: Any) -> Finding:
        return Finding(PAD_RULE, cause, slip, expected, got)

    if len(ids) != len(prompts):
        return wrong("there is one row for each prompt", "rows missing", f"{len(prompts)} rows", ids)
    widths = [len(row) for row in ids]
    if len(set(widths)) > 1:
        return wrong("the rows have different lengths, so they are no rectangle", "no rectangle", f"every row {width} wide", ids)
    if widths[0] < width:
        return wrong(
            "the rows are narrower than the longest prompt, so tokens were cut off",
            "cuts tokens",
            f"every row {width} wide",
            ids,
        )
    if widths[0] > width:
        return wrong(
            "the rows are wider than the longest prompt: every extra column is pure waste",
            "too wide",
            f"every row {width} wide",
            ids,
        )
    for i, (row, prompt) in enumerate(zip(ids, prompts)):
        gap = width - len(prompt)
        if row[gap:] == prompt and row[:gap] == [pad_id] * gap:
            continue
        where = {f"row {i} ends with": prompt}
        if gap and row[: len(prompt)] == prompt:
            return wrong(
                "the padding is on the right. The model writes its next token after the last column, "
                "so a short prompt would be continued after padding",
                "right padding",
                where,
                ids,
            )
        if sorted(map(repr, ids)) == sorted(repr([pad_id] * (width - len(p)) + p) for p in prompts):
            return wrong(
                "the rows are in another order than the prompts: row i belongs to prompt i",
                "rows reordered",
                where,
                ids,
            )
        return wrong("a row does not hold its prompt in order, with pad_id in front", "other tokens", where, ids)
    return None


def judge_attention(prompts: list[list[int]], pad_id: int, ids: Grid, mask: Grid, width: int) -> Finding | None:
    def wrong(cause: str, slip: str) -> Finding:
        return Finding(MASK_RULE, cause, slip, {"1s in each row": [len(p) for p in prompts]}, {"attention_mask": mask})

    if [len(row) for row in mask] != [width] * len(prompts):
        return wrong("the mask has another shape than the padded ids", "mask shape")
    real = [[column >= width - len(p) for column in range(width)] for p in prompts]
    flat, want = [x for row in mask for x in row], [x for row in real for x in row]
    if mask == ids and any(x not in (0, 1) for x in flat):
        return wrong("these are the token ids once more: the mask says 1 where a token is and 0 where padding is", "ids as mask")
    if any(x not in (0, 1) for x in flat):
        other = next(x for x in flat if x not in (0, 1))
        return wrong(f"the mask holds {other!r}: each of its cells is 1 or 0, so that it can be counted with", "mask not 0 and 1")
    if all(bool(x) != w for x, w in zip(flat, want)):
        return wrong("the mask is the wrong way round: 1 means 'look at this', 0 means 'ignore this'", "mask inverted")
    if any(x and not w for x, w in zip(flat, want)):
        return wrong("the mask lets a padded key in: the model would read padding as if it were text", "mask admits padding")
    if any(w and not x for x, w in zip(flat, want)):
        if any(pad_id in p for p in prompts):
            return wrong(
                "the mask hides a real token that happens to equal pad_id. Many models use an ordinary "
                "token for padding: count the padding, do not look for it",
                "mask by value",
            )
        return wrong("the mask hides a real token", "mask hides token")
    return None


def judge_positions(prompts: list[list[int]], positions: Grid, width: int) -> Finding | None:
    tails = [row[width - len(p) :] for row, p in zip(positions, prompts)]
    want = [list(range(len(p))) for p in prompts]
    if tails == want and len(positions) == len(prompts):
        return None
    if any(len(row) != width for row in positions) or len(positions) != len(prompts):
        cause, slip = "the position ids have another shape than the padded ids", "position shape"
    elif all(t == list(range(width - len(p), width)) for t, p in zip(tails, prompts)):
        cause = (
            "your position ids count the padding. A token two places from the start is at position 2, "
            "padded or not: else the answer depends on the neighbours"
        )
        slip = "positions count padding"
    elif all(t == [x + 1 for x in w] for t, w in zip(tails, want)):
        cause, slip = "your position ids start at 1: the first token of a prompt is at position 0", "positions from 1"
    else:
        cause, slip = "the first real token of each row is at position 0, the next at 1, and so on", "other positions"
    return Finding(POSITION_RULE, cause, slip, {"positions of the real tokens": want}, positions)


def some_prompts(rng: random.Random, size: int, low: int = 1) -> list[list[int]]:
    """A few short prompts; now and then two are equally long."""
    vocabulary = range(1, 10)
    return [[rng.choice(vocabulary) for _ in range(rng.randint(low, size + 1))] for _ in range(rng.randint(1, 1 + size // 2))]


def generate_left_pad(rng: random.Random, size: int) -> tuple:
    prompts = some_prompts(rng, size)
    # now and then the padding token is also a word of a prompt, as in models that pad with their end token
    return prompts, rng.choice(prompts[0]) if rng.random() < 0.3 else 0


def valid_left_pad(args: Args) -> bool:
    prompts, pad_id = args
    return len(prompts) >= 1 and all(len(p) >= 1 for p in prompts) and pad_id >= 0


TASK = Task(
    id="02.1",
    name="left_pad",
    title="Pad on the left",
    points=25,
    returns="(input_ids, attention_mask, position_ids), each one row a prompt",
    cases=(
        Case(([[5]], 0), [[[5]], [[1]], [[0]]]),
        Case(([[5], [6, 7]], 0), [[[0, 5], [6, 7]], [[0, 1], [1, 1]], [[0, 0], [0, 1]]]),
        Case(([[6, 7], [5]], 0), [[[6, 7], [0, 5]], [[1, 1], [0, 1]], [[0, 1], [0, 0]]]),
        Case(([[9], [6, 9]], 9), [[[9, 9], [6, 9]], [[0, 1], [1, 1]], [[0, 0], [0, 1]]]),
        Case(
            ([[8], [1, 2, 3], [4, 5]], 0),
            [[[0, 0, 8], [1, 2, 3], [0, 4, 5]], [[0, 0, 1], [1, 1, 1], [0, 1, 1]], [[0, 0, 0], [0, 1, 2], [0, 0, 1]]],
        ),
    ),
    judge=judge_left_pad,
    generate=generate_left_pad,
    valid=valid_left_pad,
    exact=False,  # the position id of a padded cell is free: nothing ever looks at it
    hints=(
        "Write [[5], [6, 7]] on paper as a rectangle of two rows. Where does the 0 go, if the next token of both rows "
        "must come right after the last column?",
        "A row with n real tokens in a width of w starts with w - n padded cells. The ids, the mask and the positions "
        "are three ways to fill the same row. Only the real cells count upwards, and they count from 0.",
        "width = length of the longest prompt\n"
        "for each prompt:\n"
        "    gap = width - its length\n"
        "    ids:        gap times pad_id, then the prompt\n"
        "    mask:       gap times 0,      then 1 for each token\n"
        "    positions:  gap times 0,      then 0, 1, 2, ...",
    ),
)
