"""Prompts as a rectangle: padded on the left, with a mask and with positions that count no padding."""

import itertools
import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Grid = list[list[int]]

NAMES = ("input_ids", "attention_mask", "position_ids")
THREE_RULE = "the answer is three lists, and in each of them there is one row for each prompt"

PAD_RULE = "each row is padding first, then the prompt, and every row is as wide as the longest prompt"
MASK_RULE = "the mask is 1 on every token of a prompt and 0 on every padded cell"
POSITION_RULE = "the position ids of a prompt are 0, 1, 2, ... whatever padding stands in front of it"


def judge_left_pad(args: Args, got: Any) -> Finding | None:
    prompts, pad_id = args
    return not_three_grids(prompts, pad_id, got) or judge_grids(prompts, pad_id, *got)


def judge_grids(prompts: list[list[int]], pad_id: int, ids: Grid, mask: Grid, positions: Grid) -> Finding | None:
    width = max(map(len, prompts))
    return (
        judge_shape(prompts, pad_id, ids, width)
        or judge_rows(prompts, pad_id, ids, width)
        or judge_attention(prompts, pad_id, ids, mask, width)
        or judge_positions(prompts, positions, width)
    )


def not_three_grids(prompts: list[list[int]], pad_id: int, got: Any) -> Finding | None:
    """Not three lists of rows, or the right lists in another order."""

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(THREE_RULE, cause, slip, f"{len(NAMES)} lists of {len(prompts)} rows", got)

    def is_right(grids: Any) -> bool:
        try:
            return judge_grids(prompts, pad_id, *grids) is None
        except (TypeError, ValueError, IndexError):
            return False

    turned = [list(entry) for entry in zip(*got)] if all(isinstance(entry, list) for entry in got) else []
    if is_right(turned) and not is_right(got):
        cause = "you return three rows for each prompt. Turn it round: three lists, and in each of them one row for each prompt"
        return wrong(cause, "three rows a prompt")
    if len(got) != len(NAMES):
        return wrong(f"the answer is three lists, {', '.join(NAMES)}; yours holds {len(got)}", "not three lists")
    for name, grid in zip(NAMES, got):
        if not isinstance(grid, list) or not all(isinstance(row, list) for row in grid):
            what = "one flat list" if isinstance(grid, list) else repr(grid)[:40]
            return wrong(f"{name} is {what}: it has a row, which is a list, for each prompt", "no rows")
        if any(isinstance(x, list) for row in grid for x in row):
            cause = f"a row of {name} holds a list: padding and prompt are one list, `[pad_id] * gap + prompt`"
            return wrong(cause, "list in a row")
    if not is_right(got) and any(is_right(other) for other in itertools.permutations(got)):
        return wrong(f"the three lists are in another order than {', '.join(NAMES)}", "lists swapped")
    return None


def judge_shape(prompts: list[list[int]], pad_id: int, ids: Grid, width: int) -> Finding | None:
    """As many rows as prompts, each as wide as the longest."""

    def wrong(cause: str, slip: str) -> Finding:
        right = [[pad_id] * (width - len(p)) + p for p in prompts]
        return Finding(PAD_RULE, cause, slip, {"input_ids": right}, {"input_ids": ids})

    widths, lengths, by_tokens = [len(row) for row in ids], [len(p) for p in prompts], len(max(prompts))
    if len(ids) != len(prompts):
        return wrong(f"there is one row for each prompt: {len(prompts)}, not {len(ids)}", "rows missing")
    made = []
    if by_tokens < width and widths == [max(by_tokens, n) for n in lengths]:
        cause = "the width is len(max(prompts)), and max compares lists by their tokens. Take the largest of the lengths"
        made.append((cause, "max by tokens"))
    if len(set(widths)) > 1 and (widths == lengths or not made):
        made.append(("the rows have different lengths, so they are no rectangle", "no rectangle"))
    if made:
        return likeliest(wrong, made)
    if widths[0] < width:
        return wrong("the rows are narrower than the longest prompt, so tokens were cut off", "cuts tokens")
    if widths[0] > width:
        return wrong("the rows are wider than the longest prompt: every extra column is pure waste", "too wide")
    return None


