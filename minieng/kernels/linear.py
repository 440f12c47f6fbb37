"""Matrix products with weights packed for this processor, where that is faster.

torch's fp32 ``F.linear`` re-reads the weight in an order that suits no CPU at 2 to 128 rows. Laid out once
("packed"), a weight streams through memory once and the product takes a half to a quarter of the time. Two
packed forms exist: oneDNN's, which inductor uses too, and our own kernel (native/products.h), which keeps
weights that were published in bfloat16 as such and widens them in registers: the numbers are the same, and
half as many bytes come from memory. To compute in bfloat16 it takes the processor's instructions for pairs,
where there are some, or widens those activations, too. Which form to use is timed when the first model is
loaded (in bfloat16 by whole layers, contest.py); where one is missing, wrong or slower, plain
``F.linear`` stays.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from . import native

ROWS_TIMED = (1, 8, 32)


class Linear:
    """y = x·Wᵀ + b. x [T, in] → y [T, out]; weight [out, in], kept in one form only.

    dtype  of x and y; None: the weight's
    """

    title = "plain torch"

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.out_features, self.bias, self.dtype = weight.shape[0], bias, dtype or weight.dtype
        self.weight = self.pack(weight)

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.to(self.dtype)

    @property
    def weight_nbytes(self) -> int:
        """Bytes that a number of the weight takes in memory."""
        return self.weight.element_size()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


class OneDNN(Linear):
    title = "weights packed for this CPU (oneDNN)"

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(weight.to(self.dtype).contiguous(), max(ROWS_TIMED))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class Native(Linear):
    title = "weights packed for this CPU (own C kernel)"

    def pack(self, weight: torch.Tensor) -> native.Panels:
        return native.Panels(weight, self.bias, self.dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return native.linear(x, self.weight)


class Widened(Native):
    title = "weights packed for this CPU (own C kernel, bfloat16 widened to float)"

    def pack(self, weight: torch.Tensor) -> native.Panels:
        return native.Panels(weight, self.bias, self.dtype, widened=True)


OWN = (Native, Widened)


def linear(
    weight: torch.Tensor, bias: torch.Tensor | None = None, form: type[Linear] | None = None,
    dtype: torch.dtype | None = None,
) -> Linear:  # fmt: skip
    """The product with a weight [out, in], in the form that is fastest here, or in this one."""
    if weight.device.type != "cpu":
        form = Linear
    return (form or fastest_form(dtype or weight.dtype))(weight, bias, dtype)


def every_form(weight: torch.Tensor, bias: torch.Tensor | None = None) -> list[Linear]:
    """The product with one weight in each form that exists here."""
    layers = []
    for form in (Linear, OneDNN, *OWN):
        with contextlib.suppress(RuntimeError, AttributeError, NotImplementedError):
            layer = form(weight, bias)
            layer(weight[:1])
            layers.append(layer)
    return layers


@functools.cache
def fastest_form(dtype: torch.dtype) -> type[Linear]:
    """Time all forms on a middling layer, best of several; a form that disagrees with plain torch is out.

    Its numbers are bfloat16 ones, as in most published models.
    """
    x, weight, bias = (
        torch.randn(shape).bfloat16().to(dtype) for shape in ((max(ROWS_TIMED), 512), (1024, 512), (1024,))
    )
    want, limit = F.linear(x, weight, bias), 1e-3 if dtype == torch.float32 else 1.0
    layers = [layer for layer in every_form(weight, bias) if torch.allclose(layer(x), want, atol=limit)]
    calls = [functools.partial(layer, x[:n]) for layer in layers for n in ROWS_TIMED]
    times, each = fastest_of(calls, repeats=15), len(ROWS_TIMED)
    return type(layers[min(range(len(layers)), key=lambda i: sum(times[i * each : (i + 1) * each]))])


def fastest_of(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of each call, the shortest of several.

    In turns, as a machine has slow moments, and they should be everybody's; in one thread, as other programs
    take cores away now and then. Neither is a reason to choose a form for good.
    """
    best, threads = [float("inf")] * len(calls), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repeats):
            for i, call in enumerate(calls):
                begin = time.perf_counter()
                call()
                best[i] = min(best[i], time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return best


class PackedModule(torch.nn.Module):
    """A packed linear in the shape of ``torch.nn.Linear``, to be put into a transformers model."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.linear = linear(layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        self.out_features = self.linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)


def pack_linears(model: torch.nn.Module) -> torch.nn.Module:
    """Replace every ``torch.nn.Linear`` of a CPU model by a packed one, in place;
    a no-op where packing is slower.
    """
    for name, child in list(model.named_children()):
        if type(child) is torch.nn.Linear:
            if child.weight.device.type == "cpu" and fastest_form(child.weight.dtype) is not Linear:
                setattr(model, name, PackedModule(child))
        else:
            pack_linears(child)
    return model
