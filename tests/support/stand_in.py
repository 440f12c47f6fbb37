"""Another device in the GPU's place. minieng believes it has a GPU; what it asks of ``torch.cuda`` is answered here.

``on_cpu``   numbers are real: all of the start-up, graphs through ``Tape``, and the tokens can be compared
``on_meta``  no numbers, but torch's rules of devices and dtypes; whoever reads a number back gets an error. The tokens,
             which the engine waits for on purpose, are always ``TOKEN``
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from minieng import LLM, gpu
from minieng.kernels import transfer
from minieng.kernels.backend import BACKENDS
from minieng.kernels.choose import Attention
from minieng.kernels.native import keep_freed_memory
from minieng.kv import tensors
from minieng.model import graphs, load
from support.graph_fakes import Again, Tape

GIB = 1 << 30
TOKEN = 5


class Event:
    """A point of a stream that is always reached."""

    def __init__(self, **_) -> None:
        self.at = 0.0

    def record(self, *_) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, later: Event) -> float:
        return (later.at - self.at) * 1e3


class Stream:
    def synchronize(self) -> None:
        pass


class Here:
    """``torch.cuda.device``: may be entered again and again."""

    def __init__(self, machine: StandIn) -> None:
        self.machine, self.before = machine, []

    def __enter__(self) -> None:
        self.before.append(self.machine.current)
        self.machine.current = True

    def __exit__(self, *_) -> None:
        self.machine.current = self.before.pop()


class StandIn:
    """What was seen of the start-up.

    current  whether ``torch.cuda.device`` of the stand-in is entered
    emptied  how often torch's cache was emptied
    """

    def __init__(self, monkeypatch, device: str) -> None:
        self.device, self.patch = torch.device(device), monkeypatch.setattr
        self.current, self.emptied = False, 0
        kind = self.device.type
        answers = {
            "empty_cache": self.empty, "memory_allocated": lambda device: GIB, "reset_peak_memory_stats": lambda device: None,
            "max_memory_allocated": lambda device: GIB, "device": lambda device: Here(self),
            "mem_get_info": lambda device: (15 * GIB, 16 * GIB),
            "get_device_capability": lambda device: (9, 0), "get_device_name": lambda device: f"{kind} in a GPU's place",
            "Event": Event, "current_stream": Stream,
        }  # fmt: skip
        for name, answer in answers.items():
            self.patch(torch.cuda, name, answer)
        self.patch(gpu, "is_gpu", lambda asked: asked.type == kind)
        self.real_switch = gpu.leave_out_cudnn
        self.patch(gpu, "leave_out_cudnn", lambda: None)
        self.patch(torch.Tensor, "pin_memory", lambda tensor: tensor)
        self.patch(load, "choose_device", lambda asked: self.device)
        for module in (transfer, graphs):
            self.patch(module, "to_host", self.to_host)

    def empty(self) -> None:
        self.emptied += 1

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def llm(self, path: Path, **knobs) -> LLM:
        return LLM(str(path), **{"checked": True, "dtype": "float32", "max_model_len": 200, **knobs})


class OnCpu(StandIn):
    def __init__(self, monkeypatch) -> None:
        super().__init__(monkeypatch, "cpu")
        keep_freed_memory()  # as on a CPU, where the shared weights come from
        self.patch(load, "Cuda", lambda device: Tape())

    def llm(self, path: Path, **knobs) -> LLM:
        return super().llm(path, **{"attention": "padded", **knobs})


class OnMeta(StandIn):
    def __init__(self, monkeypatch) -> None:
        super().__init__(monkeypatch, "meta")
        self.patch(load, "Cuda", lambda device: Again())  # there are no addresses to repeat anything on
        zeros = tensors.zeros
        self.patch(tensors, "zeros", lambda size, dtype, device: zeros(size, dtype, self.device))  # swap space, too

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.device == self.device and tensor.dtype == torch.int64 and tensor.dim() == 1, "only tokens are fetched"
        return torch.full(tensor.shape, TOKEN)

    def llm(self, path: Path, attention: str = "padded", **knobs) -> LLM:
        """The self-tests at the start compare numbers, and there are none: the backend is told."""
        backend = BACKENDS[attention]
        self.patch(load, "choose_attention", lambda *_: Attention(backend, "a dry run", backend.ops))
        return super().llm(path, **knobs)
