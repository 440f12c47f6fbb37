"""What a GPU's memory is given back for, which GPU is meant, and what the start-up compiles: with a CPU in the GPU's place."""

from __future__ import annotations

import gc
import traceback
import weakref
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.stand_in import OnCpu

from minieng import SamplingParams, gpu
from minieng.model import graphs, load
from minieng.model.decoder import Decoder
from minieng.model.runner import ModelRunner


@pytest.fixture
def machine(monkeypatch):
    return OnCpu(monkeypatch)


@contextmanager
def no_garbage_collection():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def watch(monkeypatch, owner, name, seen):
    """Note weakly what a function returns."""
    made = getattr(owner, name)

    def noted(*args, **kwargs):
        out = made(*args, **kwargs)
        seen.append(weakref.ref(out))
        return out

    monkeypatch.setattr(owner, name, noted)


def test_the_stand_in_runs_all_of_the_start_and_the_tokens_are_right(tiny, machine):
    with machine.llm(tiny.path, max_num_seqs=4, max_prefill_tokens=64, num_blocks=60) as llm:
        out = llm.generate([[5, 6, 7]], SamplingParams(max_tokens=9, ignore_eos=True))[0].outputs[0]
        assert llm.runner.decodes.num_served
        assert "a GPU's place" in llm.explain() and "sent ahead" in llm.explain()
    tiny.oracle.compare([5, 6, 7], out.token_ids, 9)


@pytest.mark.parametrize("num_blocks", [None, 40])
def test_an_error_at_the_start_keeps_no_tensors_alive(tiny, machine, monkeypatch, num_blocks):
    """A notebook keeps the last error. The warm-up's cache and activations must not stay with it, nor the weights."""
    seen = []
    watch(monkeypatch, load, "step_of", seen)

    def full(self, batch, kv, attention, before=None):
        activations = torch.zeros(64)
        seen.extend((weakref.ref(activations), weakref.ref(kv[0].k)))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Decoder, "forward", full)
    with no_garbage_collection():
        with pytest.raises(ValueError, match="a step of .* tokens does not fit .* lower max_model_len") as kept:
            machine.llm(tiny.path, num_blocks=num_blocks)
        assert len(seen) == 3 and not [ref for ref in seen if ref() is not None]
        assert "in warm_up" in "".join(traceback.format_exception(kept.value)), "where it was is still told"


def test_no_room_for_kv_is_told_without_the_weights_being_held(tiny, machine, monkeypatch):
    """A model of its own, so that nobody else holds the weights."""
    monkeypatch.setattr(load, "_loaded", weakref.WeakValueDictionary())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 20, 16 << 30))
    models = []
    watch(monkeypatch, load, "shared_model", models)
    with no_garbage_collection():
        with pytest.raises(ValueError, match="raise memory_fraction") as kept:
            machine.llm(tiny.path, max_prefill_tokens=64)
        traceback.format_exception(kept.value)
        gc.collect()  # the modules of transformers' config hold each other; the error itself holds nothing
        assert models[0]() is None


def test_a_step_that_finds_no_memory_keeps_no_activations(tiny, machine, monkeypatch):
    seen = []
    with machine.llm(tiny.path, num_blocks=40, enforce_eager=True) as llm:

        def full(self, batch, kv, attention, before=None):
            activations = torch.zeros(64)
            seen.append(weakref.ref(activations))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(Decoder, "forward", full)
        with no_garbage_collection(), pytest.raises(torch.cuda.OutOfMemoryError) as kept:
            llm.generate([[5, 6]])
        assert seen[0]() is None and "max_num_seqs" in kept.value.__notes__[0]


def test_close_gives_the_cache_and_the_graphs_back_at_once(tiny, machine):
    llm = machine.llm(tiny.path, num_blocks=40, max_num_seqs=2)
    runner = llm.runner
    llm.generate([[5, 6, 7]], SamplingParams(max_tokens=4, ignore_eos=True))
    held = [weakref.ref(x) for x in (runner.tensors.cache, runner.decodes, runner.decodes.numbers)]
    del runner
    with no_garbage_collection():
        emptied = machine.emptied
        when = []
        machine.patch(torch.cuda, "empty_cache", lambda: when.append([ref() is None for ref in held]))
        llm.close()
    assert emptied and when == [[True, True, True]], "torch's cache is emptied when nothing is in use any more"
    llm.close()  # a second time does no harm


