"""torch's threads: told to sleep soon while they wait for each other, or sent away where it is too late."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
from pathlib import Path

SOFT = 1  # omp_pause_soft: threads end, settings stay
SPINS = "2000"  # some 20 to 100 µs; left alone, GNU's OpenMP looks 300,000 times, for milliseconds

restless: list[ctypes.CDLL] = []  # GNU's OpenMP, where it was loaded before us and its threads spin for long


def spin_briefly() -> None:
    """Load torch's OpenMP here with a short spin count; the environment stays as it was.

    Its threads spin after each of torch's operations, on cores that others want: the kernel's own threads
    (kernels/native/team.h), a browser. How long is read from the environment, once, when the library is
    loaded; for one that is loaded already there is ``rest``. Nothing happens where the user has said how
    threads are to wait, or where torch's OpenMP is not GNU's.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return
    if "torch" in sys.modules:
        loaded = libraries(getattr(sys.modules["torch"], "__file__", None))  # None: kept out
        restless.extend(one for one in loaded if hasattr(one, "omp_pause_resource_all"))  # of OpenMP 5.0
        if restless:
            os.register_at_fork(after_in_child=restless.clear)  # which has no threads that could end
        return
    torch = importlib.util.find_spec("torch")
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        libraries(torch.origin if torch else None)
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def libraries(torch: str | None) -> list[ctypes.CDLL]:
    """GNU's OpenMP that lies beside torch's ``__init__.py``, loaded if it is not."""
    loaded = []
    for file in (Path(torch).parent / "lib").glob("libgomp*.so*") if torch else ():
        with contextlib.suppress(OSError):  # torch will say what is wrong with it
            loaded.append(ctypes.CDLL(str(file)))
    return loaded


def rest() -> None:
    """Before the kernel's own threads work: end torch's if they would spin beside them.

    torch starts new ones when it needs them. Left to spin on two cores, they took a tenth of a batch's time.
    """
    for library in restless:
        library.omp_pause_resource_all(SOFT)
