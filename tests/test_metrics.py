"""Metrics: every figure against one worked out by hand, on a fake model whose every step takes one second."""

import json
from dataclasses import asdict
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import ContentExecutor, fake_engine, nothing_left

from minieng.bench import requests_of, serve
from minieng.observe.latency import PERCENTILES, Latency, percentile
from minieng.observe.metrics import Metrics, ladder_table, parse_goodput, table
from minieng.observe.trace import Trace
from minieng.workload import Job, Workload

SCHEDULERS = ("static", "dynamic", "continuous", "chunked")
VLLM_FIELDS = {  # of the file that `vllm bench serve --save-result` writes, and ours beside them
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput",
    "request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
    "max_concurrent_requests",
    "steps", "padding_waste", "done_rows", "padding_tokens", "finished_row_tokens", "idle_slots", "busy_slots",  # ours
    "recomputed_tokens", "cache_hit_tokens", "cache_hit_tokens_again", "preemptions", "kv_used", "kv_reserved", "kv_wasted",
    "name", "refused", "bubble",
    *(f"{what}_{name}_ms" for what in ("mean", "median", "std", "p50", "p90", "p95", "p99")
      for name in ("ttft", "tpot", "itl", "e2el")),
}  # fmt: skip


def run(scheduler, jobs, longest=64, goodput=None, **knobs):
    engine = fake_engine(scheduler, **{"block_size": 2, "num_blocks": 60, **knobs})
    return serve(engine, requests_of(Workload("w", tuple(jobs)), 97, 0), longest, goodput=goodput)


def test_a_static_batch_by_hand():
    """Rows A (2 in, 1 out) and B (4 in, 3 out):  step 1 computes 2x4, A done; steps 2 and 3 compute A for nothing."""
    got = run("static", [(0, 2, 1), (0, 4, 3)], batch_size=2, num_blocks=10).metrics
    want = {
        "completed": 2, "failed": 0, "duration": 3.0, "steps": 3, "total_input": 6, "total_output": 4,
        "request_throughput": 2 / 3, "output_throughput": 4 / 3, "total_token_throughput": 10 / 3,
        "request_goodput": None,
        "mean_ttft_ms": 1000, "mean_e2el_ms": 3000, "mean_itl_ms": 1000,  # A leaves with B
        "mean_tpot_ms": 1000, "std_tpot_ms": 0,  # A has no gap between tokens, so no TPOT
        "padding_tokens": 2, "finished_row_tokens": 2, "padding_waste": 2 / 12,
        "idle_slots": 2 / 6, "busy_slots": 4 / 6,
        # two rows of 4 + 3 - 1 slots are held while steps 1 and 2 end; 6, then 7 of these 12 are filled
        "kv_reserved": 24 / 60, "kv_used": 13 / 60, "kv_wasted": 1 - 13 / 24,
        "max_concurrent_requests": 2, "max_output_tokens_per_s": 2, "preemptions": 0,
    }  # fmt: skip
    assert {name: getattr(got, name) for name in want} == pytest.approx(want)


def test_a_continuous_run_by_hand():
    """B comes at 0.5 s, starts with the second step, which has prompts only, so A stands still for a second."""
    got = run("continuous", [(0, 4, 3), (0.5, 2, 2)], max_num_seqs=4, goodput={"ttft": 1200, "tpot": 1200}).metrics
    # A: tokens at 1, 3, 4.  B: tokens at 2, 3
    want = {
        "duration": 4.0, "mean_ttft_ms": (1000 + 1500) / 2, "mean_e2el_ms": (4000 + 2500) / 2,
        "mean_tpot_ms": (1500 + 1000) / 2, "mean_itl_ms": (2000 + 1000 + 1000) / 3, "median_itl_ms": 1000,
        "p90_itl_ms": 1800, "request_goodput": 0.0, "padding_waste": 0, "idle_slots": 1 - 5 / 16, "busy_slots": 5 / 16,
    }  # fmt: skip
    assert {name: getattr(got, name) for name in want} == pytest.approx(want)


def test_goodput_counts_who_meets_every_objective():
    jobs = [(0, 4, 3), (0.5, 2, 2)]  # A: TTFT 1, TPOT 1.5, E2EL 4 s.  B: 1.5, 1, 2.5
    good = {"ttft:1000": 1, "ttft:1500": 2, "ttft:1500 tpot:1000": 1, "ttft:1000 tpot:1000": 0, "e2el:4000": 2}
    for goals, count in good.items():
        metrics = run("continuous", jobs, goodput=parse_goodput(goals.split())).metrics
        assert metrics.request_goodput == pytest.approx(count / 4), goals


@pytest.mark.parametrize("wrong", ["ttft", "ttft:", "ttft:x", "itl:5", "ttft:-1", "ttft:nan"])
def test_a_goodput_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="goodput"):
        parse_goodput([wrong])


