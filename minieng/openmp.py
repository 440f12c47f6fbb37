"""torch's threads, told to sleep soon while they wait for each other: before torch itself is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

SPINS = "2000"  # some 20 to 100 µs; left alone, GNU's OpenMP looks 300,000 times, for milliseconds


def spin_briefly() -> None:
    """Load torch's OpenMP here with a short spin count; the environment stays as it was.

    Its threads spin after each of torch's operations, on cores that others want: the kernel's own threads
    (kernels/native/team.h), a browser. How long is read from the environment, once, when the library is
    loaded. Nothing happens where the user has said how threads are to wait, where torch is loaded already, or
    where its OpenMP is not GNU's.
    """
    if "torch" in sys.modules or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        for file in (Path(found.origin).parent / "lib").glob("libgomp*.so*"):
            with contextlib.suppress(OSError):  # torch will say what is wrong with it
                ctypes.CDLL(str(file))
    finally:
        del os.environ["GOMP_SPINCOUNT"]
