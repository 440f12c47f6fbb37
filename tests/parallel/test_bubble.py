"""Two stages of the real model: with two batches in flight they wait at most half as much as with one."""

from __future__ import annotations

import random

import pytest

from minieng import LLM, SamplingParams
from minieng.observe.waste import bubble

TRIES = 12  # a core that another guest of the host takes, for seconds at times, lengthens one stage's work and the other's wait


@pytest.mark.slow
@pytest.mark.apart
def test_two_batches_in_flight_halve_the_bubble_on_prompts(smollm2):
    """From what the stages say they were busy with, not from the clock on the wall: other programs may run beside."""
    dice = random.Random(0)
    prompts = [[dice.randrange(1, 40_000) for _ in range(dice.randint(16, 128))] for _ in range(16)]
    knobs = {"scheduler": "chunked", "max_num_batched_tokens": 96, "num_blocks": 400, "enable_prefix_caching": False}
    with LLM(str(smollm2.path), stages=2, device="cpu", dtype="float32", **knobs) as llm:
        for _ in range(TRIES):
            shares, tokens = {}, {}
            for depth in (1, 2):
                llm.engine.depth = depth
                llm.trace.clear()
                outputs = llm.generate(prompts, SamplingParams(max_tokens=2, ignore_eos=True))
                shares[depth], tokens[depth] = bubble(llm.trace), [o.outputs[0].token_ids for o in outputs]
            assert tokens[1] == tokens[2]
            if shares[2] <= shares[1] / 2:
                return
    pytest.fail(f"more than half as much in each of {TRIES} tries: {shares}")
