"""Matrix products with weights packed for this processor, where that is faster.

torch's fp32 ``F.linear`` re-reads the weight in an order that suits no CPU at 2 to 128 rows. oneDNN can lay it
out once ("packed") and then multiply two to four times as fast; inductor does the same. Which one to use is
timed when the model is loaded; where the operator is missing, or slower, plain ``F.linear`` stays.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

ROWS_TIMED = (1, 8, 32)


class Linear:
    """y = x·Wᵀ + b. x [T, in] → y [T, out]; weight [out, in], kept in one form only."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.packed = weight.device.type == "cpu" and packing_is_faster(weight.dtype)
        self.weight = pack(weight) if self.packed else weight
        self.bias, self.out_features = bias, weight.shape[0]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


def pack(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), max(ROWS_TIMED))


@functools.cache
def packing_is_faster(dtype: torch.dtype) -> bool:
    """Time both on a middling layer, best of several; False where the operator does not exist or disagrees."""
    x, weight = torch.randn(max(ROWS_TIMED), 512).to(dtype), torch.randn(1024, 512).to(dtype)
    try:
        packed = pack(weight)
        same = torch.allclose(packed_linear(x, packed), F.linear(x, weight), atol=1e-3 if dtype == torch.float32 else 1.0)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    if not same:
        return False
    plain_time = sum(_fastest(lambda n=n: F.linear(x[:n], weight)) for n in ROWS_TIMED)
    packed_time = sum(_fastest(lambda n=n: packed_linear(x[:n], packed)) for n in ROWS_TIMED)
    return packed_time < plain_time


def packed_linear(x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def _fastest(call: Callable[[], object], repeats: int = 15) -> float:
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


class PackedModule(torch.nn.Module):
    """A packed linear in the shape of ``torch.nn.Linear``, to be put into a transformers model."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = Linear(linear.weight.detach(), linear.bias)
        self.out_features = self.linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)


def pack_linears(model: torch.nn.Module) -> torch.nn.Module:
    """Replace every ``torch.nn.Linear`` of a CPU model by a packed one, in place; a no-op where packing is slower."""
    for name, child in list(model.named_children()):
        if type(child) is torch.nn.Linear:
            if child.weight.device.type == "cpu" and packing_is_faster(child.weight.dtype):
                setattr(model, name, PackedModule(child))
        else:
            pack_linears(child)
    return model
