"""The ways to compute paged attention, each as a value, in the one list that names them.

A step's tokens come packed, one request after the other; each request's keys and values lie in the blocks
that its table names. Whoever wants to know what a backend can do asks its value: a new one is an entry in
``BACKENDS``. This file needs no torch, and a backend is imported when it is first used: Triton is not
everywhere, and a name that is none is told before anything heavy is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    from .batch import Batch, LayerKV


class Kernels(NamedTuple):
    """What a backend brings.

    attend  q [T, heads, head_dim] over the paged keys and values of the step's rows → [T, heads, head_dim]
    store   writes the step's k and v [T, kv_heads, head_dim] into their slots
    ops     what lies between the matrix products (ops.py)
    settle  (cache, pairs): copies the first slot of some blocks to other blocks, as
            ``torch_attention.torch_settle`` does it, which is used where there is none
    """

    attend: Callable[[torch.Tensor, LayerKV, Batch], torch.Tensor]
    store: Callable[[torch.Tensor, torch.Tensor, LayerKV, Batch], None]
    ops: Any
    settle: Callable[[torch.Tensor, torch.Tensor], None] | None = None


@dataclass(frozen=True)
class Backend:
    """A way to compute paged attention, and what it can do.

    load          imports its kernels
    devices       where "auto" tries it
    capability    compute capability that a GPU must have for it
    rectangles    knows padding; the padded batches of others are computed by "padded"
    whole_layers  comes with ``native.native_layers``, which computes all layers in one call where products
    are its own, too
    skips_slots   does not store where the slot is −1
    capturable    computes decodes from tensors alone (``Batch.decode_rows``), as a CUDA graph needs it
    gathers       copies all keys and values that a step sees, up to the width of the block tables
    """

    name: str
    load: Callable[[], Kernels]
    devices: tuple[str, ...] = ("cpu", "cuda")
    capability: tuple[int, int] = (0, 0)
    rectangles: bool = False
    whole_layers: bool = False
    skips_slots: bool = False
    capturable: bool = False
    gathers: bool = False

    @functools.cached_property
    def kernels(self) -> Kernels:
        return self.load()

    @property
    def attend(self) -> Callable[[torch.Tensor, LayerKV, Batch], torch.Tensor]:
        return self.kernels.attend

    @property
    def store(self) -> Callable[[torch.Tensor, torch.Tensor, LayerKV, Batch], None]:
        return self.kernels.store

    @property
    def ops(self) -> Any:
        return self.kernels.ops


def load_triton() -> Kernels:
    """One kernel for prompts, chunks and decodes (triton_attention.py)."""
    from . import triton_attention, triton_ops

    return Kernels(
        triton_attention.triton_attend, triton_attention.triton_store, triton_ops,
        triton_attention.triton_settle,
    )  # fmt: skip


def load_native() -> Kernels:
    """A small C kernel that walks the block table, compiled on first use (native.py)."""
    from . import native, ops

    return Kernels(native.native_attention, native.native_store, ops.NATIVE)


def load_padded() -> Kernels:
    """All requests at once in a padded rectangle with a mask."""
    from . import ops, torch_attention

    return Kernels(torch_attention.attend_padded, torch_attention.torch_store, ops.PLAIN)


def load_torch() -> Kernels:
    """One request after the other, its blocks gathered, no mask."""
    from . import ops, torch_attention

    return Kernels(torch_attention.attend_by_request, torch_attention.torch_store, ops.PLAIN)


# Best first. The last needs nothing but torch: it is what all others are compared with and fall back to.
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("triton", load_triton, ("cuda",), capability=(8, 0), skips_slots=True, capturable=True),
        Backend("native", load_native, ("cpu",), rectangles=True, whole_layers=True),
        Backend("padded", load_padded, ("cuda",), rectangles=True, capturable=True, gathers=True),
        Backend("torch", load_torch),
    )
}


def check_name(asked: str) -> None:
    """Raise ValueError for a name that is neither "auto" nor in the list."""
    if asked != "auto" and asked not in BACKENDS:
        raise ValueError(f"attention={asked!r}: choose one of {', '.join(('auto', *BACKENDS))}")
