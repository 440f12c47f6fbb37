"""An engine for asyncio. One thread owns it and alone steps; others put commands into its inbox,
and get events back.

    event loop                                      the engine's thread
    submit ──────────── inbox ────────────────────► llm.submit
                                                    llm.step, as long as there is work
    async for events in feed ◄── news, read a little later ──── ticket.events, after each step

Both queues hold calls, and are read in order: a feed opens before anything comes of it.
Nothing hangs: if a step fails, or the engine is stopped, every feed ends with an error that says so.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..request import Request, SamplingParams, TokenEvent
from .settings import check_scheduler

if TYPE_CHECKING:
    from ..llm import LLM
    from ..prompts import Prompt
    from ..ticket import Ticket
    from .metrics import Metrics

Result = TypeVar("Result")
# Seconds that a scheduler which gathers a batch may wait before the inbox is looked into again.
PATIENCE = 0.005
# Seconds after a step until its events are handed out: until then the engine's thread plans the next one, and
# both need Python's lock; once it computes, only one does. Faster steps than this are handed out together.
PAUSE = 0.001
log = logging.getLogger("minieng.server")


class EngineFailed(RuntimeError):
    """A step has failed: what was under way is lost, and nothing more is computed."""


class EngineStopping(RuntimeError):
    """The engine is being stopped: it takes nothing new, and ends what is late."""


class Feed:
    """What comes of one submission: an async iterator over lists of events,
    one list for each time it is asked.

    It ends when all texts are complete, with an error if they never will be. Whoever has one closes it. It
    belongs to the event loop; ``requests`` are the engine's, to be read only.
    """

    def __init__(self, engine: Any) -> None:
        self._engine, self._came = engine, asyncio.Event()
        self._events: list[TokenEvent] = []
        self._end: Exception | None = None
        self.opened: asyncio.Future[list[Request]] = asyncio.get_running_loop().create_future()
        self.requests: list[Request] = []

    async def open(self) -> Feed:
        """Wait until it is queued. Raises why it is not; whoever gives up before has asked for nothing."""
        try:
            self.requests = await self.opened
        except BaseException:
            self._engine.abort(self)
            raise
        return self

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> list[TokenEvent]:
        """All that has come since the last time: a reader who is late gets several steps at once."""
        while not self._events:
            if self._end is not None:
                raise self._end
            self._came.clear()
            await self._came.wait()
        events, self._events = self._events, []
        return events

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, though not all may have been read."""
        return self._end is not None

    def put(self, events: Sequence[TokenEvent], end: Exception | None = None) -> None:
        """The engine's side, called in the event loop."""
        if self._end is None:
            self._events += events
            self._end = end
            self._came.set()
            if end is not None:
                settle(self.opened, end)

    def close(self) -> None:
        """Whoever reads, reads no more: what still runs is aborted at once. It may be called again."""
        if self._end is None:
            self._engine.abort(self)


