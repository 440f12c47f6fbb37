"""Replicas that Ray runs: ``make test-ray``. Ray's start is not dependable on a busy machine: it is tried twice, then skipped."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.streams import SPEC, alone, answer, told

from minieng import LLM
from minieng.request import SamplingParams
from minieng.server.ray_worker import connect, ray_workers
from minieng.server.replicas import Replicas

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


def test_streams_while_actors_are_killed(ray):
    """Every stream equals its reference exactly once, and Ray brings the actors back."""
    count, answers, rng = 60, {}, random.Random(1)
    expected = alone(count)

    async def main() -> tuple[int, int]:
        front = Replicas(ray_workers(SPEC, 2, "local"))
        await front.start()

        async def client(number: int) -> None:
            await asyncio.sleep(0.03 * number)
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

    deaths, _ = asyncio.run(asyncio.wait_for(main(), SECONDS))
    assert deaths >= 1
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
