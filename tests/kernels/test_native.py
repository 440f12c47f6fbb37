"""The C kernels between the matrix products give what the plain torch ones give."""

from __future__ import annotations

import pytest
import torch

from minieng.model import decoder, linear, native
from minieng.model.attention import Batch, LayerKV, attend_by_request, attend_native

pytestmark = pytest.mark.skipif(not native.shutil.which("cc"), reason="no C compiler on this machine")
LIMITS = [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)]


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 8), (3, 96), (70, 576)])
def test_rms_norm(rows, width, dtype, limit):
    torch.manual_seed(0)
    x, weight = (3 * torch.randn(rows, width)).to(dtype), torch.randn(width).to(dtype)
    assert (native.rms_norm(x, weight, 1e-5) - decoder.rms_norm(x, weight, 1e-5)).abs().max() <= limit


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, heads, dim", [(1, 1, 4), (5, 12, 64), (80, 6, 32)])
def test_rotate_part_of_a_wider_matrix(rows, heads, dim, dtype, limit):
    torch.manual_seed(0)
    wide = torch.randn(rows, heads + 2, dim).to(dtype)
    cos, sin = torch.randn(rows, 1, dim).to(dtype), torch.randn(rows, 1, dim).to(dtype)
    want, rest = decoder.rotate(wide[:, :heads], cos, sin), wide[:, heads:].clone()
    got = native.rotate(wide[:, :heads], cos, sin)
    assert (got - want).abs().max() <= limit
    assert torch.equal(wide[:, heads:], rest), "what lies beside it is left alone"


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 8), (40, 1536)])
def test_silu_mul(rows, width, dtype, limit):
    torch.manual_seed(0)
    gate_up = (4 * torch.randn(rows, 2 * width)).to(dtype)
    gate_up[0, :4] = torch.tensor([-200.0, 200.0, 0.0, -90.0]).to(dtype)  # the exponential must not overflow
    got, want = native.silu_mul(gate_up), decoder.silu_mul(gate_up)
    assert torch.isfinite(got).all() and ((got - want).abs() <= limit * (1 + want.abs())).all()


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 10, 18, 19, 100])
@pytest.mark.parametrize("ins, outs", [(1, 1), (70, 47), (64, 48), (33, 49), (576, 960), (1536, 576)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear(rows, ins, outs, with_bias):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 2 * ins)[:, ::2], torch.randn(outs, ins), torch.randn(outs) if with_bias else None
    layer = linear.Native(weight, bias)
    assert (layer(x) - torch.nn.functional.linear(x, weight, bias)).abs().max() <= 1e-3
    alone = torch.cat([layer(x[i : i + 1]) for i in range(rows)])
    assert torch.equal(layer(x), alone), "a row's result does not depend on its neighbours"


def test_every_form_of_a_product_agrees_and_the_fastest_is_one_of_them():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(5, 40), torch.randn(100, 40), torch.randn(100)
    layers = linear.every_form(weight, bias)
    assert [type(layer) for layer in layers if type(layer) is not linear.OneDNN] == [linear.Linear, linear.Native]
    for layer in layers:
        assert (layer(x) - torch.nn.functional.linear(x, weight, bias)).abs().max() <= 1e-4
    assert linear.fastest_form(torch.float32) in map(type, layers)


def test_without_a_compiler_the_products_stay_with_torch(monkeypatch):
    monkeypatch.setattr(native, "library", lambda dtype: (_ for _ in ()).throw(RuntimeError("no C compiler found")))
    assert linear.Native not in map(type, linear.every_form(torch.randn(8, 8)))


@pytest.mark.parametrize("x", [torch.randn(2, 9), torch.randn(2, 8, dtype=torch.float64)], ids=["width", "precision"])
def test_a_product_of_things_that_do_not_fit_is_refused(x):
    with pytest.raises(RuntimeError, match="with 8 inputs"):
        linear.Native(torch.randn(8, 8))(x)


def test_half_precision_is_left_to_onednn_or_torch():
    assert linear.Native not in map(type, linear.every_form(torch.randn(8, 8, dtype=torch.bfloat16)))


MANY = [(1, 1), (1, 300), (3, 17), (40, 40), (9, 256), (20, 300), (270, 270)]  # (new tokens, keys); the last two are torch's
FEW = [(1, 70), (2, 33)]  # fewer tokens than threads have tasks: heads are shared out


def random_step(sizes, heads, kv_heads, dim, block_size, dtype, **constants):
    """Queries, a layer whose blocks are filled at random, and the step of rows of these (new tokens, keys)."""
    torch.manual_seed(0)
    wide = max(-(-keys // block_size) for _, keys in sizes)
    shape = (wide * len(sizes), block_size, kv_heads, dim)
    layer = LayerKV(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), dim**-0.5, **constants)
    q_starts = [0]
    for new, _ in sizes:
        q_starts.append(q_starts[-1] + new)
    tables = torch.randperm(shape[0]).view(len(sizes), wide).to(torch.int32)
    nothing = torch.empty(0, dtype=torch.int64)
    keys = [k for _, k in sizes]
    batch = Batch(nothing, nothing, nothing, q_starts, [0] * len(sizes), keys, tables, nothing)
    return torch.randn(q_starts[-1], heads, dim).to(dtype), layer, batch


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=str)
@pytest.mark.parametrize("sizes", [MANY, FEW], ids=["many", "few"])
@pytest.mark.parametrize("block_size", [1, 4, 16, 40])
@pytest.mark.parametrize("heads, kv_heads, dim", [(4, 2, 24), (9, 3, 64), (2, 1, 80), (4, 4, 128)])
def test_attention_of_any_shape(heads, kv_heads, dim, block_size, sizes, dtype, limit):
    step = random_step(sizes, heads, kv_heads, dim, block_size, dtype)
    assert (attend_native(*step) - attend_by_request(*step)).abs().max() <= limit


@pytest.mark.parametrize("constants", [{"window": 20}, {"softcap": 5.0}, {"window": 20, "softcap": 5.0}], ids=str)
def test_attention_with_a_window_or_a_softcap(constants):
    step = random_step(MANY, 9, 3, 64, 16, torch.float32, **constants)
    assert (attend_native(*step) - attend_by_request(*step)).abs().max() <= 1e-5


def test_which_rows_the_kernel_takes():
    assert [native.takes(new, keys) for new, keys in MANY] == [True] * 5 + [False] * 2
    q, layer, batch = random_step(MANY, 9, 3, 64, 16, torch.float32)
    out = torch.full_like(q, torch.nan)
    native.attend(q, out, layer, batch)
    first_left = batch.q_starts[5]
    assert torch.isfinite(out[:first_left]).all() and out[first_left:].isnan().all()
