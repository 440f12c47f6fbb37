"""The trial of a foreign model: three texts in a served batch's steps,
against each alone in transformers' own attention.

Windows, chunks and the like begin far into a text. So that a short text is past them, each limit of the model
that a text could reach is lowered for the while, in the config and in the modules that copied it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch

from ..kernels.backend import BACKENDS
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention

# Counts of tokens, where they are ints.
LIMIT = re.compile(r"window|chunk_size$|floor|original_max|keep_|block_size$")
NO_LIMIT = re.compile(r"layer|pattern|feed_forward|num_|use_")
LOWERED = 12
LENGTHS, DECODED, BLOCK = (41, 23, 5), 3, 4
# (text, first token, end) of the slices of each step: alone, side by side, a short text beside one past every
# limit
STEPS = (((0, 0, 10),), ((0, 10, 29), (1, 0, 17)), ((0, 29, 40), (1, 17, 23), (2, 0, 5)), ((0, 40, 41),))


def limits(model: torch.nn.Module, reach: int) -> list[tuple[Any, str, int]]:
    """(holder, name, value) of every limit that a text of ``reach`` tokens is past.
    A holder is a dict of attributes.
    """
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    found, holders = [], [vars(x) for x in (*model.modules(), *configs.values())]
    for holder in holders:
        holders += [v for v in holder.values() if isinstance(v, dict) and all(isinstance(k, str) for k in v)]
        for name, value in holder.items():
            counts = type(value) is int and LIMIT.search(str(name)) and not NO_LIMIT.search(str(name))
            if counts and 1 < value < reach:
                found.append((holder, name, value))
    return found


@contextlib.contextmanager
def lowered(found: list[tuple[Any, str, int]]) -> Iterator[None]:
    """With all these limits at ``LOWERED`` at most."""
    try:
        for holder, name, value in found:
            holder[name] = min(value, LOWERED)
        yield
    finally:
        for holder, name, value in found:
            holder[name] = value


@torch.inference_mode()
def trial(adapter: Any, longest: int) -> float:
    """Difference of the logits from transformers' own attention, in standard deviations;
    texts have ``longest`` tokens at most.

    The largest in fp32. In half precision the median over the tokens: a rounding may send one of them to
    another expert.
    """
    lengths = [min(n, longest) for n in LENGTHS]
    texts = [[(37 * i + 11 + 5 * n) % adapter.config.vocab_size for i in range(n)] for n in lengths]
    adapter.model.set_attn_implementation("eager")
    try:
        want = [alone(adapter.model, torch.tensor([text], device=adapter.device)) for text in texts]
    finally:
        adapter.model.set_attn_implementation(adapter.attention_name)
    blocks = -(-max(lengths) // BLOCK)
    size = (2, adapter.num_layers, len(texts) * blocks, BLOCK, adapter.kv_heads, adapter.head_dim)
    cache, attention = (
        torch.zeros(size, dtype=adapter.dtype, device=adapter.device),
        Attention(BACKENDS["torch"], "trial"),
    )
    kv = [LayerKV(cache[0, i], cache[1, i], adapter.scales[i]) for i in range(adapter.num_layers)]
    errors = []
    for step in STEPS:
        slices = [(t, min(a, lengths[t]), min(b, lengths[t])) for t, a, b in step]
        slices = [(t, a, b) for t, a, b in slices if a < b]
        if slices:
            got = adapter.forward(trial_batch(texts, slices, blocks, adapter.device), kv, attention).float()
            right = torch.cat([want[t][a:b] for t, a, b in slices])[-len(got) :]
            errors.append((got - right).abs().amax(-1) / right.std(-1))
    error = torch.cat(errors)
    return float(error.max() if adapter.dtype == torch.float32 or error.isnan().any() else error.median())


def alone(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Logits [n, vocabulary] of a text [1, n] by itself, as ``generate`` computes them:
    the last tokens come one by one.

    With transformers' own cache, then, as some windows exist in it only.
    """
    first = max(1, ids.shape[1] - DECODED)
    out = model(input_ids=ids[:, :first], use_cache=True)
    logits = [out.logits[0]]
    for i in range(first, ids.shape[1]):
        out = model(input_ids=ids[:, i : i + 1], past_key_values=out.past_key_values, use_cache=True)
        logits.append(out.logits[0])
    return torch.cat(logits).float()


def trial_batch(
    texts: list[list[int]], slices: list[tuple[int, int, int]], blocks: int, device: torch.device
) -> Batch:
    """Tokens first … end-1 of some texts; text t lies in the blocks from t·blocks on.

    The logits of all rows but the first are asked for, if there are others: a model that gives all has to be
    cut.
    """
    places = [(t, i) for t, first, end in slices for i in range(first, end)]
    starts = [0]
    for _, first, end in slices:
        starts.append(starts[-1] + end - first)
    numbers = [
        [texts[t][i] for t, i in places],
        [i for _, i in places],
        [BLOCK * blocks * t + i for t, i in places],
    ]
    tables = [list(range(t * blocks, (t + 1) * blocks)) for t, _, _ in slices]
    rows = torch.arange(len(places) > 1, len(places), device=device)
    token_ids, positions, slots = torch.tensor(numbers, device=device)
    return Batch(
        token_ids, positions, slots, starts, [0] * len(slices), [end for _, _, end in slices],
        torch.tensor(tables, dtype=torch.int32, device=device), rows,
    )  # fmt: skip
