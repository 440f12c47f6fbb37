"""Environments of their own for real clients, so that none of them brings its versions into the course's.

PYTHONPATH=tests python -m support.client_envs [DIR]     make all of them with pip (DIR: MINIENG_CLIENTS, else .clients)

Each is a virtual environment in DIR; one that was finished by the same recipe is left alone. vLLM's, which is large, is the
one that ``python benchmarks/cpu_peers.py --setup-peers`` makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from peers import venvs

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("MINIENG_CLIENTS") or ROOT / ".clients")
PEERS = Path(os.environ.get("MINIENG_PEERS") or Path.home() / ".cache" / "minieng" / "peers")
# name → what pip installs, step by step. torch comes first where it is wanted: else a build for CUDA comes, of gigabytes.
RECIPES = {
    "openai": [["openai==3.57.0"]],
    "langchain": [["langchain-openai==1.7.4"]],
    "litellm": [["litellm==1.110.2"]],
    "guidellm": [[venvs.TORCH], ["guidellm==0.8.1", venvs.TORCH]],
    "lm_eval": [["lm-eval[api]==0.4.13"]],
}
BESIDE = ("lm_eval",)  # these find the project's own torch and transformers too, behind their own packages
MARK = "recipe.txt"


def recipe(name: str) -> str:
    return "\n".join(" ".join(step) for step in RECIPES[name]) + "\n"


def python_of(name: str) -> tuple[Path, str]:
    """The interpreter of a client's environment, and why it is not there; "" if it is."""
    if name == "vllm":
        python, absent = venvs.find(PEERS, "vllm")
        return Path(python), absent or ""
    mark, python = PLACE / name / MARK, PLACE / name / "bin" / "python"
    if mark.exists() and mark.read_text() == recipe(name):
        return python, ""
    return python, f"{name} is not installed in {PLACE / name}; make clients makes it"


def make(name: str) -> None:
    """One environment, anew."""
    folder = PLACE / name
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for step in RECIPES[name]:
        subprocess.run([*pip, *step], check=True)
    if name in BESIDE:
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
        )
        (Path(own.stdout.strip()) / "beside.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    (folder / MARK).write_text(recipe(name))


def main() -> int:
    """0 if all are there at the end."""
    failed = 0
    for name in RECIPES:
        if not python_of(name)[1]:
            print(f"{name}: already there")
            continue
        print(f"{name}: pip install", recipe(name).replace("\n", "  "), flush=True)
        try:
            make(name)
        except (subprocess.CalledProcessError, OSError) as problem:
            print(f"{name}: FAILED: {problem}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    if len(sys.argv) > 1:
        PLACE = Path(sys.argv[1]).absolute()
    sys.exit(main())
