"""The contract across processes: whatever is in flight, greedy tokens equal transformers' ``generate`` of each prompt alone.

Each pipeline is started once, and used by all engines of its shape: a stage remembers nothing.
"""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import HealthCheck, given, seed, settings
from support.cases import PREEMPTIONS, RUNGS, Asked, Case, pairs, run_case, shared_prompts
from support.pipelines import PipelineKit, stage_processes
from support.strategies import cases

from minieng import LLM, SamplingParams

OPTIONS = {"rung": list(RUNGS), "depth": [1, 2, 3], "prefix": [True, False], "preemption": list(PREEMPTIONS)}
SHAPES = {(2, 4): False, (3, 16): False, (2, 1): True, (2, 16): True, (3, 1): True, (3, 4): True}  # (stages, block): wide?


def settings_of(shape: tuple[int, int]) -> list:
    """All combinations; `make test` takes half of those in which any two values meet for each of two shapes."""
    few = [row for i, row in enumerate(pairs(OPTIONS)) if i % 2 == shape[0] % 2]
    rows = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]
    wide = [SHAPES[shape] or row not in few for row in rows]
    return [
        pytest.param(shape, *row.values(), marks=[pytest.mark.wide] if hidden else [])
        for row, hidden in zip(rows, wide, strict=True)
    ]


@pytest.fixture(scope="module")
def pipelines(tiny):
    """pipelines(stages, block_size) → a kit; at the end no process is left."""
    kits: dict[tuple[int, int], PipelineKit] = {}

    def get(shape: tuple[int, int]) -> PipelineKit:
        if shape not in kits:
            kits[shape] = PipelineKit(tiny, *shape)
        return kits[shape]

    yield get
    for kit in kits.values():
        kit.whole.close()
    assert not stage_processes()


@pytest.mark.parametrize("shape, rung, depth, prefix, preemption", [row for shape in SHAPES for row in settings_of(shape)])
def test_any_workload_gives_the_oracles_tokens(tiny, pipelines, shape, rung, depth, prefix, preemption):
    prompts = shared_prompts(tiny.oracle.model.config.vocab_size)
    kit = pipelines(shape)
    kit.depth = depth

    @seed(zlib.crc32(f"{shape} {rung} {depth} {prefix} {preemption}".encode()))
    @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases(len(prompts)))
    def check(case: Case) -> None:
        run_case(kit, prompts, case, rung, shape[1], prefix, preemption)

    check()


def test_batches_were_in_flight_together(pipelines):
    """What the tests above had in flight: else they would show little."""
    kit = pipelines((2, 4))
    kit.depth = 3
    fixed = {"max_num_seqs": 6, "max_num_batched_tokens": 8, "watermark": 0.0, "admission": "watermark"}
    run_case(kit, [[7 + i, 8, 9] for i in range(6)], Case([Asked(i, 8, 1, 0.0, 0, False, None) for i in range(6)],
             fixed, 60.0, 0), "chunked", 4, True, "recompute")  # fmt: skip
    assert kit.together == 3


SAMPLED = {
    "temperature": SamplingParams(temperature=0.9, top_p=0.9, top_k=40, max_tokens=12, ignore_eos=True),
    "penalties": SamplingParams(temperature=0.7, repetition_penalty=1.3, frequency_penalty=0.4, max_tokens=12),
    "bias": SamplingParams(logit_bias={5: 30.0, 9: -30.0}, min_tokens=6, max_tokens=10, bad_words=[" the"]),
    "allowed": SamplingParams(allowed_token_ids=[3, 4, 5, 6], max_tokens=6),
    "logprobs": SamplingParams(logprobs=3, prompt_logprobs=2, max_tokens=6),
    "samples": SamplingParams(temperature=1.0, n=3, max_tokens=8),
    "stop": SamplingParams(stop=["."], max_tokens=24),
}
TEXTS = ["Once upon a time", "The small dog", "One day a girl went to the", "A bird"]


@pytest.fixture(scope="module")
def both(tiny):
    """The same model in one process and in two."""
    with LLM("tiny", device="cpu", dtype="float32", num_blocks=200) as one:
        with LLM("tiny", device="cpu", dtype="float32", num_blocks=200, stages=2, checked=True) as two:
            yield one, two


