"""Caches full of noise, batches over them, and attention written out in float64: for the interpreter and for a GPU."""

from __future__ import annotations

import math

import torch

from minieng.kernels.batch import Batch, LayerKV

NOTHING = torch.empty(0, dtype=torch.int64)


def make(rows, heads, kv_heads, dim, block_size, dtype=torch.float32, seed=0, pads=None, **constants):
    """A cache full of noise and a batch over it. rows: (new tokens, slots filled after them)."""
    g = torch.Generator().manual_seed(seed)
    per_row = max(1, max(-(-end // block_size) for _, end in rows))
    blocks = len(rows) * per_row + 1
    k, v = (torch.randn((blocks, block_size, kv_heads, dim), generator=g).to(dtype) for _ in range(2))
    tables = (torch.randperm(blocks - 1, generator=g) + 1).view(len(rows), per_row).to(torch.int32)
    starts = [0]
    for n, _ in rows:
        starts.append(starts[-1] + n)
    q = torch.randn((starts[-1], heads, dim), generator=g).to(dtype)
    layer = LayerKV(k, v, constants.pop("scale", 1 / math.sqrt(dim)), **constants)
    batch = Batch(NOTHING, NOTHING, NOTHING, starts, pads or [0] * len(rows), [end for _, end in rows], tables, NOTHING)
    return q, layer, batch


def reference(q, layer, batch):
    """Each row by itself in float64: softmax over the slots that it may see."""
    out = torch.zeros_like(q, dtype=torch.float64)
    for row in range(batch.num_rows):
        first, last, end = batch.q_starts[row], batch.q_starts[row + 1], batch.kv_ends[row]
        group = q.shape[1] // layer.k.shape[2]
        k, v = (x[batch.tables[row].long()].flatten(0, 1)[:end].double().repeat_interleave(group, 1) for x in (layer.k, layer.v))
        for token in range(first, last):
            own = end - (last - 1 - token)
            start = max(batch.kv_starts[row], own - layer.window if layer.window else 0)
            scores = torch.einsum("hd,khd->hk", q[token].double(), k[start:own]) * layer.scale
            if layer.softcap:
                scores = layer.softcap * torch.tanh(scores / layer.softcap)
            out[token] = torch.einsum("hk,khd->hd", scores.softmax(-1), v[start:own])
    return out
