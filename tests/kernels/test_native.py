"""The C kernels between the matrix products give what the plain torch ones give."""

from __future__ import annotations

import pytest
import torch

from minieng.model import decoder, native

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
