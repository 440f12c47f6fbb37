"""What lies between the matrix products: norms, rotation and the gate, in torch, in C or in Triton."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from . import native


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / rms(x) · weight over the last axis, the mean square in fp32."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding. x [T, heads, D]; cos, sin [T, 1, D], sin with its first half negated."""
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat((x[..., half:], x[..., :half]), -1), sin)


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up of [T, 2 · width], gate before up."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate).mul_(up)


class Plain(NamedTuple):
    """What lies between the matrix products, in torch. ``native`` has the same in C,
    ``triton_ops`` on a GPU.
    """

    rms_norm: Callable = rms_norm
    rotate: Callable = rotate
    silu_mul: Callable = silu_mul

    def add_norm(
        self, x: torch.Tensor, delta: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> torch.Tensor:
        """x += delta, in place; its norm is returned."""
        x += delta
        return self.rms_norm(x, weight, eps)

    def norm_rotate(self, qk: torch.Tensor, heads: int, q_norm, k_norm, eps: float, cos, sin) -> torch.Tensor:
        """Queries [T, heads, D] and behind them keys, normed where the model has weights for that,
        then rotated.
        """
        if q_norm is not None:
            q, k = qk[:, :heads], qk[:, heads:]
            qk = torch.cat((self.rms_norm(q, q_norm, eps), self.rms_norm(k, k_norm, eps)), 1)
        return self.rotate(qk, cos, sin)


PLAIN, NATIVE = Plain(), Plain(native.rms_norm, native.rotate, native.silu_mul)
