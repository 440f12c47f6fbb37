"""Pictures of traces. Each is one call, returns a ``Picture``, and describes itself in words."""

from typing import TYPE_CHECKING

from ..draw import step_in_words
from ..lazy import on_demand
from .blocks import block_map, kv_use
from .curves import latency_cdf, roofline, tradeoff
from .over_time import over_time
from .player import player
from .rectangle import padding_rectangle
from .style import Picture, in_words
from .timeline import compare, timeline

if TYPE_CHECKING:
    from ..playground.widget import playground

__all__ = [
    "Picture",
    "block_map",
    "compare",
    "in_words",
    "kv_use",
    "latency_cdf",
    "over_time",
    "padding_rectangle",
    "player",
    "playground",
    "roofline",
    "step_in_words",
    "timeline",
    "tradeoff",
]

# It stands far above pictures, and is looked for here: imported when it is first called.
__getattr__ = on_demand(__name__, {"playground": "..playground.widget"})
