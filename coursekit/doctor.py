"""``coursekit doctor``: can this machine run the course, and can it grade? One line for each thing looked at."""

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

Line = tuple[bool, str]  # whether it is good, and what to print

ENGINE = {"torch": "2.10", "transformers": "5.9", "numpy": "2.0"}
NEEDED = {"ipykernel": "6.17", "ipython": "7.34", "ipywidgets": "7.7.1", "matplotlib": "3.9", "nbformat": "5.0"}
WANTED = {"jupyterlab": "4.0", "nbval": "0.11", "nbclient": "0.7"}


def version(text: str) -> tuple[int, ...]:
    """(4, 6, 6) of "4.6.6rc1": enough to compare floors."""
    numbers = []
    for part in text.split(".")[:3]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def package(name: str, floor: str) -> Line:
    """(good, line) for one package."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False, f"{name} is missing: pip install '{name}>={floor}'"
    if version(found) < version(floor):
        return False, f"{name} {found} is older than {floor}: pip install -U '{name}>={floor}'"
    return True, f"{name} {found}"


def python_line() -> Line:
    here, said = sys.version_info[:2], f"Python {sys.version.split()[0]}"
    if here < (3, 11):
        return False, f"{said} is too old: the course needs 3.11, 3.12 or 3.13"
    return here <= (3, 13), said if here <= (3, 13) else f"{said} is newer than what is tested: 3.11, 3.12 or 3.13"


def engine_line() -> Line:
    """Where the engine is; what it can do on this machine, ``minieng doctor`` says."""
    found = importlib.util.find_spec("minieng")
    if found is None:
        return False, "minieng is missing: pip install -e . in the folder of the course, or install its wheel"
    return True, f"minieng in {os.path.dirname(found.origin or '')} (`minieng doctor` looks at device and model)"


def place_line() -> Line:
    if (
        "google.colab" in sys.modules
        or os.path.isdir("/usr/local/lib/python3/dist-packages/google/colab")
        or "COLAB_RELEASE_TAG" in os.environ
    ):
        return True, "this is Colab: progress is forgotten with the machine, so export_progress() before you leave"
    return True, f"this is {sys.platform}, not Colab"


def kernel_line() -> Line:
    """Whether a kernel called python3 is known, which is what the notebooks name."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        spec = KernelSpecManager().get_kernel_spec("python3")
        return True, f"kernel python3: {spec.argv[0]}"
    except Exception as problem:  # whatever is wrong with the installation, the remedy is the same
        return False, f"no kernel python3 ({problem}): python -m ipykernel install --user"


def store_line() -> Line:
    from . import store

    path = store.place()
    if path is None:
        return True, "progress is switched off (COURSEKIT_PROGRESS=off)"
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    good = os.access(folder, os.W_OK)
    return (
        good,
        f"progress is kept in {path}" if good else f"{folder} cannot be written: set COURSEKIT_PROGRESS to another file",
    )


def grading_line() -> Line:
    from .grade import sandbox

    if os.name != "posix":
        return False, "grading needs Linux or macOS: use WSL (checks in notebooks work here)"
    works, why = sandbox.probe()
    return (
        works,
        "grading: bubblewrap works" if works else f"grading: limits only, because bubblewrap does not run here ({why})",
    )


def doctor(say: Callable[[str], Any] = print) -> int:
    """Print what was found; returns 1 when something that lessons need is missing."""
    packages = [package(*item) for item in (ENGINE | NEEDED).items()]
    needed = [python_line(), place_line(), engine_line(), *packages, kernel_line(), store_line()]
    wanted = [*(package(*item) for item in WANTED.items()), grading_line()]
    for good, line in needed:
        say(f"{'✓' if good else '✗'} {line}")
    for good, line in wanted:
        say(f"{'✓' if good else '!'} {line}")
    bad = sum(not good for good, _ in needed)
    say("Ready." if not bad else f"{bad} to mend, marked ✗. Lines marked ! matter to authors and teachers only.")
    return 1 if bad else 0
