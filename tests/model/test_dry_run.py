"""The GPU's path with torch's ``meta`` device in the GPU's place: no numbers, so nothing can be read back unseen.

A number that a step fetches, a tensor of the host among the device's, a mask that must be counted: on a GPU each is a
wait or an error, here each is an error.
"""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from support.attention_cases import make
from support.stand_in import TOKEN, OnMeta
from torch.utils._python_dispatch import TorchDispatchMode

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported

from minieng import SamplingParams  # noqa: E402
from minieng.kernels import torch_attention  # noqa: E402
from minieng.kernels.batch import Batch, LayerKV  # noqa: E402
from minieng.model.decoder import Decoder  # noqa: E402

SCHEDULERS = {
    "static": {"scheduler": "static", "batch_size": 3},
    "dynamic": {"scheduler": "dynamic", "batch_size": 3},
    "continuous": {"scheduler": "continuous"},
    "chunked": {"scheduler": "chunked", "max_num_batched_tokens": 24},
}
SETUPS = {
    "graphs": {},
    "eager": {"enforce_eager": True},
    "small cache, recompute": {"num_blocks": 9, "watermark": 0.0},
    "small cache, swap": {"num_blocks": 9, "watermark": 0.0, "preemption": "swap"},
    "no prefix caching": {"enable_prefix_caching": False},
}
EVERYTHING = [
    SamplingParams(max_tokens=9, ignore_eos=True),
    SamplingParams(max_tokens=9, ignore_eos=True, temperature=0.8, n=3),
    SamplingParams(max_tokens=9, min_tokens=8, temperature=0.7, top_k=20, top_p=0.9, seed=1),
    SamplingParams(max_tokens=9, ignore_eos=True, stop="xyz"),
]
PROMPTS = [[5, 6, 7], list(range(1, 31)), [9] * 17, [8] * 40]


@pytest.fixture
def machine(monkeypatch):
    return OnMeta(monkeypatch)


def run(llm):
    outs = llm.generate(PROMPTS, EVERYTHING)
    assert [len(out.outputs) for out in outs] == [1, 3, 1, 1]
    assert all(sample.token_ids == [TOKEN] * 9 for out in outs for sample in out.outputs)


def crossed():
    """Every scheduler with graphs and every set-up of one scheduler; the rest of the grid in `make test-wide`."""
    for scheduler, setup in itertools.product(SCHEDULERS, SETUPS):
        some = setup == "graphs" or scheduler == "chunked"
        yield pytest.param(scheduler, setup, marks=() if some else pytest.mark.wide, id=f"{scheduler}-{setup}")


@pytest.mark.parametrize("scheduler, setup", list(crossed()))
def test_the_whole_path_reads_nothing_back_but_the_tokens(tiny, machine, scheduler, setup):
    knobs = {"num_blocks": 60, "block_size": 8, "max_num_seqs": 4, **SETUPS[setup], **SCHEDULERS[scheduler]}
    with machine.llm(tiny.path, **knobs) as llm:
        run(llm)
        decodes, preempted = llm.runner.decodes, sum(len(record.preempted) for record in llm.trace)
        assert (decodes is None) == (setup == "eager") and (decodes is None or decodes.cuda.replayed)
        assert bool(preempted) == ("small" in setup and scheduler in ("continuous", "chunked"))
        assert llm.runner.model.device.type == "meta"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["qwen3", "qwen2_sliding", "llama_untied_bias"])
def test_other_shapes_in_half_precision(shape, machine, name, dtype):
    with machine.llm(shape(name).path, dtype=dtype, num_blocks=60, block_size=8, max_num_seqs=4) as llm:
        llm.generate(PROMPTS, [SamplingParams(max_tokens=6, ignore_eos=True, temperature=t) for t in (0.0, 0.9, 0.0, 0.5)])
        assert llm.runner.decodes.num_served


def test_memory_is_sized_and_the_warm_up_run_where_no_size_is_given(tiny, machine):
    with machine.llm(tiny.path, max_num_seqs=4, max_model_len=64, scheduler="static") as llm:
        assert llm.runner.tensors.num_blocks == 4 * 64 // 16
        run_one = llm.generate([[5, 6]], SamplingParams(max_tokens=3, ignore_eos=True))
        assert run_one[0].outputs[0].token_ids == [TOKEN] * 3


# -- what the dry run is for: each of these is a wait or an error on a GPU, and must be one here --------------------


def plant_item(x):
    return x + x.sum().item()


def plant_host_tensor(x):
    return x + torch.ones(x.shape[-1])


def plant_mask(x):
    return x[x[:, 0] > 0]


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
@pytest.mark.parametrize("plant", [plant_item, plant_host_tensor, plant_mask])
def test_what_would_wait_in_a_decode_step_fails_here(tiny, machine, monkeypatch, plant, eager):
    """Planted behind the layers of decode steps; a warning, and no graphs, is how a capture takes it."""
    hidden = Decoder.hidden

    def planted(self, batch, *rest):
        x, decodes = hidden(self, batch, *rest), batch.decode_rows is not None or len(batch.token_ids) == batch.num_rows
        return plant(x) if decodes else x

    monkeypatch.setattr(Decoder, "hidden", planted)
    with pytest.raises((RuntimeError, NotImplementedError)), machine.llm(tiny.path, num_blocks=60, enforce_eager=eager) as llm:
        assert llm.runner.decodes is None
        run(llm)


