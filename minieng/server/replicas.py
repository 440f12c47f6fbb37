"""Several engines behind one door: ``Replicas`` stands where an ``AsyncEngine`` would.

    HTTP ── Replicas ── router: which one?
               │ submit, abort, stats
               ├── LocalWorker ── pipes ── a process of this machine ── AsyncEngine
               └── RayWorker ──── Ray ──── an actor, wherever Ray puts it ── AsyncEngine

Replicas may die at any moment. The front knows what it has passed on of each text, so it gives prompt and
tokens to another replica, under the same id and seed, and drops nothing and repeats nothing: noise goes by
seed, sample and position, so even a sampled text goes on as it would have. One replica at most works on a
text.

A dead process is started again here, a dead actor by Ray. Which machines there are, where actors run and what
replaces them is Ray's; who wants a number of replicas that follows the load uses Ray Serve (docs/SCALING.md).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ..engine import QueueFull
from ..parallel.router import Load, Router, make_router
from ..request import Request, SamplingParams
from ..resume import going_on
from .async_engine import EngineFailed, EngineStopping, Feed, most_ended, settle
from .replica import Ask, Hello, News
from .worker import Worker, WorkerDied

Result = TypeVar("Result")
MOST_DEATHS = 8  # of replicas that worked on a text: then it may be the text that kills them
MOST_STARTS = 3  # in a row of one replica, that came to nothing
FULL_SECONDS = 0.05  # until a text that must go on is offered again to a replica whose queue is full
log = logging.getLogger("minieng.server")


class Text:
    """One text of a submission: what the client has of it, and who works on it."""

    def __init__(self, request: Request, came: float) -> None:
        self.request, self.deaths, self.cut = request, 0, 0
        request.arrival_time = came  # on the front's clock, as are the times of its tokens
        self.num_characters = 0
        self.ended = False

    def take(self, found: News) -> Any:
        """Note a token; the event as the client is to have it."""
        event, request = found.event, self.request
        text = event.text[self.cut :]
        self.cut -= len(event.text) - len(text)
        self.num_characters += len(text)
        if event.token_id is not None:
            request.token_ids.append(event.token_id)
            request.token_times.append(time.perf_counter())
            if found.logprob is not None:
                request.logprobs.append(found.logprob)
        if found.told and not request.prompt_logprobs:
            request.prompt_logprobs = found.told
        if not self.deaths:
            request.num_cached_tokens = found.cached
        request.finish_reason, request.stop_reason = event.finish_reason, event.stop_reason
        self.ended = event.finish_reason is not None
        return replace(event, text=text)

    def again(self) -> Request:
        """What another replica is to go on with. It tells all text anew, of which we have so much."""
        self.cut, request = self.num_characters, self.request
        params = replace(request.params, n=1)
        if request.num_output_tokens:
            params = replace(params, prompt_logprobs=None)
        heir = going_on(request, math.inf, params=params)
        heir.token_times = []  # of another clock
        return heir


class Face:
    """What the endpoints must know of a model that is elsewhere."""

    def __init__(self, hello: Hello) -> None:
        self.model_name, self.max_model_len, self.vocab_size = hello[:3]
        self.tokenizer, self.config = hello.tokenizer, hello.config


class Replicas:
    """Workers behind a router, in place of an ``AsyncEngine``. ``start`` first, in the event loop.

    deaths   replicas that died; resumed: texts that went on elsewhere
    failure  why no replica is left, if none is
    """

    def __init__(self, workers: Sequence[Worker], router: str | Router = "least", seed: int = 0) -> None:
        self.workers, self.router = list(workers), make_router(router, seed)
        self.failure: BaseException | None = None
        self.stopping, self.deaths, self.resumed = False, 0, 0
        self.llm: Face
        self.metrics = self
        self.media_type = "text/plain; version=0.0.4; charset=utf-8"
        self._numbers = itertools.count(len(self.workers))
        self._keys = itertools.count(1)
        self._alive: dict[int, int] = {}  # worker → the number under which the router knows it
        self._texts: list[dict[Text, None]] = [{} for _ in self.workers]
        self._coming: list[list[int]] = [[] for _ in self.workers]  # tokens of what is not queued there yet
        self._changed = asyncio.Event()
        self._feeds: dict[Feed, asyncio.Task] = {}
        self._starting: dict[int, asyncio.Task] = {}
        self._reader = ThreadPoolExecutor(1, "minieng reader")

    async def start(self) -> None:
        """Bring all workers up. Raises RuntimeError if one does not come."""
        try:
            hellos = await asyncio.gather(*(worker.start() for worker in self.workers))
        except BaseException as problem:
            await asyncio.gather(*(worker.stop() for worker in self.workers), return_exceptions=True)
            if isinstance(problem, WorkerDied):
                raise RuntimeError(f"{problem} before it was ready: what it wrote says why") from None
            raise
        self.llm = Face(hellos[0])
        self._alive = {i: i for i in range(len(self.workers))}
        for i, worker in enumerate(self.workers):
            worker.on_death = partial(self._bury, i)

    # -- as AsyncEngine has it ------------------------------------------------------------------------

    @property
    def num_open(self) -> int:
        return len(self._feeds)

    def check(self) -> None:
        if self.failure is not None:
            raise EngineFailed(f"no replica is left: {self.failure}")
        if self.stopping:
            raise EngineStopping("the server is stopping: it takes no new requests")

    async def aside(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reader, call, *arguments)

    async def submit(self, prompts: Sequence[dict], params: SamplingParams, **asked: Any) -> Feed:
        """As ``AsyncEngine.submit``, with prompts that ``tokens_of`` has read."""
        self.check()
        feed = Feed(self)
        self._feeds[feed] = asyncio.create_task(self._carry(feed, Ask(prompts, params, asked)))
        return await feed.open()

    def abort(self, feed: Feed) -> None:
        feed.opened.cancel()
        feed.put([], StopAsyncIteration())
        if (task := self._feeds.pop(feed, None)) is not None:
            task.cancel()

    async def stop(self, patience: float = 0.0) -> None:
        self.stopping = True
        await most_ended(self, patience)
        for feed in list(self._feeds):
            feed.put([], EngineStopping("the server was stopped before the answer was complete"))
            self.abort(feed)
        for task in self._starting.values():
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self.workers), return_exceptions=True)
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def text(self) -> bytes:
        """What all replicas count, for Prometheus; each has its number as ``engine``."""
        told = await asyncio.gather(*(self.workers[i].stats() for i in self._alive), return_exceptions=True)
        return merged([text.decode() for text in told if isinstance(text, bytes)]).encode()

    # -- a submission, from its first replica to its end ----------------------------------------------

    async def _carry(self, feed: Feed, ask: Ask) -> None:
        """All texts of a submission: together on one replica, and after its death each on its own."""
        alone: list[asyncio.Task] = []
        end: Exception = StopAsyncIteration()
        try:
            texts = await self._together(feed, ask)
            alone += [asyncio.create_task(self._alone(feed, text)) for text in texts if not text.ended]
            await asyncio.gather(*alone)
        except Exception as problem:
            end = problem
        finally:
            for task in alone:  # one has failed, or nobody reads any more
                task.cancel()
        self._feeds.pop(feed, None)
        feed.put([], end)

    async def _together(self, feed: Feed, ask: Ask) -> list[Text]:
        """On one replica until it dies, or to the end."""
        prompt, came = ask.prompts[0]["prompt_token_ids"], time.perf_counter()
        for _ in range(MOST_DEATHS):
            texts: list[Text] = []
            i = await self._choose(prompt)
            self._coming[i].append(len(prompt))
            try:
                async with aclosing(self._ordered(i, ask)) as found:
                    async for news in found:
                        if texts:
                            feed.put([texts[each.place].take(each) for each in news])
                            continue
                        self._coming[i].remove(len(prompt))
                        texts = [Text(request, came) for request in news]
                        self._texts[i] |= dict.fromkeys(texts)
                        settle(feed.opened, [text.request for text in texts])
                return texts
            except WorkerDied:
                for text in texts:
                    text.deaths = 1
                if texts:
                    return texts
            finally:
                if not texts:
                    self._coming[i].remove(len(prompt))
                for text in texts:
                    self._texts[i].pop(text, None)
        raise EngineFailed(f"{MOST_DEATHS} replicas died before they began with this")

    async def _alone(self, feed: Feed, text: Text) -> None:
        """Go on with one text wherever there is a replica, until it is complete."""
        while not text.ended:  # who told of its end may have died before he told of his own
            if text.deaths == MOST_DEATHS:
                raise EngineFailed(f"{MOST_DEATHS} replicas have died while they worked on this text")
            i = await self._choose(text.request.token_ids)
            self.resumed += 1
            self._texts[i][text] = None
            try:
                async with aclosing(self._ordered(i, text.again())) as found:
                    async for news in found:
                        if isinstance(news[0], News):
                            feed.put([text.take(each) for each in news])
            except QueueFull:
                await asyncio.sleep(FULL_SECONDS)
            except WorkerDied:
                text.deaths += 1
            finally:
                self._texts[i].pop(text, None)

    async def _ordered(self, i: int, order: Ask | Request) -> AsyncGenerator[Any]:
        """What a worker tells; its death is noted, unless it lives again."""
        key, life = next(self._keys), self._alive.get(i)
        try:
            async with aclosing(self.workers[i].submit(key, order)) as found:
                async for each in found:
                    yield each
        except WorkerDied as death:
            if self._alive.get(i) == life:
                self._bury(i, death)
            raise

    # -- who is alive ---------------------------------------------------------------------------------

    async def _choose(self, prompt: Sequence[int]) -> int:
        """The router's choice among those alive; waits for one that is being started."""
        while not self._alive:
            self.check()
            self._changed.clear()
            await self._changed.wait()
        alive = list(self._alive)
        return alive[self.router.pick([self.load(i) for i in alive], prompt) if len(alive) > 1 else 0]

    def load(self, i: int) -> Load:
        """What this front has given a worker, and has not had back. Nobody is asked."""
        flying = [text.request for text in self._texts[i] if not text.ended]
        running = sum(request.num_output_tokens > 0 for request in flying)
        tokens = sum(request.num_tokens for request in flying) + sum(self._coming[i])
        return Load(len(flying) + len(self._coming[i]) - running, running, tokens, replica=self._alive[i])

    def _bury(self, i: int, death: WorkerDied) -> None:
        if i not in self._alive:
            return  # it is known
        del self._alive[i]
        if not self.stopping:
            self.deaths += 1
            log.warning("%s; its texts go on elsewhere", death)
            self._starting[i] = asyncio.create_task(self._start_again(i))

    async def _start_again(self, i: int) -> None:
        for _ in range(MOST_STARTS):
            try:
                await self.workers[i].start()
            except Exception as problem:
                log.warning("%s while it was started again", problem)
                death = problem
            else:
                self._alive[i] = next(self._numbers)
                log.info("replica %d is back", i)
                break
        self._starting.pop(i, None)
        if not self._alive and not self._starting:
            self.failure = death
        self._changed.set()


def merged(texts: Sequence[str]) -> str:
    """One exposition of several: each family's head once, and all its samples behind it."""
    families: dict[str, list[str]] = {}
    for text in texts:
        head: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP"):
                head = families.setdefault(line, [line])
            elif line.startswith("# TYPE"):
                head += [line] if len(head) == 1 else []
            else:
                head.append(line)
    return "".join(f"{line}\n" for lines in families.values() for line in lines)
