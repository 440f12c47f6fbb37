"""Which form of the products makes a model's layers fastest here: timed on one layer, as steps run it.

One product says little: whole layers in C save what lies between the products, oneDNN has instructions of its
own (AMX) that win where rows are many, and which of them wins a step is known only when it is run.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from . import native
from .batch import Batch, LayerKV
from .choose import Attention, choose_attention
from .linear import OWN, Linear, OneDNN, fastest_of

STEPS = {"1 row": [1], "8": [1] * 8, "32": [1] * 32, "a prompt of 128": [128]}  # tokens of each request
CONTEXT, BLOCK, EPS = 64, 16, 1e-5  # slots that each request has filled before, slots of a block


class Sizes(NamedTuple):
    """What a layer's time depends on."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int


def layer_of_noise(sizes: Sizes, dtype: torch.dtype, form: type[Linear]) -> Any:
    """A decoder layer without norms of queries and keys, its products in this form."""

    def product(outs: int, ins: int) -> Linear:
        return form(torch.randn(outs, ins).mul_(0.02).to(dtype))

    ones, width = torch.ones(sizes.hidden, dtype=dtype), sizes.heads * sizes.head_dim
    kv_width = 2 * sizes.kv_heads * sizes.head_dim
    return SimpleNamespace(
        input_norm=ones, post_norm=ones, q_norm=None, k_norm=None,
        qkv=product(width + kv_width, sizes.hidden), o=product(sizes.hidden, width),
        gate_up=product(2 * sizes.inner, sizes.hidden), down=product(sizes.hidden, sizes.inner),
    )  # fmt: skip


def step_of(sizes: Sizes, dtype: torch.dtype, tokens: list[int]) -> tuple[torch.Tensor, Batch, LayerKV]:
    """Activations, a batch and a cache of requests with so many tokens each."""
    blocks, ends = -(-(CONTEXT + max(tokens)) // BLOCK), [CONTEXT + n for n in tokens]
    tables = torch.arange(blocks * len(tokens), dtype=torch.int32).view(len(tokens), -1)
    slots = [blocks * BLOCK * row + torch.arange(CONTEXT, end) for row, end in enumerate(ends)]
    starts, nothing = [0, *itertools.accumulate(tokens)], torch.empty(0, dtype=torch.int64)
    k, v = torch.zeros(2, tables.numel(), BLOCK, sizes.kv_heads, sizes.head_dim, dtype=dtype)
    batch = Batch(
        nothing, nothing, torch.cat(slots), starts, [0] * len(tokens), ends, tables, torch.arange(starts[-1])
    )
    return torch.randn(starts[-1], sizes.hidden).to(dtype), batch, LayerKV(k, v, sizes.head_dim**-0.5)


def run_layer(layer: Any, sizes: Sizes, x: torch.Tensor, batch: Batch, kv: LayerKV, attention: Attention):
    """The layer as a decoder runs it: in one call of the kernel, or product by product."""
    cos = sin = torch.ones(len(x), sizes.head_dim, dtype=x.dtype)
    if isinstance(layer.qkv, OWN) and attention.backend.whole_layers:
        panels = native.LayerPanels([layer])
        return native.native_layers(panels, x, sizes.inner, cos, sin, EPS, sizes.heads, [kv], batch)
    ops = attention.ops
    qkv = layer.qkv(ops.rms_norm(x, layer.input_norm, EPS)).view(len(x), -1, sizes.head_dim)
    qk, v = qkv.split((sizes.heads + sizes.kv_heads, sizes.kv_heads), 1)
    qk = ops.norm_rotate(qk, sizes.heads, None, None, EPS, cos[:, None], sin[:, None])
    q, k = qk.split((sizes.heads, sizes.kv_heads), 1)
    seen = attention.paged_attention(q, k, v, kv, batch).reshape(len(x), -1)
    h = ops.add_norm(x, layer.o(seen), layer.post_norm, EPS)
    return x + layer.down(ops.silu_mul(layer.gate_up(h)))


@torch.inference_mode()
def steps_of(form: type[Linear], sizes: Sizes, dtype: torch.dtype, attention: Attention) -> list[Callable]:
    """Calls that run each of the STEPS through a layer of this form; each has been run once."""
    layer, calls = layer_of_noise(sizes, dtype, form), []
    for tokens in STEPS.values():
        x, batch, kv = step_of(sizes, dtype, tokens)
        calls.append(lambda x=x, batch=batch, kv=kv: run_layer(layer, sizes, x.clone(), batch, kv, attention))
        calls[-1]()
    return calls


@functools.cache
@torch.inference_mode()
def fastest_layers(sizes: Sizes, dtype: torch.dtype) -> tuple[type[Linear], str]:
    """The form whose layer needs the least time for all STEPS together, and words on what each needed."""
    attention = choose_attention(
        "auto", torch.device("cpu"), dtype, sizes.heads, sizes.kv_heads, sizes.head_dim, BLOCK
    )
    calls: dict[type[Linear], list[Callable]] = {}
    for form in (Linear, OneDNN, *OWN):
        with contextlib.suppress(RuntimeError, AttributeError, NotImplementedError):
            calls[form] = steps_of(form, sizes, dtype, attention)
    found, each = fastest_of(list(itertools.chain(*calls.values())), repeats=7), len(STEPS)
    times = {form: found[i * each : (i + 1) * each] for i, form in enumerate(calls)}
    best = min(times, key=lambda form: sum(times[form]))
    told = [f"{form.title} " + " / ".join(f"{1e3 * t:.2f}" for t in times[form]) for form in times]
    return best, f"ms of one layer in one thread for {', '.join(STEPS)}: {'; '.join(told)}"


def choose_form(sizes: Sizes, dtype: torch.dtype, device: torch.device) -> tuple[type[Linear] | None, str]:
    """The form of a model's products, and why it; None where the one that is fastest alone will do.

    In float32 that is the kernel's own or oneDNN's, and no instruction makes the two differ by layers. In
    bfloat16 they may differ several times over, either way.
    """
    if device.type != "cpu" or dtype != torch.bfloat16:
        return None, ""
    return fastest_layers(sizes, dtype)
