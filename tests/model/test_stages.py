"""A decoder for a part of the layers: the stages of a pipeline, one after the other, are the whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from minieng.hub.resolve import load_config, resolve
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.choose import Attention
from minieng.model.decoder import Decoder

CPU = torch.device("cpu")
SIZES = [(1, 7), (5, 5), (3, 10)]  # (new tokens, context after them): a decode, a prompt and a chunk


def make(path, config, layers=None):
    return Decoder(path, config, torch.float32, CPU, layers)


def step(model: Decoder) -> tuple[Batch, list[LayerKV]]:
    """Rows over caches full of noise, of which the last token of each is asked for."""
    generator, size = torch.Generator().manual_seed(0), 4
    starts, tables = [0], torch.arange(1, 10, dtype=torch.int32).view(3, 3)
    for new, _ in SIZES:
        starts.append(starts[-1] + new)
    positions = torch.cat([torch.arange(end - new, end) for new, end in SIZES])
    rows = torch.repeat_interleave(torch.arange(3), torch.tensor([new for new, _ in SIZES]))
    slots = tables[rows, positions // size].long() * size + positions % size
    tokens = torch.randint(0, model.config.vocab_size, positions.shape, generator=generator)
    last = torch.tensor(starts[1:]) - 1
    batch = Batch(tokens, positions, slots, starts, [0] * 3, [end for _, end in SIZES], tables, last)
    shape = (2, model.num_layers, 10, size, model.kv_heads, model.head_dim)
    cache = torch.randn(shape, generator=generator)
    return batch, [LayerKV(cache[0, i], cache[1, i], model.scales[i], model.windows[i]) for i in range(model.num_layers)]


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 3, 4)], ids=str)
def test_stages_in_a_row_give_the_same_bits_as_the_whole(backend, cuts):
    path, attention = resolve("tiny"), Attention(BACKENDS[backend], "a test asked for it")
    config = load_config(path)
    whole = make(path, config)
    batch, kv = step(whole)
    copies = [replace(layer, k=layer.k.clone(), v=layer.v.clone()) for layer in kv]
    want = whole.forward(batch, kv, attention)
    stages = [make(path, config, range(first, last)) for first, last in zip(cuts, cuts[1:], strict=False)]
    x = None
    for stage, first, last in zip(stages, cuts, cuts[1:], strict=False):
        assert (stage.embedding is None, stage.lm_head is None, stage.norm is None) == (first > 0, last < 4, last < 4)
        assert stage.num_layers == len(stage.windows) == len(stage.scales) == last - first
        x = stage.forward(replace(batch, step=None), copies[first:last], attention, x)
        assert x.shape == ((3, config.vocab_size) if last == 4 else (9, config.hidden_size))
    assert torch.equal(x, want)
    assert all(torch.equal(one.k, other.k) and torch.equal(one.v, other.v) for one, other in zip(kv, copies, strict=True))


@pytest.mark.parametrize("layers", [range(2, 2), range(2, 5), range(-1, 2), range(0, 4, 2)], ids=str)
def test_layers_that_the_model_has_not_are_refused(layers):
    path = resolve("tiny")
    with pytest.raises(ValueError, match="has layers 0 to 3, choose some that follow each other"):
        make(path, load_config(path), layers)