def test_the_textbook_batch_is_busy_for_42_5_percent():
    """Lengths 50, 100, 200, 500 in one static batch: 850 of 4 · 500 slot-steps."""
    got = run("static", [(0, 4, n) for n in (50, 100, 200, 500)], longest=600, batch_size=4, num_blocks=1200).metrics
    assert 1 - got.idle_slots == pytest.approx(0.425)


def test_recomputed_and_preempted_tokens_are_counted():
    got = run("continuous", [(0, 6, 10), (0, 6, 10)], num_blocks=10, enable_prefix_caching=False).metrics
    assert got.preemptions >= 1 and got.recomputed_tokens >= 6 and got.completed == 2


def test_a_repeated_run_measures_the_same():
    engine = fake_engine("chunked", num_blocks=60)
    reports = [serve(engine, requests_of(Workload("w", (Job(0, 20, 4), Job(3, 9, 4))), 97, 0), 64) for _ in range(2)]
    assert reports[0].metrics == reports[1].metrics and reports[1].metrics.cache_hit_tokens == 0
    assert reports[0].trace.plans() == reports[1].trace.plans()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_who_can_never_fit_is_refused_and_the_others_are_served(scheduler):
    report = run(scheduler, [(0, 3, 3), (0, 40, 30), (1, 90, 1), (2, 3, 3)], num_blocks=20, batch_size=2)
    assert [request_id for request_id, _ in report.refused] == ["1", "2"]
    assert all("max_model_len" in reason for _, reason in report.refused)
    assert (report.metrics.completed, report.metrics.failed, report.metrics.refused) == (2, 2, 2)
    assert [r.num_output_tokens for r in report.requests] == [3, 3]
    report = run(scheduler, [(0, 3, 3), (0, 30, 30)], num_blocks=20, batch_size=2)
    assert "num_blocks" in report.refused[0][1] and report.metrics.completed == 1


def test_nothing_completed_is_no_crash():
    got = run("chunked", [(0, 90, 1)]).metrics
    assert (got.completed, got.failed, got.duration, got.output_throughput) == (0, 1, 0, 0)
    assert Metrics.of([], Trace(), 0.0).p99_ttft_ms == 0
    with pytest.raises(AttributeError, match="p98"):
        _ = got.p98_ttft_ms


def test_priorities_users_and_deadlines_reach_the_requests():
    report = run("chunked", [(1, 3, 2, "ann", 5, 2.5)])
    (request,) = report.requests
    assert (request.user, request.priority, request.deadline, request.arrival_time) == ("ann", 5, 3.5, 1)


class Breaks(ContentExecutor):
    def execute(self, plan):
        if len(self.plans) == 3:
            raise RuntimeError("no more")
        return super().execute(plan)


def test_whatever_happens_the_engine_is_left_empty_and_as_it_was():
    engine = fake_engine("static", batch_size=3)
    engine.executor = Breaks(16, 4)
    clock, trace = engine.clock, engine.trace
    with pytest.raises(RuntimeError, match="no more"):
        serve(engine, requests_of(Workload("w", ((0, 3, 1), (0, 3, 9), (90, 3, 9))), 97, 0), 64)
    nothing_left(engine)
    assert engine.clock is clock and engine.trace is trace and not len(trace)


def test_an_engine_at_work_is_not_disturbed():
    engine = fake_engine()
    (request,) = requests_of(Workload("w", ((0, 3, 3),)), 97, 0)
    engine.add_request(request)
    with pytest.raises(RuntimeError, match="finish or abort"):
        serve(engine, requests_of(Workload("w", ((0, 3, 3),)), 97, 0), 64)
    assert engine.requests == {"0": request}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e4), max_size=40), st.floats(0, 100))
def test_spreads_and_percentiles_are_numpys(seconds, percent):
    ms = np.array(seconds or [0.0]) * 1e3
    got = asdict(Latency.of(seconds))
    want = {"mean": ms.mean(), "median": np.median(ms), "std": ms.std()} | {f"p{p}": np.percentile(ms, p) for p in PERCENTILES}
    assert got == pytest.approx(want, rel=1e-9, abs=1e-9)
    assert percentile(sorted(ms.tolist()), percent) == pytest.approx(np.percentile(ms, percent), rel=1e-12, abs=1e-300)


def test_percentiles_are_numpys_to_the_last_bit_on_many_values():
    rng = Random(0)
    values = sorted(rng.lognormvariate(0, 1) for _ in range(1001))
    for percent in (0, 0.1, 12.5, *PERCENTILES, 99.9, 100):
        assert percentile(values, percent) == np.percentile(values, percent)


