"""Several engines under one virtual time: replicas behind a router. (A pipeline is one engine.)

Every engine has a clock of its own. The cluster always steps the one that is furthest behind, and routes a
request when all of them have come to its arrival, so what the router sees is the state at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..config import MOST_BLOCKS, EngineConfig
from ..engine import Engine
from ..observe.trace import Trace
from ..parallel.router import Load, Router, make_router
from ..request import Request
from .cost_model import StepTimeModel
from .simulated import engine_of


class Cluster:
    """Engines behind a router. ``run`` takes requests in any order and returns those that were served."""

    def __init__(self, engines: list[Engine], router: str | Router = "least", seed: int = 0) -> None:
        self.engines, self.router = engines, make_router(router, seed)
        self.refused: list[tuple[Request, str]] = []
        self.routed: list[int] = [0] * len(engines)
        self._flying: list[list[Request]] = [[] for _ in engines]

    @classmethod
    def replicas(
        cls,
        count: int,
        times: StepTimeModel,
        config: EngineConfig,
        router: str | Router = "least",
        detail: bool = False,
    ) -> Cluster:
        """``count`` copies of one engine on hardware of their own."""
        if count < 1:
            raise ValueError(f"replicas={count}: must be at least 1")
        engines = [engine_of(times, config, lean(detail))]
        blocks = engines[0].kv.pool.num_blocks
        if count * blocks > MOST_BLOCKS:
            raise ValueError(
                f"replicas={count}: at most {MOST_BLOCKS // blocks} can be counted here, of {blocks:,} "
                "blocks each"
            )
        engines += [engine_of(times, config, lean(detail)) for _ in range(count - 1)]
        return cls(engines, router, config.seed)

    @classmethod
    def pipeline(
        cls, times: StepTimeModel, config: EngineConfig, detail: bool = False, batch_share: bool = True
    ) -> Cluster:
        """A pipeline with one batch in flight for each stage:
        groups that take turns (``parallel/pipeline.py``).

        batch_share  ``max_num_seqs`` is the whole pipeline's, so that each batch gets its part; else it is
        each batch's
        """
        if not batch_share:
            config = replace(config, max_num_seqs=config.max_num_seqs * times.stages)
        return cls([engine_of(times, config, lean(detail), depth=times.stages)], "least", config.seed)

    # -- running ------------------------------------------------------------------------------------------

    def run(self, requests: Iterable[Request]) -> list[Request]:
        """Serve all requests; returns the finished ones in the order of arrival.
        ``refused`` holds the others.
        """
        served = []
        for request in sorted(requests, key=lambda r: r.arrival_time):
            self.advance(request.arrival_time)
            if self.submit(request):
                served.append(request)
        self.drain()
        return served

    def advance(self, when: float) -> None:
        """Every engine works until its clock has come to ``when``, in seconds."""
        while True:
            behind = [e for e in self.engines if e.has_work and e.clock.now() < when]
            if not behind:
                return
            min(behind, key=lambda e: e.clock.now()).step(until=when)

    def submit(self, request: Request) -> bool:
        """Give the request to the router's choice; False, and the reason noted, if it can never fit."""
        now = request.arrival_time
        i = 0
        if len(self.engines) > 1:
            i = self.router.pick([self.load(k, now) for k in range(len(self.engines))], request.token_ids)
        try:
            check_length(request, self.engines[i].config.max_model_len)
            self.engines[i].add_request(request)
        except ValueError as problem:
            self.refused.append((request, str(problem)))
            return False
        self._flying[i].append(request)
        self.routed[i] += 1
        return True

    def drain(self) -> None:
        """No more requests will come: work until nothing is left."""
        while busy := [e for e in self.engines if e.has_work]:
            min(busy, key=lambda e: e.clock.now()).step()

    def load(self, i: int, now: float) -> Load:
        """Replica ``i`` at ``now``: a step that is still under way has not finished anything yet."""
        flying = self._flying[i] = [
            r for r in self._flying[i] if r.finish_time is None or r.finish_time > now
        ]
        running = sum(1 for r in flying if r.admitted_time is not None)
        return Load(len(flying) - running, running, sum(len(r.token_ids) for r in flying))

    # -- what came of it ----------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Virtual time at which the last engine stopped."""
        return max(e.clock.now() for e in self.engines)

    def total(self, name: str) -> Any:
        """Sum of a record's number over all steps of all engines."""
        return sum(e.trace.total(name) for e in self.engines)


def check_length(request: Request, max_model_len: int | None) -> None:
    """Raises ValueError if the model has no room for the prompt and one token."""
    if max_model_len is not None and request.num_prompt_tokens >= max_model_len:
        raise ValueError(
            f"request {request.request_id!r}: the prompt has {request.num_prompt_tokens} tokens, the "
            f"longest text is {max_model_len} with at least one token of output"
        )


def lean(detail: bool) -> Trace:
    """A trace for long simulations: numbers only, unless every name is wanted."""
    return Trace(limit=100_000 if detail else 1_000_000, detail=detail)
