"""Logits that are no numbers: an error that names the precision and the remedy, never a token."""

from __future__ import annotations

import pytest
import torch
from support.graph_fakes import give_graphs

from minieng import SamplingParams
from minieng.model.sampler import best, refuse_nan

PARAMS = {
    "greedy": SamplingParams(max_tokens=8, ignore_eos=True),
    "sampled": SamplingParams(max_tokens=8, ignore_eos=True, temperature=0.9),
    "filtered": SamplingParams(max_tokens=8, ignore_eos=True, temperature=0.9, top_k=5, top_p=0.9, min_tokens=4),
}


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("scale, dtype", [(1e30, "float16"), (float("nan"), "float32")], ids=["fp16 overflows", "a NaN weight"])
def test_they_are_refused_and_the_engine_goes_on(tiny, monkeypatch, scale, dtype, params, graphs):
    """From the fourth step on the last norm is too large: a prompt and some decodes went well."""
    with tiny.llm(num_blocks=64, dtype=dtype, attention="padded") as llm:
        llm = give_graphs(llm) if graphs else llm
        model, hidden, calls = llm.runner.model, llm.runner.model.logits, []

        def overflowing(x, attention):
            calls.append(len(x))
            return hidden(x * scale if len(calls) > 3 else x, attention)

        monkeypatch.setattr(model, "logits", overflowing)
        groups = llm._submit([[5, 6, 7], [9, 8]], PARAMS[params], 0, None, "", None, None)
        with pytest.raises(FloatingPointError, match=f"logits are not finite.* computed in {dtype}.* dtype='float32'") as told:
            llm.engine.run()
        assert ("65504" in str(told.value)) == (dtype == "float16")
        made = [list(request.output_token_ids) for (request,) in groups]
        assert all(0 < len(tokens) < 8 and min(tokens) >= 0 for tokens in made), "no token of the step that failed"
        monkeypatch.undo()
        llm.engine.run()
        for (request,), before in zip(groups, made, strict=True):
            assert len(request.output_token_ids) == 8 and list(request.output_token_ids[: len(before)]) == before


def test_the_best_of_a_row_without_numbers_is_none():
    rows = torch.tensor([[1.0, 3.0, 2.0], [1.0, float("nan"), 5.0], [float("inf"), 0.0, 1.0], [-torch.inf, -1.0, -2.0]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert best(rows.to(dtype)).tolist() == [1, -1, -1, 1]
        assert best((-rows).to(dtype)).tolist() == [0, -1, 1, -1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_best_is_what_torch_finds_and_of_equals_the_first(dtype):
    rows = torch.randn(50, 3001, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(best(rows), rows.float().argmax(-1))
    assert torch.equal(best(rows[:, 7::3]), rows[:, 7::3].float().argmax(-1)), "columns of a wider matrix"
    assert best(rows.clamp(max=1.0)).tolist() == [int((row >= 1.0).nonzero()[0]) for row in rows], "many are equal"
    assert best(rows[:0]).tolist() == []


def test_what_is_refused_names_the_way_out():
    refuse_nan([1, 2], torch.float16)
    with pytest.raises(FloatingPointError, match="bfloat16, whose"):
        refuse_nan([1, -1], torch.bfloat16)
