"""Several engines under one virtual time: replicas behind a router. (A pipeline is one engine.)

Every engine has a clock of its own. The cluster always steps the one that is furthest behind. What happens to
the whole of it, a request that comes, a replica that dies, happens when all engines that work have come to
that time, so what the router sees is the state at that moment.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, cast

from ..config import MOST_BLOCKS, EngineConfig
from ..engine import Engine
from ..observe.trace import Trace
from ..parallel.router import Load, Router, make_router
from ..request import Request
from ..resume import going_on
from .cost_model import StepTimeModel, decodes
from .executor import SimExecutor
from .simulated import engine_of

USUAL = decodes(32, 512)  # the step by which replicas' speeds are compared


class Cluster:
    """Engines behind a router. ``run`` takes requests in any order and returns those that were served.

    engines  all there ever were, in the order in which they came; ``gone`` names those that died
    routed   how many requests each was given
    refused  requests that nobody could take, and why
    resumed  how many requests went on elsewhere because their replica died
    """

    hears = False

    def __init__(self, engines: list[Engine], router: str | Router = "least", seed: int = 0) -> None:
        self.engines, self.router = engines, make_router(router, seed)
        self.refused: list[tuple[Request, str]] = []
        self.routed: list[int] = [0] * len(engines)
        self.gone: set[int] = set()
        self.resumed = 0
        self._flying: list[list[Request]] = [[] for _ in engines]
        self._names: list[dict[str, Request]] = [{} for _ in engines]
        self._heirs: dict[Request, Request] = {}  # a request, and what goes on for it elsewhere
        self._arrived: dict[Request, float] = {}  # of heirs, when the first of them came
        self._events: list[tuple[float, int, Callable[[float], Any]]] = []
        self._count = itertools.count()

    @classmethod
    def replicas(
        cls,
        count: int,
        times: StepTimeModel,
        config: EngineConfig,
        router: str | Router = "least",
        detail: bool = False,
    ) -> Self:
        """``count`` copies of one engine on hardware of their own."""
        if count < 1:
            raise ValueError(f"replicas={count}: must be at least 1")
        return cls.fleet([times] * count, config, router, detail)

    @classmethod
    def fleet(
        cls, fleet: Sequence[StepTimeModel], config: EngineConfig, router: str | Router = "least",
        detail: bool = False,
    ) -> Self:  # fmt: skip
        """A replica for each entry, of whatever hardware; each cache is sized from its own memory."""
        return cls(engines_of(fleet, config, detail), router, config.seed)

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
        come = sorted(requests, key=lambda r: r.arrival_time)
        for request in come:
            self.at(request.arrival_time, partial(self._arrive, request))
        self.work()
        refused = {request for request, _ in self.refused}
        ends = [self.latest(request) for request in come]
        for heir, arrival in self._arrived.items():
            heir.arrival_time = arrival
        return [request for request in ends if request not in refused]

    def at(self, when: float, what: Callable[[float], Any]) -> None:
        """Call ``what(when)`` as soon as all engines that work have come to that time, in seconds."""
        heapq.heappush(self._events, (when, next(self._count), what))

    def fail(self, replica: int, when: float, back: float | None = None) -> None:
        """Let a replica die. The tokens that it has sent by then are kept, and its requests go on elsewhere.

        back  seconds at which one of the same kind, with an empty cache, takes its place: a replica with a
              number of its own
        """
        if not 0 <= replica < len(self.engines):
            raise ValueError(f"replica={replica}: there are {len(self.engines)}, from 0 on")
        self.at(when, partial(self._die, replica))
        if back is not None:
            if back < when:
                raise ValueError(f"back={back}: must not be before it dies, at {when}")
            self.at(back, partial(self._come_back, replica))

    def work(self) -> None:
        """Until nothing is left to do, and nothing more will happen."""
        while True:
            when = self._events[0][0] if self._events else float("inf")
            busy = [
                i for i, e in enumerate(self.engines)
                if i not in self.gone and e.has_work and e.clock.now() < when
            ]  # fmt: skip
            if busy:
                i = min(busy, key=lambda i: self.engines[i].clock.now())
                record = self.engines[i].step(until=when if self._events else None)
                for name in record.finished if record and self.hears else ():
                    self.at(self.engines[i].clock.now(), partial(self._finished, i, name))
            elif self._events:
                _, _, what = heapq.heappop(self._events)
                what(when)
            else:
                return

    def submit(self, request: Request, now: float) -> None:
        """Give the request to the router's choice. It is noted, with the reason, if it can never fit."""
        self.give(request, self.choose(self.router, self.alive(), request, now))

    def finished(self, i: int, request: Request, now: float) -> None:
        """Engine ``i`` has completed a text, and did not die before. Asked only of a class that ``hears``."""

    def choose(self, router: Router, among: Sequence[int], request: Request, now: float) -> int | None:
        """Which of the replicas ``among`` takes a request; None if there is none."""
        if len(among) < 2:
            return among[0] if among else None
        return among[router.pick([self.load(i, now) for i in among], request.token_ids)]

    def give(self, request: Request, i: int | None) -> None:
        try:
            if i is None:
                raise ValueError("no replica is alive")
            check_length(request, self.engines[i].config.max_model_len)
            self.engines[i].add_request(request)
        except ValueError as problem:
            self.refused.append((request, str(problem)))
            return
        self._flying[i].append(request)
        self._names[i][request.request_id] = request
        self.routed[i] += 1

    def alive(self) -> list[int]:
        return [i for i in range(len(self.engines)) if i not in self.gone]

    def load(self, i: int, now: float) -> Load:
        """Replica ``i`` at ``now``: a step that is still under way has not finished anything yet."""
        flying = self._flying[i] = [
            r for r in self._flying[i] if r.finish_time is None or r.finish_time > now
        ]
        running = sum(1 for r in flying if r.admitted_time is not None)
        tokens = sum(len(r.token_ids) for r in flying)
        return Load(len(flying) - running, running, tokens, speed_of(self.engines[i]), i)

    def succeed(self, request: Request, when: float, **changed: Any) -> Request:
        """What goes on for a request from ``when`` on, with the tokens it has by then."""
        heir = going_on(request, when, **changed)
        self._heirs[request] = heir
        self._arrived[heir] = self._arrived.pop(request, request.arrival_time)
        return heir

    def latest(self, request: Request) -> Request:
        while request in self._heirs:
            request = self._heirs[request]
        return request

    def _finished(self, i: int, name: str, now: float) -> None:
        if i not in self.gone:
            request = self._names[i].pop(name)
            self.finished(i, request, now)

    def _arrive(self, request: Request, now: float) -> None:
        self.submit(request, now)

    def _die(self, i: int, now: float) -> None:
        if i in self.gone:
            return
        self.gone.add(i)
        self.load(i, now)  # forgets those that had ended by now
        orphans, self._flying[i] = self._flying[i], []
        for request in orphans:
            self.resumed += 1
            self.resume(request, now)

    def resume(self, request: Request, now: float) -> None:
        """The replica of a request has died."""
        self.submit(self.succeed(request, now), now)

    def _come_back(self, i: int, now: float) -> None:
        old = self.engines[i]
        new = engine_of(cast(SimExecutor, old.executor).model, old.config, lean(old.trace.detail))
        new.clock.wait_until(now)
        self.engines.append(new)
        self.routed.append(0)
        self._flying.append([])
        self._names.append({})

    # -- what came of it ----------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Virtual time at which the last engine stopped."""
        return max(e.clock.now() for e in self.engines)

    def total(self, name: str) -> Any:
        """Sum of a record's number over all steps of all engines."""
        return sum(e.trace.total(name) for e in self.engines)


def engines_of(fleet: Sequence[StepTimeModel], config: EngineConfig, detail: bool = False) -> list[Engine]:
    """An engine for each entry. Raises ValueError for more blocks than can be counted here."""
    engines: list[Engine] = []
    for times in fleet:
        engines.append(engine_of(times, config, lean(detail)))
        blocks = engines[0].kv.pool.num_blocks
        if len(fleet) * blocks > MOST_BLOCKS:
            raise ValueError(
                f"replicas={len(fleet)}: at most {MOST_BLOCKS // blocks} can be counted here, of {blocks:,} "
                "blocks each"
            )
    return engines


def speed_of(engine: Engine) -> float:
    """Tokens a second of a batch of ``USUAL`` size."""
    return USUAL.new / cast(SimExecutor, engine.executor).seconds(USUAL)


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