def test_a_latency_has_its_figures_and_vllms_names_for_them():
    got = run("continuous", [(0, 4, 3), (0.5, 2, 2), (1, 3, 7)]).metrics
    for name in ("ttft", "tpot", "itl", "e2el"):
        for what, ms in asdict(getattr(got, name)).items():
            assert getattr(got, f"{what}_{name}_ms") == got.as_dict()[f"{what}_{name}_ms"] == ms
            assert f"{what}_{name}_ms" in dir(Metrics), "an editor can offer it"
    assert got.itl.p99 > got.itl.mean > 0 and 0 < got.idle_seats < 1
    assert (got.idle_slots, got.busy_slots) == (got.idle_seats, got.busy_seats)
    assert (got.as_dict()["idle_slots"], got.as_dict()["busy_slots"]) == (got.idle_seats, got.busy_seats)


def test_json_has_the_names_of_vllm():
    values = run("chunked", [(0, 3, 3)]).metrics.as_dict()
    assert set(values) == VLLM_FIELDS
    assert json.loads(json.dumps(values)) == values


def test_the_table_has_a_row_a_run_and_columns_in_line():
    goals = {"static": {"ttft": 9e9}}
    runs = [run(s, [(0, 4, 3), (0, 90, 3)], goodput=goals.get(s)).metrics for s in SCHEDULERS]
    lines = table(runs).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["scheduler", *SCHEDULERS]
    assert len({len(line) for line in lines}) == 1
    assert "failed" in lines[1] and "good/s" in lines[1] and lines[3].split()[4] == "-"
    assert "failed" not in table([run("static", [(0, 4, 3)]).metrics])


def test_the_ladder_table_spreads_each_latency_and_names_what_was_wasted():
    reports = {f"my {name}": run(name, [(0, 4, 3), (0, 9, 9)]) for name in SCHEDULERS}
    lines = ladder_table(reports, "all").splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) <= 130
    for line, (name, report) in zip(lines[2:], reports.items(), strict=True):
        assert line.startswith(name)
        numbers, metrics = line.removeprefix(name).split(), report.metrics
        assert numbers[:4] == [f"{getattr(metrics, f'{what}_ttft_ms'):.0f}" for what in ("mean", "p50", "p95", "p99")]
        assert numbers[-5:-2] == [f"{metrics.output_throughput:.0f}", f"{metrics.padding_waste:.0%}", f"{metrics.done_rows:.0%}"]
    static = reports["my static"].metrics
    assert static.done_rows > 0 and reports["my chunked"].metrics.done_rows == 0
    assert ladder_table({"a": static}) == ladder_table({"a": reports["my static"]})


def test_the_ladder_table_shows_five_columns_and_those_that_are_asked_for():
    static = run("static", [(0, 4, 3), (0, 9, 9)]).metrics
    head, names, row = ladder_table({"static": static}).splitlines()
    assert head.split() == ["TTFT", "ms", "ITL", "ms", "E2EL", "ms", "idle"] and len(head) < 80
    assert names.split() == ["scheduler", "mean", "p99", "mean", "tok/s", "seats"]
    mean, tail, whole = (f"{value:.0f}" for value in (static.ttft.mean, static.itl.p99, static.e2el.mean))
    assert row.split()[:4] == ["static", mean, tail, whole] and row.endswith(f"{static.idle_seats:.0%}")
    head, names, row = ladder_table({"static": static}, "E2EL p95", "padding").splitlines()
    assert head.split() == ["TTFT", "ms", "ITL", "ms", "E2EL", "ms", "idle"]
    assert names.split() == ["scheduler", "mean", "p99", "mean", "p95", "tok/s", "padding", "seats"]
    with pytest.raises(ValueError, match="no column 'speed': choose among all, TTFT mean"):
        ladder_table({"static": static}, "speed")


# -- on a model ---------------------------------------------------------------------------------------------------


def test_a_workload_on_a_model_gives_the_same_tokens_under_every_scheduler(shape):
    workload = Workload("w", tuple(Job(i * 0.02, 5 + 7 * i, 9 - i) for i in range(6)))
    outputs = []
    for scheduler in SCHEDULERS:
        with shape("llama").llm(scheduler=scheduler, num_blocks=40, batch_size=3) as llm:
            report = llm.serve_workload(workload)
            assert all(r.admitted_time >= r.arrival_time for r in report.requests)
            assert report.metrics.duration >= workload[-1].arrival_s and report.metrics.completed == 6
            assert len(llm.trace) == 0 and len(report.trace) == report.metrics.steps
            outputs.append([r.output_token_ids for r in report.requests])
    assert [len(tokens) for tokens in outputs[0]] == [job.output_tokens for job in workload]
    assert all(tokens == outputs[0] for tokens in outputs)


def test_virtual_time_does_not_wait(shape):
    with shape("llama").llm(num_blocks=40) as llm:
        report = llm.serve_workload(Workload("w", ((0, 5, 3), (1e6, 5, 3))), virtual=True)
        assert report.metrics.duration >= 1e6
        assert sum(step.duration for step in report.trace) < 1e3
        assert llm.generate(["hello"])[0].metrics.arrival_time < 1e5  # its own clock is back
    with pytest.raises(RuntimeError, match="closed"):
        llm.serve_workload(Workload("w", ((0, 5, 3),)))
