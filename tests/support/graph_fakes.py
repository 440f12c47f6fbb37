"""Decode graphs on a CPU: a stand-in for CUDA graphs that keeps what they keep, in the place of ``graphs.Cuda``.

``Tape`` records every torch operation with the tensors it read and wrote, and repeats exactly those: like a graph it
knows addresses only, so a number that Python computed anew, a buffer that was made anew, or an answer fetched from the
"device" in between would show (the last as an error, when it is recorded).
"""

from __future__ import annotations

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minieng.kernels import native
from minieng.kernels.backend import BACKENDS
from minieng.kernels.batch import LayerKV
from minieng.kernels.choose import Attention
from minieng.kv.tensors import KVTensors
from minieng.model.graphs import Decodes, num_spare_blocks


class Record(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func) and "nonzero" not in str(func), f"{func} waits for the device"
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def __enter__(self):
        self.linear, native.linear = native.linear, self.native_linear
        return super().__enter__()

    def __exit__(self, *raised):
        native.linear = self.linear
        return super().__exit__(*raised)

    def native_linear(self, *args):
        """The C kernel is no torch operation: it is written down by hand."""
        out = self.linear(*args)
        self.calls.append((self.linear, args, {}, out))
        return out


def tensors_in(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [] if value.is_mkldnn else [value]  # packed weights have no address
    return [t for item in value for t in tensors_in(item)] if isinstance(value, (list, tuple)) else []


class Tape:
    """The stand-in: records on capture, repeats on replay."""

    def __init__(self) -> None:
        self.replayed = 0

    def capture(self, work):
        work()
        with Record() as record:
            work()
        return lambda: self.replay(record.calls)

    def replay(self, calls) -> None:
        self.replayed += 1
        for func, args, kwargs, out in calls:
            given = {t.untyped_storage().data_ptr() for t in tensors_in([args, list(kwargs.values())])}
            made = tensors_in(out)
            if hasattr(func, "_schema") and func._schema.is_mutable:
                func(*args, **kwargs)
            elif all(t.untyped_storage().data_ptr() not in given for t in made):  # a view stays where it is
                for old, new in zip(made, tensors_in(func(*args, **kwargs)), strict=True):
                    old.copy_(new)

    def stamp(self):
        return time.perf_counter()

    def seconds(self, begin, end):
        return end - begin


class Again(Tape):
    """For Triton's interpreter, whose kernels are no torch operations: the work is simply done again."""

    def capture(self, work):
        work()

        def again():
            self.replayed += 1
            work()

        return again


def give_graphs(llm, backend: str = "padded", max_rows: int | None = None, cuda=None, longest: int | None = None):
    """What ``load`` does on a GPU, on this engine's CPU: spare blocks, and decodes through graphs."""
    runner, config = llm.runner, llm.config
    old, rows = runner.tensors, max_rows or max(config.max_num_seqs, config.batch_size)
    spare = num_spare_blocks(rows, old.block_size)
    runner.tensors = KVTensors(old.shape, old.num_blocks, old.block_size, runner.device, len(old.host), spare)
    runner.attention = Attention(BACKENDS[backend], "a test asked for it")
    model = runner.model
    runner.kv = [
        LayerKV(*runner.tensors.layer(i), model.scales[i], model.windows[i], model.softcap) for i in range(model.num_layers)
    ]
    longest = longest or min(llm.max_model_len, old.num_blocks * old.block_size)
    runner.decodes = Decodes(model, runner.tensors, runner.kv, runner.attention, rows, longest, cuda or Tape())
    return llm


class GraphKit:
    """The tests' ``Kit`` whose engines run their decodes through graphs."""

    def __init__(self, kit, **settings) -> None:
        self.kit, self.oracle, self.path, self.settings = kit, kit.oracle, kit.path, settings
        self.made: list = []

    def llm(self, **knobs):
        llm = give_graphs(self.kit.llm(**{**knobs, "attention": "padded"}), **self.settings)
        self.made.append(llm.runner.decodes)
        return llm
