"""What lies between the matrix products, on a GPU: one kernel each where plain torch needs three to eight.

The same names and the same rounding as ``ops.Plain``: sums in float32, results rounded to the model's
precision where torch rounds them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _add_norm(x, delta, weight, out, width, eps, ADD: tl.constexpr, PADDED: tl.constexpr):
    """One row of [T, width]. With ADD x is changed in place, and the norm is that of the rounded sum."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, PADDED)
    inside = column < width
    value = tl.load(x + row * width + column, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(delta + row * width + column, mask=inside, other=0.0).to(tl.float32)
        rounded = value.to(x.dtype.element_ty)
        tl.store(x + row * width + column, rounded, mask=inside)
        value = rounded.to(tl.float32)
    value = value / tl.sqrt(tl.sum(value * value, 0) / width + eps)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    value = value.to(x.dtype.element_ty).to(tl.float32) * scale
    tl.store(out + row * width + column, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _norm_rotate(
    qk,
    q_norm,
    k_norm,
    cos,
    sin,
    heads,
    stride,
    eps,
    NORM: tl.constexpr,
    DIM: tl.constexpr,
    HALF_PADDED: tl.constexpr,
):
    """One head of one token, in place. Its halves are loaded apart, since each is rotated with the other."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    HALF: tl.constexpr = DIM // 2
    column = tl.arange(0, HALF_PADDED)
    inside = column < HALF
    at = qk + token * stride + head * DIM + column
    low, high = (
        tl.load(at, mask=inside, other=0.0).to(tl.float32),
        tl.load(at + HALF, mask=inside, other=0.0).to(tl.float32),
    )
    kind = qk.dtype.element_ty
    if NORM:
        root = tl.sqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / DIM + eps)
        of_head = column * 0 + head
        own, others = inside & (of_head < heads), inside & (of_head >= heads)
        w_low = tl.load(q_norm + column, mask=own, other=0.0).to(tl.float32)
        w_low += tl.load(k_norm + column, mask=others, other=0.0).to(tl.float32)
        w_high = tl.load(q_norm + HALF + column, mask=own, other=0.0).to(tl.float32)
        w_high += tl.load(k_norm + HALF + column, mask=others, other=0.0).to(tl.float32)
        low = ((low / root).to(kind).to(tl.float32) * w_low).to(kind).to(tl.float32)
        high = ((high / root).to(kind).to(tl.float32) * w_high).to(kind).to(tl.float32)
    where = token * DIM + column
    c_low, s_low = tl.load(cos + where, mask=inside, other=0.0), tl.load(sin + where, mask=inside, other=0.0)
    c_high, s_high = (
        tl.load(cos + where + HALF, mask=inside, other=0.0),
        tl.load(sin + where + HALF, mask=inside, other=0.0),
    )
    turned = (low * c_low.to(tl.float32)).to(kind).to(tl.float32) + high * s_low.to(tl.float32)
    tl.store(at, turned.to(kind), mask=inside)
    turned = (high * c_high.to(tl.float32)).to(kind).to(tl.float32) + low * s_high.to(tl.float32)
    tl.store(at + HALF, turned.to(kind), mask=inside)


@triton.jit
def _silu_mul(gate_up, out, width, BLOCK: tl.constexpr):
    """BLOCK columns of one row: gate_up [T, 2 · width] → out [T, width]."""
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(gate_up + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    kind = out.dtype.element_ty
    gate = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32)
    tl.store(out + row * width + column, (gate * up).to(kind), mask=inside)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / rms(x) · weight. x [T, width]."""
    return _norm(x.contiguous(), None, weight, eps)


def add_norm(x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x += delta, in place; its norm is returned. x, delta [T, width], contiguous."""
    return _norm(x, delta, weight, eps)


def _norm(x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor, eps: float) -> torch.Tensor:
    out, (rows, width) = torch.empty_like(x), x.shape
    padded = triton.next_power_of_2(width)
    if rows:
        _add_norm[(rows,)](
            x, x if delta is None else delta, weight, out, width, eps, ADD=delta is not None, PADDED=padded,
            num_warps=min(16, max(1, padded // 512)),
        )  # fmt: skip
    return out


def norm_rotate(
    qk: torch.Tensor, heads: int, q_norm, k_norm, eps: float, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    """Queries [T, heads, D] and behind them keys, part of a wider matrix: normed if there are weights,
    then rotated, in place.
    """
    tokens, count, dim = qk.shape
    if tokens:
        _norm_rotate[(tokens, count)](
            qk, q_norm if q_norm is not None else qk, k_norm if k_norm is not None else qk, cos, sin, heads,
            qk.stride(0), eps, NORM=q_norm is not None, DIM=dim, HALF_PADDED=triton.next_power_of_2(dim // 2),
            num_warps=1,
        )  # fmt: skip
    return qk


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up of [T, 2 · width], gate before up."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    if rows:
        _silu_mul[(rows, triton.cdiv(width, 1024))](gate_up, out, width, BLOCK=1024, num_warps=4)
    return out
