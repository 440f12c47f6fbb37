"""The C kernels that a wheel for Linux on x86-64 brings along, for machines without a compiler.

One library for each level of the instruction set and each form (float32, bfloat16, bfloat16 widened), made
by ``python -m tools.wheel`` from the same source. A library of another source, or compiled otherwise, has
another name and is never loaded.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).with_name("native") / "prebuilt"
# level → its name for a compiler, what /proc/cpuinfo must list; the best first (x86-64 psABI, levels 4 and 3)
LEVELS = {
    "avx512": ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    "avx2": ("x86-64-v3", {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}),
}


def file_name(level: str, flags: Sequence[str], texts: Sequence[bytes]) -> str:
    """Of the library for a level, compiled with these flags from these files."""
    key = hashlib.sha256(b"\0".join([*texts, " ".join(flags).encode()])).hexdigest()[:16]
    return f"native-{level}-{key}.so"


def flags_for(level: str, flags: Sequence[str]) -> list[str]:
    """The flags of this machine's own compiler, for any machine of a level."""
    march, _ = LEVELS[level]
    return [f"-march={march}" if flag == "-march=native" else flag for flag in flags]


def find(flags: Sequence[str], texts: Sequence[bytes]) -> Path | None:
    """The best library that is here and runs on this processor, or None."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    able = processor_flags()
    for level, (_, needed) in LEVELS.items():
        path = FOLDER / file_name(level, flags_for(level, flags), texts)
        if needed <= able and path.exists():
            return path
    return None


@functools.cache
def processor_flags() -> frozenset[str]:
    """What the first processor of /proc/cpuinfo can do; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())
