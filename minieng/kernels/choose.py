"""Which way of attending this machine gets:
the first candidate that agrees with plain torch on the real shapes.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from .. import gpu
from ..warn import warn
from .backend import BACKENDS, Backend, check_name
from .batch import Batch, LayerKV
from .ops import PLAIN
from .torch_attention import attend_padded, visible


class Attention:
    """The chosen backend, and why. ``paged_attention`` is what models call.

    ops  what does the work between the matrix products: the backend's own or ``PLAIN``
    """

    def __init__(self, backend: Backend, why: str, ops: Any = PLAIN) -> None:
        self.backend, self.why, self.ops = backend, why, ops

    def paged_attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch
    ) -> torch.Tensor:
        """Store k and v [T, kv_heads, head_dim] in their slots, then attend with q [T, heads, head_dim].

        q and k are rotated already. Returns [T, heads, head_dim].
        """
        self.backend.store(k, v, layer, batch)
        if batch.width and not self.backend.rectangles:
            return attend_padded(q, layer, batch)
        return self.backend.attend(q, layer, batch)


def candidates(device: torch.device, asked: str) -> list[Backend]:
    """Backends to try, best first. An asked-for one comes first,
    then what is behind it in the list and is for this device.
    """
    names, plain = list(BACKENDS), BACKENDS["torch"]
    if asked == "auto":
        found = [backend for backend in BACKENDS.values() if suits(backend, device)]
    else:
        behind = names[names.index(asked) + 1 :]
        found = [BACKENDS[asked], *(BACKENDS[name] for name in behind if suits(BACKENDS[name], device))]
    return [*(backend for backend in found if backend is not plain), plain]


def suits(backend: Backend, device: torch.device) -> bool:
    """Whether "auto" tries the backend on this device."""
    return device.type in backend.devices and not too_old(backend, device)


def too_old(backend: Backend, device: torch.device) -> bool:
    """Whether the device is a GPU that the backend is made for, but an older one than it needs."""
    if not gpu.is_gpu(device) or "cuda" not in backend.devices:
        return False
    return torch.cuda.get_device_capability(device) < backend.capability


def passed_over(chosen: Backend, device: torch.device) -> str:
    """Words on the backends that this GPU is too old for."""
    return "".join(
        f"; {backend.name} is for sm_{'{}{}'.format(*backend.capability)} and later, "
        f"this is sm_{'{}{}'.format(*torch.cuda.get_device_capability(device))}"
        for backend in BACKENDS.values()
        if backend is not chosen and too_old(backend, device)
    )


def choose_attention(
    asked: str,
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    block_size: int,
) -> Attention:
    """The first candidate that agrees with plain torch on this model's shapes;
    a warning for each that does not.
    """
    check_name(asked)
    found = candidates(device, asked)
    limit = 1e-4 if dtype == torch.float32 else 3e-2
    for backend, following in itertools.pairwise(found):
        try:
            error = self_test(backend, device, dtype, heads, kv_heads, head_dim, block_size)
        except Exception as problem:  # whatever a compiler or a driver may throw
            reason = f"{type(problem).__name__}: {problem}"
        else:
            if error < limit:
                why = f"agrees with plain torch to {error:.0e} on this model's shapes"
                why += passed_over(backend, device)
                return Attention(backend, why, choose_ops(backend.ops, device, dtype, head_dim, limit))
            reason = f"it is off by {error:.1e} on this model's shapes"
        warn(f"attention backend {backend.name!r} is not used: {reason}; falling back to {following.name!r}")
    return Attention(found[-1], f"plain torch, one request after the other{passed_over(found[-1], device)}")


def choose_ops(ops: Any, device: torch.device, dtype: torch.dtype, head_dim: int, limit: float) -> Any:
    """A backend's norms, rotation and SiLU if they agree with plain torch, else ``PLAIN`` and a warning."""
    if ops is PLAIN:
        return ops
    try:
        error = ops_self_test(ops, device, dtype, head_dim)
        if error < limit:
            return ops
        reason = f"they are off by {error:.1e}"
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}"
    warn(f"fused norms and rotation are not used: {reason}; falling back to plain torch")
    return PLAIN


