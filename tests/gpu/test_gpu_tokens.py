"""On a GPU the tokens are transformers' tokens: under every scheduler, with graphs and without, with every backend."""

from __future__ import annotations

import random

import pytest
import torch
from support.cases import RUNGS, drawn, run_case, shared_prompts
from support.oracle import Oracle

from minieng import SamplingParams


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
@pytest.mark.parametrize("attention", ["auto", "padded"])
@pytest.mark.parametrize("rung", RUNGS)
def test_any_workload_gives_the_oracles_tokens(gpu_tiny, rung, attention, eager):
    """Invariants are checked after every step; preemption and swapping are forced in half of the cases."""
    prompts = shared_prompts(gpu_tiny.oracle.model.config.vocab_size)
    kit = gpu_tiny.with_knobs(enforce_eager=eager, attention=attention)

    dice = random.Random(f"{rung} {attention} {eager}")
    for _ in range(3):
        case = drawn(dice, len(prompts))
        for block_size, preemption in ((16, "recompute"), (2, "forced swap")):
            run_case(kit, prompts, case, rung, block_size, True, preemption)


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
@pytest.mark.parametrize("name, more", [("qwen3", {"head_dim": 64}), ("qwen2_sliding", {}), ("llama3_rope", {}), ("gemma2", {})])
def test_other_shapes(gpu_shape, name, more, eager):
    kit = gpu_shape(name, **more)
    prompts = kit.prompts(3, 40, 18, 7)
    with kit.llm(num_blocks=64, enforce_eager=eager, scheduler="chunked", max_num_batched_tokens=16) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=16, ignore_eos=True))
    for prompt, out in zip(prompts, outs, strict=True):
        kit.oracle.compare(prompt, out.outputs[0].token_ids, 16)


@pytest.mark.parametrize("rung", RUNGS)
def test_graphs_change_neither_plans_nor_tokens(gpu_tiny, rung):
    prompts = gpu_tiny.prompts(3, 17, 8, 30, 5, 12)
    params = [SamplingParams(max_tokens=24, ignore_eos=True)] * 3
    params += [SamplingParams(max_tokens=20, temperature=0.8, top_p=0.9, seed=i, ignore_eos=True) for i in range(3)]
    found = []
    for eager in (True, False):
        with gpu_tiny.llm(num_blocks=64, max_num_seqs=4, batch_size=4, enforce_eager=eager, **RUNGS[rung]) as llm:
            outs = llm.generate(prompts, params, request_ids=[str(i) for i in range(6)])
            assert (llm.runner.decodes is None) == eager, llm.runner.facts()
            assert eager or llm.runner.decodes.num_served or rung in ("static", "dynamic")
            found.append(([out.outputs[0].token_ids for out in outs], llm.trace.plans()))
    assert found[0] == found[1]


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
def test_in_half_precision_every_first_divergence_is_a_tie(gpu_tiny, eager):
    """Where the engine and transformers part, transformers' own logits of the two tokens lie within rounding."""
    dtype = torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    oracle = Oracle(gpu_tiny.path, "tiny in half precision", 24, "cuda", dtype)
    prompts, equal = gpu_tiny.prompts(*range(2, 42, 2), seed=9), 0
    name = str(dtype).removeprefix("torch.")
    with gpu_tiny.llm(num_blocks=256, dtype=name, enforce_eager=eager, max_num_seqs=16) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=24, ignore_eos=True))
    for prompt, out in zip(prompts, outs, strict=True):
        got, want = out.outputs[0].token_ids, oracle.answer(prompt)[0]
        same = next((i for i in range(24) if got[i] != want[i]), 24)
        equal += same
        if same < 24:
            with torch.inference_mode():
                logits = oracle.model(torch.tensor([prompt + want[:same]], device="cuda")).logits[0, -1].float()
            gap, size = float(logits[want[same]] - logits[got[same]]), float(logits.abs().max())
            assert gap <= 0.03 * size, f"token {same}: transformers prefers its own by {gap:.3g} of {size:.3g}: no tie"
    assert equal > 12 * len(prompts), "half of all tokens lie before any divergence"
