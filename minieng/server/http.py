"""The endpoints: what a client asks over HTTP goes to the engine, and what comes of it back.
A handler never steps.

POST /v1/completions /v1/chat/completions /tokenize /detokenize
GET  /v1/models /health /version /metrics    / and /events (the live page: ``watch``)
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from .. import __version__
from ..engine import QueueFull
from ..prompts import tokens_of, valid_text
from ..request import TokenEvent
from . import protocol
from .async_engine import AsyncEngine, EngineFailed, EngineStopping, Feed
from .metrics import Metrics
from .protocol import HTTPError
from .replicas import Replicas
from .reply import DONE, Reply, event
from .settings import ServerConfig
from .watch import Watch
from .wire import EventStream, read_json, until_gone

if TYPE_CHECKING:
    from ..llm import LLM

# Without a key, and while the server stops: those who watch it need them. (The page asks for the key itself.)
OPEN = ("/", "/health", "/metrics", "/version")
RETRY_SECONDS = 1  # told to clients for whom there is no room now
GONE = 499  # in the log: the client closed the connection before it had its answer
log = logging.getLogger("minieng.server")


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def make_app(llm: LLM | Replicas, config: ServerConfig | None = None) -> FastAPI:
    """The application, with ``app.state.engine``, an AsyncEngine:
    start it in the event loop before the first request. Replicas, which have started, are one themselves.
    """
    config = config or ServerConfig()
    engine: Any = llm
    if not isinstance(llm, Replicas):
        engine = AsyncEngine(llm, Metrics(llm, config.served_model_name or llm.model_name))
    name, metrics = config.served_model_name or engine.llm.model_name, engine.metrics
    app = FastAPI(title="minieng", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine = engine
    Handlers(engine, metrics, name, config).add_to(app)
    for kind in (HTTPError, HTTPException, QueueFull, EngineStopping, EngineFailed, ClientDisconnect):
        app.add_exception_handler(kind, on_error)
    app.add_middleware(Gate, engine=engine, config=config)
    return app


async def on_error(request: Request, problem: Exception) -> Response:
    """Every error as OpenAI's clients expect it."""
    if isinstance(problem, ClientDisconnect):
        return Response(status_code=GONE)
    if isinstance(problem, HTTPError):
        error = problem
    elif isinstance(problem, HTTPException):
        error = HTTPError(
            problem.status_code, f"{problem.detail}: {request.method} {request.url.path!r:.200}"
        )
    elif isinstance(problem, EngineFailed):
        error = HTTPError(500, str(problem))
    else:
        error = HTTPError(503, str(problem), retry_after=RETRY_SECONDS)
    return answer_of(error)


def answer_of(error: HTTPError) -> Response:
    return Json(error.body(), error.status, error.headers)


@contextmanager
def asking() -> Iterator[None]:
    """A ValueError in here is about what the client asked for."""
    try:
        yield
    except ValueError as problem:
        raise HTTPError(400, str(problem)) from problem


