"""torch's OpenMP spins briefly wherever minieng is imported first, and the environment does not show it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minieng import LLM, SamplingParams
from minieng.kernels import native

SPEC = importlib.util.find_spec("torch")
GNU = SPEC is not None and SPEC.origin is not None and any((Path(SPEC.origin).parent / "lib").glob("libgomp*.so*"))
pytestmark = pytest.mark.skipif(sys.platform != "linux" or not GNU, reason="torch's OpenMP is not GNU's here")
THREADS = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_DISPLAY_ENV"}


def spins(code: str, **settings: str) -> str:
    """What the library says of its spin count when it is loaded."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS} | settings
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line)
    return line.split("'")[1]


def test_threads_spin_briefly_and_torch_takes_that_library():
    code = (
        "import os; before = dict(os.environ); import minieng; assert dict(os.environ) == before\n"
        "import sys; assert 'torch' not in sys.modules; import torch; torch.ones(100_000).add(1)\n"
        "libraries = {line.split()[-1] for line in open('/proc/self/maps') if 'libgomp' in line}\n"
        "assert len(libraries) == 1, libraries"
    )
    assert spins(code) == "2000"


@pytest.mark.parametrize("settings, count", [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")])
def test_who_has_said_how_threads_wait_is_left_alone(settings, count):
    assert spins("import minieng, torch", **settings) == count


THREADS_AFTER = """
import os
def threads(): return len(os.listdir("/proc/self/task"))
torch.set_num_threads(3)
before = threads()
torch.ones(1_000_000).add(1)
assert threads() == before + 2, (before, threads())
minieng.openmp.rest()
assert threads() == before{left}, (before, threads())
assert torch.ones(1_000_000).add(1).sum() == 2_000_000
assert threads() == before + 2
"""


def test_where_torch_was_loaded_first_its_threads_are_sent_away_and_come_back():
    assert spins("import torch, minieng" + THREADS_AFTER.format(left="")) == "300000"


def test_a_forked_copy_has_none_to_send_away():
    code = (
        "import os, torch, minieng; torch.set_num_threads(3); torch.ones(1_000_000).add(1)\n"
        "if child := os.fork(): assert os.waitpid(child, 0)[1] == 0\n"
        "else: minieng.openmp.rest(); os._exit(0)\n"
        "minieng.openmp.rest(); assert torch.ones(1_000_000).add(1).sum() == 2_000_000"
    )
    assert spins(code) == "300000"


@pytest.mark.parametrize("settings", [{}, {"GOMP_SPINCOUNT": "2000"}])
def test_threads_that_spin_briefly_may_stay(settings):
    first = "torch, minieng" if settings else "minieng, torch"
    assert spins(f"import {first}" + THREADS_AFTER.format(left=" + 2"), **settings) == "2000"


def test_a_step_sends_them_away_before_its_layers(monkeypatch):
    """What torch did for the step before, such as drawing a token, may have woken them."""
    with LLM("tiny", device="cpu", dtype="float32", attention="native") as llm:
        if not llm.runner.model.runs_whole(llm.runner.attention):
            pytest.skip("layers are not computed in C here")
        calls = []
        monkeypatch.setattr(native, "rest", lambda: calls.append(len(llm.trace)))
        llm.generate("Once upon a time", SamplingParams(max_tokens=3, temperature=1.0, ignore_eos=True))
        assert calls == [0, 1, 2]
