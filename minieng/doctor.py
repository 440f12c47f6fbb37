"""What is here: versions, device, precision, models, attention, compiler, cache. Fetches nothing,
loads no weights.

minieng doctor                      python -c "from minieng.doctor import doctor; doctor()"
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import __version__
from .hub.shelf import installed

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "triton")
# Those that change speed.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def doctor(model: str | None = None) -> None:
    """Print what ``diagnose`` found."""
    print(report(diagnose(model)))


def diagnose(model: str | None = None) -> dict[str, Any]:
    """Facts for JSON, sizes in bytes. ``problems`` lists in words what keeps minieng from working;
    empty if it works.

    model  whose shapes the attention is tried on; the first short name that is present if not given
    """
    found: dict[str, Any] = {
        "minieng": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: installed(name) for name in PACKAGES},
        "memory": _memory(),
        "problems": [],
    }
    looks = {
        "cpu": _cpu,
        "device": _device,
        "models": lambda: _models(model),
        "attention": lambda: _attention(model),
        "compiler": _compiler,
        "cache": _cache,
    }
    for name, look in looks.items():
        try:
            found[name] = look()
        except Exception as problem:  # a doctor does not fall ill of what he finds
            found[name] = None
            found["problems"].append(f"{name}: {problem}")
    return found


def report(found: dict[str, Any]) -> str:
    """The same as text, one line a fact."""
    return "\n".join(f"{name:13} {text}" for name, text in _lines(found))


def memory_bandwidth(device: Any = "cpu", repeats: int = 10) -> float:
    """Bytes/s at which the device reads 256 MiB, more than its caches hold:
    the fastest of several readings.
    """
    import time

    import torch

    large, times = torch.ones(2**26, device=device), []
    for _ in range(repeats):
        begin = time.perf_counter()
        large.sum().item()  # waits for a GPU too
        times.append(time.perf_counter() - begin)
    return 4 * len(large) / min(times)


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, found[name]) for name in ("minieng", "python", "system"))
    yield "packages", ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    if cpu := found["cpu"]:
        yield (
            "cpu",
            f"{cpu['name']}, {cpu['cores']} cores, torch uses {cpu['torch_threads']}; "
            f"{' '.join(cpu['flags'])}",
        )
    yield "memory", " of ".join(_size(found["memory"][key]) for key in ("available", "total")) + " available"
    if device := found["device"]:
        yield "device", f"{device['name']}: {device['why']}"
        yield "T4", device["t4"]
        yield "dtype", f"{device['dtype']}: {device['dtype_why']}"
    for name, about in (found["models"] or {}).items():
        here = f"{about['source']}, {_size(about['size'])}, {about['path']}"
        yield name, here if about["path"] else f"not here: 'minieng fetch {name}' looks for it"
    if attention := found["attention"]:
        yield "attention", f"{attention['backend']} for {attention['model']}: {attention['why']}"
    yield (
        "C compiler",
        found["compiler"] or without_compiler(sys.platform, _brought_along()),
    )
    if cache := found["cache"]:
        yield (
            "cache",
            f"{cache['path']}: models {_size(cache['models'])}, compiled kernels {_size(cache['native'])}",
        )
    yield from (("PROBLEM", text) for text in found["problems"])


def _cpu() -> dict[str, Any]:
    import torch

    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:  # not Linux
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return {
        "name": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "flags": [flag for flag in FLAGS if flag in flags],
    }


def _memory() -> dict[str, int | None]:
    """Main memory in bytes; None where the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            "total": page * os.sysconf("SC_PHYS_PAGES"),
            "available": page * os.sysconf("SC_AVPHYS_PAGES"),
        }
    except (AttributeError, ValueError, OSError):
        return {"total": None, "available": None}


