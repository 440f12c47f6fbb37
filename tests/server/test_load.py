"""The server under load, and in trouble. What each client saw is counted and printed; nothing hangs, and memory comes back.

Everything is bounded: a minute of load, this machine only. `make test-load` shows the counts.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from support.door import ServerProcess, raw, refused

pytestmark = [pytest.mark.load, pytest.mark.apart]
SECONDS, CLIENTS = 60.0, 500
KNOBS = ("--scheduler", "chunked", "--max-num-seqs", "64", "--num-blocks", "2048", "--max-num-queued-reqs", "600")
HEAD = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"


def memory(server: ServerProcess) -> float:
    """MB that are in the process's memory."""
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


def gauge(server: ServerProcess, name: str) -> float:
    text = server.client.get("/metrics").text
    return float(re.search(rf"^vllm:{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)[1])


def wait_until_idle(server: ServerProcess, seconds: float = 30.0) -> None:
    """Nobody runs, waits or holds a block."""
    end = time.monotonic() + seconds
    while any(gauge(server, name) for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")):
        assert time.monotonic() < end, "requests are left"
        time.sleep(0.1)


async def ask(port: int, dice: random.Random, manner: str) -> str:
    """One request in one of several manners; what its client saw."""
    body = {"prompt": [dice.randrange(5, 500) for _ in range(dice.randint(1, 40))], "max_tokens": dice.randint(1, 60),
            "ignore_eos": True, "stream": manner != "whole", "return_token_ids": True}  # fmt: skip
    sent = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    try:
        writer.write(f"{HEAD}Content-Length: {len(sent)}\r\n\r\n".encode())
        if manner == "half a body":
            writer.write(sent[: len(sent) // 2])
            await asyncio.sleep(dice.random())
            return "left"
        writer.write(sent)
        if manner == "leaves":
            await reader.read(dice.randint(1, 2_000))
            await asyncio.sleep(dice.random() / 10)
            return "left"
        answer = b""
        while part := await reader.read(1 << 12):
            answer += part
            if manner == "slow":
                await asyncio.sleep(0.05)
        return seen(answer, body)
    finally:
        writer.close()


def seen(answer: bytes, body: dict) -> str:
    """An answer in a word. A whole one has all tokens that were asked for, a stream its end."""
    if not answer:
        return "closed without an answer"
    status = int(answer[9:12])
    if status != 200:
        return str(status)
    if body["stream"] and b'"error"' in answer:
        return "error in the stream"
    if body["stream"] and not answer.rstrip().endswith(b"[DONE]\n\n\r\n0"):
        return "broken off"
    tokens = [t for ids in re.findall(rb'"token_ids":\[([\d,]*)\]', answer) for t in ids.split(b",") if t]
    return "complete" if len(tokens) == body["max_tokens"] else f"{len(tokens)} tokens of {body['max_tokens']}"


async def client(port: int, number: int, end: float) -> Counter:
    """Requests one after the other, in manners by chance, until the time is over."""
    dice, found = random.Random(number), Counter()
    while time.monotonic() < end:
        manner = dice.choices(["whole", "stream", "slow", "leaves", "half a body"], [3, 4, 1, 1, 1])[0]
        try:
            async with asyncio.timeout(60):
                found[await ask(port, dice, manner)] += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            found["connection refused or reset"] += 1
        except TimeoutError:
            found["HANGS"] += 1
        await asyncio.sleep(dice.random() / 5)
    return found


async def crowd(port: int, clients: int, seconds: float) -> Counter:
    end = time.monotonic() + seconds
    return sum(await asyncio.gather(*(client(port, number, end) for number in range(clients))), Counter())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("load") / "said", *KNOBS, "--body-seconds", "3") as server:
        asyncio.run(crowd(server.port, CLIENTS, 15.0))  # buffers and the trace have their size now
        wait_until_idle(server)
        yield server


def test_five_hundred_clients_for_a_minute(server):
    process = psutil.Process(server.process.pid)
    before, descriptors, threads = memory(server), process.num_fds(), process.num_threads()
    found = asyncio.run(crowd(server.port, CLIENTS, SECONDS))
    wait_until_idle(server)
    time.sleep(6)  # idle connections are closed
    after = memory(server)
    print(f"\n{CLIENTS} clients, {SECONDS:.0f} s: {dict(found.most_common())}; {before:.0f} MB before, {after:.0f} after")
    assert set(found) <= {"complete", "left", "503"} and found["complete"] > 500
    assert after < 1.1 * before and process.num_fds() <= descriptors + 2 and process.num_threads() <= threads
    assert server.client.get("/health").status_code == 200


def test_ten_thousand_short_connections(server):
    async def short(dice: random.Random) -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            if dice.random() < 0.5:
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return (await reader.read())[9:12].decode()
            writer.write(b"GET /hea")
            return "left"
        except ConnectionError:
            return "refused"
        finally:
            with suppress(UnboundLocalError):
                writer.close()

    async def many() -> Counter:
        found, dice = Counter(), random.Random(0)
        for _ in range(100):
            found += Counter(await asyncio.gather(*(short(dice) for _ in range(100))))
        return found

    before, descriptors = memory(server), psutil.Process(server.process.pid).num_fds()
    found = asyncio.run(many())
    time.sleep(2)
    print(f"\n10,000 connections: {dict(found)}; {before:.0f} MB before, {memory(server):.0f} after")
    assert set(found) == {"200", "left"} and sum(found.values()) == 10_000
    assert memory(server) < 1.1 * before and psutil.Process(server.process.pid).num_fds() <= descriptors + 5


def test_bodies_of_fifty_megabytes(server):
    before, body = memory(server), b'{"prompt": "' + b"x" * 50_000_000 + b'"}'
    for _ in range(3):
        response = server.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert "larger than" in refused(response, 413)
    print(f"\n3 bodies of 50 MB: 413; {before:.0f} MB before, {memory(server):.0f} after")
    assert memory(server) < 1.1 * before + 20


def test_half_bodies_and_silence_do_not_keep_others_waiting(server):
    async def silent() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"{HEAD}Content-Length: 1000\r\n\r\n".encode() + b'{"prompt":')
        answer = await reader.read()
        writer.close()
        return answer[9:12]

    async def both() -> tuple[list, float]:
        waiting = [asyncio.create_task(silent()) for _ in range(200)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert await ask(server.port, random.Random(1), "whole") == "complete"
        took = time.monotonic() - began
        return await asyncio.gather(*waiting), took

    answers, took = asyncio.run(both())
    assert set(answers) == {b"408"} and took < 2.5


@pytest.mark.parametrize("signal_number, code, allowed", [
    (signal.SIGTERM, 0, {"complete", "left", "503", "error in the stream", "connection refused or reset"}),
    (signal.SIGKILL, -signal.SIGKILL, {"complete", "left", "503", "broken off", "closed without an answer",
                                       "connection refused or reset"}),
], ids=["SIGTERM", "SIGKILL"])  # fmt: skip
def test_a_signal_in_the_middle(tmp_path, signal_number, code, allowed):
    """SIGTERM lets those who were let in finish; SIGKILL cuts everybody off. Nobody waits for what will not come."""
    with ServerProcess(tmp_path / "said", *KNOBS, "--stop-seconds", "20") as server:

        async def run() -> Counter:
            clients = asyncio.create_task(crowd(server.port, 100, 8.0))
            await asyncio.sleep(3.0)
            server.process.send_signal(signal_number)
            return await clients

        began = time.monotonic()
        found = asyncio.run(run())
        print(f"\n{signal.Signals(signal_number).name}: {dict(found.most_common())}")
        assert set(found) <= allowed and found["complete"] and time.monotonic() - began < 60
        ended, _, said = server.end()
        assert ended == code and "Traceback" not in said
    assert raw_fails(server.port)


def raw_fails(port: int) -> bool:
    with suppress(OSError):
        raw(port, b"")
        return False
    return True
