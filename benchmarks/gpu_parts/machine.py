"""The device: what it is called, what it reaches at best, and how long something takes on it."""

from __future__ import annotations

import gc
import importlib
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("torch", "triton", "transformers", "numpy", "flashinfer-python", "vllm", "nano-vllm", "flash-attn")


def device_facts(device: torch.device) -> dict:
    """Name, memory, capability, driver side of the device, for the JSON."""
    if device.type != "cuda":
        return {"kind": "cpu", "name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    about = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda",
        "name": about.name,
        "memory_gib": round(about.total_memory / 2**30, 1),
        "processors": about.multi_processor_count,
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def importable(name: str) -> str | None:
    """None if the package can be imported here, else why not, in one line."""
    try:
        importlib.import_module(name)
    except Exception as problem:  # a broken binary raises whatever it likes
        return f"{name} is not to be had here: {type(problem).__name__}: {str(problem).partition(chr(10))[0]:.120}"
    return None


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_memory(device: torch.device) -> None:
    """What nobody refers to any more goes back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def room(device: torch.device) -> int:
    """Bytes that may be claimed: of a GPU's free memory nine tenths, on a CPU (small runs) no limit that matters."""
    if device.type != "cuda":
        return 1 << 40
    free_memory(device)
    return int(0.9 * torch.cuda.mem_get_info(device)[0])


def cache_bytes(device: torch.device) -> int:
    """The GPU's own cache (L2): what fits into it is not read from memory."""
    return torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 0


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = 20) -> float:
    """Median time of a call on the device, warm; on a GPU between two events, so that the host does not count."""
    for _ in range(3):
        work()
    wait(device)
    if device.type != "cuda":
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return statistics.median(times)
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for begin, end in events:
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(begin.elapsed_time(end) for begin, end in events) / 1e3


def ceilings(device: torch.device, small: bool) -> dict:
    """The two ceilings of this very machine: bytes a second of a copy (read and written), FLOP/s of a large product."""
    size = (1 << 24) if small else (1 << 31)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / seconds_of(lambda: target.copy_(source), device)
    source = target = None
    side, dtype = (512, torch.float32) if small else (8192, torch.bfloat16)
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        dtype = torch.float16
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = 2 * side**3 / seconds_of(lambda: a @ b, device)
    free_memory(device)
    return {
        "copy_bytes_per_s": copy,
        "matmul_flop_per_s": product,
        "matmul": f"{side} x {side} x {side} {str(dtype).removeprefix('torch.')}",
        "copy": f"{size / 2**20:.0f} MiB, bytes read and bytes written both counted",
    }