class Gate:
    """All requests come through here: who may, who may not now, and a line in the log for each."""

    def __init__(self, app: Any, engine: AsyncEngine, config: ServerConfig) -> None:
        self.app, self.engine, self.most = app, engine, config.max_header_kb * 1024
        self.key = None if config.api_key is None else f"Bearer {config.api_key}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        about: dict[str, Any] = {}
        scope["minieng"] = about  # handlers add what the log should say

        async def noting(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await (self.refusal(scope) or self.app)(scope, receive, noting)
        except Exception:
            log.exception("an error of the server itself")
            if status:
                raise  # in the middle of an answer: the connection is cut
            await answer_of(HTTPError(500, "an error of the server itself: its log says more"))(
                scope, receive, noting
            )
        finally:
            more = "".join(f" {name}={value}" for name, value in about.items())
            client, path = (scope.get("client") or ("-",))[0], ascii(scope["path"])[1:-1]
            log.info(
                "%s %s %.200s %s%s %.3fs", client, scope["method"], path, status, more,
                time.perf_counter() - began,
            )  # fmt: skip

    def refusal(self, scope: Any) -> Response | None:
        # It came at once, or h11 had seen it.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self.most:
            return answer_of(
                HTTPError(
                    431, f"the head is larger than {self.most} bytes: send less, or raise max_header_kb"
                )
            )
        if scope["path"] in OPEN:
            return None
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if self.key is not None and not hmac.compare_digest(given, self.key):
            return answer_of(HTTPError(401, "Authorization: Bearer KEY: the key is missing or wrong"))
        if self.engine.stopping:
            return answer_of(
                HTTPError(503, "the server is stopping: it takes no new requests", retry_after=RETRY_SECONDS)
            )
        return None


class Handlers:
    """The endpoints of one application."""

    def __init__(self, engine: Any, metrics: Any, name: str, config: ServerConfig) -> None:
        self.engine, self.llm, self.metrics, self.name, self.config = (
            engine,
            engine.llm,
            metrics,
            name,
            config,
        )
        self.watch = Watch(engine, name)
        self.card = protocol.model_card(
            name, str(self.llm.model_name), self.llm.max_model_len, int(time.time())
        )

    def add_to(self, app: FastAPI) -> None:
        post: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/v1/completions": self.completions, "/v1/chat/completions": self.chat_completions,
            "/tokenize": self.tokenize, "/detokenize": self.detokenize,
        }  # fmt: skip
        get: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/v1/models": self.models, "/v1/models/{name:path}": self.model, "/health": self.health,
            "/version": self.version, "/metrics": self.show_metrics,
            "/": self.watch.page, "/events": self.watch.events,
        }  # fmt: skip
        if isinstance(self.engine, Replicas):
            get |= {"/": self.no_page, "/events": self.no_page}
        for method, handlers in (("POST", post), ("GET", get)):
            for path, handler in handlers.items():
                app.add_api_route(path, handler, methods=[method], response_model=None)

    # -- text -----------------------------------------------------------------------------------------------

    async def completions(self, request: Request) -> Response:
        return await self.answer(request, chat=False)

    async def chat_completions(self, request: Request) -> Response:
        return await self.answer(request, chat=True)

    async def answer(self, request: Request, chat: bool) -> Response:
        body = await read_json(request, self.config)
        with asking():
            asked = protocol.read(body, chat)
        self.check_model(asked.model)
        self.check_number(len(asked.prompts) * asked.params.n)
        prompts = [await self.tokens(prompt) for prompt in asked.prompts]
        name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}"
        with asking():
            feed = await self.engine.submit(
                prompts, asked.params, priority=asked.priority, user=asked.user,
                request_ids=[f"{name}-{i}" for i in range(len(prompts))],
            )  # fmt: skip
        reply = Reply(name, self.name, asked, feed.requests, self.llm.tokenizer)
        about = request.scope["minieng"]
        if asked.stream:
            return EventStream(self.stream(feed, reply, about), feed.close)
        return await self.whole(request, feed, reply, about)

    async def stream(self, feed: Feed, reply: Reply, about: dict[str, Any]) -> AsyncIterator[bytes]:
        """Chunks as events come. An error in the middle is an event, for the status has been sent."""
        about["stream"] = 1
        try:
            async for events in feed:
                yield b"".join(event(chunk) for chunk in reply.chunks(events))
            if (last := reply.last_chunk()) is not None:
                yield event(last)
        except (EngineFailed, EngineStopping) as problem:
            status = 503 if isinstance(problem, EngineStopping) else 500
            yield event(HTTPError(status, str(problem)).body())
            reply.finish_reasons.append("error")
        finally:
            feed.close()
            about |= facts(reply)
        yield DONE

    async def whole(self, request: Request, feed: Feed, reply: Reply, about: dict[str, Any]) -> Response:
        """One answer when all is there, unless the client goes away before."""
        gone = asyncio.ensure_future(until_gone(request.receive))
        gone.add_done_callback(lambda _: feed.close())
        try:
            events: list[TokenEvent] = []
            async for some in feed:
                events += some
            if gone.done():
                raise ClientDisconnect
            return Json(reply.whole(events))
        finally:
            gone.cancel()
            feed.close()
            about |= facts(reply)

    async def tokens(self, prompt: Any) -> dict[str, Any]:
        """A prompt as text (if there is any) and token ids, read in the reader's thread."""
        llm = self.llm
        with asking():
            asked = tokens_of, prompt, llm.tokenizer, llm.vocab_size, llm.model_name
            text, token_ids = await self.engine.aside(*asked)
        return {"prompt": text, "prompt_token_ids": token_ids}

    def check_model(self, asked: str | None) -> None:
        if (error := protocol.refusal_of((self.name,), asked)) is not None:
            raise error

    def check_number(self, asked: int) -> None:
        """More texts at once than may ever be in the engine: to come again later would not help."""
        most = self.llm.config.max_num_queued_reqs
        if most is not None and asked > most:
            raise HTTPError(
                400, f"{asked} texts at once are more than max_num_queued_reqs={most}: ask for fewer"
            )

    # -- tokens, and what the server says of itself ---------------------------------------------------------

    async def tokenize(self, request: Request) -> Response:
        body = await read_json(request, self.config)
        self.check_model(body.get("model"))
        with asking():
            prompt = protocol.conversation(body) if "messages" in body else protocol.text(body)
            special = protocol.flag(body, "add_special_tokens", True)
        if isinstance(prompt, str) and not special:
            encode = partial(self.llm.tokenizer, add_special_tokens=False)
            found = list((await self.engine.aside(encode, valid_text(prompt)))["input_ids"])
        else:
            found = (await self.tokens(prompt))["prompt_token_ids"]
        return Json({"count": len(found), "max_model_len": self.llm.max_model_len, "tokens": found})

    async def detokenize(self, request: Request) -> Response:
        body = await read_json(request, self.config)
        self.check_model(body.get("model"))
        with asking():
            tokens = protocol.token_list(body.get("tokens"), self.llm.vocab_size)
        return Json({"prompt": self.llm.tokenizer.decode(tokens)})

    async def models(self, request: Request) -> Response:
        return Json({"object": "list", "data": [self.card]})

    async def model(self, request: Request) -> Response:
        self.check_model(request.path_params["name"])
        return Json(self.card)

    async def health(self, request: Request) -> Response:
        try:
            self.engine.check()
        except (EngineFailed, EngineStopping) as problem:
            raise HTTPError(503, str(problem)) from problem
        return Response()

    async def version(self, request: Request) -> Response:
        return Json({"version": __version__})

    async def no_page(self, request: Request) -> Response:
        raise HTTPError(404, "the live page looks into one engine: use --replicas 1, or /metrics")

    async def show_metrics(self, request: Request) -> Response:
        text = self.metrics.text()
        return Response(text if isinstance(text, bytes) else await text, media_type=self.metrics.media_type)


def facts(reply: Reply) -> dict[str, Any]:
    """For the log: sizes and ends, never a word of the text."""
    used, first = reply.usage, next(iter(reply.choices.values())).request
    found = {"prompt": used["prompt_tokens"], "cached": used["prompt_tokens_details"]["cached_tokens"]}
    found |= {
        "output": used["completion_tokens"],
        "finish": ",".join(sorted(set(reply.finish_reasons))) or "none",
    }
    if first.token_times:
        found["ttft"] = f"{first.token_times[0] - first.arrival_time:.3f}s"
    return found
