"""minieng: a small, readable LLM serving engine on a paged KV cache.

``from minieng import LLM, SamplingParams`` is light: torch is imported when a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import on_demand
from .openmp import spin_briefly

spin_briefly()

__version__ = "0.1.0"

_WHERE = {
    "LLM": ".llm",
    "Engine": ".engine",
    "EngineConfig": ".config",
    "Plan": ".plan",
    "PlanError": ".plan",
    "Request": ".request",
    "RequestOutput": ".request",
    "SamplingParams": ".request",
    "Scheduler": ".scheduler",
    "Workload": ".workload",
}
__all__ = [
    "LLM",
    "Engine",
    "EngineConfig",
    "Plan",
    "PlanError",
    "Request",
    "RequestOutput",
    "SamplingParams",
    "Scheduler",
    "Workload",
]

if TYPE_CHECKING:
    from .config import EngineConfig
    from .engine import Engine
    from .llm import LLM
    from .plan import Plan, PlanError
    from .request import Request, RequestOutput, SamplingParams
    from .scheduler import Scheduler
    from .workload import Workload

__getattr__ = on_demand(__name__, _WHERE)
