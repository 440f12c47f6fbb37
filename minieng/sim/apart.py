"""Prefill and decode apart: some replicas compute prompts, others make the rest, and KV travels between them.

    arrival → router → a prefill replica: the prompt, and the first token
                       │  KV of the prompt, over the link of that replica: one request after the other
                       ▼
              router → a decode replica: all further tokens, in steps that no prompt makes long

Both sides are the engine as it is. The prefill side serves requests of one token; the decode side takes a
request whose KV has come, and ``Receiving`` charges nothing for computing that. DistServe (OSDI 2024),
Splitwise (ISCA 2024) and Mooncake (FAST 2025) work so; in vLLM a KV connector does the sending.

Left out: that KV waits in the memory of the prefill side while the decode side has no room, and that layers
may be sent while later ones are computed, which hides a part of the transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from ..config import EngineConfig
from ..engine import Engine
from ..parallel.router import Router, make_router
from ..plan import Plan, StepResult
from ..request import Request
from .cluster import Cluster, engines_of
from .cost_model import StepTimeModel, Work
from .executor import SimExecutor

KV_LINK = 50e9  # bytes/s from machine to machine: 400 Gbit/s, as a GPU has in a DGX H100 (assumed)
KV_LATENCY = 1e-3  # seconds until the first byte of a transfer is there: asking, and telling (assumed)


class Receiving(SimExecutor):
    """A decode replica's executor: KV that came over the link is there, so it is read, and not computed.

    received  request → tokens of it that came. After a preemption they are gone, and computed here.
    """

    def __init__(self, model: StepTimeModel, block_size: int = 16) -> None:
        super().__init__(model, block_size)
        self.received: dict[Request, int] = {}

    def execute(self, plan: Plan) -> StepResult:
        tokens = [self._token(request, n) for request, n in plan.extend]
        slices = [(n - self.free(r, n), r.num_computed_tokens + self.free(r, n)) for r, n in plan.extend]
        work = Work.of([(new, cached) for new, cached in slices if new])
        work = work._replace(logits=sum(token is not None for token in tokens))
        return StepResult(tokens, self.seconds(work) + self.move_seconds(plan))

    def free(self, request: Request, n: int) -> int:
        """How many of the next ``n`` tokens have come already."""
        if request.num_preemptions:
            return 0
        return max(0, min(n, self.received.get(request, 0) - request.num_computed_tokens))


class Apart(Cluster):
    """``prefill`` engines and ``decode`` engines, whose executors are ``Receiving``; else as ``Cluster``.

    router        which prefill replica takes a request; a second one of the same kind picks for decode
    link          bytes/s from one replica to another
    latency       seconds of each transfer beside its bytes
    sent, waited  bytes of KV that were sent, and seconds that requests waited for them, all together
    """

    hears = True

    def __init__(
        self, prefill: list[Engine], decode: list[Engine], router: str | Router = "least",
        link: float = KV_LINK, latency: float = KV_LATENCY, seed: int = 0,
    ) -> None:  # fmt: skip
        if not prefill or not decode:
            raise ValueError(f"prefill={len(prefill)}, decode={len(decode)}: each side needs a replica")
        if not link > 0 or not latency >= 0:
            raise ValueError(f"link={link}, latency={latency}: bytes/s above 0, and seconds from 0 on")
        super().__init__([*prefill, *decode], router, seed)
        self.decodes = set(range(len(prefill), len(self.engines)))
        self.decode_router = make_router(router, seed + 1) if isinstance(router, str) else router
        self.link, self.latency, self.sent, self.waited = link, latency, 0.0, 0.0
        self._free_at: dict[int, float] = {}  # of each prefill replica's link
        self._whole: dict[Request, Request] = {}  # a prompt being computed → what was asked for

    @classmethod
    def of(
        cls, prefill: Sequence[StepTimeModel], decode: Sequence[StepTimeModel], config: EngineConfig,
        router: str | Router = "least", link: float = KV_LINK, latency: float = KV_LATENCY,
    ) -> Apart:  # fmt: skip
        """A replica for each entry. On the decode side a prompt that has come passes in one step, whatever
        ``max_num_batched_tokens`` says of computed ones; that side keeps whole prompts and decodes together.
        """
        wide = replace(config, scheduler="chunked", max_num_batched_tokens=2**20)
        receivers = engines_of(decode, wide)
        for engine in receivers:
            engine.executor = Receiving(cast(SimExecutor, engine.executor).model, config.block_size)
        return cls(engines_of(prefill, config), receivers, router, link, latency, config.seed)

    def submit(self, request: Request, now: float) -> None:
        """To a prefill replica first, also with a text that was begun elsewhere and whose KV is lost."""
        made = request.num_output_tokens
        first = self.succeed(request, now, params=replace(request.params, max_tokens=made + 1))
        self._whole[first] = request
        self.give(first, self.choose(self.router, self.side(decode=False), first, now))

    def side(self, decode: bool) -> list[int]:
        return [i for i in self.alive() if (i in self.decodes) == decode]

    def finished(self, i: int, request: Request, now: float) -> None:
        """A prompt is computed: its KV goes over the link of replica ``i``, which sends one at a time."""
        whole = self._whole.pop(request, None)
        if whole is None or request.finish_reason == "stop" or len(request.token_ids) >= whole.max_num_tokens:
            return  # the text is complete
        tokens = request.num_tokens - 1  # the last one has no KV yet
        nbytes = tokens * cast(SimExecutor, self.engines[i].executor).kv_nbytes_per_token
        there = max(now, self._free_at.get(i, 0.0)) + self.latency + nbytes / self.link
        self._free_at[i] = there
        self.sent, self.waited = self.sent + nbytes, self.waited + there - now
        heir = self.succeed(request, there, params=whole.params, max_model_len=whole.max_num_tokens)
        self.at(there, partial(self.receive, heir, i, tokens))

    def receive(self, request: Request, sender: int, tokens: int, now: float) -> None:
        if sender in self.gone:  # in the middle of the transfer
            self.resume(request, now)
            return
        i = self.choose(self.decode_router, self.side(decode=True), request, now)
        if i is not None:
            cast(Receiving, self.engines[i].executor).received[request] = tokens
        self.give(request, i)

    def resume(self, request: Request, now: float) -> None:
        """From the prompt on, whichever side died: the KV is lost."""
        whole = self._whole.pop(request, request)
        heir = self.succeed(request, now, params=whole.params, max_model_len=whole.max_num_tokens)
        self.submit(heir, now)

    def _come_back(self, i: int, now: float) -> None:
        super()._come_back(i, now)
        if i in self.decodes:
            new = self.engines[-1]
            new.executor = Receiving(cast(SimExecutor, new.executor).model, new.config.block_size)
            self.decodes.add(len(self.engines) - 1)

    def facts(self) -> dict[str, Any]:
        """For a table: how many on each side, gigabytes sent, busy seconds of each side's engines."""
        sides = {"prefill": set(range(len(self.engines))) - self.decodes, "decode": self.decodes}
        busy = {
            name: sum(self.engines[i].trace.total("duration") for i in side) for name, side in sides.items()
        }
        return {"GB sent": self.sent / 1e9} | {f"{name} busy, s": seconds for name, seconds in busy.items()}
