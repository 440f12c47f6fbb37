"""The GPU's path with torch's ``meta`` device in the GPU's place: no numbers, so nothing can be read back unseen.

A number that a step fetches, a tensor of the host among the device's, a mask that must be counted: on a GPU each is a
wait or an error, here each is an error.
"""

from __future__ import annotations

import os

import pytest
import torch
from support.stand_in import TOKEN, OnMeta

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported

from minieng import SamplingParams  # noqa: E402
from minieng.kernels import torch_attention  # noqa: E402
from minieng.model.decoder import Decoder  # noqa: E402

SCHEDULERS = {
    "static": {"scheduler": "static", "batch_size": 3},
    "dynamic": {"scheduler": "dynamic", "batch_size": 3},
    "continuous": {"scheduler": "continuous"},
    "chunked": {"scheduler": "chunked", "max_num_batched_tokens": 24},
}
SETUPS = {
    "graphs": {},
    "eager": {"enforce_eager": True},
    "small cache, recompute": {"num_blocks": 9, "watermark": 0.0},
    "small cache, swap": {"num_blocks": 9, "watermark": 0.0, "preemption": "swap"},
    "no prefix caching": {"enable_prefix_caching": False},
}
EVERYTHING = [
    SamplingParams(max_tokens=20, ignore_eos=True),
    SamplingParams(max_tokens=20, ignore_eos=True, temperature=0.8, n=3),
    SamplingParams(max_tokens=20, min_tokens=18, temperature=0.7, top_k=20, top_p=0.9, seed=1),
    SamplingParams(max_tokens=20, ignore_eos=True, stop="xyz"),
]
PROMPTS = [[5, 6, 7], list(range(1, 31)), [9] * 17, [8] * 40]


@pytest.fixture
def machine(monkeypatch):
    return OnMeta(monkeypatch)


def run(llm):
    outs = llm.generate(PROMPTS, EVERYTHING)
    assert [len(out.outputs) for out in outs] == [1, 3, 1, 1]
    assert all(sample.token_ids == [TOKEN] * 20 for out in outs for sample in out.outputs)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_whole_path_reads_nothing_back_but_the_tokens(tiny, machine, scheduler, setup):
    knobs = {"num_blocks": 60, "block_size": 8, "max_num_seqs": 4, **SETUPS[setup], **SCHEDULERS[scheduler]}
    with machine.llm(tiny.path, **knobs) as llm:
        run(llm)
        decodes, preempted = llm.runner.decodes, sum(len(record.preempted) for record in llm.trace)
        assert (decodes is None) == (setup == "eager") and (decodes is None or decodes.cuda.replayed)
        assert bool(preempted) == ("small" in setup and scheduler in ("continuous", "chunked"))
        assert llm.runner.model.device.type == "meta"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["qwen3", "qwen2_sliding", "llama_untied_bias"])
def test_other_shapes_in_half_precision(shape, machine, name, dtype):
    with machine.llm(shape(name).path, dtype=dtype, num_blocks=60, block_size=8, max_num_seqs=4) as llm:
        llm.generate(PROMPTS, [SamplingParams(max_tokens=6, ignore_eos=True, temperature=t) for t in (0.0, 0.9, 0.0, 0.5)])
        assert llm.runner.decodes.num_served


def test_memory_is_sized_and_the_warm_up_run_where_no_size_is_given(tiny, machine):
    with machine.llm(tiny.path, max_num_seqs=4, max_model_len=64, scheduler="static") as llm:
        assert llm.runner.tensors.num_blocks == 4 * 64 // 16
        run_one = llm.generate([[5, 6]], SamplingParams(max_tokens=3, ignore_eos=True))
        assert run_one[0].outputs[0].token_ids == [TOKEN] * 3


# -- what the dry run is for: each of these is a wait or an error on a GPU, and must be one here --------------------


def plant_item(x):
    return x + x.sum().item()


def plant_host_tensor(x):
    return x + torch.ones(x.shape[-1])


def plant_mask(x):
    return x[x[:, 0] > 0]


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
@pytest.mark.parametrize("plant", [plant_item, plant_host_tensor, plant_mask])
def test_what_would_wait_in_a_decode_step_fails_here(tiny, machine, monkeypatch, plant, eager):
    """Planted behind the layers of decode steps; a warning, and no graphs, is how a capture takes it."""
    hidden = Decoder.hidden

    def planted(self, batch, *rest):
        x, decodes = hidden(self, batch, *rest), batch.decode_rows is not None or len(batch.token_ids) == batch.num_rows
        return plant(x) if decodes else x

    monkeypatch.setattr(Decoder, "hidden", planted)
    with pytest.raises((RuntimeError, NotImplementedError)), machine.llm(tiny.path, num_blocks=60, enforce_eager=eager) as llm:
        assert llm.runner.decodes is None
        run(llm)


def test_a_mask_in_the_padded_backend_would_be_seen(tiny, machine, monkeypatch):
    """What once stood there: rows picked by a mask on the device."""
    store = torch_attention.rectangle

    def masked(q, rows, width, layer, batch):
        got = store(q, rows, width, layer, batch)
        return got[torch.ones(len(got), dtype=torch.bool, device=got.device)]

    monkeypatch.setattr(torch_attention, "rectangle", masked)
    with pytest.raises((RuntimeError, NotImplementedError)), machine.llm(tiny.path, num_blocks=60) as llm:
        run(llm)
