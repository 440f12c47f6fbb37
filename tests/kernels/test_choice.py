"""Which attention backend is taken: the first that passes the self-test, with one warning for each that does not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings

import pytest
import torch
from support.attention_cases import make

from minieng.kernels import choose as attention
from minieng.kernels import native
from minieng.kernels.backend import BACKENDS, Backend, Kernels
from minieng.kernels.batch import Batch
from minieng.kernels.choose import Attention, choose_attention, self_test
from minieng.kernels.ops import NATIVE, PLAIN
from minieng.kernels.torch_attention import attend_by_request, torch_store

CPU = torch.device("cpu")
SHAPE = {"heads": 6, "kv_heads": 2, "head_dim": 32, "block_size": 4}


def choose(asked="auto", dtype=torch.float32):
    return choose_attention(asked, CPU, dtype, *SHAPE.values())


def attends_with(monkeypatch, name, attend):
    """In place of a backend one that attends with this function."""
    changed = dataclasses.replace(BACKENDS[name], load=lambda: Kernels(attend, torch_store, PLAIN))
    monkeypatch.setitem(BACKENDS, name, changed)


@pytest.mark.parametrize("name", ["torch", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_plain_backends_pass_the_self_test(name, dtype):
    error = self_test(BACKENDS[name], CPU, dtype, *SHAPE.values())
    assert error < (1e-5 if dtype == torch.float32 else 3e-2)


def test_what_passes_is_taken_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = choose("padded")
    assert chosen.backend.name == "padded" and "agrees with plain torch" in chosen.why


def test_a_backend_that_computes_something_else_is_left_out(monkeypatch):
    attends_with(monkeypatch, "native", lambda q, layer, batch: q * 0)
    with pytest.warns(UserWarning, match="'native' is not used: it is off by .* falling back to 'torch'") as caught:
        assert choose().backend.name == "torch"
    assert len(caught) == 1


@pytest.mark.parametrize("problem", [RuntimeError("no C compiler found"), OSError("not a library"), KeyError("sm_75")])
def test_a_backend_that_fails_is_left_out(monkeypatch, problem):
    def broken(q, layer, batch):
        raise problem

    attends_with(monkeypatch, "native", broken)
    with pytest.warns(UserWarning, match=type(problem).__name__):
        assert choose().backend.name == "torch"


def test_falling_back_goes_one_step_at_a_time(monkeypatch):
    def broken(q, layer, batch):
        raise RuntimeError("0 active drivers")

    attends_with(monkeypatch, "triton", broken)
    monkeypatch.setattr(attention, "candidates", lambda *_: [BACKENDS[name] for name in ("triton", "padded", "torch")])
    with pytest.warns(UserWarning, match="'triton' is not used.*falling back to 'padded'"):
        assert choose().backend.name == "padded"


def test_no_compiler_means_no_native_kernel(monkeypatch):
    native.library.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="no C compiler found"):
        assert choose().backend.name == "torch"
    native.library.cache_clear()


def test_native_kernel_is_right_where_it_can_be_built():
    if not native.shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        assert self_test(BACKENDS["native"], CPU, dtype, *SHAPE.values()) < limit


def test_loading_the_native_kernel_leaves_floating_point_alone():
    """Linked with -ffast-math it would flush tiny numbers to zero in the whole process."""
    if not native.shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    code = "import torch; from minieng.kernels.native import library; library(torch.float32); assert 1e-310 * 0.5 != 0.0"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("asked, names", [
    ("auto", ["native", "torch"]), ("native", ["native", "torch"]), ("triton", ["triton", "native", "torch"]),
    ("padded", ["padded", "torch"]), ("torch", ["torch"]),
])  # fmt: skip
def test_an_asked_for_backend_is_tried_first_and_falls_back_to_what_this_device_has(asked, names):
    assert [backend.name for backend in attention.candidates(CPU, asked)] == names


def test_an_unknown_backend_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="attention='fast': choose one of auto, triton, native, padded, torch"):
        choose("fast")


def test_names_are_told_without_torch():
    code = "import sys; from minieng.kernels.backend import check_name; check_name('auto'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("asked", ["mine", "auto"])
def test_a_backend_is_one_entry_in_the_list(monkeypatch, asked):
    """An entry behind all others is tried before plain torch, which stays the last resort."""
    calls = []

    def attend(q, layer, batch):
        calls.append(batch)
        return attend_by_request(q, layer, batch)

    monkeypatch.delitem(BACKENDS, "native")
    monkeypatch.setitem(BACKENDS, "mine", Backend("mine", lambda: Kernels(attend, torch_store, PLAIN)))
    assert choose(asked).backend.name == "mine" and calls
    with pytest.raises(ValueError, match="torch, mine"):
        choose("fast")


def test_norms_that_compute_something_else_are_left_out(monkeypatch):
    if not native.shutil.which("cc"):
        pytest.skip("no C compiler on this machine")
    assert choose().ops is NATIVE
    wrong = NATIVE._replace(silu_mul=lambda gate_up: PLAIN.silu_mul(gate_up) * 1.01)
    kernels = BACKENDS["native"].kernels._replace(ops=wrong)
    monkeypatch.setitem(BACKENDS, "native", dataclasses.replace(BACKENDS["native"], load=lambda: kernels))
    with pytest.warns(UserWarning, match="fused norms and rotation are not used: they are off by"):
        chosen = choose()
    assert chosen.backend.name == "native" and chosen.ops is PLAIN


@pytest.mark.parametrize("knows", [False, True])
def test_a_rectangle_goes_to_a_backend_that_knows_padding(knows):
    """Two rows of two tokens, the second padded on the left; otherwise "padded" computes it."""
    calls = []

    def attend(q, layer, batch):
        calls.append(batch)
        return q * 0

    backend = Backend("mine", lambda: Kernels(attend, torch_store, PLAIN), rectangles=knows)
    q, layer, batch = make([(2, 6), (2, 6)], 6, 2, 32, 4, pads=[0, 3])
    batch = Batch(*list(vars(batch).values())[:8], width=2)
    batch.slots = torch.tensor([4, 5, 12, 13])
    k, v = torch.zeros(2, 4, 2, 32)
    got = Attention(backend, "a test asked for it").paged_attention(q, k, v, layer, batch)
    assert bool(calls) == knows and bool(got.any()) != knows
