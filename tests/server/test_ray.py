"""Replicas that Ray runs: ``make test-ray``. Ray's start is not dependable on a busy machine: it is tried twice, then skipped."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.door import ServerProcess, found
from support.streams import KNOBS, SPEC, alone, answer, told

from minieng import LLM
from minieng.request import SamplingParams
from minieng.server.ray_worker import RayWorker, connect, ray_workers
from minieng.server.replica import Ask
from minieng.server.replicas import Replicas
from minieng.server.worker import WorkerDied

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'minieng[scale]'"),
]
SECONDS = 240
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    problem: Exception | None = None
    for _ in range(2):
        try:
            found = connect("local")
            break
        except RuntimeError as error:
            problem = error
            importlib.import_module("ray").shutdown()
    else:
        pytest.skip(f"Ray does not start here, tried twice: {problem}")
    yield found
    found.shutdown()


def test_serve_with_a_ray_of_its_own(tmp_path):
    """Answers, goes on when an actor's process is killed, and leaves no process when it is told to end."""
    try:
        server = ServerProcess(tmp_path / "said", "--replicas", "2", "--ray-address", "local", "--router", "round_robin")
    except AssertionError as problem:
        assert "Ray does not answer" in str(problem), problem
        pytest.skip(f"Ray does not start here: {problem}")
    with server:
        own = psutil.Process(server.process.pid).children(recursive=True)
        actors = [each for each in own if "ray::Actor" in " ".join(each.cmdline())]
        assert len(actors) == 2
        first, metrics = completion(server), server.client.get("/metrics").text
        assert {f'engine="{number}"' in metrics for number in (0, 1)} == {True}
        actors[0].kill()
        assert [completion(server) for _ in range(4)] == [first] * 4
        own += psutil.Process(server.process.pid).children(recursive=True)
        server.process.send_signal(signal.SIGTERM)
        code, _, said = server.end()
    assert code == 0 and "its texts go on elsewhere" in said and "Traceback" not in said, said
    _, left = psutil.wait_procs(own, timeout=30)
    assert not left, left


def test_who_is_not_there_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=f"--ray-address {address}: Ray does not answer: .*refused"):
            connect(address)


def completion(server: ServerProcess) -> str:
    body = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 30, "temperature": 0}
    return found(server.client.post("/v1/completions", json=body))["choices"][0]["text"]


def test_serve_on_a_cluster_that_is_there(ray, tmp_path):
    """Its actors are gone when it ends, and the cluster is not."""
    address = ray.get_runtime_context().gcs_address
    with ServerProcess(tmp_path / "said", "--replicas", "2", "--ray-address", address) as server:
        assert completion(server)
        server.process.send_signal(signal.SIGTERM)
        code, _, said = server.end()
    assert code == 0 and "Traceback" not in said, said
    assert ray.cluster_resources()["CPU"] and not [p for p in psutil.process_iter() if "ray::Actor" in p.name()]


