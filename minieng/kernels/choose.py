"""Which way of attending this machine gets: the first candidate that agrees with plain torch on the real shapes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch

from .backend import BACKENDS, STORES, Backend
from .batch import Batch, LayerKV
from .torch_attention import attend_padded, store, visible


class Attention:
    """The chosen backend, and why. ``paged_attention`` is what models call.

    ops  which kernels do what lies between the matrix products: "plain", "native" or "triton"
    """

    def __init__(self, backend: str, why: str, ops: str | None = None) -> None:
        self.backend, self.why = backend, why
        self.ops = ops or ("native" if backend == "native" else "plain")
        self._attend, self._store = BACKENDS[backend], STORES.get(backend, store)
        self._attend_rectangle = self._attend if backend == "native" else attend_padded  # the others know no padding

    def paged_attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
        """Store k and v [T, kv_heads, head_dim] in their slots, then attend with q [T, heads, head_dim].

        q and k are rotated already. Returns [T, heads, head_dim].
        """
        self._store(k, v, layer, batch)
        return (self._attend_rectangle if batch.width else self._attend)(q, layer, batch)


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
