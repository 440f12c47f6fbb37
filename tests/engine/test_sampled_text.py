"""A sampled text with a seed is the same alone, in a crowd, after preemption, and under every scheduler."""

from __future__ import annotations

import random

import pytest
from support.cases import PREEMPTIONS, RUNGS
from support.fakes import forced

from minieng import SamplingParams

COUNT = 16


@pytest.fixture(scope="module")
def prompts(tiny) -> list[list[int]]:
    dice = random.Random(11)
    common = [dice.randrange(1, tiny.oracle.model.config.vocab_size) for _ in range(20)]
    return [common[:n] + [dice.randrange(1, 300) for _ in range(3)] for n in (0, 4, 9, 16, 20)]


@pytest.fixture(scope="module")
def params() -> list[SamplingParams]:
    kinds = [
        {"temperature": 1.0},
        {"temperature": 0.8, "top_p": 0.9},
        {"temperature": 1.4, "top_k": 20},
        {},
        {"temperature": 0.5},
    ]
    return [SamplingParams(max_tokens=COUNT, seed=100 + i, ignore_eos=True, **kind) for i, kind in enumerate(kinds)]


@pytest.fixture(scope="module")
def alone(tiny, prompts, params) -> list[list[int]]:
    """What each prompt gives when nobody else is there."""
    with tiny.llm(num_blocks=64, attention="torch") as llm:
        return [llm.generate([p], q)[0].outputs[0].token_ids for p, q in zip(prompts, params, strict=True)]


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("rung", RUNGS)
def test_a_seeded_text_is_the_same_under_every_scheduler(tiny, prompts, params, alone, rung, preemption):
    kind, every = PREEMPTIONS[preemption]
    knobs = {**RUNGS[rung], "preemption": kind, "block_size": 4, "num_blocks": 22, "max_num_batched_tokens": 11, "batch_size": 3}
    if every:
        knobs["scheduler"] = forced(knobs["scheduler"], every)
    with tiny.llm(watermark=0.0, swap_space_gb=0.01, **knobs) as llm:
        outs = llm.generate(prompts, params, request_ids=[f"{rung} {i}" for i in range(len(prompts))])
        assert [out.outputs[0].token_ids for out in outs] == alone
        if every:
            assert sum(out.metrics.num_preemptions for out in outs) > 0


def test_samples_of_one_prompt_differ_and_each_is_the_same_however_many_there_are(tiny, prompts):
    params = {"temperature": 1.0, "max_tokens": COUNT, "seed": 7, "ignore_eos": True}
    with tiny.llm(num_blocks=64, block_size=4) as llm:
        four = [o.token_ids for o in llm.generate([prompts[2]], SamplingParams(n=4, **params))[0].outputs]
        two = [o.token_ids for o in llm.generate([prompts[2]], SamplingParams(n=2, **params))[0].outputs]
        one = llm.generate([prompts[2]], SamplingParams(**params))[0].outputs[0].token_ids
    assert len({tuple(tokens) for tokens in four}) == 4
    assert four[:2] == two and four[0] == one


def test_without_a_seed_the_engines_seed_and_the_requests_id_decide(tiny, prompts):
    params = SamplingParams(temperature=1.0, max_tokens=COUNT, ignore_eos=True)

    def texts(engine_seed: int, ids: list[str]) -> list[list[int]]:
        with tiny.llm(num_blocks=64, seed=engine_seed) as llm:
            return [o.outputs[0].token_ids for o in llm.generate([prompts[1]] * 2, params, request_ids=ids)]

    first = texts(0, ["a", "b"])
    assert first[0] != first[1], "two requests, two texts"
    assert texts(0, ["b", "a"]) == first[::-1], "the id decides, not the place"
    assert texts(1, ["a", "b"])[0] != first[0]


def test_logprobs_of_a_text_are_transformers_own(tiny, prompts):
    import torch

    params = SamplingParams(max_tokens=6, temperature=1.0, seed=3, logprobs=4, ignore_eos=True)
    for scheduler in ("static", "chunked"):
        with tiny.llm(num_blocks=64, scheduler=scheduler, max_num_batched_tokens=8, batch_size=2) as llm:
            out = llm.generate(prompts[:3], params)[1].outputs[0]
        assert len(out.logprobs) == len(out.token_ids) == 6
        with torch.inference_mode():
            want = tiny.oracle.model(torch.tensor([prompts[1] + out.token_ids])).logits[0].log_softmax(-1)
        for i, (token, found) in enumerate(zip(out.token_ids, out.logprobs, strict=True)):
            row = want[len(prompts[1]) - 1 + i]
            assert token in found and 4 <= len(found) <= 5
            assert all(abs(value - float(row[t])) < 1e-3 for t, value in found.items())