def _device() -> dict[str, Any]:
    """What ``device="auto"`` and ``dtype="auto"`` come to, and why."""
    import torch

    from .gpu import is_gpu
    from .model.load import choose_device, choose_dtype

    device = choose_device("auto")
    dtype = str(choose_dtype("auto", device, None)).removeprefix("torch.")
    if not is_gpu(device):
        built = (
            "no GPU is visible"
            if torch.version.cuda or torch.version.hip
            else "this torch is built without CUDA"
        )
        return {
            "name": "cpu",
            "why": built,
            "dtype": dtype,
            "dtype_why": "the exact choice on a CPU",
            "capability": None,
            "t4": t4_line(None, None),
        }
    major, minor = torch.cuda.get_device_capability()
    free, total = torch.cuda.mem_get_info()
    return {
        "name": "cuda",
        "why": f"{torch.cuda.get_device_name()}, capability {major}.{minor}, "
        f"{_size(free)} of {_size(total)} free",
        "dtype": dtype,
        "dtype_why": f"capability {major}.{minor} "
        f"{'computes in' if major >= 8 else 'only emulates'} bfloat16",
        "capability": [major, minor],
        "t4": t4_line(torch.cuda.get_device_name(), (major, minor)),
        "memory": {"free": free, "total": total},
    }


def t4_line(name: str | None, capability: tuple[int, int] | None) -> str:
    """Whether this is the GPU that Colab lends for nothing, and what runs on it.
    ``name``, ``capability``: the GPU's; None if there is none.
    """
    if name is None or capability is None:
        return (
            "no: no GPU here, so all lessons run on the CPU (on Colab: Runtime, Change runtime type, T4 GPU)"
        )
    old = "float16 (bfloat16 is only emulated), attention 'padded' in plain torch, CUDA graphs for decodes"
    new = "bfloat16, attention by Triton, CUDA graphs for decodes"
    runs = new if capability >= (8, 0) else f"{old}; Triton's kernels are for capability 8.0 and later"
    return f"{'yes' if 'T4' in name.split() else f'no, {name}'}: what runs here is {runs}"


def _models(model: str | None) -> dict[str, dict]:
    from .hub.resolve import available, describe

    names = dict.fromkeys([*([model] if model else []), *available()])
    return {
        name: {key: str(v) if isinstance(v, Path) else v for key, v in describe(name).items()}
        for name in names
    }


def _attention(model: str | None) -> dict[str, str]:
    """The backend that a model would get here. Raises ValueError if the model is not here."""
    from .adapter.refusals import text_of
    from .hub.resolve import available, describe, load_config, resolve
    from .kernels.choose import choose_attention
    from .model.decoder import geometry
    from .model.load import choose_device, choose_dtype

    name = model or next((n for n in available() if describe(n)["path"]), None)
    if name is None or not describe(name)["path"]:
        raise ValueError(
            f"{name or 'no model'} is not here: 'minieng fetch {name or available()[0]}' looks for it"
        )
    config = text_of(load_config(resolve(name)))
    device = choose_device("auto")
    with warnings.catch_warnings(record=True) as not_used:
        warnings.simplefilter("always")
        chosen = choose_attention(
            "auto", device, choose_dtype("auto", device, config), *geometry(config), block_size=16
        )
    why = "; ".join([chosen.why, *(str(w.message) for w in not_used if "attention" in str(w.message))])
    return {"model": name, "backend": chosen.backend.name, "why": why}


def without_compiler(system: str, library: str | None) -> str:
    """What a machine without a C compiler gets. ``library``: the compiled kernel that the wheel brought."""
    if library is not None:
        return f"none, and none is needed: the wheel brought {library}"
    slower = "attention and products on a CPU then run in plain torch, which is several times slower"
    remedies = {
        "darwin": "'xcode-select --install' brings one (Xcode itself is not needed)",
        "linux": "install gcc or clang, or the wheel of minieng for Linux on x86-64, which brings the kernel",
    }
    return f"none: {slower}; {remedies.get(system, 'install gcc or clang')}"


def _brought_along() -> str | None:
    """The compiled kernel of the wheel that runs on this processor."""
    import torch

    from .kernels import native, prebuilt

    path = prebuilt.find(native.flags_of(torch.float32), [file.read_bytes() for file in native.SOURCES])
    return None if path is None else path.name


def _compiler() -> str | None:
    from .kernels.native import find_compiler

    return find_compiler()


def _cache() -> dict[str, Any]:
    from .home import cache_home

    home = cache_home()
    return {"path": str(home), "models": _bytes_in(home / "models"), "native": _bytes_in(home / "native")}


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
