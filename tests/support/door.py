"""A server in this process for tests: the real application on a real port, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from minieng.llm import LLM
from minieng.parts import Parts
from minieng.server.run import Service, bind
from minieng.server.settings import ServerConfig
from minieng.text import NoTokenizer
from support.fakes import VOCABULARY, fake_engine

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"  # a conversation is the text of its messages


class Door:
    """``with Door(llm) as door: door.post(…)``. At the end the server has stopped and its thread is gone."""

    def __init__(self, llm: Any, **settings: Any) -> None:
        self.llm = llm
        self.config = ServerConfig(**{"port": 0, "stop_seconds": 10.0, **settings})
        self.exit_code: int | None = None
        self._opened = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self.service = Service(self.llm, self.config, self._sock, say=lambda _: self._opened.set())
        self.exit_code = await self.service.until_stopped()

    def __enter__(self) -> Door:
        self._sock = bind(self.config)
        self.port = self._sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread.start()
        assert self._opened.wait(30), "the server does not begin"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    def stop(self) -> None:
        self.service.stop_asked = True
        self._thread.join(60)
        assert not self._thread.is_alive() and not self.engine._thread.is_alive(), "the server does not end"

    @property
    def engine(self) -> Any:
        """The AsyncEngine."""
        return self.service.engine

    def num_tasks(self) -> int:
        """Tasks in the server's event loop."""
        return len(asyncio.all_tasks(self.engine._loop))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def complete(self, prompt: Any, **asked: Any) -> dict:
        """A completion that must succeed."""
        return found(self.post("/v1/completions", {"prompt": prompt, **asked}))

    def chunks(self, path: str, body: dict) -> list[dict]:
        """The objects of a stream, which must end as streams do."""
        with self.client.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in response.iter_lines() if line]
        assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def found(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: httpx.Response, status: int) -> str:
    """The message of an error in OpenAI's form, which must have this status."""
    assert response.status_code == status, (response.status_code, response.text)
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == status and error["type"].endswith("Error")
    return error["message"]


def tokens_of(chunks: Sequence[dict]) -> dict[int, list[int]]:
    """The tokens of each choice of a stream that was asked for them."""
    tokens: dict[int, list[int]] = {}
    for choice in choices_of(chunks):
        tokens.setdefault(choice["index"], []).extend(choice["token_ids"])
    return tokens


def choices_of(chunks: Sequence[dict]) -> Iterator[dict]:
    return (choice for chunk in chunks for choice in chunk["choices"])


def fake_llm(slow: float = 0.0, **knobs: Any) -> LLM:
    """An LLM on the fake model of ``fakes``, which checks every slot that is read. No torch, no text.

    slow  real seconds that a step takes
    """
    engine = fake_engine(**{"num_blocks": 64, **knobs})
    engine.executor.close = lambda: None
    if slow:
        execute = engine.executor.execute
        engine.executor.execute = lambda plan: (time.sleep(slow), execute(plan))[1]
    return LLM(Parts(engine, "fake", NoTokenizer(), 250, VOCABULARY, []))


def nothing_runs() -> None:
    """No thread of a server is left; one that has been told to end may need a moment."""
    soon = time.monotonic() + 5
    while left := [t.name for t in threading.enumerate() if t.name.startswith("minieng")]:
        assert time.monotonic() < soon, left
        time.sleep(0.01)


def raw(port: int, sent: bytes, seconds: float = 20.0) -> bytes:
    """What a connection that sends these bytes, and no more, is answered until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(sent)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes, in whatever way."""
    answer = b""
    try:
        while part := connection.recv(1 << 20):
            answer += part
    except ConnectionResetError:
        pass
    return answer


class ServerProcess:
    """``minieng serve --model tiny --port 0`` as a process of its own, from when it says where it is until it is killed.

    said  what it writes to stderr, a file
    """

    def __init__(self, said: Path, *flags: str, **environment: str) -> None:
        command = [sys.executable, "-m", "minieng", "serve", "--model", "tiny", "--port", "0", "--device", "cpu", *flags]
        self.said = said
        with said.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | environment
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        told = re.fullmatch(r"serving tiny at (http://127\.0\.0\.1:(\d+))\n", line)
        assert told, line + said.read_text()
        self.url, self.port = told[1], int(told[2])
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()

    def end(self, seconds: float = 40.0) -> tuple[int, str, str]:
        """Wait for it: exit code, what else it wrote to stdout, and stderr."""
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, self.said.read_text()
