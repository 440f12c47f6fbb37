"""Clients that leave, stall or flood, an engine that fails, and the end: what each sees, and that nothing is left or hangs."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time

import httpx
import psutil
import pytest
from support.door import Door, fake_llm, raw, read_all, refused, tokens_of
from support.fakes import expected, nothing_left

COMPLETIONS = "/v1/completions"
LONG = {"prompt": [1, 2, 3], "max_tokens": 240}
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def soon(condition, seconds: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.005)


def leave(client: httpx.Client, body: dict, after: int) -> None:
    """Begin a stream and go away after some events."""
    with client.stream("POST", COMPLETIONS, json={**body, "stream": True}) as response:
        lines = response.iter_lines()
        for _ in range(after):
            next(lines)


# -- clients that go away ---------------------------------------------------------------------------------------


def test_who_leaves_a_stream_is_aborted_and_his_blocks_are_free():
    llm = fake_llm(slow=0.005, num_blocks=200)
    with Door(llm) as door:
        for after in (0, 1, 5):
            leave(httpx.Client(base_url=door.url), {**LONG, "n": 2}, after)
        soon(lambda: not door.engine.num_open and not llm.engine.requests, 0.5)  # long before 240 steps of 5 ms
        assert llm.engine.kv.pool.num_free == 200
        assert 'finished_reason="abort",model_name="fake"} 6.0' in door.get("/metrics").text
    nothing_left(llm.engine)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_does_not_wait_for_his_answer_is_aborted(reset):
    llm = fake_llm(slow=0.005, num_blocks=200)
    with Door(llm) as door:
        body = json.dumps(LONG).encode()
        with socket.create_connection(("127.0.0.1", door.port)) as connection:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            soon(lambda: llm.engine.requests)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        soon(lambda: not door.engine.num_open and not llm.engine.requests, 0.5)
    nothing_left(llm.engine)


def test_many_short_connections_leave_no_descriptor():
    llm, process = fake_llm(), psutil.Process()
    with Door(llm) as door:
        door.get("/health")
        before = process.num_fds()
        for i in range(300):
            with socket.create_connection(("127.0.0.1", door.port)) as connection:
                if i % 3:
                    connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" if i % 3 == 1 else b"GET /hea")
        soon(lambda: process.num_fds() <= before and len(door.service.server_state.connections) <= 1)
        assert door.get("/health").status_code == 200


# -- clients that stall -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict():
    llm = fake_llm()
    with Door(llm, header_seconds=0.2, body_seconds=0.3, write_seconds=0.4, idle_seconds=0.2, max_header_kb=8) as door:
        yield door
    nothing_left(llm.engine)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /health HTTP/1.1\r\nhost:", b"GET /health HTTP/1.1\r\nhost: x\r\nx: y\r\n"])
def test_half_a_head_is_not_waited_for(strict, sent):
    began = time.monotonic()
    assert raw(strict.port, sent) == b"" and time.monotonic() - began < 30


def test_a_head_that_trickles_is_not_waited_for_either(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - began < 4.5  # of the 5 that it would take


@pytest.mark.parametrize("length", [100, 10**15])
def test_half_a_body_is_a_408(strict, length):
    answer = raw(strict.port, HEAD + b'content-length: %d\r\n\r\n{"prompt":' % length)
    assert answer.startswith(b"HTTP/1.1 408") and b"the body did not come within 0.3 s" in answer
    assert b"connection: close" in answer and not strict.engine.num_open


def test_a_body_for_nobody_is_not_waited_for(strict):
    """The answer needs no body (404), and the rest of the request never comes."""
    answer = raw(strict.port, b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")


def test_a_connection_without_a_request_is_closed(strict):
    answer = raw(strict.port, b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_who_does_not_read_is_cut_off(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000)  # tens of MB of answers
        own = connection.getsockname()[:2]

        def here() -> bool:
            return any(tuple(c.client) == own for c in list(strict.service.server_state.connections))

        soon(here)
        soon(lambda: not here())
        answers = read_all(connection).count(b"HTTP/1.1 200")
        assert 0 < answers < 2_000
    assert strict.get("/health").status_code == 200


def test_large_heads_are_refused_whether_they_end_or_not(strict):
    head = b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 50_000
    assert raw(strict.port, head).startswith(b"HTTP/1.1 400")
    assert raw(strict.port, head + b"\r\n\r\n").startswith(b"HTTP/1.1 431")


def test_more_connections_than_allowed_are_told_so():
    with Door(fake_llm(), max_connections=3) as door:
        held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(4)]
        soon(lambda: len(door.service.server_state.connections) == 4)
        assert raw(door.port, b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()
        soon(lambda: not door.service.server_state.connections)
        assert door.get("/version").status_code == 200


# -- an engine that fails ---------------------------------------------------------------------------------------


def test_a_failed_step_is_told_to_everybody_and_ends_the_server(monkeypatch):
    monkeypatch.setattr("minieng.server.run.FAILED_SECONDS", 1.0)
    llm = fake_llm(slow=0.05)
    execute, steps = llm.engine.executor.execute, []

    def fail(plan):
        steps.append(plan)
        if len(steps) == 5:
            raise ZeroDivisionError("in step 5")
        return execute(plan)

    llm.engine.executor.execute = fail
    seen: dict = {}
    with Door(llm) as door:
        asked = {
            "whole": lambda: door.post(COMPLETIONS, LONG),
            "stream": lambda: door.chunks(COMPLETIONS, LONG),
        }
        threads = [threading.Thread(target=lambda n=n, c=c: seen.update({n: c()})) for n, c in asked.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert "in step 5" in refused(seen["whole"], 500)
        *_, last = seen["stream"]
        assert "in step 5" in last["error"]["message"] and last["error"]["code"] == 500
        assert "in step 5" in refused(door.get("/health"), 503)
        assert "in step 5" in refused(door.post(COMPLETIONS, LONG), 500)
        door._thread.join(20)
        assert not door._thread.is_alive() and door.exit_code == 1
    llm.close()


# -- the end ----------------------------------------------------------------------------------------------------


def test_a_stop_takes_nothing_new_and_finishes_what_runs():
    llm = fake_llm(slow=0.01)
    with Door(llm) as door:
        body = {**LONG, "max_tokens": 60, "return_token_ids": True, "stream": True}
        with door.client.stream("POST", COMPLETIONS, json=body) as response:
            lines = response.iter_lines()
            first = next(lines)
            door.service.stop_asked = True
            soon(lambda: door.engine.stopping)
            other = httpx.Client(base_url=door.url)
            answer = other.post(COMPLETIONS, json=LONG)
            assert "stopping" in refused(answer, 503) and "retry-after" in answer.headers
            refused(other.get("/health"), 503)
            rest = [first, *(line for line in lines if line)]
        assert rest[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in rest[:-1] if line]
        assert tokens_of(chunks) == {0: expected([1, 2, 3], 60)}
    assert door.exit_code == 0
    nothing_left(llm.engine)


def test_a_stop_ends_what_is_late_and_says_so():
    llm = fake_llm(slow=0.02)
    with Door(llm, stop_seconds=0.1) as door:
        body = {**LONG, "stream": True}
        with door.client.stream("POST", COMPLETIONS, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            door.service.stop_asked = True
            *_, error, end = [line for line in lines if line]
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == 503 and end == "data: [DONE]"
    assert door.exit_code == 0
    nothing_left(llm.engine)


# -- all of it at once ------------------------------------------------------------------------------------------


def test_two_hundred_requests_that_come_go_and_leave_half_way():
    """Every third client leaves at some point; the others get exactly their own tokens; then nothing is left anywhere."""
    llm, process = fake_llm(num_blocks=120, slow=0.0005, scheduler="chunked", max_num_batched_tokens=32), psutil.Process()

    async def one(client: httpx.AsyncClient, number: int) -> str:
        prompt, length, n = [number % 97, number // 97, number % 5], 1 + number * 7 % 60, 1 + number % 3
        body = {"prompt": prompt, "max_tokens": length, "n": n, "return_token_ids": True, "stream": bool(number % 2)}
        await asyncio.sleep(number % 20 / 50)
        want = {i: expected(prompt, length, i) for i in range(n)}
        if number % 3 == 0:
            try:
                async with asyncio.timeout(number % 7 / 100), client.stream("POST", COMPLETIONS, json=body) as response:
                    async for _ in response.aiter_lines():
                        if number % 2:
                            break
            except (TimeoutError, httpx.HTTPError):
                pass
            return "left"
        if not number % 2:
            answer = (await client.post(COMPLETIONS, json=body)).json()
            assert {c["index"]: c["token_ids"] for c in answer["choices"]} == want
            return "whole"
        async with client.stream("POST", COMPLETIONS, json=body) as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert tokens_of([json.loads(line.removeprefix("data: ")) for line in lines[:-1]]) == want
        return "streamed"

    async def everybody() -> list[str]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=door.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    with Door(llm) as door:
        door.get("/health")
        before, tasks = process.num_fds(), door.num_tasks()
        told = asyncio.run(everybody())
        assert {kind: told.count(kind) for kind in set(told)} == {"left": 67, "whole": 66, "streamed": 67}
        soon(lambda: not door.engine.num_open and not llm.engine.requests)
        soon(lambda: len(door.service.server_state.connections) <= 1 and process.num_fds() <= before)
        soon(lambda: door.num_tasks() <= tasks)
        assert not door.service.server_state.tasks
        nothing_left(llm.engine)
