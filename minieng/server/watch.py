"""The live page: who waits, who runs, whose the blocks are, and the last steps, as server-sent events.

The event loop looks at the engine some times a second, only while somebody watches; the engine's thread does
nothing for it. A look reads numbers that the engine may change meanwhile, so a row may be a step older than
the next. It copies a list before it goes through it, which Python does in one piece.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.responses import Response

from .async_engine import AsyncEngine
from .protocol import HTTPError
from .reply import event
from .wire import EventStream

if TYPE_CHECKING:
    from .. import request as engine_request
    from ..observe.record import StepRecord

EVERY = 0.25  # seconds between two looks
BEAT = 10.0  # seconds of silence after which a comment is sent: who is gone is then found out
MOST_STEPS, MOST_ROWS, MOST_BLOCKS, MOST_WATCHERS = 200, 32, 4_096, 16
PAGE = Path(__file__).with_name("page.html")
KINDS = ("prompt", "decode", "recompute", "padding", "finished", "idle")  # as in minieng.viz


class Watch:
    """What the watchers of one engine are shown. All of it belongs to the event loop.

    name  what clients call the model
    """

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.engine, self.name, self.num_watchers = engine, name, 0
        self._frames: dict[int, tuple[int, dict[str, Any]]] = {}
        self._looked = 0.0

    # -- the two endpoints ----------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page itself, which holds nothing of the engine: it is given without a key."""
        text = PAGE.read_text(encoding="utf-8")
        script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
        allowed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return Response(text, headers={"content-security-policy": policy}, media_type="text/html")

    async def events(self, request: Request) -> Response:
        """Looks, for as long as the client stays. Raises HTTPError 503 if too many watch."""
        if self.num_watchers >= MOST_WATCHERS:
            raise HTTPError(
                503, f"{MOST_WATCHERS} pages watch already: close one of them", retry_after=int(BEAT)
            )
        gone = asyncio.Event()
        return EventStream(self.looks(gone), gone.set)

    async def looks(self, gone: asyncio.Event) -> AsyncIterator[bytes]:
        """A look at a time, if there is news, until ``gone`` or the engine's end.
        The first has the last steps.
        """
        last, told, said = -1, None, time.monotonic()
        self.num_watchers += 1
        try:
            while not gone.is_set():
                last, look = self.look(last)
                state = {name: value for name, value in look.items() if name != "now"}
                if state != told or look["rows"]:
                    told, said = {**state, "steps": []}, time.monotonic()
                    yield event(look)
                elif time.monotonic() > said + BEAT:
                    said = time.monotonic()
                    yield b": nothing new\n\n"
                if look["over"]:
                    return
                try:
                    await asyncio.wait_for(gone.wait(), EVERY)
                except TimeoutError:
                    continue
        finally:
            self.num_watchers -= 1

    # -- a look ---------------------------------------------------------------------------------------------

    def look(self, last: int) -> tuple[int, dict[str, Any]]:
        """What there is to see, with the steps after step ``last``, and which is the last now.

        Those who ask at the same time get the same one.
        """
        now = time.monotonic()
        if now > self._looked + EVERY / 2:
            self._looked = now
            self._frames.clear()
        if last not in self._frames:
            self._frames[last] = self._look(last)
        return self._frames[last]

    def _look(self, last: int) -> tuple[int, dict[str, Any]]:
        engine = self.engine.llm.engine
        running, waiting = list(engine.scheduler.running), list(engine.scheduler.waiting)
        records, pool = self.steps_after(last), engine.kv.pool
        small = pool.num_blocks <= MOST_BLOCKS
        free = list(pool.free_queue) if small else []
        shown = [*running[:MOST_ROWS], *waiting[:MOST_ROWS]]
        return records[-1].step if records else last, {
            "model": self.name,
            "scheduler": str(engine.config.scheduler),
            "over": self.over(),
            "now": round(engine.clock.now(), 3),
            "running": len(running),
            "waiting": max(len(waiting), len(engine.requests) - len(running)),
            "rows": [row(request, index < len(running[:MOST_ROWS])) for index, request in enumerate(shown)],
            "blocks": {
                "total": pool.num_blocks,
                "free": pool.num_free,
                "size": engine.config.block_size,
                "cached": [block for block in free if pool.hash_of[block] is not None],
                "held": {short(r.request_id): list(r.block_table) for r in running} if small else {},
            },
            "steps": [step(record) for record in records],
        }

    def steps_after(self, last: int) -> list[StepRecord]:
        """The steps after step ``last``, oldest first, at most MOST_STEPS."""
        steps = self.engine.llm.engine.trace.steps
        found: list[StepRecord] = []
        for back in range(1, MOST_STEPS + 1):
            try:
                record = steps[-back]
            except IndexError:
                break
            if record.step <= last:
                break
            if not found or record.step < found[-1].step:  # one may have been added since the last was read
                found.append(record)
        return found[::-1]

    def over(self) -> str:
        """Why nothing more will come, or nothing."""
        if self.engine.failure is not None:
            return f"the engine has failed: {self.engine.failure!r:.300}"
        return "the server has stopped" if self.engine.stopping and not self.engine.num_open else ""


def row(request: engine_request.Request, runs: bool) -> list[Any]:
    """name, whether it runs, tokens of the prompt, tokens computed, tokens of the answer, the most there may
    be, times preempted, arrival. Never a word of the text.
    """
    most = request.max_num_tokens - request.num_prompt_tokens
    return [
        short(request.request_id), int(runs), request.num_prompt_tokens, request.num_computed_tokens,
        request.num_output_tokens, most, request.num_preemptions, round(request.arrival_time, 3),
    ]  # fmt: skip


def step(record: StepRecord) -> list[Any]:
    """number, milliseconds, who waits, cells, who left. A cell: name, kind, tokens and, in a rectangle, the
    part of its row that is no padding.
    """
    work = {name: (kind, n) for (name, _, n), kind in zip(record.slices, record.kinds, strict=True)}
    width = max((n for _, n in work.values()), default=0)
    cells: list[list[Any]] = []
    for name in work if record.rows is None else record.rows:
        kind, n = work.get(name, ("finished", 0))
        part = [] if record.rows is None or not n else [round(n / width, 3)]
        cells.append([short(name), KINDS.index(kind), n, *part])
    left = [*map(short, (*record.finished, *record.preempted, *record.aborted))]
    return [record.step, round(1e3 * record.duration, 2), record.num_waiting, cells, left]


def short(name: str) -> str:
    """A request's id as the page names it: "cmpl-2b9f63c0…-0" is 2b9f63c0, its second text 2b9f63c0#1."""
    found = re.fullmatch(r"(?:chat)?cmpl-([0-9a-f]{8})[0-9a-f]{24}(.*)", name)
    return f"{found[1]}{found[2].replace('-0', '')}" if found else name[-16:]
