"""What is done about clients that are slow, silent, too large, or gone:
nothing waits for anybody without end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11
from fastapi import Request
from starlette.responses import StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from .protocol import HTTPError
from .settings import ServerConfig

# Of a body that is too large, so many times the limit is read on, so that its sender hears the answer.
DRAINED = 16


class Bounded(H11Protocol):
    """uvicorn's connection, which also ends when a request does not come,
    or when nobody reads what was sent.
    """

    limits: ServerConfig  # see ``bounded``
    late: asyncio.TimerHandle | None = None
    stuck: asyncio.TimerHandle | None = None
    watched: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.watch_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch_request()

    def handle_events(self) -> None:
        super().handle_events()
        if self.scope is not None:
            self.scope["minieng.connection"] = self  # before the task that answers has run

    async def push(self, part: bytes) -> None:
        """Send a part of a body. ASGI's layers, which do no more, take several times as long,
        and a stream sends at each token.
        """
        if self.flow.write_paused and not self.cycle.disconnected:
            await self.flow.drain()
        if not self.cycle.disconnected:
            self.transport.write(self.conn.send(h11.Data(data=part)))

    def watch_request(self) -> None:
        """A clock runs until the head of a request is whole,
        then another until its body is (read by us or not).
        """
        if self.conn.their_state is not self.watched:
            self.watched = self.conn.their_state
            cancel(self.late)
            head, body = self.limits.header_seconds, self.limits.body_seconds
            limit = {h11.IDLE: head, h11.SEND_BODY: head + body}.get(self.watched)
            self.late = None if limit is None else self.loop.call_later(limit, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.watch_end()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.watch_end()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.watch_end()

    def watch_end(self) -> None:
        """A connection that closes waits until all is sent: not for ever."""
        if self.stuck is None:
            self.stuck = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch_end()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            cancel(self.stuck)
            self.stuck = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cancel(self.late)
        cancel(self.stuck)


def bounded(config: ServerConfig) -> type[asyncio.Protocol]:
    """The class of the connections of one server."""
    return type("Bounded", (Bounded,), {"limits": config})


def cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


async def read_json(request: Request, config: ServerConfig) -> dict[str, Any]:
    """A request's body. Raises HTTPError: 408 if it is late, 413 if it is too large,
    415 or 400 if it is no JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A web page elsewhere may send other kinds from its reader's browser, but not this one.
    if kind != "application/json":
        raise HTTPError(415, f"Content-Type {kind!r:.80}: must be application/json")
    try:
        async with asyncio.timeout(config.body_seconds):
            body = await read_body(request, config.max_body_bytes)
    except TimeoutError:
        raise HTTPError(408, f"the body did not come within {config.body_seconds:g} s", close=True) from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise HTTPError(400, f"the body is no JSON: {problem}") from None
    if not isinstance(found, dict):
        raise HTTPError(400, f"the body is {type(found).__name__} in JSON: must be an object")
    return found


async def read_body(request: Request, most: int) -> bytes:
    """At most so many bytes are kept. Of more, some are read on and forgotten:
    a client that is cut off hears nothing.
    """
    body, length = bytearray(), 0
    async for part in request.stream():
        length += len(part)
        if length <= most:
            body += part
        elif length > DRAINED * most:
            break
    if length > most:
        raise HTTPError(
            413,
            f"the body is larger than {most} bytes: ask for less at a time, or raise max_body_mb",
            close=True,
        )
    return bytes(body)


async def until_gone(receive: Callable[[], Any]) -> None:
    """Wait until the client has closed the connection (or the answer is complete)."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events. ``close`` is called when the client goes away, and when all has been sent."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        super().__init__(parts, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        self.close = close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(until_gone(receive))
        gone.add_done_callback(lambda _: self.close())
        connection = scope.get("minieng.connection")
        try:
            if connection is None:  # another server than ours
                await self.stream_response(send)
                return
            head = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **head})
            async for part in self.body_iterator:
                await connection.push(part)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
