"""The runner on a GPU: no sync, no growth, memory as asked, and every fall-back, forced."""

from __future__ import annotations

import dataclasses
import gc

import pytest
import torch

from minieng import LLM, SamplingParams
from minieng.kernels import choose as attention
from minieng.kernels.backend import BACKENDS, Kernels
from minieng.kernels.ops import PLAIN
from minieng.kernels.torch_attention import torch_store
from minieng.model import graphs
from minieng.model.decoder import Decoder


def attends_with(monkeypatch, name, attend):
    """In place of a backend one that attends with this function."""
    changed = dataclasses.replace(BACKENDS[name], load=lambda: Kernels(attend, torch_store, PLAIN))
    monkeypatch.setitem(BACKENDS, name, changed)


def compare(kit, llm, count=16):
    prompts = kit.prompts(3, 40, 18)
    outs = llm.generate(prompts, SamplingParams(max_tokens=count, ignore_eos=True))
    for prompt, out in zip(prompts, outs, strict=True):
        kit.oracle.compare(prompt, out.outputs[0].token_ids, count)


@pytest.mark.parametrize(
    "params", [{}, {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_tokens": 40}], ids=["greedy", "sampled"]
)
@pytest.mark.parametrize("knobs", [{}, {"enforce_eager": True}, {"attention": "padded"}], ids=str)
def test_nothing_in_a_decode_step_waits_for_the_device_but_the_tokens(gpu_tiny, knobs, params):
    """The tokens are waited for by an event, which the debug mode lets pass; anything else raises."""
    if knobs == {"enforce_eager": True} and gpu_tiny.llm(num_blocks=8).runner.attention.backend.name != "triton":
        pytest.skip("the eager padded backend asks the host for its sizes")
    with gpu_tiny.llm(num_blocks=64, max_num_seqs=4, **knobs) as llm:
        wanted = SamplingParams(max_tokens=60, ignore_eos=True, **params)
        groups = llm._submit(gpu_tiny.prompts(5, 9, 30), wanted, 0, None, "", None, None)
        for _ in range(6):
            llm.engine.step()
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(40):
                record = llm.engine.step()
                assert record.num_decodes == 3
        finally:
            torch.cuda.set_sync_debug_mode("default")
        llm._forget(groups)


def test_no_growth_over_ten_thousand_steps(gpu_tiny):
    with gpu_tiny.llm(num_blocks=256, max_num_seqs=8, checked=False) as llm:
        llm.engine.trace.limit = 100
        prompts, sizes, steps = gpu_tiny.prompts(*range(2, 18)), [], 0
        while steps < 10_000:
            before = llm.engine._count
            outs = llm.generate(prompts, SamplingParams(max_tokens=200, ignore_eos=True))
            assert llm.engine._count > before
            steps += sum(len(out.outputs[0].token_ids) for out in outs) // 8
            llm.trace.clear()
            gc.collect()
            sizes.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
        assert sizes[1] == sizes[-1], f"bytes allocated and reserved went from {sizes[1]} to {sizes[-1]}"


def test_engines_share_weights_and_the_memory_that_is_left(gpu_tiny):
    free, total = torch.cuda.mem_get_info()
    knobs = {"device": "cuda", "dtype": "float32", "memory_fraction": 0.6, "max_num_seqs": 64, "block_size": 16}
    with LLM(str(gpu_tiny.path), **knobs) as one, LLM(str(gpu_tiny.path), **knobs) as two:
        assert one.runner.model is two.runner.model
        assert one.runner.tensors.cache.data_ptr() != two.runner.tensors.cache.data_ptr()
        left, _ = torch.cuda.mem_get_info()
        assert left >= 0.4 * total - (1 << 30), "memory_fraction counts what both take"
        compare(gpu_tiny, one)
        compare(gpu_tiny, two)
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] >= free - (1 << 30), "close() gives the memory back"


def test_no_memory_is_refused_with_the_remedy(gpu_tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (1 << 20, 1 << 34))
    with pytest.raises(ValueError, match="raise memory_fraction"):
        LLM(str(gpu_tiny.path), device="cuda")


def test_a_wrong_kernel_is_left_out(gpu_tiny, monkeypatch):
    attends_with(monkeypatch, "triton", lambda q, layer, batch: q * 0)
    monkeypatch.setattr(attention, "candidates", lambda *_: [BACKENDS[name] for name in ("triton", "padded", "torch")])
    with pytest.warns(UserWarning, match="'triton' is not used: it is off by .* falling back to 'padded'"):
        llm = gpu_tiny.llm(num_blocks=64)
    with llm:
        assert llm.runner.attention.backend.name == "padded" and llm.runner.decodes is not None
        assert "padded" in llm.explain()
        compare(gpu_tiny, llm)


def test_kernels_that_do_not_compile_are_left_out(gpu_tiny, monkeypatch):
    def broken(*_):
        raise RuntimeError("ptxas: cvt.bf16.f32 requires sm_80")

    attends_with(monkeypatch, "triton", broken)
    attends_with(monkeypatch, "padded", broken)
    monkeypatch.setattr(attention, "candidates", lambda *_: [BACKENDS[name] for name in ("triton", "padded", "torch")])
    with pytest.warns(UserWarning, match="ptxas") as caught:
        llm = gpu_tiny.llm(num_blocks=64)
    with llm:
        assert len([w for w in caught if "is not used" in str(w.message)]) == 2
        assert llm.runner.attention.backend.name == "torch" and "asks the host" in llm.explain()
        compare(gpu_tiny, llm)


def test_fused_kernels_that_are_wrong_leave_attention_as_it_is(gpu_tiny, monkeypatch):
    if gpu_tiny.llm(num_blocks=8).runner.attention.backend.name != "triton":
        pytest.skip("Triton is not used on this GPU")
    monkeypatch.setattr(attention, "ops_self_test", lambda *_: 1.0)
    with pytest.warns(UserWarning, match="fused norms and rotation are not used"):
        llm = gpu_tiny.llm(num_blocks=64)
    with llm:
        assert llm.runner.attention.backend.name == "triton" and llm.runner.attention.ops is PLAIN
        compare(gpu_tiny, llm)


def test_a_capture_that_fails_leaves_an_engine_without_graphs(gpu_tiny, monkeypatch):
    def fails(self, work):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs.Cuda, "capture", fails)
    with pytest.warns(UserWarning, match="no CUDA graphs"):
        llm = gpu_tiny.llm(num_blocks=64)
    with llm:
        assert llm.runner.decodes is None and "capturing failed" in llm.explain()
        compare(gpu_tiny, llm)


