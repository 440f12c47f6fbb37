"""Paged attention: one function, several ways to compute it, chosen by a test on the real shapes.

A step's tokens come packed, one request after the other; each request's keys and values lie in the blocks that
its table names. Backends:

    triton   CUDA from sm_80 on: one kernel for prompts, chunks and decodes (triton_kernels.py)
    native   CPU: a small C kernel that walks the block table, compiled on first use (native.py)
    torch    anywhere: one request after the other, blocks gathered, query heads of a K/V head packed, no mask
    padded   anywhere: all requests at once in a padded rectangle with a mask; what a GPU without Triton uses,
             and what every padded batch (static, dynamic) really runs on
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from . import native


@dataclass
class Batch:
    """The step as tensors. T tokens of S rows (requests, in the plan's order).

    token_ids, positions, slots   [T] int64; a slot is where the token's KV is stored
    q_starts    [S+1] first token of each row in the packed order
    kv_starts   [S] first slot of the row that holds a real token (left padding lies before it)
    kv_ends     [S] slots of the row that are filled once this step's tokens are stored
    tables      [S, blocks] int32 block ids, filled up with 0
    logit_rows  [E] int64: packed positions whose logits are needed
    width       tokens in a row if the batch is a rectangle, else 0
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    q_starts: list[int]
    kv_starts: list[int]
    kv_ends: list[int]
    tables: torch.Tensor
    logit_rows: torch.Tensor
    width: int = 0
    scratch: dict = field(default_factory=dict)  # what backends compute once a step and use in every layer

    @property
    def num_rows(self) -> int:
        return len(self.kv_ends)


@dataclass(frozen=True)
class LayerKV:
    """One layer's cache and the constants of its attention.

    k, v    [num_blocks, block_size, kv_heads, head_dim]
    window  a token sees itself and the window-1 tokens before it (None: all)
    softcap scores become softcap · tanh(score / softcap) (None: left alone)
    """

    k: torch.Tensor
    v: torch.Tensor
    scale: float
    window: int | None = None
    softcap: float | None = None


Backend = Callable[[torch.Tensor, LayerKV, Batch], torch.Tensor]


def store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write the step's keys and values, [T, kv_heads, head_dim] each, into their slots."""
    layer.k.view(-1, *layer.k.shape[2:]).index_copy_(0, batch.slots, k)
    layer.v.view(-1, *layer.v.shape[2:]).index_copy_(0, batch.slots, v)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerKV, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention of rows over their own keys.

    q [B, n, H, D], k and v [B, c, Hkv, D], mask [B, 1, n, c] (True: may be seen) or None. Returns [B, n, H, D].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if layer.softcap is None:
        group = q.shape[1] // k.shape[1]
        if group > 1 and q.is_cuda:  # there only the kernel that writes all scores out knows groups
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
        out[first:last] = attend(query[None], k[None], v[None], layer, mask)[0]
        return
    # K/V heads as the batch, their query heads as the heads: K is then only viewed, never repeated.
    query = query.view(n, kv_heads, group, dim).permute(1, 2, 0, 3)
    keys = k.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    values = v.transpose(0, 1)[:, None].expand(-1, group, -1, -1)
    fresh = n > 1 and n == end - start  # is_causal is aligned to the top left, so only then
    mask = visible(n, end - start, None, q.device) if n > 1 and not fresh else None
    got = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=fresh, scale=layer.scale)
    out[first:last].view(n, kv_heads, group, dim).copy_(got.permute(2, 0, 1, 3))


def visible(n: int, context: int, window: int | None, device: torch.device) -> torch.Tensor:
    """[1, 1, n, context] mask of the last n of ``context`` tokens: nobody sees the future, nor past the window."""
    query = torch.arange(context - n, context, device=device)[:, None]
    key = torch.arange(context, device=device)[None]
    seen = key <= query
    if window is not None:
        seen &= key > query - window
    return seen[None, None]


