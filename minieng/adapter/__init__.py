"""Any other model of transformers: run on the paged cache, tried before it is trusted,
refused where it cannot be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand

_WHERE = {"Adapter": ".adapter", "UnsupportedModel": ".refusals", "limits": ".trial", "refuse": ".refusals"}
__all__ = ["Adapter", "UnsupportedModel", "limits", "refuse"]

if TYPE_CHECKING:
    from .adapter import Adapter
    from .refusals import UnsupportedModel, refuse
    from .trial import limits

__getattr__ = on_demand(__name__, _WHERE)