@pytest.mark.parametrize("name", SAMPLED)
def test_everything_that_can_be_asked_of_a_text_is_the_same(both, name):
    one, two = both
    params = SAMPLED[name]
    want, got = (llm.generate(TEXTS, params, request_ids=[f"{name}{i}" for i in range(4)]) for llm in both)
    for a, b in zip(want, got, strict=True):
        assert [o.token_ids for o in a.outputs] == [o.token_ids for o in b.outputs]
        assert [(o.text, o.finish_reason, o.stop_reason) for o in a.outputs] == [
            (o.text, o.finish_reason, o.stop_reason) for o in b.outputs
        ]
        for x, y in zip(a.outputs, b.outputs, strict=True):
            assert (x.logprobs is None) == (y.logprobs is None)
            for p, q in zip(x.logprobs or (), y.logprobs or (), strict=True):
                assert p.keys() == q.keys() and all(p[t] == pytest.approx(q[t], abs=1e-4) for t in p)
        if a.prompt_logprobs is not None:
            for p, q in zip(a.prompt_logprobs[1:], b.prompt_logprobs[1:], strict=True):
                assert p.keys() == q.keys() and all(p[t] == pytest.approx(q[t], abs=1e-4) for t in p)
    assert two.runner.flying.maxlen is None and not two.engine.flights


def test_weights_are_not_changed_in_place(both):
    """An engine made before the pipeline, and one made after, answer the same; their model has all layers."""
    one, two = both
    want = [o.outputs[0].token_ids for o in one.generate(TEXTS, SamplingParams(max_tokens=16))]
    assert [o.outputs[0].token_ids for o in two.generate(TEXTS, SamplingParams(max_tokens=16))] == want
    assert [o.outputs[0].token_ids for o in one.generate(TEXTS, SamplingParams(max_tokens=16))] == want
    with LLM("tiny", device="cpu", dtype="float32", num_blocks=100) as after:
        assert [o.outputs[0].token_ids for o in after.generate(TEXTS, SamplingParams(max_tokens=16))] == want
        assert after.runner.model is one.runner.model and after.runner.model.num_layers == 4
    assert two.runner.model is not one.runner.model and two.runner.model.num_layers < 4


def test_explain_names_the_split_and_the_processes(both):
    _, two = both
    pids = [each.pid for each in stage_processes()]
    told = two.explain()
    assert "layers 0-1 in process" in told and "layers 2-3 in process" in told
    assert any(f"process {pid} on cpu, with the head" in told for pid in pids)
    whole = both[0].runner.kv_nbytes_per_token
    assert two.runner.kv_nbytes_per_token == whole, "the KV of all stages together"


def test_a_trace_of_a_pipeline_can_be_kept_and_done_again(both, tmp_path):
    one, two = both
    two.trace.clear()
    two.engine.kv.forget_prefixes()
    two.generate(TEXTS, SamplingParams(max_tokens=5, ignore_eos=True))
    two.trace.save(tmp_path / "trace.jsonl")
    trace = type(two.trace).load(tmp_path / "trace.jsonl")
    assert [step.stages for step in trace] == [step.stages for step in two.trace]
    assert all(len(step.stages) == 2 for step in trace)
    assert two.replay(trace).outputs() == trace.outputs() == one.replay(trace).outputs()


def test_a_workload_is_served(both):
    from minieng.workload import Workload

    _, two = both
    report = two.serve_workload(Workload.named("uniform_short", 6).shortened(0.2), virtual=True)
    assert report.metrics.completed == 6 and 0 < report.metrics.bubble < 1
    assert "bubble" in str(report.metrics)


OPTIONS_SMOLLM2 = {"rung": list(RUNGS), "preemption": ["recompute", "forced swap"], "prefix": [True, False], "depth": [2, 3]}
STORY = "Once upon a time there was a small dog who lived in a house by the sea. Every morning"


@pytest.mark.slow
@pytest.mark.wide
def test_pairs_of_options_on_smollm2(smollm2):
    from minieng.hub.resolve import load_tokenizer

    tokenizer = load_tokenizer(smollm2.path)
    texts = (STORY, STORY + " he ran to the water and", "The capital of France is", "def add(a, b):\n    return")
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    asked = [Asked(0, 6, 1, 0.0, 1, False, None), Asked(1, 8, 2, 0.0, 0, True, None), Asked(2, 5, 1, 1.0, 2, False, None),
             Asked(3, 7, 1, 1.0, 1, False, 7)]  # fmt: skip
    fixed = {"max_num_batched_tokens": 16, "max_num_seqs": 8, "batch_size": 2, "wait_window": 2.0, "watermark": 0.05,
             "admission": "watermark"}  # fmt: skip
    kit = PipelineKit(smollm2, 2, 16)
    try:
        for row in pairs(OPTIONS_SMOLLM2):
            kit.depth = row["depth"]
            run_case(kit, prompts, Case(asked, fixed, 1.7, 0), row["rung"], 16, row["prefix"], row["preemption"])
    finally:
        kit.whole.close()
