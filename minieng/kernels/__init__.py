"""Tensors in, tensors out: attention, matrix products and what lies between them,
each in the way that is fastest here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand
from .backend import BACKENDS, Backend, Kernels

# Torch comes with them.
_WHERE = {"Attention": ".choose", "Batch": ".batch", "LayerKV": ".batch", "choose_attention": ".choose"}
__all__ = ["BACKENDS", "Attention", "Backend", "Batch", "Kernels", "LayerKV", "choose_attention"]

if TYPE_CHECKING:
    from .batch import Batch, LayerKV
    from .choose import Attention, choose_attention

__getattr__ = on_demand(__name__, _WHERE)