def attend_padded(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "padded": rectangles with a mask. A packed batch becomes two, its decodes and the rest."""
    if "rows" in batch.scratch:
        return attend_decodes(q, layer, batch)
    if batch.width:
        rows = torch.arange(batch.num_rows)
        return rectangle(q, rows, batch.width, layer, batch)
    out = q.new_empty(q.shape)
    lengths = torch.tensor(batch.q_starts[1:]) - torch.tensor(batch.q_starts[:-1])
    for group in ((lengths == 1).nonzero()[:, 0], (lengths > 1).nonzero()[:, 0]):
        if len(group):
            width = int(lengths[group].max())
            starts = torch.tensor(batch.q_starts)[group]
            column = torch.arange(width)[None] - (width - lengths[group])[:, None]  # right-aligned, like the keys
            index = (starts[:, None] + column.clamp(min=0)).reshape(-1).to(q.device)
            keep = (column >= 0).reshape(-1).to(q.device)
            got = rectangle(q[index], group, width, layer, batch)
            out[index[keep]] = got[keep]
    return out


def rectangle(q: torch.Tensor, rows: torch.Tensor, width: int, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Rows of equal width over gathered and masked keys. q [len(rows)·width, H, D], right-aligned; so the result."""
    key = ("rectangle", width, len(rows), layer.window)
    if key not in batch.scratch:
        ends = torch.tensor(batch.kv_ends)[rows, None, None]
        starts = torch.tensor(batch.kv_starts)[rows, None, None]
        context = int(ends.max())
        slot = torch.arange(context)[None, None]
        position = ends - width + torch.arange(width)[None, :, None]
        seen = (slot <= position) & (slot >= starts)
        if layer.window is not None:
            seen &= slot > position - layer.window
        seen |= (position < starts) & (slot == position.clamp(min=0))  # padding sees one slot: a softmax over nothing is NaN
        blocks = batch.tables[rows, : -(-context // layer.k.shape[1])].to(torch.int64)
        batch.scratch[key] = seen[:, None].to(q.device), blocks.to(q.device), context
    mask, blocks, context = batch.scratch[key]
    k, v = (x[blocks].flatten(1, 2)[:, :context] for x in (layer.k, layer.v))
    out = attend(q.view(len(rows), width, *q.shape[1:]), k, v, layer, mask)
    return out.reshape(q.shape)


def attend_decodes(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "padded" for one new token a row, from tensors alone, as a CUDA graph needs it (graphs.py).

    ``batch.scratch["rows"]`` holds starts, kv_starts and kv_ends; the tables are as wide as the longest row may be.
    """
    rows, heads, dim = q.shape
    size, kv_heads = layer.k.shape[1:3]
    blocks = batch.tables.to(torch.int64)
    k, v = (x[blocks].view(rows, -1, kv_heads, dim).transpose(1, 2) for x in (layer.k, layer.v))
    _, starts, ends = (x[:, None] for x in batch.scratch["rows"])
    slot = torch.arange(blocks.shape[1] * size, device=q.device)[None]
    seen = (slot < ends) & (slot >= starts)
    if layer.window is not None:
        seen &= slot >= ends - layer.window
    seen |= (ends <= 0) & (slot == 0)  # a padding row sees one slot: a softmax over nothing is NaN
    query = q.view(rows, kv_heads, heads // kv_heads, dim)  # the heads of a K/V head as rows: K is not repeated
    if layer.softcap is None:
        out = F.scaled_dot_product_attention(query, k, v, attn_mask=seen[:, None, None], scale=layer.scale)
    else:
        scores = layer.softcap * torch.tanh(query @ k.transpose(2, 3) * layer.scale / layer.softcap)
        out = torch.softmax(scores.float().masked_fill(~seen[:, None, None], -torch.inf), -1).to(q.dtype) @ v
    return out.reshape(q.shape)


def attend_triton(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "triton": imported on first use, since Triton is not everywhere."""
    from . import triton_kernels

    return triton_kernels.attend(q, layer, batch)


def store_triton(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """``store`` that skips slot −1."""
    from . import triton_kernels

    triton_kernels.store(k, v, layer, batch.slots)


BACKENDS: dict[str, Backend] = {
    "triton": attend_triton,
    "native": native.attend,
    "torch": attend_by_request,
    "padded": attend_padded,
}
STORES = {"triton": store_triton, "native": native.store}  # the others use ``store``


class Attention:
    """The chosen backend, and why. ``paged_attention`` is what models call.

    ops  which kernels do what lies between the matrix products: "plain", "native" or "triton"
    """

    def __init__(self, backend: str, why: str, ops: str | None = None) -> None:
        self.backend, self.why = backend, why
        self.ops = ops or ("native" if backend == "native" else "plain")
        self._attend, self._store = BACKENDS[backend], STORES.get(backend, store)

    def paged_attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
        """Store k and v [T, kv_heads, head_dim] in their slots, then attend with q [T, heads, head_dim].

        q and k are rotated already. Returns [T, heads, head_dim].
        """
        self._store(k, v, layer, batch)
        return (attend_padded if batch.width else self._attend)(q, layer, batch)


def candidates(device: torch.device, asked: str) -> list[str]:
    """Backends to try, best first. An asked-for one is the only one besides those it falls back to."""
    gpu = device.type == "cuda"
    if asked != "auto":
        return list(dict.fromkeys((asked, "padded", "torch") if asked == "triton" and gpu else (asked, "torch")))
    if not gpu:
        return ["native", "torch"]
    modern = torch.cuda.get_device_capability(device) >= (8, 0)  # below, tl.dot has no tensor cores to use
    return ["triton", "padded", "torch"] if modern else ["padded", "torch"]


def choose_attention(
    asked: str, device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int, block_size: int
) -> Attention:
    """The first candidate that agrees with plain torch on this model's shapes; a warning for each that does not."""
    names = candidates(device, asked)
    for name, following in zip(names, names[1:], strict=False):
        try:
            error = self_test(BACKENDS[name], device, dtype, heads, kv_heads, head_dim, block_size, STORES.get(name, store))
        except Exception as problem:  # whatever a compiler or a driver may throw
            error = f"{type(problem).__name__}: {problem}"
        limit = 1e-4 if dtype == torch.float32 else 3e-2
        if isinstance(error, float) and error < limit:
            why = f"agrees with plain torch to {error:.0e} on this model's shapes"
            return Attention(name, why, choose_ops(device, dtype, head_dim, limit) if name == "triton" else None)
        reason = f"it is off by {error:.1e} on this model's shapes" if isinstance(error, float) else error
        warnings.warn(f"attention backend {name!r} is not used: {reason}; falling back to {following!r}", stacklevel=2)
    return Attention(names[-1], "plain torch, one request after the other")


def choose_ops(device: torch.device, dtype: torch.dtype, head_dim: int, limit: float) -> str:
    """ "triton" if its kernels for norms, rotation and SiLU agree with plain torch, else "plain" and a warning."""
    try:
        from . import triton_ops

        error = triton_ops.self_test(device, dtype, head_dim)
        if error < limit:
            return "triton"
        reason = f"they are off by {error:.1e}"
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}"
    warnings.warn(f"fused norms and rotation are not used: {reason}; falling back to plain torch", stacklevel=3)
    return "plain"


def self_test(
    backend: Backend, device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int, block_size: int,
    keep: Callable = store,
) -> float:  # fmt: skip
    """Largest difference from softmax(q·k)·v written out, over a mixed batch of decodes, a prompt and a chunk.

    keep  stores keys and values in their slots; the cache is filled with it, in a random order
    """
    generator = torch.Generator().manual_seed(0)
    rows = [(1, 1), (1, 37), (5, 5), (7, 23)]  # (new tokens, context after them)
    if device.type == "cuda":
        rows += [(1, 1500), (40, 900)]  # cut into pieces; several query blocks
    per_row = max(-(-context // block_size) for _, context in rows)
    shape = (len(rows) * per_row, block_size, kv_heads, head_dim)
    k, v = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    layer = LayerKV(torch.zeros_like(k), torch.zeros_like(v), 1 / math.sqrt(head_dim))
    tables = torch.randperm(shape[0], generator=generator).view(len(rows), per_row).to(device, torch.int32)
    q_starts = [0]
    for n, _ in rows:
        q_starts.append(q_starts[-1] + n)
    q = torch.randn((q_starts[-1], heads, head_dim), generator=generator).to(device, dtype)
    nothing, slots = torch.empty(0, dtype=torch.int64), torch.randperm(k.shape[0] * block_size, generator=generator).to(device)
    flat = (x.flatten(0, 1)[slots] for x in (k, v))
    batch = Batch(nothing, nothing, slots, q_starts, [0] * len(rows), [c for _, c in rows], tables, nothing)
    keep(*flat, layer, batch)
    got, worst = backend(q, layer, batch), 0.0
    for row, (n, context) in enumerate(rows):
        keys, values = (x[tables[row].to(device, torch.int64)].flatten(0, 1)[:context].float() for x in (k, v))
        keys, values = (x.repeat_interleave(heads // kv_heads, 1).transpose(0, 1) for x in (keys, values))
        query = q[q_starts[row] : q_starts[row + 1]].float().transpose(0, 1)
        scores = query @ keys.transpose(1, 2) * layer.scale
        scores = scores.masked_fill(~visible(n, context, None, device)[0], -math.inf)
        want = (torch.softmax(scores, -1) @ values).transpose(0, 1)
        worst = max(worst, float((got[q_starts[row] : q_starts[row + 1]].float() - want).abs().max()))
    return worst
