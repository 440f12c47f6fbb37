"""An engine behind its own server, minieng's or vLLM's, asked over HTTP: what the door costs.

All requests are streams that begin at once, over a socket each. The client is as light as it can be, since it shares the
CPUs with the server: plain asyncio, and of each event only its tokens are read.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

from peers.protocol import Peer, Skip, serve

SEATS, START_SECONDS = 32, 900.0


def command(job: dict, port: int) -> list[str]:
    """How each server is started; the knobs are those of the rows without HTTP."""
    common = ["--model", job["model_dir"], "--port", str(port), "--dtype", job["dtype"], "--max-num-seqs", str(SEATS)]
    if job["server"] == "minieng":
        knobs = [f"--{name.replace('_', '-')}={value}" for name, value in job.get("engine", {}).items()]
        own = ["--scheduler", job["scheduler"], "--device", "cpu", "--no-enable-prefix-caching", *knobs]
        return [sys.executable, "-m", "minieng", "serve", *common, *own]
    longest = max(len(r["prompt"]) + r["max_tokens"] for r in job["requests"])
    own = ["--max-model-len", str(max(512, longest)), "--no-enable-prefix-caching", "--disable-log-stats",
            "--disable-uvicorn-access-log", "--seed", "0", "--host", "127.0.0.1"]  # fmt: skip
    return [job["python"], "-m", "vllm.entrypoints.openai.api_server", *common, *own]


def load(job: dict) -> Peer:
    """The server as a process of its own, ready to answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = command(job, port)
    process = subprocess.Popen(line, stdout=sys.stderr, stderr=sys.stderr, stdin=subprocess.DEVNULL)
    wait_until_ready(process, port)

    def generate(requests: list[dict]) -> list[list[int]]:
        return asyncio.run(everybody(requests, port))

    def close() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    return Peer(generate, {"command": " ".join(line), "max_num_seqs": SEATS, "client_pid": os.getpid()}, {}, close)


def wait_until_ready(process: subprocess.Popen, port: int) -> None:
    """Raises Skip if the server ends instead."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Skip(f"the server ended with code {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise Skip(f"the server did not answer within {START_SECONDS:.0f} s")


async def everybody(requests: list[dict], port: int) -> list[list[int]]:
    return list(await asyncio.gather(*(ask(request, port) for request in requests)))


async def ask(request: dict, port: int) -> list[int]:
    """The tokens of one request, in a stream."""
    asked = {"prompt": request["prompt"], "max_tokens": request["max_tokens"], "temperature": 0, "ignore_eos": True,
             "stream": True, "return_token_ids": True}  # fmt: skip
    body = json.dumps(asked).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise RuntimeError(f"{answer.decode()}{(await reader.read(2_000)).decode()}")
    tokens: list[int] = []
    async for event in events(reader):
        if event != b"[DONE]":
            for choice in json.loads(event)["choices"]:
                tokens += choice["token_ids"] or []
    writer.close()
    return tokens


async def events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What follows "data: " in a body that comes in HTTP's chunks."""
    rest = b""
    while size := int(await reader.readline(), 16):
        rest += (await reader.readexactly(size + 2))[:-2]
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            yield event.removeprefix(b"data: ")


if __name__ == "__main__":
    serve(load)
