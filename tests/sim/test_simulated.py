"""Simulated engines, clusters and pipelines; the formula fitted to a trace; the command."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from minieng import LLM, SamplingParams
from minieng.config import EngineConfig
from minieng.observe.metrics import ladder_table
from minieng.observe.trace import Trace
from minieng.observe.waste import bubble
from minieng.parallel.router import ROUTERS, Load, make_router
from minieng.request import Request
from minieng.sim.cli import simulate, simulate_flags
from minieng.sim.cluster import Cluster
from minieng.sim.cost_model import StepTimeModel, Work, decodes
from minieng.sim.executor import END, Script, scripted_request, scripted_requests
from minieng.sim.fit import annotate, fit_report, machine
from minieng.sim.hardware import find_model
from minieng.sim.papers.measured import REQUESTS, SERVED, on_rtx_4090
from minieng.sim.simulated import simulated_engine
from minieng.workload import Workload, lognormal

TIMES = StepTimeModel.named("llama-3-8b", "A100-80G")
CHUNKED = EngineConfig(scheduler="chunked", max_num_seqs=64, max_num_batched_tokens=512, enable_prefix_caching=False)


def chat(n: int, rate: float, seed: int = 0) -> list[Request]:
    return scripted_requests(Workload.preset("chat", n, rate, seed=seed), 8192)


# -- LLM's face ---------------------------------------------------------------------------------------------------


def test_a_simulated_llm_has_the_face_of_a_real_one():
    with LLM.simulated("llama-7b", "A100-80G", scheduler="chunked", num_blocks=64, checked=True) as llm:
        out, other = llm.generate([[1, 2, 3], [4, 5]], SamplingParams(max_tokens=5))
        assert (len(out.outputs[0].token_ids), out.outputs[0].finish_reason, out.outputs[0].text) == (5, "length", "")
        assert [event.token_id for event in llm.stream([1, 2, 3], SamplingParams(max_tokens=4))][-1] is not None
        report = llm.serve_workload(Workload.preset("ladder", n=20, rate=8.0), goodput={"ttft": 500})
        assert report.metrics.completed == 20 and report.metrics.request_goodput > 0
        told = llm.explain()
        for word in ("llama-7b", "A100-80G, simulated", "ChunkedScheduler", "64 blocks of 16", "longest text  2048"):
            assert word in told
        assert llm.trace.meta["device"] == "simulated A100-80G" and llm.trace.meta["virtual"]
    with pytest.raises(RuntimeError, match="closed"):
        llm.generate([[1]])


def test_a_simulated_llm_says_what_it_cannot_do():
    llm = LLM.simulated(num_blocks=8)
    with pytest.raises(ValueError, match="reads no text: pass token ids"):
        llm.generate("hello")
    with pytest.raises(ValueError, match="no chat template"):
        llm.chat([{"role": "user", "content": "hello"}])
    with pytest.raises(ValueError, match="raise num_blocks or lower max_tokens"):
        llm.generate([[1] * 100], SamplingParams(max_tokens=100))
    with pytest.raises(ValueError, match="gpu='A1': the simulator knows A100-80G"):
        LLM.simulated(gpu="A1")


def test_a_simulated_llm_needs_no_torch():
    code = (
        "import sys; from minieng import LLM, SamplingParams\n"
        "with LLM.simulated() as llm:\n"
        "    llm.generate([[1, 2], [3]], SamplingParams(max_tokens=3, n=2)); llm.replay(llm.trace); llm.explain()\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PAGE = """
import sys
for name in ("numpy", "torch", "transformers", "tokenizers", "safetensors", "matplotlib"):
    sys.modules[name] = None  # importing it fails
from minieng import LLM, SamplingParams, Workload
from minieng.observe.metrics import ladder_table
from minieng.observe.waste import bubble
from minieng.sim import Cluster, StepTimeModel, scripted_requests, simulated_engine
from minieng.sim.papers import measure, rerun, anyscale, orca, sarathi, sarathi_pp, vllm
reports = {}
for scheduler in ("static", "dynamic", "continuous", "chunked"):
    with LLM.simulated("llama-7b", "A100-80G", scheduler=scheduler, num_blocks=200, checked=True) as llm:
        llm.generate([[1, 2], [3]], SamplingParams(max_tokens=3, n=2))
        llm.replay(llm.trace)
        reports[scheduler] = llm.serve_workload(Workload.preset("bursty", 40, seed=3), goodput={"ttft": 500})
        llm.explain()
