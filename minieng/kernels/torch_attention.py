"""Paged attention in plain torch: one request after the other ("torch"),
or rectangles with a mask ("padded").
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .. import gpu
from .batch import Batch, LayerKV
from .transfer import on_device


def torch_store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write the step's keys and values, [T, kv_heads, head_dim] each, into their slots."""
    layer.k.view(-1, *layer.k.shape[2:]).index_copy_(0, batch.slots, k)
    layer.v.view(-1, *layer.v.shape[2:]).index_copy_(0, batch.slots, v)


def torch_settle(cache: torch.Tensor, pairs: torch.Tensor) -> None:
    """Copy the first slot of block ``pairs[0, i]`` to that of block ``pairs[1, i]``, in all layers. cache:
    kv/tensors.py.
    """
    source, target = pairs
    cache[:, :, target, 0] = cache[:, :, source, 0]


def dense_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerKV, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention of rows over their own keys, which lie side by side.

    q [B, n, H, D], k and v [B, c, Hkv, D], mask [B, 1, n, c] (True: may be seen) or None. Returns [B, n, H,
    D].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if layer.softcap is None:
        group = q.shape[1] // k.shape[1]
        if group > 1 and gpu.is_gpu(
            q.device
        ):  # there only the kernel that writes all scores out knows groups
            k, v = (x.repeat_interleave(group, 1) for x in (k, v))
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=layer.scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    group = q.shape[1] // k.shape[1]
    scores = q @ k.repeat_interleave(group, 1).transpose(2, 3) * layer.scale
    scores = layer.softcap * torch.tanh(scores / layer.softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores.float(), dim=-1).to(q.dtype)
    return (weights @ v.repeat_interleave(group, 1)).transpose(1, 2)


