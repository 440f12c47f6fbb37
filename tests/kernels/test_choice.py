"""Which attention backend is taken: the first that passes the self-test, with one warning for each that does not."""

from __future__ import annotations

import warnings

import pytest
import torch

from minieng.kernels import choose as attention
from minieng.kernels import native
from minieng.kernels.backend import BACKENDS
from minieng.kernels.choose import choose_attention, self_test

CPU = torch.device("cpu")
SHAPE = {"heads": 6, "kv_heads": 2, "head_dim": 32, "block_size": 4}


def choose(asked="auto", dtype=torch.float32):
    return choose_attention(asked, CPU, dtype, *SHAPE.values())


@pytest.mark.parametrize("name", ["torch", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_plain_backends_pass_the_self_test(name, dtype):
    error = self_test(BACKENDS[name], CPU, dtype, *SHAPE.values())
    assert error < (1e-5 if dtype == torch.float32 else 3e-2)


def test_what_passes_is_taken_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = choose("padded")
    assert chosen.backend == "padded" and "agrees with plain torch" in chosen.why


def test_a_backend_that_computes_something_else_is_left_out(monkeypatch):
    monkeypatch.setitem(BACKENDS, "native", lambda q, layer, batch: q * 0)
    with pytest.warns(UserWarning, match="'native' is not used: it is off by .* falling back to 'torch'") as caught:
        assert choose().backend == "torch"
    assert len(caught) == 1


@pytest.mark.parametrize("problem", [RuntimeError("no C compiler found"), OSError("not a library"), KeyError("sm_75")])
def test_a_backend_that_fails_is_left_out(monkeypatch, problem):
    def broken(q, layer, batch):
        raise problem

    monkeypatch.setitem(BACKENDS, "native", broken)
    with pytest.warns(UserWarning, match=type(problem).__name__):
        assert choose().backend == "torch"


def test_falling_back_goes_one_step_at_a_time(monkeypatch):
    def broken(q, layer, batch):
        raise RuntimeError("0 active drivers")

    monkeypatch.setitem(BACKENDS, "triton", broken)
    monkeypatch.setattr(attention, "candidates", lambda device, asked: ["triton", "padded", "torch"])
    with pytest.warns(UserWarning, match="'triton' is not used.*falling back to 'padded'"):
        assert choose().backend == "padded"


def test_no_compiler_means_no_native_kernel(monkeypatch):

    native.library.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="no C compiler found"):
        assert choose().backend == "torch"
    native.library.cache_clear()


def test_native_kernel_is_right_where_it_can_be_built():
    if not native.shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        assert self_test(BACKENDS["native"], CPU, dtype, *SHAPE.values()) < limit


def test_loading_the_native_kernel_leaves_floating_point_alone():
    """Linked with -ffast-math it would flush tiny numbers to zero in the whole process."""
    import subprocess
    import sys

    if not native.shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    code = "import torch; from minieng.kernels.native import library; library(torch.float32); assert 1e-310 * 0.5 != 0.0"
    subprocess.run([sys.executable, "-c", code], check=True)