def judge_rows(prompts: list[list[int]], pad_id: int, ids: Grid, width: int) -> Finding | None:
    """Each row is padding, then its prompt."""
    gaps = [width - len(p) for p in prompts]
    right = [[pad_id] * gap + p for gap, p in zip(gaps, prompts)]
    if ids == right:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(PAD_RULE, cause, slip, {"input_ids": right}, {"input_ids": ids})

    if finding := likeliest(wrong, [(cause, slip) for found, cause, slip in likely_rows(prompts, pad_id, gaps, ids) if found]):
        return finding
    at = next(i for i, row in enumerate(ids) if row != right[i])
    return wrong(f"{CANNOT_TELL}: row {at} is not {gaps[at]} times pad_id and then its prompt, in order", "other tokens")


def likely_rows(prompts: list[list[int]], pad_id: int, gaps: list[int], ids: Grid) -> list[tuple[bool, str, str]]:
    """Whether a mistake explains these rows, and its words."""
    rows = list(zip(ids, prompts, gaps))
    return [
        (
            ids == [p + [pad_id] * gap for _, p, gap in rows],
            "the padding is on the right. The model writes its next token after the last column, "
            "so a short prompt would be continued after padding",
            "right padding",
        ),
        (
            sorted(ids) == sorted([pad_id] * gap + p for _, p, gap in rows),
            "the rows are in another order than the prompts: row i belongs to prompt i",
            "rows reordered",
        ),
        (
            ids == [[pad_id] * gap + p[::-1] for _, p, gap in rows],
            "the tokens of each prompt stand in reverse: turn the row round again after you have filled it up",
            "tokens reversed",
        ),
        (
            all(row == ids[0] for row in ids),
            "all rows are alike: `[row] * n` is one list under n names, and what is written into one is in all",
            "one row n times",
        ),
        (
            all(row[gap:] == p for row, p, gap in rows),
            f"the prompts are in their places, but something else than pad_id = {pad_id} stands in front of them",
            "other padding",
        ),
        (
            any(gap > 1 and row in [[pad_id] * i + p + [pad_id] * (gap - i) for i in range(1, gap)] for row, p, gap in rows),
            "the padding stands on both sides of a prompt: all of it belongs in front",
            "padding on both sides",
        ),
    ]


def judge_attention(prompts: list[list[int]], pad_id: int, ids: Grid, mask: Grid, width: int) -> Finding | None:
    real = [[int(column >= width - len(p)) for column in range(width)] for p in prompts]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(MASK_RULE, cause, slip, {"attention_mask": real}, {"attention_mask": mask})

    if [len(row) for row in mask] != [width] * len(prompts):
        if mask == [[1] * len(p) for p in prompts]:
            return wrong("the mask has no cell where padding stands: each padded cell needs its 0", "mask without padding")
        return wrong("the mask has another shape than the padded ids: one number for each cell", "mask shape")
    flat, want = [x for row in mask for x in row], [x for row in real for x in row]
    if mask == ids and any(x not in (0, 1) for x in flat):
        return wrong("these are the token ids once more: the mask says 1 where a token is and 0 where padding is", "ids as mask")
    if any(x not in (0, 1) for x in flat):
        other = next(x for x in flat if x not in (0, 1))
        return wrong(f"the mask holds {other!r}: each of its cells is 1 or 0, so that it can be counted with", "mask not 0 and 1")
    if all(bool(x) != w for x, w in zip(flat, want)):
        return wrong("the mask is the wrong way round: 1 means 'look at this', 0 means 'ignore this'", "mask inverted")
    if flat == want:
        return None
    if found := likeliest(wrong, [(cause, slip) for is_so, cause, slip in likely_masks(prompts, pad_id, mask, width) if is_so]):
        return found
    admits = any(x and not w for x, w in zip(flat, want))
    what = "the mask has a 1 on a padded cell" if admits else "the mask has a 0 on a token of a prompt"
    return wrong(f"{CANNOT_TELL}: {what}", "mask on padding" if admits else "mask hides token")


