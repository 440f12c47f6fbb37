"""``minieng serve``: from binding the port to the end of the process,
with no answer cut off if that can be helped.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from ..observe.trace import Trace
from ..request import SamplingParams
from .async_engine import AsyncEngine, most_ended
from .http import make_app
from .replica import Spec
from .replicas import Replicas
from .settings import ServerConfig
from .wire import bounded
from .worker import LocalWorker, Worker

if TYPE_CHECKING:
    from ..llm import LLM

KEPT_STEPS = 2_000  # of the trace, for ``explain``; a server runs for weeks
FLUSH_SECONDS = 5  # for the last bytes of answers that are complete
FAILED_SECONDS = 3.0  # after a failure: time for clients and probes to hear of it, before the process ends
LOOK_SECONDS = 0.05  # how often signals and failures are looked for


def bind(config: ServerConfig) -> socket.socket:
    """A socket on the host and port, not yet listening,
    so that a port in use is told before a model is loaded.

    Raises OSError naming host and port.
    """
    try:
        kind, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(kind)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
    except OSError as problem:
        reason = problem.strerror or problem
        raise OSError(
            f"--host {config.host} --port {config.port}: {reason}: choose another, or --port 0 for any"
        ) from None
    return sock


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def warn_if_open(sock: socket.socket, api_key: str | None) -> None:
    """On stderr, if other machines reach the port."""
    if ipaddress.ip_address(sock.getsockname()[0]).is_loopback:
        return
    key = "with the API key" if api_key else "WITHOUT a key: set MINIENG_API_KEY"
    print(f"warning: {address_of(sock)} is open to other machines, {key}; there is no encryption: "
          "put a proxy with TLS in front (docs/SERVING.md)", file=sys.stderr)  # fmt: skip


def serve(llm: LLM, config: ServerConfig, sock: socket.socket | None = None) -> int:
    """Answer requests until SIGTERM or Ctrl-C; the exit code: 0, or 1 if the engine failed.

    One real request is answered before the port opens. Then the address is printed, as one line on stdout.
    """
    sock = bind(config) if sock is None else sock
    warn_if_open(sock, config.api_key)
    if config.chat_template is not None:
        llm.tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    llm.generate([[0]], SamplingParams(max_tokens=2, ignore_eos=True))
    llm.engine.trace = Trace(limit=KEPT_STEPS if config.trace is None else sys.maxsize, meta=llm.trace.meta)
    try:
        return asyncio.run(Service(llm, config, sock).until_stopped())
    finally:
        if config.trace is not None:
            (llm.trace.to_html if config.trace.endswith(".html") else llm.trace.save)(config.trace)


def serve_replicas(spec: Spec, config: ServerConfig, sock: socket.socket) -> int:
    """As ``serve``, with engines in processes of their own, here or on a cluster."""
    warn_if_open(sock, config.api_key)

    async def until_stopped() -> int:
        replicas = Replicas(workers_of(spec, config), config.router, spec.knobs.get("seed", 0))
        if config.ray_address is not None:  # Ray's own handler would abort this process, with a trace
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        await replicas.start()
        if config.chat_template is not None:
            replicas.llm.tokenizer.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
        return await Service(replicas, config, sock).until_stopped()

    return asyncio.run(until_stopped())


def workers_of(spec: Spec, config: ServerConfig) -> list[Worker]:
    """As many as were asked for; together they take the processors that one engine would."""
    if config.ray_address is not None:
        from .ray_worker import ray_workers

        return ray_workers(spec, config.replicas, config.ray_address)
    threads = max(
        1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return [LocalWorker(spec, i, max(1, threads // config.replicas)) for i in range(config.replicas)]


class Service(uvicorn.Server):
    """uvicorn, with an end of our own: first nothing new is taken, then what runs is finished,
    then the port closes.
    """

    def __init__(
        self,
        llm: LLM | Replicas,
        config: ServerConfig,
        sock: socket.socket,
        say: Callable[[str], None] | None = None,
    ) -> None:
        app = make_app(llm, config)
        self.engine: AsyncEngine | Replicas = app.state.engine
        self.settings, self.sock = config, sock
        self.say = say or (lambda text: print(text, flush=True))
        self.stop_asked = False
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded(config),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=config.max_connections + 1,
                backlog=2_048,
                timeout_keep_alive=config.idle_seconds,
                h11_max_incomplete_event_size=config.max_header_kb * 1024,
                timeout_graceful_shutdown=FLUSH_SECONDS,
            )
        )

    async def until_stopped(self) -> int:
        """Serve in the running event loop; the exit code."""
        if isinstance(self.engine, AsyncEngine):
            self.engine.start()
        ending = asyncio.create_task(self.end())
        try:
            await self.serve(sockets=[self.sock])
        finally:
            ending.cancel()
            await self.engine.stop()
            self.sock.close()
        return 0 if self.engine.failure is None else 1

    async def end(self) -> None:
        """Watch for what ends the server, and end it in order."""
        while not self.started:
            await asyncio.sleep(LOOK_SECONDS)
        self.say(f"serving {self.engine.llm.model_name} at {address_of(self.sock)}")
        while not self.stop_asked and self.engine.failure is None:
            await asyncio.sleep(LOOK_SECONDS)
        if self.stop_asked:
            first = f"{self.engine.num_open} requests are finished first"
            most = f"for {self.settings.stop_seconds:g} s at most"
            print(f"stopping: {first}, {most}; once more stops at once", file=sys.stderr)
            self.engine.stopping = True
            await most_ended(self.engine, self.settings.stop_seconds, lambda: self.force_exit)
            await self.engine.stop()  # before uvicorn ends: it would wait for streams that go on
        else:
            await asyncio.sleep(FAILED_SECONDS)
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C: the first lets requests finish, the second does not."""
        if self.stop_asked:
            self.force_exit = True
        self.stop_asked = True
