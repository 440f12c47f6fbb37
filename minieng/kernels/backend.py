"""The ways to compute paged attention, by name.

A step's tokens come packed, one request after the other; each request's keys and values lie in the blocks that
its table names. Backends:

    triton   CUDA from sm_80 on: one kernel for prompts, chunks and decodes (triton_attention.py)
    native   CPU: a small C kernel that walks the block table, compiled on first use (native.py)
    torch    anywhere: one request after the other, blocks gathered, query heads of a K/V head packed, no mask
    padded   anywhere: all requests at once in a padded rectangle with a mask; what a GPU without Triton uses,
             and what every padded batch (static, dynamic) really runs on
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import native
from .batch import Batch, LayerKV
from .torch_attention import attend_by_request, attend_padded

Backend = Callable[[torch.Tensor, LayerKV, Batch], torch.Tensor]


def attend_triton(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "triton": imported on first use, since Triton is not everywhere."""
    from . import triton_attention

    return triton_attention.attend(q, layer, batch)


def store_triton(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """``store`` that skips slot −1."""
    from . import triton_attention

    triton_attention.store(k, v, layer, batch.slots)


BACKENDS: dict[str, Backend] = {
    "triton": attend_triton,
    "native": native.native_attention,
    "torch": attend_by_request,
    "padded": attend_padded,
}
STORES = {"triton": store_triton, "native": native.native_store}  # the others use ``store``