def likely_masks(prompts: list[list[int]], pad_id: int, mask: Grid, width: int) -> list[tuple[bool, str, str]]:
    """Whether a mistake explains a mask of 0 and 1, and its words."""

    def begins(moved: int) -> Grid:
        return [[int(column >= max(0, width - len(p) + moved)) for column in range(width)] for p in prompts]

    rows = [(row, width - len(p)) for row, p in zip(mask, prompts)]
    return [
        (
            mask == [[0] * gap + [int(t != pad_id) for t in p] for (_, gap), p in zip(rows, prompts)],
            "the mask hides a real token that happens to equal pad_id. Many models use an ordinary "
            "token for padding: count the padding, do not look for it",
            "mask by value",
        ),
        (
            mask == [[0 if pad_id == 0 else 1] * gap + [int(t != 0) for t in p] for (_, gap), p in zip(rows, prompts)],
            "the mask asks whether a token is 0, and here pad_id is another number. Count the padding, do not look for it",
            "mask of zeros",
        ),
        (mask == begins(1), "the mask begins one column too late: it hides the first token of each prompt", "mask one late"),
        (
            mask == [[1] * (width - gap) + [0] * gap for _, gap in rows],
            "the mask is padded on the right, and the ids on the left: its 0s belong where the padding is",
            "mask right padded",
        ),
        (
            all(x for row in mask for x in row),
            "the mask lets a padded key in, and all others: the model would read padding as if it were text",
            "mask admits padding",
        ),
        (mask == begins(-1), "the mask begins one column too early: the last padded cell counts as a token", "mask one early"),
    ]


def judge_positions(prompts: list[list[int]], positions: Grid, width: int) -> Finding | None:
    tails = [row[width - len(p) :] for row, p in zip(positions, prompts)]
    want = [list(range(len(p))) for p in prompts]
    name = "positions of the real tokens"
    if any(len(row) != width for row in positions) or len(positions) != len(prompts):
        cause = "the position ids have another shape than the padded ids: they have a number for each padded cell too, any number"
        return Finding(POSITION_RULE, cause, "position shape", f"{len(prompts)} rows of {width}", {"position_ids": positions})
    if tails == want:
        return None
    made = [(cause, slip) for values, cause, slip in likely_positions(prompts, width, want) if tails == values]
    at = next(i for i, row in enumerate(tails) if row != want[i])
    made = made or [(f"{CANNOT_TELL}: the tokens of row {at} are not at 0, 1, 2 and so on", "other positions")]
    return likeliest(lambda cause, slip: Finding(POSITION_RULE, cause, slip, {name: want}, {name: tails}), made)


def likely_positions(prompts: list[list[int]], width: int, want: Grid) -> list[tuple[Grid, str, str]]:
    """The positions that a mistake gives to the real tokens, and its words."""
    return [
        (
            [list(range(width - len(p), width)) for p in prompts],
            "your position ids count the padding. A token two places from the start is at position 2, "
            "padded or not: else the answer depends on the neighbours",
            "positions count padding",
        ),
        (
            [[x + 1 for x in row] for row in want],
            "your position ids start at 1: the first token of a prompt is at position 0",
            "positions from 1",
        ),
        (
            [list(range(end - len(p), end)) for p, end in zip(prompts, itertools.accumulate(map(len, prompts)))],
            "your position ids run on from one prompt into the next: each row counts from 0 again",
            "positions run on",
        ),
        (
            [row[::-1] for row in want],
            "your position ids count down: the first token of a prompt is at position 0, the last at the highest",
            "positions count down",
        ),
        (
            [[0] * len(row) for row in want],
            "every token is at position 0: they count 0, 1, 2, ... within a prompt",
            "positions all 0",
        ),
        (
            [[1] * len(row) for row in want],
            "these are the numbers of the mask: positions count 0, 1, 2, ... within a prompt",
            "mask as positions",
        ),
    ]


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