def test_one_actor(ray):
    """Asked, left early, killed in the middle of a text, back again, ended."""
    text, ask = "Once upon a time", SamplingParams(max_tokens=20, temperature=0.9, seed=3)
    endless = SamplingParams(max_tokens=450, ignore_eos=True)

    async def counted(worker: RayWorker) -> dict[str, int]:
        """Requests that run, and those that ended, by reason."""
        text = (await worker.stats()).decode()
        ended = re.findall(r'^vllm:request_success_total{.*finished_reason="(\w+)".*} (\d+)', text, re.MULTILINE)
        runs = re.findall(r"^vllm:num_requests_(running){.*} (\d+)", text, re.MULTILINE)
        return {name: int(number) for name, number in ended + runs}

    async def main() -> list[int]:
        (worker,) = ray_workers(SPEC, 1, "local")
        hello = await worker.start()
        prompts = [{"prompt": text, "prompt_token_ids": list(hello.tokenizer(text)["input_ids"])}]

        def order(name: str, params: SamplingParams) -> Ask:
            return Ask(prompts, params, {"request_ids": [name]})

        async def whole(key: int) -> list[int]:
            told = [found async for found in worker.submit(key, order("r", ask))]
            return [news.event.token_id for found in told[1:] for news in found]

        tokens = await whole(1)
        assert await whole(2) == tokens and not worker._open
        for turns in (0, 3):  # left before it begins, perhaps, and when some has come
            stream = worker.submit(3, order(f"left {turns}", endless))
            reading = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            if not turns:
                reading.cancel()
            for _ in range(turns):
                await reading
                reading = asyncio.ensure_future(anext(stream))
            reading.cancel()
            await asyncio.wait([reading])
            await stream.aclose()
            while (await counted(worker))["running"]:
                await asyncio.sleep(0.05)
        numbers = await counted(worker)
        assert numbers["stop"] + numbers["length"] == 2 and 1 <= numbers["abort"] <= 2, "what nobody reads is not computed"
        stream = worker.submit(4, order("killed", endless))
        await anext(stream)
        ray.kill(worker.actor, no_restart=False)
        with pytest.raises(WorkerDied, match="replica 0 ended: "):
            async for _ in stream:
                pass
        assert (await worker.start()).model_name == "tiny" and await whole(5) == tokens and not worker._open
        await worker.stop()
        with pytest.raises(WorkerDied):
            await whole(6)
        with pytest.raises(WorkerDied):
            await worker.start()
        return tokens

    with LLM("tiny", **KNOBS) as llm:
        (out,) = llm.generate([text], ask, request_ids=["r"])
    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == out.outputs[0].token_ids


def test_streams_while_actors_are_killed(ray):
    """Every stream equals its reference exactly once, and Ray brings the actors back."""
    count, answers, rng = 200, {}, random.Random(1)
    expected = alone(count)

    async def main() -> tuple[int, int]:
        front = Replicas(ray_workers(SPEC, 2, "local"))
        await front.start()

        async def client(number: int) -> None:
            await asyncio.sleep(0.01 * number)
            await told(front, number, answers)

        async def killing() -> None:
            for _ in range(2):
                await asyncio.sleep(rng.uniform(0.3, 0.6))
                while len(front._alive) < 2:
                    await asyncio.sleep(0.05)
                ray.kill(rng.choice(front.workers).actor, no_restart=False)

        try:
            await asyncio.gather(killing(), *(client(number) for number in range(count)))
            assert front.num_open == 0 and not any(front._texts)
            return front.deaths, front.resumed
        finally:
            await front.stop()

    deaths, resumed = asyncio.run(asyncio.wait_for(main(), SECONDS))
    assert deaths >= 1 and resumed >= 1, "or nothing was tried"
    for number, (reference, _) in enumerate(expected):
        events, (request,) = answers[number]
        assert answer(events) == reference, number
        assert request.output_token_ids == reference[0]


def test_a_request_that_is_refused_says_what_the_engine_said(ray):
    async def main() -> None:
        front = Replicas(ray_workers(SPEC, 1, "local"))
        await front.start()
        try:
            too_long = [{"prompt": None, "prompt_token_ids": [1] * (front.llm.max_model_len + 1)}]
            with pytest.raises(ValueError, match="the longest text is"):
                await front.submit(too_long, SamplingParams(max_tokens=3), request_ids=["long"])
            assert b"vllm:request_success_total" in await front.text()
        finally:
            await front.stop()

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_what_the_page_shows_of_ray_serve_runs(ray, tmp_path):
    """The lines of docs/SCALING.md, in a process of their own."""
    page = (ROOT / "docs" / "SCALING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    file = tmp_path / "serve_it.py"
    file.write_text(code)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=SECONDS, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    with LLM("tiny", device="cpu") as llm:
        (out,) = llm.generate(["Once upon a time"], SamplingParams(max_tokens=40))
    assert done.stdout.strip().endswith(out.outputs[0].text.strip())
