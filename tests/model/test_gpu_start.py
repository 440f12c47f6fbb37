"""What happens at start-up on a GPU, with torch.cuda stood in for: sizing, capture, the reasons why there are no graphs."""

from __future__ import annotations

import contextlib
import types
from unittest.mock import MagicMock

import pytest
import torch
from support.graph_fakes import Tape

from minieng import SamplingParams
from minieng.config import EngineConfig
from minieng.kernels import choose
from minieng.kernels.backend import BACKENDS
from minieng.kernels.choose import Attention
from minieng.model import graphs, load
from minieng.scheduler import make_scheduler

GIB = 1 << 30


@pytest.fixture
def cuda(monkeypatch):
    """torch.cuda without a GPU: 16 GiB, of which 15 are free; a step takes 1 GiB at its peak."""
    fakes = {
        "empty_cache": lambda: None, "memory_allocated": lambda device: GIB, "reset_peak_memory_stats": lambda device: None,
        "max_memory_allocated": lambda device: 2 * GIB, "device": lambda device: contextlib.nullcontext(),
        "mem_get_info": lambda device: (15 * GIB, 16 * GIB), "get_device_capability": lambda device: (9, 0),
        "get_device_name": lambda device: "a GPU",
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return monkeypatch


@pytest.mark.parametrize("backend", ["torch", "padded"])
@pytest.mark.parametrize(
    "knobs, most",
    [
        ({"scheduler": "chunked", "max_num_batched_tokens": 96}, 96),
        ({"max_prefill_tokens": 70}, 100),
        ({"scheduler": "static", "batch_size": 3}, 300),
    ],
)
def test_the_warm_up_runs_the_largest_step_and_says_what_it_took(tiny, cuda, backend, knobs, most):
    seen = []
    with tiny.llm(num_blocks=4) as llm:
        model = llm.runner.model
        forward = type(model).forward
        cuda.setattr(type(model), "forward", lambda self, batch, *rest: seen.append(batch) or forward(self, batch, *rest))
        config, attention = EngineConfig(**knobs), Attention(BACKENDS[backend], "test")
        largest = make_scheduler(config.scheduler).largest_step(config, 100)
        assert load.warm_up(model, attention, config, max_model_len=100, most=largest) == GIB
    (batch,) = seen
    assert len(batch.token_ids) == most == batch.q_starts[-1] and max(batch.kv_ends) <= 100
    cuda.setattr(load, "MOST_PROFILED", 50)
    assert load.warm_up(model, attention, config, max_model_len=100, most=largest) == int(GIB * most / 50)


def test_a_step_that_runs_out_of_memory_names_the_remedy(tiny, cuda):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with tiny.llm(num_blocks=4) as llm:
        cuda.setattr(type(llm.runner.model), "forward", full)
        with pytest.raises(ValueError, match="a step of 2048 tokens does not fit .* lower max_model_len"):
            load.warm_up(llm.runner.model, llm.runner.attention, EngineConfig(), max_model_len=64, most=2048)


def sized(cuda, backend="triton", **knobs):
    """The cache that would be made, for a model of 1 KiB a token (fp16)."""
    model = types.SimpleNamespace(device=torch.device("cuda", 0), num_layers=4, kv_heads=2, head_dim=32, dtype=torch.float16)
    made = MagicMock()
    cuda.setattr(load, "warm_up", lambda *_: GIB)
    cuda.setattr(load, "KVTensors", made)
    load.make_cache(model, Attention(BACKENDS[backend], "test"), EngineConfig(**knobs), max_model_len=1 << 20, most=1 << 20)
    shape, blocks, size, *_, spare = made.call_args.args
    assert shape.bytes_per_token == 1024
    return blocks * size * 1024, spare


def test_memory_fraction_holds_weights_work_and_kv(cuda):
    """15 free of 16 GiB, and 10 % are to stay free: 13.4, less 1 for steps, a quarter for graphs, 4 MiB of spare blocks."""
    kv, spare = sized(cuda, memory_fraction=0.9)
    assert spare == 32 and kv == pytest.approx(15 * GIB - 1.6 * GIB - GIB - GIB / 4 - 32 * 16 * 1024, abs=16 * 1024)
    padded, _ = sized(cuda, backend="padded", memory_fraction=0.9)
    assert padded == pytest.approx(kv - GIB / 2, abs=32 * 1024)
    eager, none = sized(cuda, memory_fraction=0.9, enforce_eager=True)
    assert none == 0 and eager > kv


def test_a_second_engine_takes_what_is_left_and_says_when_nothing_is(cuda):
    cuda.setattr(torch.cuda, "mem_get_info", lambda device: (4 * GIB, 16 * GIB))
    kv, _ = sized(cuda, memory_fraction=0.9)
    assert 0 < kv < 1.2 * GIB
    with pytest.raises(ValueError, match="raise memory_fraction, lower block_size, or close another engine"):
        sized(cuda, memory_fraction=0.7)


def test_more_blocks_than_the_memory_holds_are_refused(cuda):
    assert sized(cuda, num_blocks=15 << 16)[0] == 15 * GIB
    with pytest.raises(ValueError, match="num_blocks=983041 are 15.0 GiB of KV, the memory for it is 15.0 GiB: lower num_blocks"):
        sized(cuda, num_blocks=(15 << 16) + 1)


def test_no_more_is_claimed_than_all_requests_can_use(cuda):
    kv, _ = sized(cuda, memory_fraction=0.9, max_num_seqs=1)
    assert kv == GIB  # one text of 2^20 tokens


@pytest.fixture
def ready(tiny, cuda):
    """An engine on a CPU whose runner may be given graphs as ``load`` does it."""
    cuda.setattr(graphs, "Cuda", lambda device: Tape())
    cuda.setattr(load, "Cuda", lambda device: Tape())
    with tiny.llm(num_blocks=64, block_size=4, attention="padded") as llm:
        tensors = llm.runner.tensors
        llm.runner.tensors = type(tensors)(tensors.shape, 64, 4, llm.runner.device, 0, 8)
        llm.runner.kv = [type(kv)(*llm.runner.tensors.layer(i), kv.scale, kv.window) for i, kv in enumerate(llm.runner.kv)]
        yield llm


def test_capture_gives_graphs_that_explain_themselves(ready, tiny):
    load.capture(ready.runner, ready.config, 200)
    assert str(ready.runner.decodes).startswith("decodes of 1, 2, 4, 8, 16, 32 rows")
    out = ready.generate([[5, 6, 7]], SamplingParams(max_tokens=9, ignore_eos=True))[0].outputs[0]
    tiny.oracle.compare([5, 6, 7], out.token_ids, 9)
    assert ready.runner.decodes.num_served


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda llm: setattr(llm.config, "enforce_eager", True), "no: enforce_eager"),
        (lambda llm: setattr(llm.runner, "model", object()), "transformers' own code"),
        (lambda llm: setattr(llm.runner.attention, "backend", BACKENDS["torch"]), "'torch' asks the host for numbers"),
    ],
)
def test_reasons_for_no_graphs(ready, change, words):
    change(ready)
    load.capture(ready.runner, ready.config, 200)
    assert ready.runner.decodes is None and words in ready.runner.no_graphs


