"""The door: ``minieng serve`` answers OpenAI's HTTP requests from one engine,
which a thread of its own steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import on_demand

_WHERE = {
    "AsyncEngine": ".async_engine",
    "EngineFailed": ".async_engine",
    "EngineStopping": ".async_engine",
    "LocalWorker": ".worker",
    "Replicas": ".replicas",
    "ServerConfig": ".settings",
    "make_app": ".http",
    "serve": ".run",
}
__all__ = [
    "AsyncEngine",
    "EngineFailed",
    "EngineStopping",
    "LocalWorker",
    "Replicas",
    "ServerConfig",
    "make_app",
    "serve",
]

if TYPE_CHECKING:
    from .async_engine import AsyncEngine, EngineFailed, EngineStopping
    from .http import make_app
    from .replicas import Replicas
    from .run import serve
    from .settings import ServerConfig
    from .worker import LocalWorker

__getattr__ = on_demand(__name__, _WHERE)
