"""The playground: a workload under two schedulers, side by side, simulated. In a notebook and in a web page.

Plain Python without numpy and matplotlib: the page runs this very source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand

_WHERE = {
    "SITUATIONS": ".situations",
    "Choice": ".choice",
    "Outcome": ".outcome",
    "Situation": ".situations",
    "answer": ".ask",
    "comparison": ".show",
    "playground": ".widget",
    "run": ".outcome",
    "situation": ".situations",
}
__all__ = ["Choice", "Outcome", "Situation", "answer", "comparison", "playground", "run", "situation"]

if TYPE_CHECKING:
    from .ask import answer
    from .choice import Choice
    from .outcome import Outcome, run
    from .show import comparison
    from .situations import SITUATIONS as SITUATIONS
    from .situations import Situation, situation
    from .widget import playground

__getattr__ = on_demand(__name__, _WHERE)
