"""The C kernels: compiled once with the system's compiler, kept in the user's cache, called through ctypes.

No compiler, no kernel: ``attend`` then raises RuntimeError saying why, and attention falls back to torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from .attention import Batch, LayerKV

TASKS_A_THREAD = 4  # below that, heads are shared out too
LONGEST_ROW, LONGEST_CONTEXT = 8, 256  # new tokens, and keys: above both torch's matrix products are faster
PANEL = 48  # outputs that lie side by side in a packed weight, as in native.c
SOURCE = Path(__file__).with_name("native.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fPIC", "-fopenmp")


def cache_dir() -> Path:
    """Where compiled kernels are kept: MINIENG_HOME, else the user's cache."""
    from .loader import cache_home

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
    target = cache_dir() / f"attend-{key.hexdigest()[:16]}.so"
    if not target.exists():
        _compile(compiler, flags, target)
    kernel = ctypes.CDLL(str(target))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    kernel.attend.argtypes = [pointer] * 5 + [number] + [pointer] * 4 + [number] * 7 + [ctypes.c_float] * 2
    kernel.attend.restype = ctypes.c_int
    kernel.store.argtypes, kernel.store.restype = [pointer] * 5 + [number] * 4, None
    kernel.rms_norm.argtypes, kernel.rms_norm.restype = [pointer] * 3 + [number] * 2 + [ctypes.c_float], None
    kernel.rotate.argtypes, kernel.rotate.restype = [pointer] * 3 + [number] * 4, None
    kernel.silu_mul.argtypes, kernel.silu_mul.restype = [pointer] * 2 + [number] * 2, None
    if dtype == torch.float32:
        kernel.linear.argtypes, kernel.linear.restype = [pointer] * 3 + [number] * 3, None
    return kernel


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
        part, built = Path(folder) / "attend.o", Path(folder) / target.name
        for command in (["-c", *flags, "-o", part, SOURCE], ["-shared", "-fopenmp", "-o", built, part, "-lm"]):
            done = subprocess.run([compiler, *map(str, command)], capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
                raise RuntimeError(f"{compiler} failed: {reason}")
        os.replace(built, target)


def takes(new: int, context: int) -> bool:
    """Whether a row of so many new tokens, whose last sees so many keys, is for this kernel."""
    return new <= LONGEST_ROW or context <= LONGEST_CONTEXT


def attend(q: torch.Tensor, out: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Fill the rows of ``out`` [T, H, D] that this kernel ``takes``. Raises RuntimeError if it cannot."""
    kernel = library(q.dtype)
    heads, dim = q.shape[1:]
    kv_heads = layer.k.shape[2]
    if q.device.type != "cpu":
        raise RuntimeError(f"the C kernel computes on a CPU, the tensors are on {q.device}")
    row, token, start, end, longest = _tasks(layer, batch)
    together = kv_heads if len(row) >= TASKS_A_THREAD * torch.get_num_threads() else 1
    q = q.contiguous()
    failed = kernel.attend(
        q.data_ptr(), layer.k.data_ptr(), layer.v.data_ptr(), out.data_ptr(), batch.tables.data_ptr(), batch.tables.stride(0),
        row.data_ptr(), token.data_ptr(), start.data_ptr(), end.data_ptr(), len(row), longest,
        heads, kv_heads, dim, layer.k.shape[1], together, layer.scale, layer.softcap or 0.0,
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for the scores of {longest} keys")


def _tasks(layer: LayerKV, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """One entry a query token of the rows taken: its row, its place in q, the first slot it sees and one past the last."""
    key = ("tasks", layer.window)
    if key not in batch.scratch:
        rows, tokens, starts, ends = [], [], [], []
        for row in range(batch.num_rows):
            first, last = batch.q_starts[row], batch.q_starts[row + 1]
            if not takes(last - first, batch.kv_ends[row]):
                continue
            for token in range(first, last):
                end = batch.kv_ends[row] - (last - 1 - token)
                rows.append(row)
                tokens.append(token)
                ends.append(end)
                starts.append(max(batch.kv_starts[row], end - layer.window if layer.window else 0))
        longest = max(end - start for start, end in zip(starts, ends, strict=True))
        batch.scratch[key] = *(torch.tensor(x, dtype=torch.int32) for x in (rows, tokens, starts, ends)), longest
    return batch.scratch[key]


def store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write keys and values [T, kv_heads, dim] into their slots [T]: a few hundred bytes each, cheaper than a torch call."""
    k, v = (x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous() for x in (k, v))
    library(k.dtype).store(
        k.data_ptr(), v.data_ptr(), layer.k.data_ptr(), layer.v.data_ptr(), batch.slots.data_ptr(), len(k),
        k.shape[1] * k.shape[2], k.stride(0), v.stride(0),
    )  # fmt: skip


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``decoder.rms_norm`` in one pass. x [..., width], contiguous."""
    x = x.contiguous()
    out = torch.empty_like(x)
    library(x.dtype).rms_norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.numel() // x.shape[-1], x.shape[-1], eps)
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``decoder.rotate``, in place. x [T, heads, D], whose rows may be part of a wider matrix; cos, sin [T, 1, D]."""
    library(x.dtype).rotate(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), len(x), x.shape[1], x.shape[2], x.stride(0))
    return x


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``decoder.silu_mul`` in one pass. gate_up [T, 2 · width] → [T, width]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    library(out.dtype).silu_mul(gate_up.data_ptr(), out.data_ptr(), rows, width)
    return out


def panels(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A weight [out, in] laid out for ``linear``: [⌈out / 48⌉, 1 + in, 48], the bias first, filled up with zeros.

    Raises RuntimeError if there is no kernel for it here.
    """
    if weight.dtype != torch.float32:
        raise RuntimeError(f"the C kernel multiplies float32, not {weight.dtype}: oneDNN has instructions for the others")
    library(weight.dtype)
    out, width = weight.shape
    whole, rest = divmod(out, PANEL)
    packed = weight.new_empty(whole + (rest > 0), 1 + width, PANEL)
    packed[:whole, 1:] = weight[: whole * PANEL].view(whole, PANEL, width).transpose(1, 2)
    if rest:
        packed[whole, 1:] = F.pad(weight[whole * PANEL :], (0, 0, 0, PANEL - rest)).T
    packed[:, 0] = 0 if bias is None else F.pad(bias, (0, -out % PANEL)).view(-1, PANEL)
    return packed


def linear(x: torch.Tensor, packed: torch.Tensor, out_features: int) -> torch.Tensor:
    """x·Wᵀ + b. x [T, in] in fp32, packed by ``panels``; returns [T, out_features]."""
    if x.dtype != packed.dtype or x.shape[1] + 1 != packed.shape[1]:
        raise RuntimeError(f"x is {x.dtype} {list(x.shape)}, the weight {packed.dtype} with {packed.shape[1] - 1} inputs")
    x = x.contiguous()
    out = x.new_empty(len(x), out_features)
    library(x.dtype).linear(x.data_ptr(), packed.data_ptr(), out.data_ptr(), len(x), x.shape[1], out_features)
    return out
