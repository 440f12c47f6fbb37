"""The machine: which processor, which cores a peer may use, and how busy *other* processes keep those cores."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

INTERESTING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def describe() -> dict:
    """Processor, its flags that matter here, cores, memory and operating system."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "family_model": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
        "flags": [flag for flag in INTERESTING_FLAGS if flag in flags],
        "native_bf16": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        "cores_logical": psutil.cpu_count(),
        "cores_physical": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "os": platform.platform(),
    }


def choose_cpus(threads: int) -> list[int] | None:
    """The first ``threads`` CPUs we may use, one a physical core if there are enough; None: no pinning here."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    firsts, rest, seen = [], [], set()
    for cpu in allowed:
        core = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        name = core.read_text().strip() if core.exists() else str(cpu)
        (rest if name in seen else firsts).append(cpu)
        seen.add(name)
    chosen = sorted((firsts + rest)[:threads])
    if len(chosen) < threads:
        raise SystemExit(f"--threads {threads}: this process may use {len(allowed)} CPUs only")
    return chosen


def cpu_list(cpus: list[int]) -> str:
    """``[0, 1]`` → ``0-1``, ``[0, 2]`` → ``0,2``."""
    if cpus == list(range(cpus[0], cpus[-1] + 1)) and len(cpus) > 1:
        return f"{cpus[0]}-{cpus[-1]}"
    return ",".join(map(str, cpus))


@dataclass(frozen=True)
class Load:
    """Who used the watched CPUs between two looks, as shares of all their time: others, of that stolen, and own."""

    foreign: float
    steal: float
    own: float
    wall_s: float


class Watch:
    """Compares the busy time of the watched CPUs with that of our own process tree.

    Whatever the CPUs did that we did not do was done by others (or stolen by the hypervisor), so it disturbs.
    """

    def __init__(self, cpus: list[int] | None) -> None:
        self.cpus = cpus
        self.number = len(cpus) if cpus is not None else psutil.cpu_count()
        self._last = self._look()

    def _look(self) -> tuple[float, float, float, float]:
        per_cpu = psutil.cpu_times(percpu=True)
        watched = per_cpu if self.cpus is None else [per_cpu[i] for i in self.cpus]
        steal = sum(getattr(t, "steal", 0.0) for t in watched)
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        busy = sum(getattr(t, name, 0.0) for t in watched for name in names)
        return busy, steal, own_cpu_seconds(), time.monotonic()

    def lap(self) -> Load:
        """The load since the last lap (or since the start)."""
        now = self._look()
        busy, steal, own, wall = (after - before for after, before in zip(now, self._last, strict=True))
        self._last = now
        return share(busy, steal, own, wall, self.number)

    def wait_until_quiet(self, limit: float, patience: float, window: float = 0.5) -> bool:
        """Wait until others use less than ``limit`` of the CPUs for one window; False when patience ran out first."""
        end = time.monotonic() + patience
        while True:
            self.lap()
            time.sleep(window)
            if self.lap().foreign <= limit:
                return True
            if time.monotonic() >= end:
                return False


def share(busy: float, steal: float, own: float, wall: float, cpus: int) -> Load:
    """Seconds → shares of the CPUs' time. Clocks tick in 10 ms, so a small negative rest counts as none."""
    total = max(wall * cpus, 1e-9)
    return Load(max(0.0, busy - own) / total, steal / total, own / total, wall)


def own_cpu_seconds() -> float:
    """CPU time of this process, its descendants, and the descendants that ended."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            t = process.cpu_times()
        except psutil.Error:
            continue
        total += t.user + t.system + getattr(t, "children_user", 0.0) + getattr(t, "children_system", 0.0)
    return total
