"""Hardware that is not here: step times from a formula, on virtual time, under the same scheduler objects.

Runs on plain Python, in a web page too: no numpy and no torch. (Fitting the formula to a trace needs numpy.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand

_WHERE = {
    "Apart": ".apart",
    "Cluster": ".cluster",
    "GPU": ".hardware",
    "ModelSpec": ".hardware",
    "StepTimeModel": ".cost_model",
    "Work": ".cost_model",
    "scripted_requests": ".executor",
    "simulated_engine": ".simulated",
}
__all__ = [
    "GPU",
    "Apart",
    "Cluster",
    "ModelSpec",
    "StepTimeModel",
    "Work",
    "scripted_requests",
    "simulated_engine",
]

if TYPE_CHECKING:
    from .apart import Apart
    from .cluster import Cluster
    from .cost_model import StepTimeModel, Work
    from .executor import scripted_requests
    from .hardware import GPU, ModelSpec
    from .simulated import simulated_engine

__getattr__ = on_demand(__name__, _WHERE)
