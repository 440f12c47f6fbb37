"""Norms, rotation and SiLU in Triton's interpreter against plain torch: equal to the rounding of one operation."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported
pytest.importorskip("triton", reason="triton is not installed (Linux on x86-64 only)")

import torch

if os.environ["TRITON_INTERPRET"] != "1":
    pytest.skip("the interpreter is switched off", allow_module_level=True)

from minieng.kernels import choose as attention
from minieng.kernels import triton_ops
from minieng.kernels.ops import PLAIN

LIMITS = [(torch.float32, 2e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]


def noise(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def same(got, want, limit):
    assert got.dtype == want.dtype and got.shape == want.shape
    assert ((got.float() - want.float()).abs() <= limit * (1 + want.float().abs())).all()


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 16), (3, 96), (4, 576)])
def test_the_norm_of_a_sum(rows, width, dtype, limit):
    x, delta, weight = noise(rows, width, dtype=dtype), noise(rows, width, dtype=dtype, seed=1), noise(width, dtype=dtype, seed=2)
    mine, plain = x.clone(), x.clone()
    same(triton_ops.add_norm(mine, delta, weight, 1e-5), PLAIN.add_norm(plain, delta, weight, 1e-5), limit)
    if dtype != torch.bfloat16:  # the interpreter cuts bfloat16 off where a GPU rounds
        assert torch.equal(mine, plain), "the residual stream is the same to the last bit"
    same(triton_ops.rms_norm(x, weight, 1e-5), PLAIN.rms_norm(x, weight, 1e-5), limit)


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("normed", [False, True], ids=["Llama", "Qwen3"])
@pytest.mark.parametrize("heads, kv_heads, dim", [(3, 1, 64), (2, 2, 80), (4, 1, 128)])
def test_rotation_in_place_in_the_merged_product(heads, kv_heads, dim, normed, dtype, limit):
    merged = noise(3, heads + 2 * kv_heads, dim, dtype=dtype)
    cos, sin = noise(3, 1, dim, dtype=dtype, seed=1), noise(3, 1, dim, dtype=dtype, seed=2)
    norms = (noise(dim, dtype=dtype, seed=3), noise(dim, dtype=dtype, seed=4)) if normed else (None, None)
    values = merged[:, heads + kv_heads :].clone()
    want = PLAIN.norm_rotate(merged[:, : heads + kv_heads], heads, *norms, 1e-6, cos, sin)
    qk = merged[:, : heads + kv_heads]
    same(triton_ops.norm_rotate(qk, heads, *norms, 1e-6, cos, sin), want, limit)
    assert torch.equal(merged[:, heads + kv_heads :], values), "what lies beside it is left alone"


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("rows, width", [(1, 8), (2, 1536)])
def test_silu_mul(rows, width, dtype, limit):
    gate_up = 4 * noise(rows, 2 * width, dtype=dtype)
    gate_up[0, :4] = torch.tensor([-80.0, 80.0, 0.0, -60.0]).to(dtype)
    same(triton_ops.silu_mul(gate_up), PLAIN.silu_mul(gate_up), limit)


def test_no_tokens_no_launch():
    assert triton_ops.rms_norm(torch.empty(0, 8), torch.ones(8), 1e-5).shape == (0, 8)
    assert triton_ops.silu_mul(torch.empty(0, 8)).shape == (0, 4)


def test_the_self_test_passes_and_a_wrong_kernel_is_left_out(monkeypatch):
    cpu = torch.device("cpu")
    assert attention.ops_self_test(triton_ops, cpu, torch.float32, 64) < 1e-5
    assert attention.choose_ops(triton_ops, cpu, torch.float32, 64, 1e-4) is triton_ops
    monkeypatch.setattr(triton_ops, "silu_mul", lambda gate_up: PLAIN.silu_mul(gate_up) * 1.01)
    with pytest.warns(UserWarning, match="fused norms and rotation are not used: they are off by"):
        assert attention.choose_ops(triton_ops, cpu, torch.float32, 64, 1e-4) is PLAIN
    monkeypatch.setattr(triton_ops, "silu_mul", None)
    with pytest.warns(UserWarning, match="TypeError.*falling back to plain torch"):
        assert attention.choose_ops(triton_ops, cpu, torch.float32, 64, 1e-4) is PLAIN
