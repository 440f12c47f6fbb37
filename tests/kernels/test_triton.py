"""The Triton kernels in Triton's interpreter against attention written out in torch: right answers, not speed."""

from __future__ import annotations

import os
import random

import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported
pytest.importorskip("triton", reason="triton is not installed (Linux on x86-64 only)")

import torch
from support.attention_cases import NOTHING, make, reference

if os.environ["TRITON_INTERPRET"] != "1":
    pytest.skip("the interpreter is switched off", allow_module_level=True)

from minieng.kernels import triton_attention as kernels
from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.torch_attention import torch_settle

SHAPES = [
    pytest.param([(1, 1), (1, 20), (1, 33)], 3, 1, 64, 16, id="decodes, GQA 3 as SmolLM2"),
    pytest.param([(5, 5), (1, 17), (3, 30)], 4, 2, 64, 16, id="prompt, decode and chunk together"),
    pytest.param([(19, 19)], 2, 2, 80, 32, id="a prompt over several query blocks, head size 80"),
    pytest.param([(1, 40), (2, 2)], 8, 1, 96, 256, id="multi-query, head size 96, block 256"),
    pytest.param([(1, 9), (4, 40)], 2, 1, 128, 16, id="head size 128"),
    pytest.param([(1, 5)], 2, 2, 256, 16, id="head size 256"),
    pytest.param([(1, 6), (2, 7)], 40, 2, 64, 16, id="more query heads a K/V head than 16"),
]


@pytest.mark.parametrize("rows, heads, kv_heads, dim, block_size", SHAPES)
@pytest.mark.parametrize("dtype, limit", [(torch.float32, 2e-6), (torch.float16, 4e-3)], ids=["fp32", "fp16"])
def test_attention_is_softmax_written_out(rows, heads, kv_heads, dim, block_size, dtype, limit):
    q, layer, batch = make(rows, heads, kv_heads, dim, block_size, dtype)
    got = kernels.triton_attend(q, layer, batch)
    assert got.dtype == dtype and (got.double() - reference(q, layer, batch)).abs().max() < limit


LONG = [
    pytest.param([(70, 70)], 3, 1, 64, 16, {}, id="SmolLM2, 18 query blocks of 16 tokens"),
    pytest.param([(1, 20), (40, 75), (1, 3)], 4, 2, 128, 16, {}, id="a chunk of two blocks between decodes"),
    pytest.param([(65, 70), (2, 9)], 2, 2, 80, 32, {"window": 20}, id="65 tokens, no grouping, window"),
    pytest.param([(17, 17), (1, 6)], 4, 1, 256, 16, {"softcap": 20.0}, id="head size 256, softcap"),
    pytest.param([(2, 7)], 80, 1, 64, 16, {}, id="more query heads a K/V head than 64"),
]


@pytest.mark.parametrize("rows, heads, kv_heads, dim, block_size, constants", LONG)
def test_prompts_in_blocks_of_64_query_rows(rows, heads, kv_heads, dim, block_size, constants):
    """Half precision on tensor cores: 64 query rows to a program, decodes beside them in blocks of 16."""
    q, layer, batch = make(rows, heads, kv_heads, dim, block_size, torch.float16, seed=8, **constants)
    got = kernels.triton_attend(q, layer, batch)
    assert (got.double() - reference(q, layer, batch)).abs().max() < 4e-3
    assert batch.kinds == ((False, True) if any(n == 1 for n, _ in rows) else (False,))


@pytest.mark.parametrize("constants", [{"window": 5}, {"softcap": 3.0}, {"window": 9, "softcap": 20.0}, {"scale": 0.3}], ids=str)
def test_window_softcap_and_scale(constants):
    q, layer, batch = make([(1, 30), (6, 20), (3, 3)], 4, 2, 64, 16, seed=1, **constants)
    assert (kernels.triton_attend(q, layer, batch).double() - reference(q, layer, batch)).abs().max() < 2e-6


def test_left_padding_is_not_seen():
    q, layer, batch = make([(1, 30), (2, 24)], 2, 1, 64, 16, pads=[7, 20])
    assert (kernels.triton_attend(q, layer, batch).double() - reference(q, layer, batch)).abs().max() < 2e-6


@pytest.mark.parametrize("number", range(6))
def test_random_shapes_and_batches(number):
    """Any mixture of decodes, prompts and chunks, any heads, head sizes and block sizes."""
    dice = random.Random(number)
    kv_heads, group, dim = dice.choice([1, 2]), dice.choice([1, 2, 3, 5]), dice.choice([64, 80, 96, 128])
    block_size, dtype = dice.choice([16, 32, 64, 128]), dice.choice([torch.float32, torch.float16])
    rows = []
    for _ in range(dice.randint(1, 4)):
        n = dice.choice([1, 1, 2, 7, 17])
        rows.append((n, n + dice.choice([0, 0, 3, 20, 45])))
    q, layer, batch = make(rows, kv_heads * group, kv_heads, dim, block_size, dtype, number)
    limit = 2e-6 if dtype == torch.float32 else 4e-3
    assert (kernels.triton_attend(q, layer, batch).double() - reference(q, layer, batch)).abs().max() < limit