def self_test(
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    block_size: int,
) -> float:
    """Largest difference from softmax(q·k)·v written out, over a mixed batch of decodes,
    a prompt and a chunk.

    The cache is filled by the backend's own ``store``, in a random order.
    """
    generator = torch.Generator().manual_seed(0)
    rows = [(1, 1), (1, 37), (5, 5), (7, 23)]  # (new tokens, context after them)
    if gpu.is_gpu(device):
        rows += [(1, 1500), (70, 900)]  # cut into pieces; several query blocks
    per_row = max(-(-context // block_size) for _, context in rows)
    shape = (len(rows) * per_row, block_size, kv_heads, head_dim)
    k, v = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    layer = LayerKV(torch.zeros_like(k), torch.zeros_like(v), 1 / math.sqrt(head_dim))
    tables = torch.randperm(shape[0], generator=generator).view(len(rows), per_row).to(device, torch.int32)
    q_starts = [0]
    for n, _ in rows:
        q_starts.append(q_starts[-1] + n)
    q = torch.randn((q_starts[-1], heads, head_dim), generator=generator).to(device, dtype)
    nothing, slots = (
        torch.empty(0, dtype=torch.int64),
        torch.randperm(k.shape[0] * block_size, generator=generator).to(device),
    )
    keys, values = (x.flatten(0, 1)[slots] for x in (k, v))
    batch = Batch(nothing, nothing, slots, q_starts, [0] * len(rows), [c for _, c in rows], tables, nothing)
    backend.store(keys, values, layer, batch)
    got, worst = backend.attend(q, layer, batch), 0.0
    for row, (n, context) in enumerate(rows):
        keys, values = (
            x[tables[row].to(device, torch.int64)].flatten(0, 1)[:context].float() for x in (k, v)
        )
        keys, values = (x.repeat_interleave(heads // kv_heads, 1).transpose(0, 1) for x in (keys, values))
        query = q[q_starts[row] : q_starts[row + 1]].float().transpose(0, 1)
        scores = query @ keys.transpose(1, 2) * layer.scale
        scores = scores.masked_fill(~visible(n, context, None, device)[0], -math.inf)
        want = (torch.softmax(scores, -1) @ values).transpose(0, 1)
        worst = max(worst, float((got[q_starts[row] : q_starts[row + 1]].float() - want).abs().max()))
    return worst


def ops_self_test(ops: Any, device: torch.device, dtype: torch.dtype, head_dim: int) -> float:
    """Largest difference from plain torch, relative to the size of the numbers, over a few rows."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    x, delta, weight, gate_up = noise(5, 200), noise(5, 200), noise(200), noise(5, 3000)
    wide, norms = noise(5, 7, head_dim), (noise(head_dim), noise(head_dim))
    cos, sin = noise(5, 1, head_dim), noise(5, 1, head_dim)
    both = x.clone(), x.clone()
    pairs = [(ops.add_norm(both[0], delta, weight, 1e-5), PLAIN.add_norm(both[1], delta, weight, 1e-5)), both]
    pairs += [
        (ops.rms_norm(x, weight, 1e-5), PLAIN.rms_norm(x, weight, 1e-5)),
        (ops.silu_mul(gate_up), PLAIN.silu_mul(gate_up)),
    ]
    for q_norm, k_norm in ((None, None), norms):
        got = ops.norm_rotate(wide.clone()[:, :6], 4, q_norm, k_norm, 1e-5, cos, sin)
        pairs.append((got, PLAIN.norm_rotate(wide[:, :6], 4, q_norm, k_norm, 1e-5, cos, sin)))
    return max(
        float(((got.float() - want.float()).abs() / (1 + want.float().abs())).max()) for got, want in pairs
    )
