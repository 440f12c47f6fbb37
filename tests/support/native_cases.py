"""Steps, rectangles and small models for the tests of the C kernel."""

from __future__ import annotations

import itertools

import torch

from minieng.kernels import linear
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.choose import Attention
from minieng.model import decoder, weights

SIZES = {
    "decodes": [(1, 30), (1, 7), (1, 50)],
    "one": [(1, 1)],
    "mixed": [(1, 30), (9, 9), (5, 40), (1, 8), (33, 33)],
    "long": [(130, 130), (1, 60), (90, 95)],
}


def random_step(sizes, heads, kv_heads, dim, block_size, dtype, **constants):
    """Queries, a layer whose blocks are filled at random, and the step of rows of these (new tokens, keys)."""
    torch.manual_seed(0)
    wide = max(-(-keys // block_size) for _, keys in sizes)
    shape = (wide * len(sizes), block_size, kv_heads, dim)
    layer = LayerKV(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), dim**-0.5, **constants)
    q_starts = [0]
    for new, _ in sizes:
        q_starts.append(q_starts[-1] + new)
    tables = torch.randperm(shape[0]).view(len(sizes), wide).to(torch.int32)
    nothing = torch.empty(0, dtype=torch.int64)
    keys = [k for _, k in sizes]
    batch = Batch(nothing, nothing, nothing, q_starts, [0] * len(sizes), keys, tables, nothing)
    return torch.randn(q_starts[-1], heads, dim).to(dtype), layer, batch


def slots_of(batch, size):
    """Of each row, the slots of its last tokens."""
    for table, end, (first, last) in zip(batch.tables.tolist(), batch.kv_ends, itertools.pairwise(batch.q_starts)):
        yield [table[i // size] * size + i % size for i in range(end - (last - first), end)]


def tokens_of(sizes, dtype=torch.float32):
    """A cache, and a step of rows of these (new tokens, keys) with tokens, positions and slots."""
    _, cache, batch = random_step(sizes, 6, 2, 16, 4, dtype)
    batch.positions = torch.cat([torch.arange(end - new, end) for new, end in sizes])
    batch.slots = torch.tensor(list(itertools.chain(*slots_of(batch, 4))))
    batch.token_ids = torch.randint(0, 90, batch.positions.shape)
    return cache, batch


def native_model(shape, published, monkeypatch, form=linear.Native, dtype=torch.float32):
    """The model with products in C, its weights rounded to what they were published in."""
    path, config = shape
    monkeypatch.setattr(linear, "fastest_form", lambda dtype: form)
    read = weights.Weights.compact
    monkeypatch.setattr(weights.Weights, "compact", lambda self, name: read(self, name).to(published))
    model = decoder.Decoder(path, config, dtype, torch.device("cpu"))
    assert model.runs_whole(Attention(BACKENDS["native"], "a test asked for it")) and model.weight_nbytes == published.itemsize
    return model
