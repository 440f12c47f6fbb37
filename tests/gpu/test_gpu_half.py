"""SmolLM2 in float16, as a T4 computes it: its residual stream comes within a third of what float16 holds."""

from __future__ import annotations

import pytest
import torch

from minieng import LLM, SamplingParams
from minieng.hub.resolve import ModelError
from minieng.model import resolve
from minieng.model.decoder import Decoder

PROMPTS = ["The capital of France is", "def fibonacci(n):", "Once upon a time, in a village by the sea,"]


@pytest.fixture(scope="module")
def smollm2():
    try:
        return resolve("smollm2-135m")
    except (ModelError, OSError) as problem:
        pytest.skip(f"no smollm2-135m here: {str(problem)[:120]}")


def test_texts_begin_alike_in_float16_and_float32_and_nothing_overflows(smollm2, monkeypatch):
    largest, hidden = [], Decoder.hidden

    def watched(self, *rest):
        x = hidden(self, *rest)
        if not torch.cuda.is_current_stream_capturing():
            largest.append(x.abs().max())
        return x

    monkeypatch.setattr(Decoder, "hidden", watched)
    texts = {}
    for dtype in ("float32", "float16"):
        largest.clear()
        with LLM(str(smollm2), device="cuda", dtype=dtype, num_blocks=64, max_num_seqs=4, enforce_eager=True) as llm:
            outs = llm.generate(PROMPTS, SamplingParams(max_tokens=32, ignore_eos=True))
        texts[dtype] = [out.outputs[0].token_ids for out in outs]
        print(f"{dtype}: largest number behind the layers {float(torch.stack(largest).max()):,.0f}")
        assert float(torch.stack(largest).max()) < torch.finfo(torch.float16).max
    same = [sum(a == b for a, b in zip(*pair, strict=True)) for pair in zip(*texts.values(), strict=True)]
    assert sum(same) > 32 * len(PROMPTS) // 2, f"of 32 tokens each are equal: {same}"