def test_explain_says_what_runs(gpu_tiny):
    with gpu_tiny.llm(num_blocks=64) as llm:
        told = llm.explain()
    assert torch.cuda.get_device_name() in told and "captured in" in told and "sent ahead" in told


def test_an_engine_starts_after_a_step_that_did_not_fit(gpu_tiny, monkeypatch):
    """In a notebook the error is kept; what filled the memory must not be kept with it."""
    free, _ = torch.cuda.mem_get_info()
    forward = Decoder.forward

    def full(self, *rest):
        filler = torch.empty(int(0.8 * torch.cuda.mem_get_info()[0]), dtype=torch.uint8, device="cuda")
        return torch.empty(len(filler), dtype=torch.uint8, device="cuda")

    monkeypatch.setattr(Decoder, "forward", full)
    with pytest.raises(ValueError, match="does not fit") as kept:
        gpu_tiny.llm()
    monkeypatch.setattr(Decoder, "forward", forward)
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] >= free - (1 << 30), str(kept.value)
    with gpu_tiny.llm(num_blocks=64) as llm:
        compare(gpu_tiny, llm)


def test_close_gives_the_memory_back_at_once(gpu_tiny):
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    for _ in range(2):
        llm = gpu_tiny.llm(memory_fraction=0.6, max_num_seqs=4096, max_prefill_tokens=4096)
        llm.close()
        assert torch.cuda.mem_get_info()[0] >= free - (1 << 30)


def test_another_gpu_than_the_current_one(gpu_tiny):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    before = torch.cuda.memory_allocated(0)
    with gpu_tiny.llm(num_blocks=64, device="cuda:1") as llm:
        assert torch.cuda.current_device() == 0 and torch.cuda.memory_allocated(0) == before
        compare(gpu_tiny, llm)


def test_a_capture_that_breaks_leaves_the_stream_and_the_next_engine_whole(gpu_tiny, monkeypatch):
    """A number is fetched only while capturing: CUDA ends the capture with an error."""
    hidden, stream = Decoder.hidden, torch.cuda.current_stream()

    def faulty(self, *rest):
        x = hidden(self, *rest)
        if torch.cuda.is_current_stream_capturing():
            x.sum().item()
        return x

    monkeypatch.setattr(Decoder, "hidden", faulty)
    with pytest.warns(UserWarning, match="no CUDA graphs"):
        llm = gpu_tiny.llm(num_blocks=64)
    monkeypatch.setattr(Decoder, "hidden", hidden)
    with llm:
        assert llm.runner.decodes is None and torch.cuda.current_stream() == stream
        compare(gpu_tiny, llm)
    with gpu_tiny.llm(num_blocks=64) as llm:
        assert llm.runner.decodes is not None
        compare(gpu_tiny, llm)


@pytest.mark.parametrize("knobs", [{}, {"enforce_eager": True}, {"scheduler": "chunked"}], ids=str)
def test_nothing_compiles_in_the_first_steps(gpu_tiny, knobs):
    """Triton compiles before the first request: its kernels hold as many variants after a run as before it."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("Triton is not used on this GPU")
    from minieng.kernels import triton_attention, triton_ops

    kernels = [triton_attention._attend, triton_attention._join, triton_attention._store, triton_attention._settle,
               triton_ops._add_norm, triton_ops._norm_rotate, triton_ops._silu_mul]  # fmt: skip

    def variants():
        return [sum(len(of_device[0]) for of_device in kernel.device_caches.values()) for kernel in kernels]

    with gpu_tiny.llm(num_blocks=64, dtype="float16", **knobs) as llm:
        before = variants()
        assert sum(before) >= 6
        llm.generate(gpu_tiny.prompts(3, 40, 18, 1), SamplingParams(max_tokens=40, ignore_eos=True))
        assert variants() == before