def attend_by_request(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "torch": a loop over requests; each sees exactly its own keys, so most need no mask."""
    out = q.new_empty(q.shape)
    for row in range(batch.num_rows):
        attend_row(row, q, out, layer, batch)
    return out


def attend_row(row: int, q: torch.Tensor, out: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """One request of a packed batch: gather its blocks, attend, write its rows of ``out``."""
    first, last = batch.q_starts[row], batch.q_starts[row + 1]
    n, end, start = last - first, batch.kv_ends[row], batch.kv_starts[row]
    size, (kv_heads, dim) = layer.k.shape[1], layer.k.shape[2:]
    if layer.window is not None:
        start = max(start, end - n - layer.window + 1)
    base = start // size
    blocks = batch.tables[row, base : -(-end // size)]
    k = layer.k[blocks].view(-1, kv_heads, dim)[start - base * size : end - base * size]
    v = layer.v[blocks].view(-1, kv_heads, dim)[start - base * size : end - base * size]
    query, group = q[first:last], q.shape[1] // kv_heads
    if layer.softcap is not None or layer.window is not None and n > 1:
        mask = visible(n, end - start, layer.window, q.device)
        out[first:last] = dense_attention(query[None], k[None], v[None], layer, mask)[0]
        return
    # K/V heads as the batch, their query heads as the heads: K is then only viewed, never repeated.
    query = query.view(n, kv_heads, group, dim).permute(1, 2, 0, 3)
    keys = k.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    values = v.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    fresh = n > 1 and n == end - start  # is_causal is aligned to the top left, so only then
    mask = visible(n, end - start, None, q.device) if n > 1 and not fresh else None
    got = F.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, is_causal=fresh, scale=layer.scale
    )
    out[first:last].view(n, kv_heads, group, dim).copy_(got.permute(2, 0, 1, 3))


def visible(n: int, context: int, window: int | None, device: torch.device) -> torch.Tensor:
    """[1, 1, n, context] mask of the last n of ``context`` tokens: nobody sees the future,
    nor past the window.
    """
    query = torch.arange(context - n, context, device=device)[:, None]
    key = torch.arange(context, device=device)[None]
    seen = key <= query
    if window is not None:
        seen &= key > query - window
    return seen[None, None]


def attend_padded(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "padded": rectangles with a mask. A packed batch becomes two, its decodes and the rest."""
    if batch.decode_rows is not None:
        return attend_decodes(q, layer, batch)
    if batch.width:
        return rectangle(q, list(range(batch.num_rows)), batch.width, layer, batch)
    out = q.new_empty(q.shape)
    lengths: np.ndarray = np.diff(batch.q_starts)
    for group in (np.flatnonzero(lengths == 1), np.flatnonzero(lengths > 1)):
        if len(group):
            width = int(lengths[group].max())
            # right-aligned, like the keys.
            column = np.arange(width)[None] - (width - lengths[group])[:, None]
            index = (np.asarray(batch.q_starts)[group, None] + column.clip(0)).reshape(-1)
            keep = np.flatnonzero(column >= 0)
            # counted here, where the host knows all of it: a mask on a GPU would have to be waited for
            index, keep, back = (on_device(x, torch.int64, q.device) for x in (index, keep, index[keep]))
            out[back] = rectangle(q[index], group.tolist(), width, layer, batch)[keep]
    return out


def rectangle(q: torch.Tensor, rows: list[int], width: int, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Rows of equal width over gathered and masked keys. q [len(rows)·width, H, D], right-aligned;
    so the result.

    The mask has as many numbers as the scores: it is made where they are, from two numbers a row.
    """
    key = width, len(rows), layer.window
    if key not in batch.masks:
        numbers = [rows, [batch.kv_starts[row] for row in rows], [batch.kv_ends[row] for row in rows]]
        context = max(numbers[2])
        which, starts, ends = on_device(numbers, torch.int64, q.device)
        starts, ends = starts[:, None, None], ends[:, None, None]
        slot = torch.arange(context, device=q.device)[None, None]
        position = ends - width + torch.arange(width, device=q.device)[None, :, None]
        seen = (slot <= position) & (slot >= starts)
        if layer.window is not None:
            seen &= slot > position - layer.window
        # Padding sees one slot: a softmax over nothing is NaN.
        seen |= (position < starts) & (slot == position.clamp(min=0))
        blocks = batch.tables[which, : -(-context // layer.k.shape[1])].to(torch.int64)
        batch.masks[key] = seen[:, None], blocks, context
    mask, blocks, context = batch.masks[key]
    k, v = (x[blocks].flatten(1, 2)[:, :context] for x in (layer.k, layer.v))
    out = dense_attention(q.view(len(rows), width, *q.shape[1:]), k, v, layer, mask)
    return out.reshape(q.shape)


def attend_decodes(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "padded" for one new token a row, from tensors alone, as a CUDA graph needs it (graphs.py).

    The rows' numbers are those of ``batch.decode_rows``; the tables are as wide as the longest row may be.
    """
    assert batch.decode_rows is not None
    rows, heads, dim = q.shape
    size, kv_heads = layer.k.shape[1:3]
    blocks = batch.tables.to(torch.int64)
    k, v = (x[blocks].view(rows, -1, kv_heads, dim).transpose(1, 2) for x in (layer.k, layer.v))
    _, starts, ends = (x[:, None] for x in batch.decode_rows)
    slot = torch.arange(blocks.shape[1] * size, device=q.device)[None]
    seen = (slot < ends) & (slot >= starts)
    if layer.window is not None:
        seen &= slot >= ends - layer.window
    seen |= (ends <= 0) & (slot == 0)  # a padding row sees one slot: a softmax over nothing is NaN
    # The heads of a K/V head as rows: K is not repeated.
    query = q.view(rows, kv_heads, heads // kv_heads, dim)
    if layer.softcap is None:
        out = F.scaled_dot_product_attention(query, k, v, attn_mask=seen[:, None, None], scale=layer.scale)
    else:
        scores = layer.softcap * torch.tanh(query @ k.transpose(2, 3) * layer.scale / layer.softcap)
        out = torch.softmax(scores.float().masked_fill(~seen[:, None, None], -torch.inf), -1).to(q.dtype) @ v
    return out.reshape(q.shape)