def test_a_capture_that_fails_is_a_warning_not_an_end(ready, monkeypatch):
    def fails(self, work):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Tape, "capture", fails)
    with pytest.warns(UserWarning, match="no CUDA graphs, every step is launched piece by piece: operation not permitted"):
        load.capture(ready.runner, ready.config, 200)
    assert ready.runner.decodes is None and "capturing failed" in ready.runner.no_graphs


def test_a_graph_is_captured_after_a_warm_up_on_one_stream_into_one_pool(monkeypatch):
    monkeypatch.setattr(graphs, "torch", fake := MagicMock())
    cuda, order = graphs.Cuda(torch.device("cuda")), []
    fake.cuda.graph.return_value.__enter__.side_effect = lambda *_: order.append("record")
    replays = [cuda.capture(lambda: order.append("work")) for _ in range(2)]
    assert order == ["work", "record", "work"] * 2
    first, second = fake.cuda.graph.call_args_list
    assert first.kwargs["pool"] is second.kwargs["pool"] is fake.cuda.graph_pool_handle.return_value
    assert first.kwargs["stream"] is second.kwargs["stream"] is cuda.stream
    assert replays[0] is fake.cuda.CUDAGraph.return_value.replay


@pytest.mark.parametrize("capability, asked, names", [
    ((9, 0), "auto", ["triton", "padded", "torch"]), ((7, 5), "auto", ["padded", "torch"]),
    ((7, 5), "triton", ["triton", "padded", "torch"]), ((8, 0), "padded", ["padded", "torch"]),
])  # fmt: skip
def test_backends_go_by_what_the_gpu_can_do(monkeypatch, capability, asked, names):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert [backend.name for backend in choose.candidates(torch.device("cuda", 0), asked)] == names


@pytest.mark.parametrize("asked", ["auto", "torch"])
def test_an_older_gpu_is_told_why_it_gets_no_triton(ready, cuda, asked):
    cuda.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    cuda.setattr(choose, "self_test", lambda *_: 0.0)
    ready.runner.device = torch.device("cuda", 0)
    ready.runner.attention = choose.choose_attention(asked, ready.runner.device, torch.float16, 4, 2, 24, 16)
    facts = ready.runner.facts()
    assert facts["attention"].startswith("padded" if asked == "auto" else "torch") and facts["graphs"].startswith("no")
    assert facts["attention"].endswith("; triton is for sm_80 and later, this is sm_75")
