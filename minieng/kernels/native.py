"""The C kernels: compiled once with the system's compiler, kept in the user's cache, called through ctypes.

Without a compiler, those that a platform wheel brings (prebuilt.py). Without either the functions raise
RuntimeError saying why, and attention and products fall back to torch.
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
from ..openmp import rest
from . import prebuilt
from .declarations import Declarations

if TYPE_CHECKING:
    from .batch import Batch, LayerKV

TASKS_A_THREAD = 4  # below that, heads are shared out too
SOURCE = Path(__file__).with_name("native") / "layers.c"  # includes the others
SOURCES = [
    SOURCE.with_name(name)
    for name in ("vectors.h", "team.h", "products.h", "attention.h", "rows.h", "layers.c")
]
FLAGS = (
    "-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fPIC", "-fopenmp-simd", "-pthread",
    "-fvisibility=hidden",
)  # fmt: skip
num_threads = torch.get_num_threads  # of a call: as many as torch uses, but the kernel's own (team.h)


def cache_dir() -> Path:
    """Where compiled kernels are kept: MINIENG_HOME, else the user's cache."""
    return cache_home() / "native"


@functools.cache
def keep_freed_memory() -> None:
    """Ask glibc to keep large freed buffers instead of giving them back to the system.

    A step's activations are a few MiB; mapped anew at each layer, their page faults cost more than the
    arithmetic (SiLU of 512 x 1536 numbers: 2.7 ms, and 0.4 ms with this). Other C libraries are left alone.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 28)
        libc.mallopt(trim_threshold, 1 << 29)


def find_compiler() -> str | None:
    """The C compiler that is used: CC, else the first of cc, gcc and clang that is installed."""
    if platform.system() == "Darwin" and "CC" not in os.environ and not xcode_tools():
        return None
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@functools.cache
def xcode_tools() -> bool:
    """Whether a Mac has Xcode's command-line tools: without them its cc only opens a window about them."""
    return subprocess.run(["xcode-select", "-p"], capture_output=True).returncode == 0


@functools.cache
def library(dtype: torch.dtype, widened: bool = False) -> ctypes.CDLL:
    """The compiled kernel for a dtype. Raises RuntimeError if it cannot be built here.

    widened  for bfloat16: that in the cache only, all else in float, rounded where bfloat16 rounds
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise RuntimeError(f"the C kernel knows float32 and bfloat16, not {dtype}")
    compiler, flags = find_compiler(), flags_of(dtype, widened)
    texts = [file.read_bytes() for file in SOURCES]
    target = prebuilt.find(flags, texts) if compiler is None else compiled(compiler, flags, texts)
    if target is None:
        raise RuntimeError("no C compiler found (cc, gcc or clang)")
    try:
        kernel = ctypes.CDLL(str(target))
    except OSError as problem:  # a library that it needs itself is not here
        raise RuntimeError(f"the C kernel cannot be loaded: {problem}") from None
    for name, (arguments, answer) in C.functions.items():
        if hasattr(kernel, name):  # products and whole layers are not for every processor and precision
            function = getattr(kernel, name)
            function.argtypes, function.restype = arguments, answer
    return kernel


def flags_of(dtype: torch.dtype, widened: bool = False) -> list[str]:
    """What a compiler is told."""
    return [*FLAGS, *(["-DBF16"] if dtype == torch.bfloat16 else []), *(["-DWIDENED"] if widened else [])]


def compiled(compiler: str, flags: list[str], texts: list[bytes]) -> Path:
    """The library for this machine; compiled if it is not in the cache. Raises RuntimeError if that fails."""
    parts = [*texts, " ".join(flags).encode(), _machine().encode(), compiler.encode()]
    target = cache_dir() / f"native-{hashlib.sha256(bytes(1).join(parts)).hexdigest()[:16]}.so"
    if not target.exists():
        compile_library(compiler, flags, target)
    return target


C = Declarations("\n".join(file.read_text(encoding="utf-8") for file in SOURCES))
Cache, Task, Step, Weight, LayerWeights, Forward = (
    C.structs[name] for name in ("cache", "task", "step", "weight", "layer", "forward")
)


def address(
    name: str, x: torch.Tensor, dtype: torch.dtype, *shape: int | None, rows_apart: bool = False
) -> int:
    """Where a tensor's numbers lie, if it is what C code will take it for; else RuntimeError. None: any size.

    rows_apart  the rows may be parts of a wider matrix; else all lies in one piece
    """
    # asked hundreds of times in a step, and nearly always all sizes are told and the tensor lies in one piece
    fits = x.shape == shape or fits_any(x.shape, shape)
    whole = x.is_contiguous() or rows_apart and len(x) > 0 and x[0].is_contiguous()
    if fits and whole and x.dtype == dtype and x.is_cpu:
        return x.data_ptr()
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    have = f"{x.dtype} {list(x.shape)} with strides {list(x.stride())} on {x.device}"
    raise RuntimeError(
        f"the C kernel takes {name} as {dtype} [{sizes}], in one piece, on a CPU; this one is {have}"
    )


def fits_any(have: Sequence[int], shape: Sequence[int | None]) -> bool:
    """Whether sizes are the wanted ones, of which None is any."""
    return len(have) == len(shape) and all(
        want in (None, size) for want, size in zip(shape, have, strict=True)
    )


def cache_of(layer: LayerKV, dtype: torch.dtype) -> ctypes.Structure:
    """A layer's cache and the constants of its attention."""
    k, v = address("k", layer.k, dtype, *layer.k.shape), address("v", layer.v, dtype, *layer.k.shape)
    return Cache(k, v, layer.window or 0, layer.scale, layer.softcap or 0.0)


