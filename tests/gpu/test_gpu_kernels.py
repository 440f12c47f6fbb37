"""The compiled kernels against attention in float64: every precision, head size and block size that is promised."""

from __future__ import annotations

import pytest
import torch
from support.attention_cases import make, reference

from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.choose import choose_attention

LIMITS = [(torch.float32, 5e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]


def on_gpu(layer: LayerKV, batch: Batch) -> tuple[LayerKV, Batch]:
    moved = LayerKV(layer.k.cuda(), layer.v.cuda(), layer.scale, layer.window, layer.softcap)
    return moved, Batch(
        *(batch.token_ids,) * 3, batch.q_starts, batch.kv_starts, batch.kv_ends, batch.tables.cuda(), batch.token_ids
    )


@pytest.mark.parametrize("dtype, limit", LIMITS, ids=str)
@pytest.mark.parametrize("block_size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("dim", [64, 80, 96, 128, 256])
def test_attention(dim, block_size, dtype, limit):
    from minieng.kernels import triton_attention

    if dtype == torch.bfloat16 and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no bfloat16")
    rows = [(1, 1), (1, 2500), (5, 5), (70, 300), (1, 513), (3, 90)]
    q, layer, batch = make(rows, 6, 2, dim, block_size, dtype, seed=dim + block_size)
    got = triton_attention.triton_attend(q.cuda(), *on_gpu(layer, batch))
    assert (got.cpu().double() - reference(q, layer, batch)).abs().max() < limit


@pytest.mark.parametrize("constants", [{"window": 100}, {"softcap": 3.0}, {"window": 700, "softcap": 20.0}], ids=str)
def test_window_and_softcap(constants):
    from minieng.kernels import triton_attention

    q, layer, batch = make([(1, 1300), (60, 200), (1, 30)], 4, 2, 64, 16, seed=1, **constants)
    got = triton_attention.triton_attend(q.cuda(), *on_gpu(layer, batch))
    assert (got.cpu().double() - reference(q, layer, batch)).abs().max() < 5e-6


def test_a_row_does_not_depend_on_its_neighbours():
    from minieng.kernels import triton_attention

    q, layer, batch = make([(1, 2500)] + [(1, 40 + i) for i in range(63)], 4, 2, 64, 16, torch.float16, seed=3)
    layer, batch = on_gpu(layer, batch)
    together = triton_attention.triton_attend(q.cuda(), layer, batch)
    for row in (0, 1, 63):
        alone = Batch(*(batch.token_ids,) * 3, [0, 1], [0], [batch.kv_ends[row]], batch.tables[row : row + 1], batch.token_ids)
        assert torch.equal(triton_attention.triton_attend(q[row : row + 1].cuda(), layer, alone), together[row : row + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_is_chosen_on_a_modern_gpu(dtype, recwarn):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("an older GPU")
    chosen = choose_attention("auto", torch.device("cuda"), dtype, 9, 3, 64, 16)
    told = [str(w.message) for w in recwarn]
    assert chosen.backend.name == "triton" and chosen.ops is chosen.backend.ops, told