assert all(report.metrics.completed == 40 for report in reports.values())
workload = Workload.preset("sharegpt", 30, seed=3)
cluster = Cluster.replicas(2, StepTimeModel.named("llama-3-8b", "A100-80G"), simulated_engine().config)
assert len(cluster.run(scripted_requests(workload))) == 30
print(ladder_table(reports))
print([tuple(job) for job in workload], workload.prompts(500, seed=1)[0])
"""


def test_everything_simulated_runs_without_numpy_and_torch_and_gives_the_same():
    ran = subprocess.run([sys.executable, "-c", PAGE], check=True, capture_output=True, text=True).stdout
    table, drawn = ran.strip().rsplit("\n", 1)
    workload = Workload.preset("sharegpt", 30, seed=3)
    assert drawn == f"{[tuple(job) for job in workload]} {workload.prompts(500, seed=1)[0]}"
    with LLM.simulated("llama-7b", "A100-80G", scheduler="chunked", num_blocks=200) as llm:
        report = llm.serve_workload(Workload.preset("bursty", 40, seed=3))
    assert table.splitlines()[-1].split() == ladder_table({"chunked": report}).splitlines()[-1].split()


@pytest.mark.parametrize("module", ["minieng.sim", "minieng.observe"])
def test_a_package_shows_its_face(module):
    package = importlib.import_module(module)
    assert all(callable(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_a_learners_scheduler_runs_simulated():
    from minieng.scheduler import make_scheduler

    own, named = (LLM.simulated(scheduler=s, enable_prefix_caching=False) for s in (make_scheduler("continuous"), "continuous"))
    workload = Workload.preset("ladder", n=30, rate=8.0)
    assert own.serve_workload(workload).trace.plans() == named.serve_workload(workload).trace.plans()


def test_a_simulated_run_is_replayed():
    with LLM.simulated(scheduler="continuous", num_blocks=20, block_size=4, max_num_seqs=4) as llm:
        llm.generate([[7] * n for n in (3, 9, 20, 5, 11)], SamplingParams(max_tokens=12))
        again = llm.replay(llm.trace)
        assert again.plans() == llm.trace.plans() and again.outputs() == llm.trace.outputs()


# -- the executor -------------------------------------------------------------------------------------------------


def test_a_script_ends_the_text():
    script = Script(4, 7)
    assert (list(script), len(script), script[-1], script[1:]) == ([7, 7, 7, END], 4, END, [7, 7, END])
    engine = simulated_engine("llama-7b", "A100-80G", scheduler="continuous")
    request = engine.add_request(scripted_request(0, 10, 4, max_tokens=100))
    engine.run()
    assert (request.num_output_tokens, request.finish_reason) == (4, "stop")


def test_without_a_script_a_text_has_max_tokens():
    engine = simulated_engine()
    request = engine.add_request(Request("a", [1, 2, 3], SamplingParams(max_tokens=9, ignore_eos=True)))
    engine.run()
    assert (request.num_output_tokens, request.finish_reason) == (9, "length")


def test_a_step_takes_what_the_formula_says():
    engine = simulated_engine("llama-7b", "A100-80G", host=0.0, enable_prefix_caching=False)
    for i in range(3):
        engine.add_request(scripted_request(i, 100 + i, 5))
    first, second = engine.step(), engine.step()
    times = StepTimeModel.named("llama-7b", "A100-80G", host=0.0)
    assert first.duration == pytest.approx(times.seconds(Work.of([(100, 0), (101, 0), (102, 0)])))
    assert second.duration == pytest.approx(times.seconds(Work(3, 3, 101 + 102 + 103, 0, 3)))
    assert engine.clock.now() == pytest.approx(first.duration + second.duration)
    assert times.predict(first) == pytest.approx(first.duration)


def test_a_rectangle_is_charged_whole():
    engine = simulated_engine("llama-7b", "A100-80G", host=0.0, scheduler="static", batch_size=3)
    for i, (prompt, output) in enumerate([(10, 2), (40, 6), (25, 4)]):
        engine.add_request(scripted_request(i, prompt, output))
    engine.run()
    times = StepTimeModel.named("llama-7b", "A100-80G", host=0.0)
    for i, record in enumerate(engine.trace):
        work = Work.rectangle(3, 40, 0) if i == 0 else decodes(3, 40 + i)
        assert record.duration == pytest.approx(times.seconds(work)) == pytest.approx(times.predict(record))


def test_the_prefix_cache_hits_only_what_is_shared():
    engine = simulated_engine("llama-7b", "A100-80G", scheduler="continuous")
    shared = list(range(64))
    for i in range(4):
        engine.add_request(scripted_request(i, [*shared, 10_000 + i], 20, arrival=float(i)))
        engine.add_request(scripted_request(10 + i, 65, 20, arrival=float(i)))
    engine.run()
    cached = {name: r.num_cached_tokens for name, r in engine.trace.requests.items()}
    assert cached == {"0": 0, "1": 64, "2": 64, "3": 64, "10": 0, "11": 0, "12": 0, "13": 0}


def test_swapping_costs_time_on_the_hosts_link():
    engine = simulated_engine(
        "llama-7b", "A100-80G", num_blocks=8, scheduler="continuous", preemption="swap", admission="watermark"
    )
    for i in range(3):
        engine.add_request(scripted_request(i, 30, 30))
    engine.run()
    moved = [r for r in engine.trace if sum(r.swapped)]
    times = engine.executor.model
    assert moved
    for record in moved:
        extra = sum(record.swapped) * (16 * 524288 / 25e9 + 2 * 32 * 6e-6)  # bytes, and a copy for K and V of 32 layers
        work = times.predict(record) if record.slices else 0.0
        assert record.duration == pytest.approx(work + extra)


# -- real systems -------------------------------------------------------------------------------------------------


def report(capsys, what: str, ours: dict[str, float]) -> None:
    with capsys.disabled():
        errors = ", ".join(f"{k} {ours[k]:.4g} ({ours[k] / v - 1:+.1%})" for k, v in SERVED.items())
        print(f"\nvLLM on an RTX 4090, {what}: {errors}")


@pytest.mark.parametrize("seed", range(3))
def test_fidelity_on_lengths_of_the_same_shape(seed, capsys):
    jobs = Workload.synthetic(300, lognormal(858, 1.0), lognormal(652, 0.6), rate=10, seed=seed)
    ours = on_rtx_4090(jobs)
    report(capsys, f"synthetic, seed {seed}", ours)
    assert ours == pytest.approx(SERVED, rel=0.20)


def test_fidelity_on_the_measured_requests(capsys):
    """Their own lengths and arrivals, the same constants."""
    ours = on_rtx_4090(Workload.from_csv(REQUESTS))
    report(capsys, "its own requests", ours)
    assert ours == pytest.approx(SERVED, rel=0.10)


@pytest.mark.skipif(not os.environ.get("MINIENG_TRACES"), reason="MINIENG_TRACES names no folder with the Azure trace")
def test_the_azure_traces_one_request_too_long_is_refused():
    jobs = [j for j in Workload.preset("azure_conv", n=19_366) if j.prompt_tokens > 6_000]
    config = replace(CHUNKED, max_model_len=8192)
    cluster = Cluster.replicas(1, TIMES, config)
    served = cluster.run(scripted_requests(jobs, 8192))
    assert len(served) == len(jobs) - 1
    assert "14050 tokens, the longest text is 8192" in cluster.refused[0][1]


# -- clusters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ROUTERS)
def test_replicas_serve_everything_in_one_virtual_time(router):
    cluster = Cluster.replicas(3, TIMES, CHUNKED, router)
    made = chat(150, rate=20.0)
    served = cluster.run(made)
    assert len(served) == 150 and sum(cluster.routed) == 150 and min(cluster.routed) > 20
    for request in served:
        assert request.arrival_time <= request.admitted_time <= request.token_times[0] <= request.finish_time <= cluster.seconds
    again = Cluster.replicas(3, TIMES, CHUNKED, router)
    assert [r.finish_time for r in again.run(chat(150, rate=20.0))] == [r.finish_time for r in served]


def test_one_replica_is_an_engine():
    engine = simulated_engine("llama-3-8b", "A100-80G", **{k: v for k, v in vars(CHUNKED).items()})
    made = chat(80, rate=6.0)
    for request in made:
        engine.add_request(request)
    engine.run()
    times = [r.finish_time for r in made]
    assert [r.finish_time for r in Cluster.replicas(1, TIMES, CHUNKED).run(chat(80, rate=6.0))] == pytest.approx(times)


def test_knowing_the_load_beats_chance():
    def tail(router):
        served = Cluster.replicas(4, TIMES, CHUNKED, router).run(chat(400, rate=20.0))
        waits = sorted(r.token_times[0] - r.arrival_time for r in served)
        return waits[int(0.95 * len(waits))]

    assert tail("least") < tail("random")


def test_prefix_affinity_keeps_conversations_together():
    rng = random.Random(0)
    heads = [[1000 * k + i for i in range(512)] for k in range(8)]

    def hits(router):
        made = [scripted_request(i, [*rng.choice(heads), -i - 2, *range(40)], 10, arrival=0.1 * i) for i in range(120)]
        config = replace(CHUNKED, enable_prefix_caching=True, num_blocks=320)  # room for about half of the heads
        return sum(r.num_cached_tokens for r in Cluster.replicas(4, TIMES, config, router).run(made))

    assert hits("prefix_affinity") > hits("round_robin")


def test_routers_by_hand():
    loads = [Load(2, 3, 900), Load(0, 6, 400), Load(0, 1, 500)]
    assert make_router("least").pick(loads, []) == 1
    assert [make_router("round_robin").pick(loads, [])] == [0]
    turns = make_router("round_robin")
    assert [turns.pick(loads, []) for _ in range(5)] == [0, 1, 2, 0, 1]
    two = make_router("power_of_two", seed=1)
    picks = [two.pick(loads, []) for _ in range(300)]
    assert picks.count(1) == 0 or picks.count(2) > picks.count(0) > 50  # the most loaded of all never wins a pair
    with pytest.raises(ValueError, match="router='best'.*round_robin"):
        make_router("best")


def test_a_dynamic_batch_waits_for_requests_from_outside():
    """In a cluster the engine does not know what will still come: its window must run all the same."""
    config = replace(CHUNKED, scheduler="dynamic", batch_size=4, wait_window=0.5, max_model_len=8192)
    made = [scripted_request(i, 50, 3, arrival=when) for i, when in enumerate((0.0, 0.2, 3.0))]
    Cluster.replicas(1, TIMES, config).run(made)
    assert made[0].admitted_time == made[1].admitted_time == pytest.approx(0.5)
    assert made[2].admitted_time == pytest.approx(3.0)  # nothing more can come: no reason to wait


def test_a_pipeline_works_on_all_stages_at_once():
    """Equal batches, one a stage: no bubbles but at the ends, and a token costs a cycle of the slowest stage."""
    times = StepTimeModel.named("llama-2-70b", "A100-80G", stages=4, host=0.0)
    config = replace(CHUNKED, max_num_seqs=8, num_blocks=4000)
    full, one = Cluster.pipeline(times, config), Cluster.replicas(1, times, config)
    full.run([scripted_request(i, 64, 100) for i in range(8)])
    one.run([scripted_request(i, 64, 100) for i in range(2)])
    (engine,) = full.engines
    busy = engine.executor.busy / (4 * full.seconds)
    assert busy > 0.9
    assert full.seconds < 1.2 * one.seconds, "four times the work in hardly more time"
    assert engine.depth == 4 and engine.kv.pool.num_blocks == 4000, "one pool for all batches"
    assert max(record.num_running for record in engine.trace) == 8
    assert bubble(engine.trace) == pytest.approx(1 - busy, abs=0.01)


def test_stages_without_depth_pass_one_batch_after_the_other():
    """As long as the formula says for all stages in a row, and a pipeline of depth 1 is that."""

    def run(depth):
        engine = simulated_engine("llama-2-70b", "A100-80G", stages=4, depth=depth, num_blocks=4000, scheduler="chunked")
        for i in range(8):
            engine.add_request(scripted_request(i, 64, 20))
        return engine, engine.run()

    engine, trace = run(1)
    assert [r.duration for r in trace] == pytest.approx([engine.executor.model.predict(r) for r in trace])
    assert bubble(trace) == pytest.approx(0.75, abs=0.02)
    assert bubble(run(4)[1]) < 0.15


@pytest.mark.parametrize("batch_share, together", [(True, 8), (False, 32)])
def test_the_seats_are_the_pipelines_or_each_batchs(batch_share, together):
    times = StepTimeModel.named("llama-2-70b", "A100-80G", stages=4, host=0.0)
    cluster = Cluster.pipeline(times, replace(CHUNKED, max_num_seqs=8, num_blocks=4000), batch_share=batch_share)
    cluster.run([scripted_request(i, 64, 10) for i in range(64)])
    assert max(record.num_running for record in cluster.engines[0].trace) == together


# -- fitting ------------------------------------------------------------------------------------------------------


def test_fit_finds_the_machine_that_made_the_trace():
    spec = replace(find_model("smollm2-135m"), weight_bytes=4, kv_bytes=4)
    made_by = machine(spec, [40e9, 12e9, 5e9, 20e9, 0.004, 0.0005])
    engine = simulated_engine(
        spec, made_by.gpu, host=made_by.host, num_blocks=2000, scheduler="chunked", max_num_batched_tokens=128
    )
    rng = random.Random(2)
    for i in range(40):
        engine.add_request(scripted_request(i, rng.randint(5, 300), rng.randint(5, 60), arrival=i * 0.3))
    engine.run()
    noise = [replace(r, duration=r.duration * math.exp(rng.gauss(0, 0.05))) for r in engine.trace]
    found = fit_report(Trace(steps=noise), spec)
    assert found.error_checked < 0.06 and "median error" in str(found)
    assert found.model.gpu.bandwidth == pytest.approx(12e9, rel=0.25)
    assert "weights and fixed together" in str(found), "one trace can hardly tell them apart"
    assert "us a request" in str(found)
    told = fit_report(Trace(steps=noise), spec, bandwidth=12e9)
    assert told.model.gpu.bandwidth == pytest.approx(12e9), "what is given is not fitted"
    assert told.model.host_seconds(0) == pytest.approx(0.004, rel=0.5) and told.error_checked < 0.06
    assert "(at 12.0 GB/s), fixed" in str(told)
    slow = fit_report(Trace(steps=noise), spec, bandwidth=1e9).model
    assert slow.gpu.bandwidth > 2e9, "no step reads faster than the machine: the weights cannot take longer than a step"
    seen = annotate(engine.trace, found.model)
    assert seen[3].predicted == pytest.approx(seen[3].duration, rel=0.2)


def test_fit_wants_enough_steps():
    with pytest.raises(ValueError, match="0 steps with tokens"):
        StepTimeModel.fit(Trace(), find_model("smollm2-135m"))


def test_fit_on_this_machine(shape, capsys):
    """A small real model. The error is printed, not bounded: this machine may be busy with anything."""
    from minieng.doctor import memory_bandwidth
    from minieng.sim.hardware import ModelSpec

    with shape("llama").llm(scheduler="chunked", num_blocks=200, max_num_batched_tokens=64, checked=False) as llm:
        rng = random.Random(3)
        prompts = [[rng.randrange(llm.vocab_size) for _ in range(rng.randint(5, 120))] for _ in range(24)]
        llm.generate(prompts, [SamplingParams(max_tokens=rng.randint(4, 40), ignore_eos=True) for _ in prompts])
        found = fit_report(llm.trace, ModelSpec.of_model(llm.runner.model, "llama-shaped"), memory_bandwidth(repeats=2))
    with capsys.disabled():
        print(f"\n{found}")
    assert found.num_checked >= 20 and math.isfinite(found.error_checked)


# -- the command --------------------------------------------------------------------------------------------------


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    simulate_flags(parser)
    return simulate(parser.parse_args(words))


def test_the_command(tmp_path, capsys):
    saved = tmp_path / "out.json"
    assert command("--replicas", "2", "--num-prompts", "40", "--rate", "10", "--goodput", "ttft:500", "--json", str(saved)) == 0
    out, err = capsys.readouterr()
    assert "2 x A100-80G" in out and "router least" in err
    assert json.loads(saved.read_text())["completed"] == 40


def test_host_time_is_asked_for_by_step_and_by_request(tmp_path, capsys):
    saved, seconds = tmp_path / "out.json", []
    for us in (0, 2_000):
        flags = ["--host-ms", "3", "--host-us-per-request", str(us), "--json", str(saved)]
        assert command("--num-prompts", "20", "--rate", "inf", *flags) == 0
        assert f"host 3 ms a step and {us} us a request" in capsys.readouterr().err
        seconds.append(json.loads(saved.read_text())["duration"])
    assert seconds[1] > 1.2 * seconds[0]


def test_the_command_says_what_cannot_be():
    with pytest.raises(ValueError, match="--replicas 0"):
        command("--replicas", "0")
    with pytest.raises(ValueError, match="raise tensor or stages"):
        command("--model", "llama-2-70b")
