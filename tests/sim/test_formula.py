"""The step-time formula against figures that were measured and published, and against itself."""

from __future__ import annotations

import numpy as np
import pytest

from minieng.sim.cost_model import HOST_SECONDS, StepTimeModel, Work, decodes
from minieng.sim.hardware import GPUS, MODELS, ModelSpec, find_gpu, find_model, quantised
from minieng.sim.papers.measured import ONE_REQUEST, SILICON

GRAPHS = 0.0  # host seconds with CUDA graphs, as the measured programs ran


def on_a100(model: str) -> StepTimeModel:
    return StepTimeModel.named(model, "A100-80G", host=GRAPHS)


@pytest.mark.parametrize(("model", "measured"), ONE_REQUEST.items())
def test_one_request_runs_as_fast_as_measured(model, measured):
    """gpt-fast's README, bf16, A100-80G: tokens a second of one request, 200 tokens."""
    assert 1 / on_a100(model).seconds(decodes(1, 100)) == pytest.approx(measured, rel=0.10)


@pytest.mark.parametrize(("batch", "ms"), [(1, 9.4), (8, 10.8), (32, 15.9), (64, 23.1)])
def test_decode_steps_of_llama_7b(batch, ms):
    assert on_a100("llama-7b").seconds(decodes(batch, 512)) * 1e3 == pytest.approx(ms, rel=0.10)


@pytest.mark.parametrize(("gpu", "batch", "ms"), [(gpu, *step) for gpu, steps in SILICON.items() for step in steps.items()])
def test_decode_steps_of_llama_8b_against_a_measured_table(gpu, batch, ms):
    """Within 15 %: the tables are another laboratory's, and include overheads that the formula is given apart."""
    model = StepTimeModel.named("llama-3.1-8b", gpu, host=GRAPHS)
    assert model.seconds(decodes(batch, 512)) * 1e3 == pytest.approx(ms, rel=0.15)


@pytest.mark.parametrize(("tokens", "ms"), [(512, 33.5), (1024, 66), (2048, 134)])
def test_prompts_of_llama_7b(tokens, ms):
    assert on_a100("llama-7b").seconds(Work.of([(tokens, 0)])) * 1e3 == pytest.approx(ms, rel=0.10)


@pytest.mark.parametrize(
    ("gpu", "one", "many"), [("H100", 6.37, 7.29), ("H200", 4.79, 5.45), ("RTX4090", 17.6, 20.6), ("L4", 63.9, 74.0)]
)
def test_decode_steps_on_other_gpus(gpu, one, many):
    model = StepTimeModel.named("llama-3-8b", gpu, host=GRAPHS)
    assert model.seconds(decodes(1, 512)) * 1e3 == pytest.approx(one, rel=0.10)
    assert model.seconds(decodes(32, 512)) * 1e3 == pytest.approx(many, rel=0.10)


@pytest.mark.parametrize(
    ("name", "billions", "gigabytes", "kib"),
    [("llama-7b", 6.738, 13.48, 512), ("llama-3-8b", 8.03, 16.06, 128), ("qwen3-0.6b", 0.596, 1.19, 112),
     ("smollm2-135m", 0.134, 0.27, 22.5), ("opt-13b", 12.84, 25.7, 800), ("gpt3-175b", 174.6, 349.2, 4608)],
)  # fmt: skip
def test_model_sizes(name, billions, gigabytes, kib):
    model = find_model(name)
    assert model.num_params / 1e9 == pytest.approx(billions, rel=0.005)
    assert model.weights_nbytes / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert model.kv_nbytes_per_token / 1024 == kib


def test_kv_that_fits_beside_llama_7b():
    assert on_a100("llama-7b").num_blocks(16) * 16 == pytest.approx(109_700, rel=0.01)


def test_weights_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"llama-2-70b needs 138\.0 GB.*1 x A100-80G.*raise tensor"):
        on_a100("llama-2-70b").num_blocks(16)


def test_tensor_parallel_terms_by_hand():
    """T_comm = 2L[2(t-1)/t · N·d·b / (0.6·link) + 20 us]; matrices, KV and attention divided by t."""
    one, two = (StepTimeModel.named("llama-7b", "A100-80G", tensor=t, host=0) for t in (1, 2))
    work = Work.of([(100, 50), (1, 300)])
    a, b = one.terms(work), two.terms(work)
    assert b.communication == pytest.approx(64 * (2 * 0.5 * 101 * 4096 * 2 / (0.6 * 300e9) + 20e-6))
    assert a.communication == 0
    for name in ("linear", "head", "kv_read", "attention"):
        assert getattr(b, name) == pytest.approx(getattr(a, name) / 2)
    assert (b.elementwise, b.layers) == (a.elementwise, a.layers)


