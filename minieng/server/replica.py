"""What runs where a replica is: an engine, and what its front asks of it.

A front that has its replicas on this machine starts ``main`` in a process of its own and talks to it
through the pipes of stdin and stdout, one pickle after the other, each behind its length. The process ends at
the end of its stdin: so it never outlives the front, however that ends.
"""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

from ..observe.trace import Trace
from ..request import Logprob, Request, SamplingParams, TokenEvent
from ..resume import going_on
from .async_engine import AsyncEngine, EngineFailed
from .settings import start_log

HEAD = struct.Struct("<Q")  # bytes of what follows
KEPT_STEPS = 100  # of the trace: nobody reads it here
FAILED = 3  # exit code: a step has failed


class Spec(NamedTuple):
    """Which engine a replica is. knobs: of ``EngineConfig``; name: what clients call the model."""

    model: str
    knobs: dict[str, Any]
    name: str


class Hello(NamedTuple):
    """What a replica says of itself when it is ready: what a front must know to read prompts."""

    model_name: str
    max_model_len: int
    vocab_size: int
    tokenizer: Any
    config: Any
    device: str


class Ask(NamedTuple):
    """New prompts: the arguments of ``LLM.submit``."""

    prompts: Sequence[dict[str, Any]]
    params: SamplingParams
    more: dict[str, Any]


class News(NamedTuple):
    """A token of the ``place``-th text of a submission.

    event    as the engine told it
    logprob  what is said of it, if that was asked for
    cached   tokens of the prompt that were found in the replica's cache
    told     what is said of the prompt, with a text's first token
    """

    place: int
    event: TokenEvent
    logprob: dict[int, Logprob] | None
    cached: int
    told: list[dict[int, Logprob]] | None


class Replica:
    """An engine in this process. All but the making belongs to one event loop."""

    def __init__(self, spec: Spec, number: int) -> None:
        from ..llm import LLM
        from .metrics import Metrics

        self.llm = LLM(spec.model, **spec.knobs | device_of(spec.knobs, number))
        self.llm.generate([[0]], SamplingParams(max_tokens=2, ignore_eos=True))
        self.llm.engine.trace = Trace(limit=KEPT_STEPS, meta=self.llm.trace.meta)
        self.engine = AsyncEngine(self.llm, Metrics(self.llm, spec.name, str(number)))

    def start(self) -> Hello:
        self.engine.start()
        llm = self.llm
        device = llm.runner.device_name
        return Hello(llm.model_name, llm.max_model_len, llm.vocab_size, llm.tokenizer, llm.config, device)

    async def submit(self, order: Ask | Request) -> AsyncGenerator[list[Request] | list[News]]:
        """First the requests as they were queued, then what comes of them; aborted if it is cancelled, at any
        moment. Raises as ``AsyncEngine.submit``; if a step fails, the process ends.
        """
        try:
            if isinstance(order, Request):
                feed = await self.engine.go_on(order)
            else:
                feed = await self.engine.submit(order.prompts, order.params, **order.more)
            with closing(feed):
                # As they came: the engine's thread may have made tokens since, which are told of below.
                yield [going_on(request, -math.inf) for request in feed.requests]
                places = {(r.prompt_id, r.sample_index): i for i, r in enumerate(feed.requests)}
                told = [0] * len(places)
                async for events in feed:
                    yield [
                        news(feed.requests, places[event.request_id, event.index], event, told)
                        for event in events
                    ]
        except EngineFailed:
            os._exit(FAILED)  # the log has said why

    def stats(self) -> bytes:
        """All that it counts, for Prometheus."""
        assert self.engine.metrics is not None
        return self.engine.metrics.text()


def news(requests: Sequence[Request], place: int, event: TokenEvent, told: list[int]) -> News:
    """told: tokens of each text that have been told of, which is one more afterwards."""
    request, count = requests[place], told[place]
    logprob = None
    if event.token_id is not None:
        told[place] += 1
        logprob = request.logprobs[count] if request.params.logprobs is not None else None
    first = None if count else request.prompt_logprobs or None
    return News(place, event, logprob, request.num_cached_tokens, first)


def device_of(knobs: dict[str, Any], number: int) -> dict[str, str]:
    """Replica k takes GPU k, where there are several and nothing else was said."""
    if knobs.get("device", "auto") not in ("auto", "cuda") or knobs.get("stages", 1) > 1:
        return {}
    import torch

    count = torch.cuda.device_count()
    return {"device": f"cuda:{number % count}"} if count > 1 else {}


# -- the process ------------------------------------------------------------------------------------------


def framed(what: Any) -> bytes:
    body = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(body)) + body


def read_frame(pipe: BinaryIO) -> Any:
    """The next message. Raises EOFError at the end."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        raise EOFError
    return pickle.loads(pipe.read(HEAD.unpack(head)[0]))


class Child:
    """A replica at the end of two pipes."""

    def __init__(self, inbox: BinaryIO, outbox: int) -> None:
        self.inbox, self.outbox = inbox, outbox
        self.spec, self.number = read_frame(inbox)
        self.loop = asyncio.new_event_loop()
        self.replica: Replica
        self._tasks: dict[int, asyncio.Task] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self) -> None:
        self.replica = Replica(self.spec, self.number)
        self.loop.call_soon(self.greet)
        self.loop.run_forever()

    def greet(self) -> None:
        with or_end():
            self.tell(0, self.replica.start())

    def _listen(self) -> None:
        """In a thread, so that the end of the pipe is seen whatever the rest does."""
        with or_end(), suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self.loop.call_soon_threadsafe(self._do, *read_frame(self.inbox))
        os._exit(0)

    def _do(self, what: str, key: int, order: Any) -> None:
        if what == "submit":
            self._tasks[key] = task = self.loop.create_task(self._serve(key, order))
            task.add_done_callback(lambda _: self._tasks.pop(key))
        elif what == "abort":  # perhaps before the task has begun, or when it has ended
            if key in self._tasks:
                self._tasks[key].cancel()
        else:
            self.tell(key, self.replica.stats())

    async def _serve(self, key: int, order: Ask | Request) -> None:
        try:
            async for found in self.replica.submit(order):
                self.tell(key, found)
            self.tell(key, None)
        except Exception as problem:
            self.tell(key, problem)

    def tell(self, key: int, what: Any) -> None:
        with or_end():
            view = memoryview(framed((key, what)))
            while view:
                view = view[os.write(self.outbox, view) :]


@contextmanager
def or_end() -> Iterator[None]:
    """What cannot be said, or understood, ends the process: the front hears of an end,
    and would wait for an answer for ever.
    """
    try:
        yield
    except Exception:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):  # they are the front's, which lets texts end first
        signal.signal(each, signal.SIG_IGN)
    outbox = os.dup(1)
    os.dup2(2, 1)  # whatever is printed here is no message
    start_log()
    Child(sys.stdin.buffer, outbox).run()