def _machine() -> str:
    """A name for the processor: a kernel tuned for another one must not be loaded from a shared home."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("flags", "model name"))}))
    except OSError:
        return platform.platform() + platform.processor()


def compile_library(compiler: str, flags: list[str], target: Path) -> None:
    """Into a temporary file first: a second process never sees half a library.

    Compiled and linked in two goes, because linking with -ffast-math would make the whole process round tiny
    numbers to zero as soon as the library is loaded.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part, built = Path(folder) / "native.o", Path(folder) / target.name
        for command in (
            ["-c", *flags, "-o", part, SOURCE],
            ["-shared", "-pthread", "-o", built, part, "-lm"],
        ):
            done = subprocess.run([compiler, *map(str, command)], capture_output=True, text=True)
            if done.returncode:
                told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                raise RuntimeError(f"{compiler} failed: {told[-1]}")
        os.replace(built, target)


def native_attention(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Attention of all rows over their paged keys, q [T, H, D] → [T, H, D]. RuntimeError if it cannot."""
    kernel = library(q.dtype)
    q = q if q.stride()[1:] == (q.shape[2], 1) else q.contiguous()
    where = address("q", q, q.dtype, batch.q_starts[-1], None, layer.k.shape[3], rows_apart=True)
    out, step = q.new_empty(q.shape), step_of(batch, q.shape[1], layer)
    scratch = torch.empty(kernel.native_scratch_size(step) * num_threads())
    kernel.native_attention(
        step, cache_of(layer, q.dtype), where, q.stride(0), out.data_ptr(), out.stride(0),
        scratch.data_ptr(), num_threads(),
    )  # fmt: skip
    return out


def step_of(batch: Batch, heads: int, layer: LayerKV) -> Any:
    """The batch's rows, cut into tasks for the threads, largest first: the same in all layers of a step."""
    if batch.step is None:
        block_size, kv_heads, dim = layer.k.shape[1:]
        if heads % kv_heads:
            raise RuntimeError(
                f"the C kernel needs as many query heads for each K/V head: {heads} are no multiple of "
                f"{kv_heads}"
            )
        tables = address("block tables", batch.tables, torch.int32, batch.num_rows, None)
        if max(batch.kv_ends) > batch.tables.shape[1] * block_size:
            raise RuntimeError(
                f"{max(batch.kv_ends)} slots are filled, the block tables name {batch.tables.shape[1]} × "
                f"{block_size}"
            )
        most = library(layer.k.dtype).native_task_lines() // (heads // kv_heads)
        tasks = tasks_of(batch, max(1, most), kv_heads)
        longest = max((end - min(start, end - 1) for _, _, n, start, end, *_ in tasks if n == 1), default=0)
        batch.step = Step(tables, (Task * len(tasks))(*tasks), batch.tables.shape[1], len(tasks), longest,
                          heads, kv_heads, dim, block_size)  # fmt: skip
    return batch.step


def tasks_of(batch: Batch, most: int, kv_heads: int) -> list[tuple[int, int, int, int, int, int, int]]:
    """(row, first token, tokens, first slot that is no padding, one past the last slot that the first token
    sees, first K/V head, K/V heads) of tasks.

    A task is up to ``most`` tokens of a row and one head, or one token and all heads (where there are too few
    of these for the threads, one head, too). None holds padding and real tokens: these are then cut, and so
    added up, as in a packed batch, and come out the same to the last bit.
    """
    tasks, few = [], batch.num_rows < TASKS_A_THREAD * num_threads()
    for row, (first, last) in enumerate(itertools.pairwise(batch.q_starts)):
        start, end = batch.kv_starts[row], batch.kv_ends[row]
        real = first + min(last - first, max(0, start - (end - (last - first))))
        for begin, stop in ((first, real), (real, last)):
            for token in range(begin, stop, most):
                count, sees = min(most, stop - token), end - (last - 1 - token)
                heads = 1 if few or count > 1 else kv_heads
                tasks += [(row, token, count, start, sees, h, heads) for h in range(0, kv_heads, heads)]
    return sorted(tasks, key=lambda task: -task[2] * task[4] * task[6])


def native_store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write keys and values [T, kv_heads, dim] into their slots [T]: cheaper than a call of torch."""
    k, v = (x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous() for x in (k, v))
    shape = (len(k), *layer.k.shape[2:])
    keys, values = (address(name, x, k.dtype, *shape, rows_apart=True) for name, x in (("k", k), ("v", v)))
    slots = address("slots", batch.slots, torch.int64, len(k))
    library(k.dtype).native_store(
        cache_of(layer, k.dtype), keys, k.stride(0), values, v.stride(0), slots, len(k), shape[1] * shape[2]
    )


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``ops.rms_norm`` in one pass. x [..., width], contiguous."""
    x, width = x.contiguous(), x.shape[-1]
    out, norm = torch.empty_like(x), address("the norm's weight", weight, x.dtype, width)
    where, rows = address("x", x, x.dtype, *x.shape), x.numel() // width
    library(x.dtype).native_norm(where, norm, out.data_ptr(), rows, width, eps, num_threads())
    return out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """``ops.rotate``, in place. x [T, heads, D], rows of a wider matrix too; cos, sin [T, 1, D]."""
    rows, heads, dim = x.shape
    cosine, sine = (
        address(name, table, x.dtype, rows, 1, dim) for name, table in (("cos", cos), ("sin", sin))
    )
    where = address("x", x, x.dtype, rows, heads, dim, rows_apart=True)
    library(x.dtype).native_rotate(where, cosine, sine, rows, heads, dim, x.stride(0), num_threads())
    return x


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """``ops.silu_mul`` in one pass. gate_up [T, 2 · width] → [T, width]."""
    rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(rows, width)
    library(out.dtype).native_silu(
        address("gate_up", gate_up, out.dtype, rows, 2 * width), out.data_ptr(), rows, width, num_threads()
    )
    return out


class Panels:
    """A weight [out, in] and its bias [out], laid out for ``linear``: [⌈out / P⌉, in, P],
    filled up with zeros.

    P is 48 where the processor has AVX-512, else 16. A weight whose numbers are all bfloat16 ones takes half
    the room: [⌈out / P⌉, ⌈in / 2⌉, P] words, the earlier input in the lower half. Raises RuntimeError if
    there is no kernel here.

    dtype    of what it is multiplied with; None: the weight's
    widened  how that is done in bfloat16: as float, not by the processor's instructions for pairs
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype | None = None,
        widened: bool = False,
    ) -> None:  # fmt: skip
        dtype = dtype or weight.dtype
        if widened and dtype != torch.bfloat16:
            raise RuntimeError(f"{dtype} is not widened")
        self.widened, self.kernel = widened, library(dtype, widened)
        if not hasattr(self.kernel, "native_product"):
            raise RuntimeError(f"this processor has no products of pairs in {dtype}")
        wide = self.kernel.native_panel_width()
        self.out_features, self.in_features = weight.shape
        self.numbers = torch.float32 if widened else dtype
        if self.numbers != torch.float32 and self.in_features % 2:
            raise RuntimeError(f"{self.in_features} inputs are not so many pairs")
        weight = weight if weight.dtype == torch.bfloat16 else weight.to(dtype)
        halves = weight.bfloat16()
        fits = weight.dtype == torch.bfloat16 or torch.equal(halves.float(), weight)  # nothing would be lost
        kept = halves if fits else weight
        lacking = (0, self.in_features % 2 if fits else 0, 0, -self.out_features % wide)
        whole = F.pad(kept, lacking) if any(lacking) else kept.contiguous()
        words = whole.view(torch.int32).unflatten(0, (-1, wide))  # of halves two each
        panels = words.transpose(1, 2).contiguous()
        self.panels, self.nbytes = panels if fits else panels.view(torch.float32), 2 if fits else 4
        self.bias = F.pad(
            torch.zeros(self.out_features) if bias is None else bias.float(), (0, -self.out_features % wide)
        )
        self.address = Weight(
            self.panels.data_ptr(), self.bias.data_ptr(), fits, self.in_features, self.out_features
        )

    def element_size(self) -> int:
        """Bytes of a weight."""
        return self.nbytes


def linear(x: torch.Tensor, weight: Panels) -> torch.Tensor:
    """x·Wᵀ + b. x [T, in]; returns [T, out] in x's precision."""
    if x.dtype != weight.numbers and not weight.widened or x.shape[1] != weight.in_features:
        raise RuntimeError(
            f"x is {x.dtype} {list(x.shape)}, the weight {weight.numbers} with {weight.in_features} inputs"
        )
    given = x.to(weight.numbers).contiguous()
    out = given.new_empty(len(x), weight.out_features)
    weight.kernel.native_product(
        address("x", given, given.dtype, *given.shape), weight.address, out.data_ptr(), len(x), num_threads()
    )
    return out.to(x.dtype)


class LayerPanels:
    """The layers' weights as ``native_layers`` takes them; the tensors stay theirs."""

    def __init__(self, layers: Sequence[Any]) -> None:
        panels: Panels = layers[0].qkv.weight
        self.kernel, self.numbers = panels.kernel, panels.numbers
        self.given = torch.bfloat16 if panels.widened else panels.numbers  # precision of what goes in
        self.weights, self.norms = (LayerWeights * len(layers))(), []
        for weights, layer in zip(self.weights, layers, strict=True):
            for name, kind in LayerWeights._fields_:
                part = getattr(layer, name)
                if kind is Weight:
                    setattr(weights, name, part.weight.address)
                elif part is not None:
                    self.norms.append(part.to(self.numbers))
                    setattr(weights, name, address(name, self.norms[-1], self.numbers, None))


def native_layers(
    layers: LayerPanels,
    hidden: torch.Tensor,
    inner: int,
    cos,
    sin,
    eps: float,
    heads: int,
    kv: list[LayerKV],
    batch: Batch,
):
    """``decoder.Decoder.hidden`` after the embedding, without a way back to Python in between;
    packed or a rectangle.

    hidden [T, width] is overwritten; inner: numbers of gate or up; cos, sin [T, D]; heads: for queries.
    Returns [E, width].
    """
    kernel, step, threads = layers.kernel, step_of(batch, heads, kv[0]), num_threads()
    if len(kv) != len(layers.weights):
        raise RuntimeError(f"there are {len(layers.weights)} layers and caches for {len(kv)}")
    (tokens, width), wanted = hidden.shape, len(batch.logit_rows)
    address("x", hidden, layers.given, batch.q_starts[-1], width)
    x, cos, sin = (tensor.to(layers.numbers) for tensor in (hidden, cos, sin))
    call = Forward(
        layers=layers.weights, caches=(Cache * len(kv))(*(cache_of(layer, hidden.dtype) for layer in kv)),
        step=ctypes.pointer(step), x=x.data_ptr(),
        cosine=address("cos", cos, x.dtype, tokens, step.dim), sine=address("sin", sin, x.dtype, tokens,
        step.dim), slots=address("slots", batch.slots, torch.int64, tokens),
        wanted=address("logit rows", batch.logit_rows, torch.int64, wanted),
        num_layers=len(kv), tokens=tokens, num_wanted=wanted, hidden=width, inner=inner, eps=eps,
    )  # fmt: skip
    buffers = x.new_empty(kernel.native_buffer_size(call))
    scratch = torch.empty(kernel.native_scratch_size(step) * threads)
    call.buffers, call.scratch = buffers.data_ptr(), scratch.data_ptr()
    rest()
    kernel.native_layers(call, threads)
    return x[:wanted].to(hidden.dtype)
