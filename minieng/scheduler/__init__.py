"""Schedulers: each decides what one step computes. Here are the lists of names that a user may type."""

from __future__ import annotations

from ..config import EngineConfig, look_up
from .admission import ADMISSIONS, reservation_of
from .base import Scheduler
from .chunked import ChunkedScheduler
from .continuous import ContinuousScheduler
from .dynamic import DynamicScheduler
from .ordering import ORDERS, VICTIMS, find_order, make_victim
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


def check_names(config: EngineConfig) -> None:
    """Raise ValueError for a name that none of the scheduler's lists holds:
    better now than when a model is loaded.
    """
    make_scheduler(config.scheduler)
    find_order(config.order)
    reservation_of(config.admission)
    if config.victim is not None:
        make_victim(config.victim)


__all__ = [
    "ADMISSIONS",
    "ORDERS",
    "SCHEDULERS",
    "VICTIMS",
    "Scheduler",
    "check_names",
    "make_scheduler",
]
