"""An engine behind its own server, minieng's or vLLM's, asked over HTTP: what the door costs.

All requests are streams that begin at once, over a socket each. The client is as light as it can be, since it shares the
CPUs with the server: one thread looks every 2 ms for what has come, and reads it when all is there.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from peers.protocol import Peer, Skip, serve

SEATS, START_SECONDS = 32, 900.0
LOOK_SECONDS = 0.002  # to be woken by each chunk would cost the server as much as to send it


def command(job: dict, port: int) -> list[str]:
    """How each server is started; the knobs are those of the rows without HTTP."""
    common = ["--model", job["model_dir"], "--port", str(port), "--dtype", job["dtype"], "--max-num-seqs", str(SEATS)]
    if job["server"] == "minieng":
        knobs = [f"--{name.replace('_', '-')}={value}" for name, value in job.get("engine", {}).items()]
        own = ["--scheduler", job["scheduler"], "--device", "cpu", "--no-enable-prefix-caching", *knobs]
        return [sys.executable, "-m", "minieng", "serve", *common, *own]
    own = ["--max-model-len", str(max(512, job["longest"])), "--no-enable-prefix-caching", "--disable-log-stats",
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
        return [tokens_in(answer) for answer in everybody(requests, port)]

    def close() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    return Peer(generate, {"command": " ".join(line), "max_num_seqs": SEATS, "client_pid": os.getpid()}, close=close)


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


def everybody(requests: list[dict], port: int) -> list[bytes]:
    """The whole answers, heads and all, of requests that are there at once."""
    answers = [bytearray() for _ in requests]
    with selectors.DefaultSelector() as watch:
        for request, answer in zip(requests, answers, strict=True):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(asked(request))
            watch.register(connection, selectors.EVENT_READ, answer)
        while watch.get_map():
            time.sleep(LOOK_SECONDS)
            for key, _ in watch.select():
                part = key.fileobj.recv(1 << 16)
                key.data.extend(part)
                if not part:
                    watch.unregister(key.fileobj)
                    key.fileobj.close()
    return [bytes(answer) for answer in answers]


def asked(request: dict) -> bytes:
    """A request for a stream, after which the server closes the connection."""
    body = {"prompt": request["prompt"], "max_tokens": request["max_tokens"], "temperature": 0, "ignore_eos": True,
            "stream": True, "return_token_ids": True}  # fmt: skip
    data = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def tokens_in(answer: bytes) -> list[int]:
    """The tokens of one stream. Raises RuntimeError if it is none, or breaks off."""
    head, _, body = answer.partition(b"\r\n\r\n")
    events = joined(body).split(b"\n\n")
    if b" 200 " not in head.split(b"\r\n")[0] or events[-2:] != [b"data: [DONE]", b""]:
        raise RuntimeError(answer[-2_000:].decode(errors="replace"))
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    return [token for chunk in chunks for choice in chunk["choices"] for token in choice["token_ids"] or []]


def joined(body: bytes) -> bytes:
    """A body that came in HTTP's chunks, without their sizes."""
    parts, at = [], 0
    while at < len(body):
        begin = body.index(b"\r\n", at) + 2
        end = begin + int(body[at:begin], 16)
        parts.append(body[begin:end])
        at = end + 2
    return b"".join(parts)


if __name__ == "__main__":
    serve(load)
