"""An engine behind its own server, minieng's or vLLM's, asked over HTTP: what the door costs.

All requests are streams that begin at once, over a socket each. The client is as light as it can be, since it shares the
CPUs with the server: one thread looks every 2 ms for what has come, and reads it when all is there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from minieng.load.answer import answer_of
from minieng.load.http import Address, Exchange, exchange
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
        return everybody(requests, port)

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


def everybody(requests: list[dict], port: int) -> list[list[int]]:
    """The tokens of requests that are there at once. Raises RuntimeError if an answer is not whole."""
    address = Address("127.0.0.1", port)
    sent = [Exchange(address.request("POST", "/v1/completions", json.dumps(body(request)).encode())) for request in requests]
    exchange(address, sent, look=LOOK_SECONDS)
    answers = [answer_of(each, len(request["prompt"])) for each, request in zip(sent, requests, strict=True)]
    if wrong := [answer.problem for answer in answers if answer.problem]:
        raise RuntimeError(f"{len(wrong)} of {len(answers)} answers are not whole, first: {wrong[0]}")
    return [answer.tokens for answer in answers]


def body(request: dict) -> dict:
    """What is asked for: a greedy stream with its token ids."""
    asked = {"prompt": request["prompt"], "max_tokens": request["max_tokens"]}
    return asked | {"temperature": 0, "ignore_eos": True, "stream": True, "return_token_ids": True}


if __name__ == "__main__":
    serve(load)