def test_a_mask_in_the_padded_backend_would_be_seen(tiny, machine, monkeypatch):
    """What once stood there: rows picked by a mask on the device."""
    store = torch_attention.rectangle

    def masked(q, rows, width, layer, batch):
        got = store(q, rows, width, layer, batch)
        return got[torch.ones(len(got), dtype=torch.bool, device=got.device)]

    monkeypatch.setattr(torch_attention, "rectangle", masked)
    with pytest.raises((RuntimeError, NotImplementedError)), machine.llm(tiny.path, num_blocks=60) as llm:
        run(llm)


class Variants:
    """In place of a Triton kernel: notes what Triton would compile a variant for, and computes nothing.

    That is the kinds of the tensors, whether their beginning is divisible by 16 bytes, ints that are 1 or divisible by
    16 unless the kernel says otherwise, and all constants.
    """

    def __init__(self, kernel, free: set[str], seen: set) -> None:
        self.name, self.names, self.free, self.seen = kernel.fn.__name__, kernel.arg_names, free, seen

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, **constants) -> None:
        key = [self.name, *sorted(constants.items())]
        for name, value in zip(self.names, args, strict=False):
            if isinstance(value, torch.Tensor):
                assert value.device.type == "meta", f"{self.name}: {name} is not on the device"
                key.append((name, value.dtype, value.storage_offset() * value.element_size() % 16 == 0))
            elif isinstance(value, int) and name not in self.free:
                key.append((name, value == 1, value % 16 == 0, value >= 1 << 31))
        self.seen.add(tuple(key))


FREE = {"_attend": {"num_rows", "table_stride", "max_pieces"}, "_join": {"max_pieces"}, "_settle": {"num_pairs"}}


@pytest.mark.parametrize("eager", [False, True], ids=["graphs", "eager"])
@pytest.mark.parametrize("num_blocks", [pytest.param(None, marks=pytest.mark.wide), 60])
@pytest.mark.parametrize("scheduler", ["continuous", "chunked", "static"])
def test_triton_compiles_nothing_after_the_start(shape, machine, monkeypatch, scheduler, num_blocks, eager):
    """Whatever is asked of the engine afterwards: other numbers of rows and tokens, other lengths, spare blocks."""
    pytest.importorskip("triton", reason="triton is not installed (Linux on x86-64 only)")
    from minieng.kernels import triton_attention, triton_ops

    seen: set = set()
    for module, names in (
        (triton_attention, ("_attend", "_join", "_store", "_settle")),
        (triton_ops, ("_add_norm", "_norm_rotate", "_silu_mul")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, Variants(getattr(module, name), FREE.get(name, set()), seen))
    monkeypatch.setattr(triton_attention, "SPLIT", 32)
    knobs = {"num_blocks": num_blocks, "enforce_eager": eager, "max_num_seqs": 5, "block_size": 8, **SCHEDULERS[scheduler]}
    with machine.llm(shape("qwen3").path, "triton", dtype="float16", **knobs) as llm:
        compiled = set(seen)
        wanted = {"_store", "_add_norm", "_norm_rotate", "_silu_mul"}
        wanted |= set() if eager else {"_settle"}
        wanted |= set() if eager and scheduler == "static" else {"_attend", "_join"}  # its rectangles are for "padded"
        assert {key[0] for key in compiled} == wanted
        for prompts in ([[5]], [[5, 6], [7] * 33], [[5], [6] * 16, [7] * 70, [8] * 2, [9] * 31]):
            llm.generate(prompts, SamplingParams(max_tokens=40, ignore_eos=True))
        assert seen == compiled, seen - compiled


def test_what_is_not_specialised_is_what_the_kernels_say():
    pytest.importorskip("triton", reason="triton is not installed (Linux on x86-64 only)")
    import ast
    import inspect

    from minieng.kernels import triton_attention, triton_ops

    told = {}
    for module in (triton_attention, triton_ops):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            for decorator in getattr(node, "decorator_list", []):
                for keyword in getattr(decorator, "keywords", []):
                    if keyword.arg == "do_not_specialize":
                        told[node.name] = set(ast.literal_eval(keyword.value))
    assert told == FREE


class HostNumbers(TorchDispatchMode):
    """How many numbers the largest tensor has that was made on the host."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.device.type == "cpu":
            self.most = max(self.most, out.numel())
        return out


@pytest.mark.parametrize("width", [0, 100], ids=["packed", "rectangle"])
def test_masks_are_made_on_the_device(machine, width):
    """A mask of 2 rows of 100 tokens over 300 keys has 60,000 numbers; the host makes a few for each token at most."""
    q, layer, batch = make([(100, 300), (100, 250)], 4, 2, 64, 16)
    batch = Batch(*(batch.token_ids,) * 3, batch.q_starts, batch.kv_starts, batch.kv_ends, batch.tables.to("meta"), q, width)
    layer = LayerKV(layer.k.to("meta"), layer.v.to("meta"), layer.scale)
    with HostNumbers() as host:
        got = torch_attention.attend_padded(q.to("meta"), layer, batch)
    assert got.shape == q.shape and 0 < host.most <= 200
    assert [mask.shape for mask, *_ in batch.masks.values()] == [(2, 1, 100, 300)]
