"""The C kernels: compiled once with the system's compiler, kept in the user's cache, called through ctypes.

No compiler, no kernel: the functions then raise RuntimeError saying why, and attention and products fall back to torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..home import cache_home

if TYPE_CHECKING:
    from .batch import Batch, LayerKV

TASKS_A_THREAD = 4  # below that, heads are shared out too
SOURCE = Path(__file__).with_name("native") / "layers.c"
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fPIC", "-fopenmp")


def cache_dir() -> Path:
    """Where compiled kernels are kept: MINIENG_HOME, else the user's cache."""
    return cache_home() / "native"


@functools.cache
def keep_freed_memory() -> None:
    """Ask glibc to keep large freed buffers instead of giving them back to the system.

    A step's activations are a few MiB; mapped anew at each layer, their page faults cost more than the arithmetic
    (SiLU of 512 x 1536 numbers: 2.7 ms, and 0.4 ms with this). Other C libraries are left alone.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 28)
        libc.mallopt(trim_threshold, 1 << 29)


@functools.cache
def library(dtype: torch.dtype) -> ctypes.CDLL:
    """The compiled kernel for a dtype. Raises RuntimeError if it cannot be built here."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise RuntimeError(f"the C kernel knows float32 and bfloat16, not {dtype}")
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("no C compiler found (cc, gcc or clang)")
    flags = [*FLAGS, *(["-DBF16"] if dtype == torch.bfloat16 else [])]
    key = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), " ".join(flags).encode(), _machine().encode(), compiler.encode()]))
    target = cache_dir() / f"native-{key.hexdigest()[:16]}.so"
    if not target.exists():
        _compile(compiler, flags, target)
    kernel = ctypes.CDLL(str(target))
    for name, (arguments, answer) in {**SIGNATURES, **(PRODUCTS if dtype == torch.float32 else {})}.items():
        function = getattr(kernel, name)
        function.argtypes, function.restype = [TYPES[letter] for letter in arguments], answer
    return kernel


class Cache(ctypes.Structure):
    """struct cache of native.c: a layer's cache and the constants of its attention."""

    _fields_ = [("k", ctypes.c_void_p), ("v", ctypes.c_void_p), ("window", ctypes.c_int64), ("scale", ctypes.c_float),
                ("softcap", ctypes.c_float)]  # fmt: skip

    @classmethod
    def of(cls, layer: LayerKV) -> Cache:
        return cls(layer.k.data_ptr(), layer.v.data_ptr(), layer.window or 0, layer.scale, layer.softcap or 0.0)


class Step(ctypes.Structure):
    """struct step: a step's rows, cut into tasks for the threads."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("tables", "tasks")] + [
        (name, ctypes.c_int64)
        for name in ("table_width", "num_tasks", "longest", "together", "heads", "kv_heads", "dim", "block_size")
    ]


class Weight(ctypes.Structure):
    """struct weight: where the numbers of ``Panels`` lie."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("panels", "bias")] + [
        (name, ctypes.c_int64) for name in ("halves", "in_features", "out_features")
    ]


class LayerWeights(ctypes.Structure):
    """struct layer: the weights of a decoder layer."""

    norms, products = ("input_norm", "post_norm", "q_norm", "k_norm"), ("qkv", "o", "gate_up", "down")
    _fields_ = [(name, ctypes.c_void_p) for name in norms] + [(name, Weight) for name in products]


# The functions of native.c, a letter of TYPES for each argument, and what they return.
NUMBERS = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "f": ctypes.c_float}
TYPES = NUMBERS | {"s": ctypes.POINTER(Step), "c": ctypes.POINTER(Cache), "w": ctypes.POINTER(Weight)}
SIGNATURES = {
    "panel_width": ("", ctypes.c_int64),
    "attend": ("scpnpn", ctypes.c_int),
    "store": ("cpnpnpnn", None),
    "rms_norm": ("pppnnf", None),
    "rotate": ("pppnnnn", None),
    "silu_mul": ("ppnn", None),
}
PRODUCTS = {  # for float32 only
    "linear": ("pwpn", None),
    "layers_size": ("snnn", ctypes.c_int64),
    "layers": ("pnpsppppnpnnnfp", ctypes.c_int),
}


