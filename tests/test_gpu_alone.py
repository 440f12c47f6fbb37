"""tests/gpu start where there is torch, transformers, triton, numpy and pytest and nothing else: so are images for GPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABSENT = (
    "nbval", "hypothesis", "psutil", "xdist", "execnet", "matplotlib", "ipywidgets", "IPython", "nbformat",
    "nbclient", "jupyterlab", "ruff", "gguf", "accelerate", "pandas", "scipy", "ray",
)  # fmt: skip
COMMAND = "-m pytest -o addopts=--strict-markers tests/gpu"


def alone(code: str) -> str:
    """What a process prints to whom these packages are absent and which has no plugins of pytest."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
    there = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", hide + code], env=there, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_they_are_collected_and_skipped_with_the_reason():
    words = COMMAND.split()[2:]
    told = alone(
        f"import pytest, torch; sys.exit(pytest.main({words} + ['-rs'] + ['--collect-only'] * torch.cuda.is_available()))"
    )
    last = told.strip().splitlines()[-1]
    assert re.search(r"[1-9]\d+ (tests collected|skipped)", last) and "error" not in last, told[-3000:]
    assert "tests collected" in last or "no CUDA device" in told


def test_what_they_are_made_of_needs_nothing_else_either():
    """Skipped tests make no fixture: so the same model, oracle and engine are made here, on the CPU."""
    told = alone(
        "import support.gpu_kit, support.models, support.attention_cases\n"
        "from minieng.model import resolve\n"
        "from support.kit import Kit\n"
        "kit = Kit(resolve('tiny'), 'tiny', 4)\n"
        "from minieng import SamplingParams\n"
        "out = kit.llm().generate([[5, 6, 7]], SamplingParams(max_tokens=4, ignore_eos=True))[0]\n"
        "kit.oracle.compare([5, 6, 7], out.outputs[0].token_ids, 4)\n"
        "print('equal')"
    )
    assert told.strip().endswith("equal")


def test_the_command_is_named():
    for name in ("README.md", "Makefile"):
        assert COMMAND in (ROOT / name).read_text(encoding="utf-8"), name
