"""The kernels compile, to machine code, for the GPUs that they are meant for. None of these needs to be here."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:  # not imported here, or tests/kernels could not switch the interpreter on
    pytest.skip("triton is not installed (Linux on x86-64 only)", allow_module_level=True)

TESTS = Path(__file__).parents[1]
# bytes that a program may have at most
SHARED = {75: 64 << 10, 80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
KERNELS = {"_attend", "_join", "_store", "_settle", "_add_norm", "_norm_rotate", "_silu_mul"}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(75, id="T4"),
        pytest.param(80, id="A100"),
        pytest.param(86, id="RTX 30", marks=pytest.mark.wide),
        pytest.param(89, id="L4 and RTX 40", marks=pytest.mark.wide),
        pytest.param(90, id="H100 and H200"),
        pytest.param(100, id="B200", marks=pytest.mark.wide),
        pytest.param(120, id="RTX 50", marks=pytest.mark.wide),
    ],
)
def test_kernels_compile(number, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(TESTS / "support" / "compile_kernels.py"), str(number)],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    if "ptxas" in done.stderr and "not found" in done.stderr.lower():
        pytest.skip("this build of Triton brings no ptxas")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = re.findall(r"(\w+) \d+ rows (\d+) shared (\d+) async (\d+) bytes (\d+)", done.stdout)
    assert {name for name, *_ in lines} == KERNELS
    assert {rows for name, rows, *_ in lines if name == "_attend"} == ({"16"} if number < 80 else {"16", "64"})
    for name, _, shared, pipelined, size in lines:
        assert int(shared) <= SHARED[number] and int(size) > 0
        assert name != "_attend" or number < 80 or int(pipelined) >= 4, "keys and values are fetched ahead"
