"""How a pipeline ends: closed, forgotten, interrupted, with a stage or the first process killed. No process is ever left."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.pipelines import stage_processes

from minieng import LLM, SamplingParams
from minieng.parallel.pipeline import StageEnded
from minieng.parallel.stages import cut_layers

ROOT = Path(__file__).parents[2]
KNOBS = {"device": "cpu", "dtype": "float32", "num_blocks": 300}
TEXTS = ["Once upon a time", "The small dog", "One day", "A bird"]
LONG = SamplingParams(max_tokens=400, ignore_eos=True)
SHORT = SamplingParams(max_tokens=6)


def tokens(llm: LLM) -> list[list[int]]:
    return [o.outputs[0].token_ids for o in llm.generate(TEXTS, SHORT)]


def soon(what, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not within 5 seconds"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.wide) for n in range(1, 20))])
def test_a_stage_killed_at_any_moment_ends_the_requests_and_nothing_else(number):
    dice = random.Random(number)
    stages = 2 + number % 2
    with LLM("tiny", **KNOBS) as whole:
        want = tokens(whole)
    llm = LLM("tiny", stages=stages, checked=True, **KNOBS)
    victim = dice.choice(stage_processes())
    killed: list[float] = []

    def kill() -> None:
        time.sleep(dice.random() * 0.6)
        killed.append(time.monotonic())
        os.kill(victim.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StageEnded, match=r"stage [12] ended: killed by SIGKILL; its \d+ requests were aborted"):
        while True:
            llm.generate(TEXTS, LONG)
    assert time.monotonic() - killed[0] < 5
    killer.join()
    assert not llm.engine.requests and llm.engine.kv.pool.num_free == 300
    with pytest.raises(StageEnded, match="killed by SIGKILL; its 4 requests were aborted: close this LLM and make a new one"):
        llm.generate(TEXTS, SHORT)
    llm.close()
    llm.close()
    soon(lambda: not stage_processes())
    if number % 2 == 0:
        with LLM("tiny", stages=2, **KNOBS) as again:
            assert tokens(again) == want
        assert not stage_processes()


def test_an_llm_that_is_forgotten_takes_its_stages_with_it():
    """As when a cell of a notebook is run again: the old LLM goes when the name is bound anew."""
    llm = LLM("tiny", stages=2, **KNOBS)
    first = stage_processes()
    llm = LLM("tiny", stages=2, **KNOBS)
    gc.collect()
    soon(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in first))
    assert len(stage_processes()) == 1 and tokens(llm)
    llm.close()
    assert not stage_processes()


def test_a_model_that_a_stage_cannot_load_is_told_with_the_reason(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from minieng.parallel import stages

    class Broken(stages.Processes):
        def start(self, rank, place):
            self.store.set("part", '{"name": "no-such-model", "cuts": [0, 2, 4], "knobs": {}, "most": 8, "rectangles": false}')
            return super().start(rank, place)

    monkeypatch.setattr(stages, "Processes", Broken)
    with pytest.raises(RuntimeError, match="stage 1 could not be loaded: ModelNotFound: no model 'no-such-model'"):
        LLM("tiny", stages=2, **KNOBS)
    assert not stage_processes()


SCRIPT = """
import sys
from minieng import LLM, SamplingParams
llm = LLM("tiny", stages=2, device="cpu", dtype="float32", num_blocks=300)
short = SamplingParams(max_tokens=6)
print("want", llm.generate("Once upon a time", short)[0].outputs[0].token_ids, flush=True)
try:
    print("go", llm.runner.processes.folder, flush=True)
    while True:
        llm.generate(["Once", "upon", "a"], SamplingParams(max_tokens=400, ignore_eos=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("want", llm.generate("Once upon a time", short)[0].outputs[0].token_ids, flush=True)
sys.stdin.read()
"""


def test_ctrl_c_stops_the_requests_and_a_killed_process_takes_its_stages_with_it():
    """Ctrl-C goes to all processes of a terminal, the stages too: they leave it to the first one."""
    first = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    try:
        want = first.stdout.readline()
        assert want.startswith("want")
        word, folder = first.stdout.readline().split()
        assert word == "go" and Path(folder).is_dir()
        time.sleep(0.3)
        os.killpg(first.pid, signal.SIGINT)
        assert first.stdout.readline() == "interrupted\n"
        assert first.stdout.readline() == want, "the same pipeline goes on"
        stages = stage_processes()
        assert len(stages) == 1
    finally:
        first.kill()
        first.wait()
    soon(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in stages))
    soon(lambda: not Path(folder).exists())


BROKEN_LOGITS = """
import sys
import torch
from minieng.model import decoder
from minieng.parallel import stage
calls = []
whole = decoder.Decoder.logits
def overflowing(self, x, attention):
    calls.append(len(x))
    return whole(self, x * float("nan") if len(calls) == 4 else x, attention)
decoder.Decoder.logits = overflowing
stage.main()
"""


def test_what_a_stage_raises_is_raised_here_and_the_pipeline_goes_on(monkeypatch):
    """Logits that are no numbers, in the fourth batch of the last stage."""
    from minieng.parallel import stages

    monkeypatch.setattr(stages, "COMMAND", ["-c", BROKEN_LOGITS])
    with LLM("tiny", **KNOBS) as whole, LLM("tiny", stages=2, checked=True, **KNOBS) as llm:
        groups = llm._submit(TEXTS, SHORT, 0, None, "", None, None)
        with pytest.raises(FloatingPointError, match="logits are not finite") as told:
            llm.engine.run()
        assert told.value.__notes__ == ["in stage 1 of the pipeline"]
        llm.engine.run()
        assert [r.output_token_ids for (r,) in groups] == tokens(whole)


def test_stages_of_other_hosts_are_waited_for_at_the_address(monkeypatch):
    """As docs/PIPELINE.md says, with all hosts being this one: the first stage starts none itself."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    other = subprocess.Popen(
        [sys.executable, "-m", "minieng.parallel.stage"],
        env={**os.environ, **env, "RANK": "1"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    try:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with LLM("tiny", **KNOBS) as whole, LLM("tiny", stages=2, **KNOBS) as llm:
            assert tokens(llm) == tokens(whole)
            assert not llm.trace[-1].stages, "clocks of other hosts are not compared"
        assert other.wait(10) == 0
    finally:
        other.kill()
        other.wait()


# -- what is refused, and the cut -------------------------------------------------------------------------------


def test_more_stages_than_layers_are_refused():
    with pytest.raises(ValueError, match="stages=5: the model has 4 layers: choose 1 to 4"):
        LLM("tiny", stages=5, **KNOBS)


def test_a_model_of_another_family_is_refused(shape):
    with pytest.raises(
        ValueError, match="stages=2: only models of the Llama family can be cut, and model type 'gpt2'.*use stages=1"
    ):
        LLM(str(shape("gpt2").path), stages=2, **KNOBS)


def test_a_device_with_a_number_is_refused():
    with pytest.raises(ValueError, match="device='cuda:1': stage k takes GPU k"):
        LLM("tiny", stages=2, device="cuda:1")


@pytest.mark.parametrize(
    "costs, stages, cuts",
    [([1, 1, 1, 1], 2, [0, 2, 4]), ([1, 1, 1, 3], 2, [0, 3, 4]), ([1] * 29 + [9], 2, [0, 19, 30]), ([1] * 3, 3, [0, 1, 2, 3]),
     ([5, 1, 1, 1, 1, 1], 3, [0, 1, 3, 6]), ([1] * 7, 3, [0, 2, 4, 7])],
)  # fmt: skip
def test_the_costliest_stage_is_as_cheap_as_can_be(costs, stages, cuts):
    found = cut_layers(costs, stages)
    most = [max(sum(costs[a:b]) for a, b in zip(c, c[1:], strict=False)) for c in (found, cuts)]
    assert most[0] == most[1] and len(found) == stages + 1 and found == sorted(set(found))
