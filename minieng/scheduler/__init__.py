"""Schedulers: each decides what one step computes. ``make_scheduler`` turns the user's word into one."""

from __future__ import annotations

from ..config import look_up
from .base import Scheduler
from .chunked import ChunkedScheduler
from .continuous import ContinuousScheduler
from .dynamic import DynamicScheduler
from .static import StaticScheduler

SCHEDULERS: dict[str, type[Scheduler]] = {
    "static": StaticScheduler,
    "dynamic": DynamicScheduler,
    "continuous": ContinuousScheduler,
    "chunked": ChunkedScheduler,
}


def make_scheduler(which: str | Scheduler) -> Scheduler:
    """A scheduler from its name, or the learner's own instance as it is."""
    if isinstance(which, Scheduler):
        return which
    if isinstance(which, type) and issubclass(which, Scheduler):
        raise ValueError(f"scheduler={which.__name__}: pass an instance, {which.__name__}(), not the class")
    return look_up("scheduler", which, SCHEDULERS, ", or pass a Scheduler of your own")()


__all__ = [
    "SCHEDULERS",
    "ChunkedScheduler",
    "ContinuousScheduler",
    "DynamicScheduler",
    "Scheduler",
    "StaticScheduler",
    "make_scheduler",
]