class AsyncEngine:
    """An ``LLM`` behind a thread of its own.
    All methods are for the event loop in which ``start`` was called.

    llm      nobody else may use it until ``stop``
    metrics  is told, in the engine's thread, of steps, requests that ended, and those that were refused

    Raises ValueError for a scheduler that waits for a full batch, which may never come.
    """

    def __init__(self, llm: LLM, metrics: Metrics | None = None) -> None:
        check_scheduler(llm.config)
        self.llm, self.metrics = llm, metrics
        self.failure: BaseException | None = None
        self.stopping = False
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._feeds: set[Feed] = set()  # the event loop's, as is the next
        self._soon: asyncio.TimerHandle | None = None
        self._tickets: dict[Feed, Ticket] = {}  # the engine's thread's, as are the next two
        self._requests: dict[str, Request] = {}
        self._running = True
        self._reader = ThreadPoolExecutor(1, "minieng reader")
        self._thread = threading.Thread(target=self._run, name="minieng engine", daemon=True)

    # -- in the event loop ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; to be called once, in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def num_open(self) -> int:
        """Submissions that have not ended."""
        return len(self._feeds)

    def check(self) -> None:
        """Raise EngineFailed or EngineStopping if nothing new is taken."""
        if self.failure is not None:
            raise EngineFailed(f"the engine has failed: {self.failure!r:.500}")
        if self.stopping:
            raise EngineStopping("the server is stopping: it takes no new requests")

    async def aside(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Call something in one more thread, such as a tokenizer on a long text:
        neither the engine nor the event loop waits.
        """
        return await self._loop.run_in_executor(self._reader, call, *arguments)

    async def submit(self, prompts: Sequence[Prompt], params: SamplingParams, **asked: Any) -> Feed:
        """Queue prompts; the keywords are those of ``LLM.submit``. Give token ids:
        text would be read by the engine's thread.

        Raises what ``LLM.submit`` does (ValueError, QueueFull), and EngineFailed or EngineStopping.
        """
        return await self._enter(partial(self.llm.submit, prompts, params, **asked))

    async def go_on(self, request: Request) -> Feed:
        """Queue a text that another engine has begun: as ``LLM.go_on``. Raises as ``submit``."""
        return await self._enter(partial(self.llm.go_on, request))

    async def _enter(self, submit: Callable[[], Ticket]) -> Feed:
        self.check()
        feed = Feed(self)
        self._feeds.add(feed)
        self._inbox.put(partial(self._open, feed, submit))
        return await feed.open()

    def abort(self, feed: Feed) -> None:
        """End a submission, whether it was opened or not."""
        feed.opened.cancel()
        feed.put([], StopAsyncIteration())
        self._feeds.discard(feed)
        self._inbox.put(partial(self._close, feed))

    async def stop(self, patience: float = 0.0) -> None:
        """Take nothing new, let requests go on for ``patience`` seconds, then end them and the thread."""
        self.stopping = True
        await most_ended(self, patience)
        self._inbox.put(self._end)
        await asyncio.to_thread(self._thread.join)
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _hear(self) -> None:
        """There is news."""
        if self._soon is None:
            self._soon = self._loop.call_later(PAUSE, self._deliver)

    def _deliver(self) -> None:
        self._soon = None
        while not self._news.empty():
            self._news.get()()

    def _hand_out(self, feed: Feed, events: Sequence[TokenEvent], end: Exception | None) -> None:
        feed.put(events, end)
        if end is not None:
            self._feeds.discard(feed)

    def _end_all(self, reason: Exception) -> None:
        self._deliver()
        for feed in self._feeds:
            feed.put([], type(reason)(*reason.args))
        self._feeds.clear()

    # -- in the engine's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        reason: Exception = EngineStopping("the server was stopped before the answer was complete")
        try:
            with self.llm.turn:  # whoever else uses this LLM meanwhile is told so
                while self._running:
                    self._read_inbox()
                    if self.llm.engine.has_work:
                        self._step()
                for feed in list(self._tickets):
                    self._close(feed)
        except BaseException as failure:
            log.exception("the engine has failed")
            self.failure = failure
            reason = EngineFailed(f"the engine has failed: {failure!r:.500}")
        self._call(partial(self._end_all, reason))

    def _read_inbox(self) -> None:
        """Carry out all commands; if there is nothing to compute, wait for one."""
        if not self.llm.engine.has_work:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        engine, llm = self.llm.engine, self.llm
        until = engine.clock.now() + PATIENCE if engine.scheduler.rectangles else None
        record = llm.step(until)
        if record is not None and self.metrics is not None:
            self.metrics.on_step(record, self._requests)
        for feed, ticket in list(self._tickets.items()):
            events = list(ticket.events())
            over = StopAsyncIteration() if ticket.done else None
            if over:
                self._close(feed)
            if events or over:
                self._news.put(partial(self._hand_out, feed, events, over))
        if not self._news.empty():
            self._call(self._hear)

    def _open(self, feed: Feed, submit: Callable[[], Ticket]) -> None:
        if feed.ended:
            return  # given up before its turn came
        try:
            ticket = submit()
        except Exception as problem:
            if self.metrics is not None:
                self.metrics.on_refusal(problem)
            answer: Exception | list[Request] = problem
        else:
            self._tickets[feed], answer = ticket, ticket.requests
            self._requests |= {request.request_id: request for request in ticket.requests}
        self._news.put(partial(settle, feed.opened, answer))
        self._call(self._hear)

    def _close(self, feed: Feed) -> None:
        ticket = self._tickets.pop(feed, None)
        if ticket is None:
            return
        ticket.close()
        for request in ticket.requests:
            if (
                self._requests.get(request.request_id) is request
            ):  # else another took its name when it had ended
                del self._requests[request.request_id]
            if self.metrics is not None:
                self.metrics.on_end(request)

    def _end(self) -> None:
        self._running = False

    def _call(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(what)


async def most_ended(engine: Any, patience: float, enough: Callable[[], bool] = lambda: False) -> None:
    """Wait until nothing is open, nothing more will come, it is ``enough``, or so many seconds are over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while engine.num_open and engine.failure is None and not enough():
                await asyncio.sleep(0.01)


def settle(future: asyncio.Future, value: Any) -> None:
    """Give a future its value, or its exception, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