def test_pipeline_terms_by_hand():
    """Stages share the layers; the head is on the last, the host on the first; a hop costs N·d·b/link + 10 us."""
    whole = StepTimeModel.named("llama-7b", "A100-80G", host=1e-3)
    split = StepTimeModel.named("llama-7b", "A100-80G", host=1e-3, stages=4)
    work = Work.of([(64, 0), (1, 10)])
    hop = 65 * 4096 * 2 / 300e9 + 10e-6
    assert split.hop(65) == pytest.approx(hop)
    assert split.seconds(work) == pytest.approx(whole.seconds(work) + 3 * hop)
    stages = split.stage_seconds(work)
    assert sum(stages) == pytest.approx(whole.seconds(work))
    assert stages[0] - stages[1] == pytest.approx(1e-3)
    assert stages[3] - stages[1] == pytest.approx(whole.terms(work).head)


def test_a_padded_batch_is_charged_for_its_rectangle():
    assert Work.rectangle(4, 10, 0) == Work.of([(10, 0)] * 4)
    assert Work.rectangle(4, 1, 20) == decodes(4, 21)


def test_chunks_of_a_prompt_do_the_same_attention_as_the_whole():
    whole, parts = Work.of([(100, 0)]), [Work.of([(40, 0)]), Work.of([(60, 40)])]
    assert sum(p.pairs for p in parts) == whole.pairs
    assert sum(p.context for p in parts) > whole.context  # but the second chunk reads the first one's KV again


def test_arrays_give_what_numbers_give():
    model = on_a100("llama-7b")
    works = [decodes(b, 100 * b) for b in (1, 3, 9)] + [Work.of([(50, 3)])]
    stacked = Work(*np.array(works, dtype=float).T)
    assert model.seconds(stacked) == pytest.approx([model.seconds(w) for w in works])


def test_more_work_never_costs_less():
    model = on_a100("llama-3-8b")
    times = [model.seconds(decodes(b, c)) for b in range(1, 200, 13) for c in (10, 1000)]
    assert all(later > earlier for earlier, later in zip(times[::2], times[2::2], strict=False))


def test_names_in_any_case_and_unknown_ones():
    assert find_gpu("a100-80g") is GPUS["A100-80G"]
    assert find_model("Llama-7B") is MODELS["llama-7b"]
    with pytest.raises(ValueError, match="gpu='B200'.*A100-80G"):
        find_gpu("B200")


def test_host_time_by_hand():
    """A constant a step, and a constant for each request in it, prompts and rows of a rectangle too."""
    work = [decodes(3, 50), Work.of([(40, 0), (1, 7), (1, 9)]), Work.rectangle(3, 5, 2)]
    plain, slow = (StepTimeModel.named("llama-7b", "A100-80G", host=host) for host in (0.0, (2e-3, 70e-6)))
    for each in work:
        assert each.requests == 3
        assert slow.seconds(each) - plain.seconds(each) == pytest.approx(2e-3 + 3 * 70e-6)
    assert slow.stage_seconds(work[0])[0] == pytest.approx(slow.seconds(work[0]))


def test_the_host_of_2024_leaves_the_gpu_the_share_that_was_published():
    """vLLM's post on v0.6.0: of v0.5.3's time on Llama-3-8B and an H100, 38 % was the GPU's. A full batch, ShareGPT's lengths."""
    terms = StepTimeModel.named("llama-3-8b", "H100", host=HOST_SECONDS["vllm 2024"]).terms(decodes(256, 400))
    assert 1 - terms.host / sum(terms) == pytest.approx(0.38, abs=0.005)


def test_guesses_say_so():
    assert {name for name, gpu in GPUS.items() if gpu.standing == "guess"} == {"A10G", "GB200", "L4", "T4"}
    assert all(gpu.source for gpu in GPUS.values())
    assert all(model.source for model in MODELS.values())


def test_eight_bit_weights_halve_what_is_read():
    model = quantised(find_model("llama-7b"), 1)
    fast = StepTimeModel(model, GPUS["A100-80G"], host=0).terms(decodes(1, 10))
    slow = on_a100("llama-7b").terms(decodes(1, 10))
    assert fast.linear == pytest.approx(slow.linear / 2, rel=0.01)
    assert fast.kv_read == slow.kv_read


def test_a_spec_from_a_configuration():
    class Config:
        model_type, num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads = "llama", 30, 576, 9, 3
        intermediate_size, vocab_size, tie_word_embeddings, max_position_embeddings = 1536, 49152, True, 8192

    spec = ModelSpec.of_config(Config, nbytes=2)
    assert spec.num_params == find_model("smollm2-135m").num_params
    assert spec.kv_nbytes_per_token == find_model("smollm2-135m").kv_nbytes_per_token

    class Fp32:
        itemsize = 4

    class Loaded:
        config, dtype, weight_nbytes = Config, Fp32, 2

    kept = ModelSpec.of_model(Loaded, "kept in half")
    assert (kept.name, kept.weight_bytes, kept.kv_bytes) == ("kept in half", 2, 4)
