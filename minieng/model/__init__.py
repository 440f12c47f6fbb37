"""Models: what a paper shows (decoder, weights), and what carries a plan out (runner, graphs,
sampler, load).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hub.resolve import resolve
from ..lazy import on_demand

# torch comes with all of these
_WHERE = {"Adapter": "..adapter.adapter", "Decoder": ".decoder", "Decodes": ".graphs", "Loaded": ".load",
          "ModelRunner": ".runner", "Weights": ".weights", "sample": ".sampler"}  # fmt: skip
__all__ = ["Adapter", "Decoder", "Decodes", "Loaded", "ModelRunner", "Weights", "resolve", "sample"]

if TYPE_CHECKING:
    from ..adapter.adapter import Adapter
    from .decoder import Decoder
    from .graphs import Decodes
    from .load import Loaded
    from .runner import ModelRunner
    from .sampler import sample
    from .weights import Weights

__getattr__ = on_demand(__name__, _WHERE)
