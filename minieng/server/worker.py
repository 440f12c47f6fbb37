"""A replica as its front sees it: three methods, and two more that bring it up and end it.

``LocalWorker`` has it in a process of this machine, ``ray_worker.RayWorker`` wherever Ray puts it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import pickle
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ..request import Request
from .replica import HEAD, Ask, Hello, News, Spec, framed

# For Python. Not "-m": then its classes would be those of a module "__main__", and no pickle could be read.
COMMAND = ["-c", "from minieng.server.replica import main; main()"]
log = logging.getLogger("minieng.server")
END_SECONDS = 5.0  # for a process to end by itself


class WorkerDied(RuntimeError):
    """A replica is gone: what was under way on it goes on elsewhere."""


class Worker(Protocol):
    """A replica as its front sees it.

    on_death  to be called as soon as it is known; where nobody tells, it is seen at the next request
    """

    on_death: Callable[[WorkerDied], None] | None

    async def start(self) -> Hello:
        """Bring it up, also after it died. Raises WorkerDied if that fails."""

    def submit(self, key: int, order: Ask | Request) -> AsyncGenerator[list[Request] | list[News]]:
        """As ``replica.Replica.submit``; WorkerDied at any moment. Left early, it is aborted."""

    def abort(self, key: int) -> None:
        """End a submission, if it has not ended."""

    async def stats(self) -> bytes:
        """What it counts, for Prometheus."""

    async def stop(self) -> None:
        """End it."""


class LocalWorker:
    """A replica in a process of this machine, which ends when this one does.

    threads  that it computes with, on a CPU
    """

    def __init__(self, spec: Spec, number: int, threads: int) -> None:
        self.spec, self.number, self.threads = spec, number, threads
        self.process: asyncio.subprocess.Process | None = None
        self._keys = itertools.count(-1, -1)  # of what is not a submission
        self._open: dict[int, asyncio.Queue] = {}
        self._reader: asyncio.Task | None = None
        self.on_death: Callable[[WorkerDied], None] | None = None

    async def start(self) -> Hello:
        package = str(Path(__file__).parents[2])
        env = {"OMP_NUM_THREADS": str(self.threads)} | dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *COMMAND, stdin=pipe, stdout=pipe, env=env
        )
        hello: asyncio.Queue = asyncio.Queue()
        self._open = {0: hello}
        self._reader = asyncio.create_task(self._read(self.process, self._open))
        self._send(self.spec, self.number)
        return await self._next(hello)

    async def submit(self, key: int, order: Ask | Request) -> AsyncGenerator[list[Request] | list[News]]:
        came = self._open[key] = asyncio.Queue()
        try:
            self._send("submit", key, order)
            while (found := await self._next(came)) is not None:
                yield found
            self._open.pop(key, None)  # it has ended: nothing is to be aborted
        finally:
            self.abort(key)

    def abort(self, key: int) -> None:
        if self._open.pop(key, None) is not None:
            with suppress(WorkerDied):
                self._send("abort", key, None)

    async def stats(self) -> bytes:
        key = next(self._keys)
        came = self._open[key] = asyncio.Queue()
        try:
            self._send("stats", key, None)
            return await self._next(came)
        finally:
            self._open.pop(key, None)

    async def stop(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), END_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def _send(self, *what: Any) -> None:
        """Raises WorkerDied if nobody reads."""
        assert self.process is not None and self.process.stdin is not None
        if self.process.returncode is not None or self.process.stdin.is_closing():
            raise WorkerDied(f"replica {self.number} is gone")
        self.process.stdin.write(framed(what))

    async def _next(self, came: asyncio.Queue) -> Any:
        found = await came.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def _read(self, process: asyncio.subprocess.Process, waiting: dict[int, asyncio.Queue]) -> None:
        """Hand out what comes, and at the end tell all who wait."""
        assert process.stdout is not None
        try:
            while True:
                (size,) = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
                key, found = pickle.loads(await process.stdout.readexactly(size))
                if key in waiting:
                    waiting[key].put_nowait(found)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it is gone
        except Exception:  # what it says cannot be read
            log.exception("replica %d is ended", self.number)
            process.kill()
            await process.stdout.read()  # what else there is: a full pipe has no end
        code = await process.wait()
        what = f"replica {self.number} ended: {reason(code)}"
        for came in waiting.values():
            came.put_nowait(WorkerDied(what))
        waiting.clear()
        if self.on_death is not None and self.process is process:  # else another lives in its place
            self.on_death(WorkerDied(what))


def reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