def test_how_many_programs_share_a_row_changes_no_bit(monkeypatch):
    monkeypatch.setattr(kernels, "SPLIT", 32)
    q, layer, batch = make([(1, 140), (1, 70), (1, 9)], 4, 2, 64, 16, seed=6)
    results = []
    for programs in (1, 12, 4096):
        monkeypatch.setattr(kernels, "PROGRAMS", programs)
        results.append(kernels.triton_attend(q, layer, Batch(*list(vars(batch).values())[:9])))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_very_long_rows_have_longer_pieces_and_no_more_of_them(monkeypatch):
    monkeypatch.setattr(kernels, "SPLIT", 32)
    monkeypatch.setattr(kernels, "MAX_PIECES", 2)
    q, layer, batch = make([(1, 150), (1, 64), (1, 65)], 2, 1, 64, 16, seed=7)
    assert (kernels.triton_attend(q, layer, batch).double() - reference(q, layer, batch)).abs().max() < 2e-6
    assert batch.parts[1].shape == (3, 2, 2)


@pytest.mark.parametrize("window", [None, 6, 40])
def test_long_decodes_are_cut_and_joined(monkeypatch, window):
    monkeypatch.setattr(kernels, "SPLIT", 32)
    q, layer, batch = make([(1, 90), (1, 32), (1, 33), (1, 3), (4, 70)], 4, 2, 64, 16, seed=2, window=window)
    assert (kernels.triton_attend(q, layer, batch).double() - reference(q, layer, batch)).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_row_does_not_depend_on_its_neighbours(monkeypatch, dtype):
    monkeypatch.setattr(kernels, "SPLIT", 32)
    rows = [(1, 90), (1, 20), (6, 40)]
    q, layer, batch = make(rows, 4, 2, 64, 16, dtype, seed=3)
    together = kernels.triton_attend(q, layer, batch)
    for row, (n, end) in enumerate(rows):
        first, last = batch.q_starts[row], batch.q_starts[row + 1]
        alone = Batch(NOTHING, NOTHING, NOTHING, [0, n], [0], [end], batch.tables[row : row + 1], NOTHING)
        assert torch.equal(kernels.triton_attend(q[first:last], layer, alone), together[first:last])


def test_rows_of_one_token_and_longer_ones_are_launched_apart(monkeypatch):
    """What a row is computed by follows from its own length: a decode is in a block of 16 rows, whoever is beside it."""
    launched = []
    monkeypatch.setattr(kernels, "_attend", Launches(launched))
    for rows in ([(1, 20), (1, 9)], [(5, 5)], [(5, 5), (1, 9)]):
        q, layer, batch = make(rows, 4, 2, 64, 16, torch.float16)
        for _ in range(2):  # two layers
            kernels.triton_attend(q, layer, batch)
    decode, prompt = (True, 16), (False, 64)
    assert launched == [decode] * 2 + [prompt] * 2 + [prompt, decode] * 2


class Launches:
    """In place of a kernel: notes which variant is launched, and computes nothing."""

    def __init__(self, seen):
        self.seen = seen

    def __getitem__(self, grid):
        return lambda *args, **constants: self.seen.append((constants["DECODES"], constants["BLOCK_M"]))


def test_padding_rows_of_a_graph_do_no_harm():
    """Rows of length 1 with nothing filled, as a graph's padding has: nobody reads them, nothing else changes."""
    q, layer, batch = make([(1, 20), (1, 7)], 4, 2, 64, 16, seed=4)
    want = kernels.triton_attend(q, layer, batch)
    padded = Batch(
        NOTHING, NOTHING, NOTHING, [0, 1, 2, 3], [0, 0, 0], [20, 7, 0], torch.cat((batch.tables, batch.tables[:1] * 0)), NOTHING
    )
    got = kernels.triton_attend(torch.cat((q, q[:1])), layer, padded)
    assert torch.equal(got[:2], want) and torch.isfinite(got[2]).all()


@pytest.mark.parametrize("kv_heads, dim", [(3, 64), (1, 80), (2, 128)], ids=["192 wide as SmolLM2", "80 wide", "256 wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_store_writes_each_slot_and_skips_minus_one(kv_heads, dim, dtype):
    g = torch.Generator().manual_seed(0)
    merged = torch.randn((4, 3 * kv_heads, dim), generator=g).to(dtype)  # keys and values are views, as after a merged QKV
    k, v = merged[:, kv_heads : 2 * kv_heads], merged[:, 2 * kv_heads :]
    layer = LayerKV(*(torch.zeros((3, 16, kv_heads, dim), dtype=dtype) for _ in range(2)), 1.0)
    slots = torch.tensor([40, -1, 0, 17])
    kernels.triton_store(k, v, layer, Batch(NOTHING, NOTHING, slots, [0, 4], [0], [4], NOTHING, NOTHING))
    flat_k, flat_v = layer.k.view(-1, kv_heads, dim), layer.v.view(-1, kv_heads, dim)
    for token, slot in ((0, 40), (2, 0), (3, 17)):
        assert torch.equal(flat_k[slot], k[token]) and torch.equal(flat_v[slot], v[token])
    untouched = [s for s in range(48) if s not in (40, 0, 17)]
    assert not flat_k[untouched].any() and not flat_v[untouched].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_spare_blocks_settle_in_one_launch(dtype):
    """The first slot of some blocks goes to other blocks in all layers, keys and values; all else stays."""
    cache = torch.randn((3, 2, 7, 4, 3, 20), generator=torch.Generator().manual_seed(1)).to(dtype)
    pairs, want = torch.tensor([[5, 6, 4], [0, 2, 4]]), cache.clone()
    torch_settle(want, pairs)
    assert not torch.equal(want, cache)
    kernels.triton_settle(cache, pairs)
    assert torch.equal(cache, want)
