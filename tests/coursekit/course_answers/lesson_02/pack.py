"""Answers to task 02.4, ``pack``: wrong ones with the words of their diagnoses, and right ones."""

import functools
import itertools

import numpy as np


def packed(prompts):
    ids = [t for p in prompts for t in p]
    positions = [i for p in prompts for i in range(len(p))]
    return ids, positions, list(itertools.accumulate(map(len, prompts), initial=0))


def pack_positions_run_on(prompts):
    ids, positions, cu = packed(prompts)
    return ids, list(range(len(ids))), cu


def pack_no_zero(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, cu[1:]


def pack_no_total(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, cu[:-1]


def pack_off_by_one(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [0] + [c - 1 for c in cu[1:]]


def pack_lengths(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [0] + [len(p) for p in prompts]


def pack_separator(prompts):
    ids, positions, cu = packed([p + [0] for p in prompts])
    return ids, positions, cu


def pack_not_flat(prompts):
    return prompts, *packed(prompts)[1:]


def pack_swapped(prompts):
    ids, positions, cu = packed(prompts)
    return ids, cu, positions


def pack_positions_from_one(prompts):
    ids, positions, cu = packed(prompts)
    return ids, [p + 1 for p in positions], cu


def pack_by_sum(prompts):
    cu = [sum(len(p) for p in prompts[:i]) for i in range(len(prompts) + 1)]
    return sum(prompts, []), [i - max(c for c in cu if c <= i) for i in range(cu[-1])], tuple(cu)


def pack_by_index(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [cu[prompts.index(p)] for p in prompts] + cu[-1:]


def pack_by_hand(prompts):
    """One loop over tokens; numbers are floats where Python lets them be."""
    ids, positions, cu = [], [], [0]
    for prompt in prompts:
        for place, token in enumerate(prompt):
            ids.append(token)
            positions.append(place)
        cu.append(len(ids))
    return [ids, positions, cu]


def pack_none(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, cu[:-1].append(cu[-1])


def pack_pairs(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, list(zip(cu, cu[1:]))


def pack_two(prompts):
    return packed(prompts)[::2]


def pack_positions_nested(prompts):
    ids, _, cu = packed(prompts)
    return ids, [list(range(len(p))) for p in prompts], cu


def pack_prompts_reversed(prompts):
    return packed(prompts[::-1])


def pack_by_columns(prompts):
    columns = itertools.zip_longest(*prompts)
    return [t for column in columns for t in column if t is not None], *packed(prompts)[1:]


def pack_sorted(prompts):
    ids, positions, cu = packed(prompts)
    return sorted(ids), positions, cu


def pack_unique(prompts):
    ids, positions, cu = packed(prompts)
    return list(dict.fromkeys(ids)), positions, cu


def pack_loses_prompt(prompts):
    return packed(prompts[:-1]) if len(prompts) > 1 else packed(prompts)


def pack_two_zeros(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [0, *cu]


def pack_two_totals(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [*cu, len(ids)]


def pack_counts_prompts(prompts):
    ids, positions, _ = packed(prompts)
    return ids, positions, list(range(len(prompts) + 1))


def pack_counts_separators(prompts):
    ids, positions, cu = packed(prompts)
    return ids, positions, [c + i for i, c in enumerate(cu)]


def pack_segments(prompts):
    ids, _, cu = packed(prompts)
    return ids, [i for i, p in enumerate(prompts) for _ in p], cu


def pack_token_index(prompts):
    ids, _, cu = packed(prompts)
    return ids, [p.index(t) for p in prompts for t in p], cu


def pack_down(prompts):
    ids, _, cu = packed(prompts)
    return ids, [i for p in prompts for i in reversed(range(len(p)))], cu


def pack_all_zero(prompts):
    ids, _, cu = packed(prompts)
    return ids, [0] * len(ids), cu


def pack_numpy(prompts):
    cu = np.cumsum([0, *map(len, prompts)])
    return np.concatenate(prompts), np.concatenate([np.arange(len(p)) for p in prompts]), cu


def pack_torch(prompts):
    import torch

    lengths = torch.tensor([len(p) for p in prompts])
    ends = lengths.cumsum(0)
    places = torch.arange(int(ends[-1])) - (ends - lengths).repeat_interleave(lengths)
    return torch.cat([torch.tensor(p) for p in prompts]), places, torch.nn.functional.pad(ends, (1, 0))


def pack_folded(prompts):
    def put(kept, prompt):
        ids, positions, cu = kept
        return ids + prompt, positions + list(range(len(prompt))), cu + [cu[-1] + len(prompt)]

    return functools.reduce(put, prompts, ([], [], [0]))


def pack_generators(prompts):
    """Gives the values one after the other."""
    yield itertools.chain.from_iterable(prompts)
    yield (i for p in prompts for i, _ in enumerate(p))
    yield itertools.accumulate(map(len, prompts), initial=0)


def pack_backwards(prompts):
    """From the last token to the first: the borders count down from the total."""
    ids, positions, cu = [], [], [sum(len(p) for p in prompts)]
    for p in reversed(prompts):
        for i in reversed(range(len(p))):
            ids.insert(0, p[i])
            positions.insert(0, i)
        cu.insert(0, cu[0] - len(p))
    return ids, positions, cu


def pack_remembers(prompts, ids=[], positions=[], cu=[0]):  # noqa: B006 (the mistake)
    for prompt in prompts:
        ids += prompt
        positions += range(len(prompt))
        cu.append(len(ids))
    return ids, positions, cu


def pack_by_name(prompts):
    return dict(zip(("input_ids", "position_ids", "cu_seqlens"), packed(prompts)))


WRONG = [
    (pack_positions_run_on, "position ids run on"),
    (pack_no_zero, "the leading 0 is missing"),
    (pack_no_total, "the total at the end is missing"),
    (pack_off_by_one, "off by one"),
    (pack_lengths, "running sum"),
    (pack_separator, "no padding and no separator"),
    (pack_not_flat, "input_ids is still one list a prompt"),
    (pack_swapped, "the last two lists are swapped"),
    (pack_positions_from_one, "position ids start at 1"),
    (pack_by_index, "finds the first of them twice"),
    (pack_none, "cu_seqlens is None"),
    (pack_pairs, "one number a border is enough"),
    (pack_two, "yours holds 2"),
    (pack_positions_nested, "position_ids is still one list a prompt"),
    (pack_prompts_reversed, "the prompts stand in reverse order"),
    (pack_by_columns, "mixed token by token"),
    (pack_sorted, "the tokens are sorted"),
    (pack_unique, "is there once only"),
    (pack_loses_prompt, "the last prompt is missing"),
    (pack_two_zeros, "a 0 too many in front"),
    (pack_two_totals, "the total stands there twice"),
    (pack_counts_prompts, "an entry counts the tokens"),
    (pack_counts_separators, "not even one cell"),
    (pack_segments, "a position is the place of a token"),
    (pack_token_index, "comes twice in a prompt"),
    (pack_down, "position ids count down"),
    (pack_all_zero, "every position is 0"),
    (pack_remembers, "remembers the calls before"),
    (pack_by_name, "this is a dict"),
]

RIGHT = [packed, pack_by_sum, pack_by_hand, pack_numpy, pack_torch, pack_folded, pack_generators, pack_backwards]
