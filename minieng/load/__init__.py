"""A server under load, seen from outside: a client for any OpenAI-compatible one, what it saw as a file,
and the same arrivals again on the simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand

_WHERE = {
    "Address": ".http",
    "Answer": ".answer",
    "Recording": ".recording",
    "Server": ".client",
    "metrics_of": ".client",
    "offer": ".client",
    "replay": ".compare",
}
__all__ = ["Address", "Answer", "Recording", "Server", "metrics_of", "offer", "replay"]

if TYPE_CHECKING:
    from .answer import Answer
    from .client import Server, metrics_of, offer
    from .compare import replay
    from .http import Address
    from .recording import Recording

__getattr__ = on_demand(__name__, _WHERE)