def _machine() -> str:
    """A name for the processor: a kernel tuned for another one must not be loaded from a shared home."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("flags", "model name"))}))
    except OSError:
        return platform.platform() + platform.processor()


def _compile(compiler: str, flags: list[str], target: Path) -> None:
    """Into a temporary file first: a second process never sees half a library.

    Compiled and linked in two goes, because linking with -ffast-math would make the whole process round tiny
    numbers to zero as soon as the library is loaded.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part, built = Path(folder) / "native.o", Path(folder) / target.name
        for command in (["-c", *flags, "-o", part, SOURCE], ["-shared", "-fopenmp", "-o", built, part, "-lm"]):
            done = subprocess.run([compiler, *map(str, command)], capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
                raise RuntimeError(f"{compiler} failed: {reason}")
        os.replace(built, target)


def attend(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Attention of all rows over their paged keys. q [T, H, D] → [T, H, D]. Raises RuntimeError if it cannot."""
    kernel = library(q.dtype)
    if q.device.type != "cpu":
        raise RuntimeError(f"the C kernel computes on a CPU, the tensors are on {q.device}")
    q = q if q.stride()[1:] == (q.shape[2], 1) else q.contiguous()
    out = q.new_empty(q.shape)
    step = step_of(batch, q.shape[1], layer)
    if kernel.attend(step, Cache.of(layer), q.data_ptr(), q.stride(0), out.data_ptr(), out.stride(0)):
        raise MemoryError(f"no memory for the scores of {step.longest} keys")
    return out


def step_of(batch: Batch, heads: int, layer: LayerKV) -> Step:
    """The batch's rows, cut into tasks for the threads, those with most to do first. The same for all layers of a step."""
    if batch.step is None:
        block_size, kv_heads, dim = layer.k.shape[1:]
        tasks = tasks_of(batch, max(1, library(layer.k.dtype).panel_width() // (heads // kv_heads)))
        longest = max(end + count - 1 - min(start, end - 1) for _, _, count, start, end in tasks)
        together = kv_heads if len(tasks) >= TASKS_A_THREAD * torch.get_num_threads() else 1
        table = torch.tensor(tasks, dtype=torch.int32)
        step = Step(batch.tables.data_ptr(), table.data_ptr(), batch.tables.stride(0), len(tasks), longest, together,
                    heads, kv_heads, dim, block_size)  # fmt: skip
        step.table = table  # so that it lives as long
        batch.step = step
    return batch.step


def tasks_of(batch: Batch, most: int) -> list[tuple[int, int, int, int, int]]:
    """(row, first token, tokens, first slot that is no padding, one past the last slot that the first token sees) of tasks.

    A task is up to ``most`` tokens of a row. None holds padding and real tokens: these are then cut, and so added up,
    as in a packed batch, and come out the same to the last bit.
    """
    tasks = []
    for row, (first, last) in enumerate(itertools.pairwise(batch.q_starts)):
        start, end = batch.kv_starts[row], batch.kv_ends[row]
        real = first + min(last - first, max(0, start - (end - (last - first))))
        for begin, stop in ((first, real), (real, last)):
            for token in range(begin, stop, most):
                tasks.append((row, token, min(most, stop - token), start, end - (last - 1 - token)))
    return sorted(tasks, key=lambda task: -task[2] * task[4])


def store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write keys and values [T, kv_heads, dim] into their slots [T]: a few hundred bytes each, cheaper than a torch call."""
    k, v = (x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous() for x in (k, v))
    library(k.dtype).store(
        Cache.of(layer), k.data_ptr(), k.stride(0), v.data_ptr(), v.stride(0), batch.slots.data_ptr(), len(k),
        k.shape[1] * k.shape[2],
    )  # fmt: skip


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``ops.rms_norm`` in one pass. x [..., width], contiguous."""
    x = x.contiguous()
    out = torch.empty_like(x)
    library(x.dtype).rms_norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // x.shape[-1], x.shape[-1], eps)
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``ops.rotate``, in place. x [T, heads, D], whose rows may be part of a wider matrix; cos, sin [T, 1, D]."""
    library(x.dtype).rotate(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), len(x), x.shape[1], x.shape[2], x.stride(0))
    return x


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``ops.silu_mul`` in one pass. gate_up [T, 2 · width] → [T, width]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    library(out.dtype).silu_mul(gate_up.data_ptr(), out.data_ptr(), rows, width)
    return out


class Panels:
    """A weight [out, in] and its bias [out], laid out for ``linear``: [⌈out / P⌉, in, P], filled up with zeros.

    P is 48 where the processor has AVX-512, else 16. A weight whose numbers are all bfloat16 ones takes half the room:
    [⌈out / P⌉, ⌈in / 2⌉, P] words, the earlier input in the lower half. Raises RuntimeError if there is no kernel here.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        if weight.dtype != torch.float32:
            raise RuntimeError(f"the C kernel multiplies float32, not {weight.dtype}: oneDNN has instructions for the others")
        wide = library(weight.dtype).panel_width()
        self.out_features, self.in_features = weight.shape
        words = F.pad(weight, (0, self.in_features % 2, 0, -self.out_features % wide)).view(torch.int32)
        halves = not (words & 0xFFFF).any()  # a bfloat16 is the upper half of a float32
        words = (words[:, ::2] >> 16) & 0xFFFF | words[:, 1::2] if halves else words[:, : self.in_features]
        panels = words.unflatten(0, (-1, wide)).transpose(1, 2).contiguous()
        self.panels, self.nbytes = panels if halves else panels.view(torch.float32), 2 if halves else 4
        self.bias = F.pad(weight.new_zeros(self.out_features) if bias is None else bias, (0, -self.out_features % wide))
        self.address = Weight(self.panels.data_ptr(), self.bias.data_ptr(), halves, self.in_features, self.out_features)

    def element_size(self) -> int:
        """Bytes of a weight."""
        return self.nbytes


def linear(x: torch.Tensor, weight: Panels) -> torch.Tensor:
    """x·Wᵀ + b. x [T, in] in fp32; returns [T, out]."""
    if x.dtype != torch.float32 or x.shape[1] != weight.in_features:
        raise RuntimeError(f"x is {x.dtype} {list(x.shape)}, the weight torch.float32 with {weight.in_features} inputs")
    x = x.contiguous()
    out = x.new_empty(len(x), weight.out_features)
    library(x.dtype).linear(x.data_ptr(), weight.address, out.data_ptr(), len(x))
    return out


def layer_weights(layers: Sequence[Any]) -> ctypes.Array:
    """The layers' weights as ``layers`` takes them; the tensors stay theirs."""
    found = (LayerWeights * len(layers))()
    for weights, layer in zip(found, layers, strict=True):
        for name in LayerWeights.norms:
            norm = getattr(layer, name)
            setattr(weights, name, None if norm is None else norm.data_ptr())
        for name in LayerWeights.products:
            setattr(weights, name, getattr(layer, name).weight.address)
    return found


def layers(weights: ctypes.Array, x: torch.Tensor, inner: int, cos, sin, eps: float, heads: int, kv: list[LayerKV], batch: Batch):
    """``decoder.Decoder.hidden`` after the embedding, without a way back to Python in between; packed or a rectangle.

    x [T, hidden] is overwritten; inner: numbers of gate or up; cos, sin [T, D]; heads: for queries. Returns [E, hidden].
    """
    kernel, step, caches = library(x.dtype), step_of(batch, heads, kv[0]), (Cache * len(kv))(*map(Cache.of, kv))
    tokens, hidden = x.shape
    buffers = x.new_empty(kernel.layers_size(step, tokens, hidden, inner))
    failed = kernel.layers(
        weights, len(weights), caches, step, x.data_ptr(), cos.data_ptr(), sin.data_ptr(), batch.slots.data_ptr(), tokens,
        batch.logit_rows.data_ptr(), len(batch.logit_rows), hidden, inner, eps, buffers.data_ptr(),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for the scores of {step.longest} keys")
    return x[: len(batch.logit_rows)]
