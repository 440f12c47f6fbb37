"""minieng: a small, readable LLM serving engine on a paged KV cache.

``from minieng import LLM, SamplingParams`` is light: torch is imported when a model is loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Huge pages for torch's large tensors on Linux, read when torch first allocates: streaming the weights of a small model
# through a CPU at every step is 5 % faster with them.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

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


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'minieng' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name], __name__), name)