def test_garbage_is_collected_before_free_memory_is_read(tiny, machine, monkeypatch):
    order = []
    monkeypatch.setattr(gc, "collect", lambda: order.append("collect"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: order.append("read") or (15 << 30, 16 << 30))
    machine.llm(tiny.path, max_num_seqs=1, max_prefill_tokens=64, enforce_eager=True).close()
    assert "collect" in order[: order.index("read")] and order.count("read") == 1


def test_everything_at_the_start_is_done_on_the_gpu_that_was_asked_for(tiny, machine, monkeypatch):
    """Triton launches on the current GPU: with cuda:1 asked for and cuda:0 current, all of load must be inside."""
    where = {}

    def note(owner, name):
        do = getattr(owner, name)

        def noted(*args, **kwargs):
            where[name] = machine.current
            return do(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    for name in ("shared_model", "choose_attention", "make_cache", "warm_up", "capture"):
        note(load, name)
    note(ModelRunner, "__init__")
    machine.llm(tiny.path, num_blocks=40, max_num_seqs=2).close()
    assert len(where) == 6 and all(where.values()), where
    assert not machine.current


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
@pytest.mark.parametrize("num_blocks", [None, 40])
def test_the_warm_up_is_a_step_as_it_will_be_planned(tiny, machine, monkeypatch, scheduler, num_blocks):
    """Rectangles for those who plan them; else prompts and a decode over the longest table, so that all kernels compile."""
    seen, forward = [], Decoder.forward
    monkeypatch.setattr(Decoder, "forward", lambda self, batch, *rest: seen.append(batch) or forward(self, batch, *rest))
    knobs = {"scheduler": scheduler, "batch_size": 3, "max_prefill_tokens": 150, "max_num_batched_tokens": 90}
    machine.llm(tiny.path, num_blocks=num_blocks, max_model_len=100, max_num_seqs=2, enforce_eager=True, **knobs).close()
    (batch,) = seen
    if scheduler in ("static", "dynamic"):
        assert batch.width == (64 if num_blocks else 100) and batch.num_rows == (1 if num_blocks else 3)
        assert batch.kv_ends == [batch.width] * batch.num_rows
    else:
        assert batch.width == 0 and batch.q_starts[-1] - batch.q_starts[-2] == 1 and batch.kv_ends[-1] == 100
        most = {"continuous": 150, "chunked": 90}[scheduler]
        assert len(batch.token_ids) == (64 if num_blocks else most)
        assert batch.tables.shape[1] * 16 >= 100


# -- a capture that fails -------------------------------------------------------------------------------------------


class Capturing:
    """torch.cuda with a stream that is switched to for a capture, and that a broken capture stays on."""

    def __init__(self, broken):
        self.current, self.calls, self.broken = "main", [], broken

    def stream(self, stream):
        return self.scope(stream, ends=lambda: None)

    @contextmanager
    def scope(self, stream, ends):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            ends()
            self.current = before

    def graph(self, graph, pool, stream):
        def capture_end():
            self.calls.append(("end", pool))
            if self.broken:
                raise RuntimeError("operation failed due to a previous error during capture")

        return self.scope(stream, capture_end)


@pytest.mark.parametrize("broken", [False, True])
def test_a_capture_that_fails_leaves_the_stream_as_it_was(monkeypatch, broken):
    fake, seen = Capturing(broken), []

    class Side:
        def __init__(self, device):
            pass

        def wait_stream(self, other):
            pass

    main = Side(None)
    for name, value in {
        "Stream": Side, "graph_pool_handle": lambda: (0, 7), "current_stream": lambda: main, "CUDAGraph": lambda: None,
        "stream": fake.stream, "graph": fake.graph, "set_stream": lambda stream: setattr(fake, "current", stream),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda device, pool: seen.append((device, pool)))
    fake.current = main
    cuda = graphs.Cuda(torch.device("cuda", 1))

    def work():
        fake.calls.append("work")
        if fake.calls.count("work") == 2:  # only while it is captured
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError):
        cuda.capture(work)
    assert fake.current is main and fake.calls[-1] == ("end", (0, 7))
    assert seen == [(1, (0, 7))], "the allocator no longer believes that a capture is under way"


def test_a_fault_that_shows_only_while_capturing_costs_the_graphs_and_nothing_else(tiny, machine, monkeypatch):
    hidden, calls = Decoder.hidden, []

    def faulty(self, batch, *rest):
        if batch.decode_rows is not None:
            calls.append(gc.isenabled())
            if len(calls) == 4:  # once without capture and once with it for each graph: in the second capture
                raise RuntimeError("operation not permitted when stream is capturing")
        return hidden(self, batch, *rest)

    monkeypatch.setattr(Decoder, "hidden", faulty)
    with pytest.warns(UserWarning, match="no CUDA graphs.*not permitted when stream is capturing") as told:
        llm = machine.llm(tiny.path, num_blocks=60, max_num_seqs=2)
    assert "minieng" not in Path(told[0].filename).parent.parts[-2:], "it points at who made the LLM"
    assert calls == [False] * 4 and gc.isenabled(), "no garbage is collected while graphs are captured"
    prompts = [[5, 6, 7], [9, 8]]
    with llm:
        assert llm.runner.decodes is None and "capturing failed" in llm.explain()
        outs = llm.generate(prompts, SamplingParams(max_tokens=8, ignore_eos=True))
    for prompt, out in zip(prompts, outs, strict=True):
        tiny.oracle.compare(prompt, out.outputs[0].token_ids, 8)


def test_collection_stays_off_where_somebody_switched_it_off():
    with no_garbage_collection():
        with gpu.no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    with pytest.raises(RuntimeError, match="inside"), gpu.no_collection():
        raise RuntimeError("inside")
    assert gc.isenabled()


def test_cudnn_is_left_out_of_attention_on_a_gpu(tiny, machine, monkeypatch):
    """cuDNN makes a plan for each new shape: torch's switch is off once a model is on a GPU."""
    monkeypatch.setattr(gpu, "leave_out_cudnn", machine.real_switch)
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        machine.llm(tiny.path, num_blocks=40, max_num_seqs=2).close()
        assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
