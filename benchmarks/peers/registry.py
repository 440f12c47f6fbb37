"""The peers: name, how to start each, and in which environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from . import host, venvs

SCHEDULERS = ("chunked", "continuous", "dynamic", "static")
OURS = "minieng-chunked"
REFERENCE = "transformers-1"
SLOW_WARMUP = 8  # requests: torch compiles nothing there, and that fills a batch


@dataclass(frozen=True)
class Spec:
    """One row of the table: which script, in which Python, with which job and environment variables.

    in_turns  loaded beside the other such peers, and measured in rounds with them; others are measured alone, one after another
    slow      a rung far below: fewer runs of it will do
    """

    name: str
    what: str
    module: str
    job: dict
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)
    absent: str | None = None
    in_turns: bool = False
    slow: bool = False


def all_peers(schedulers: list[str], packed: bool, peers_dir: Path, cpus: list[int] | None) -> list[Spec]:
    """Every row in the order of the table. The reference comes first: the others are compared with its tokens."""
    return [
        *transformers_peers(packed),
        *[minieng(s) for s in schedulers],
        vllm(peers_dir, cpus),
        openvino(peers_dir),
        *llama(peers_dir),
        *behind_http(peers_dir, cpus),
    ]


def minieng(scheduler: str) -> Spec:
    """minieng under one scheduler."""
    name, job = f"minieng-{scheduler}", {"scheduler": scheduler}
    return Spec(name, f"minieng, {scheduler} scheduler", "peers.run_minieng", job, in_turns=name == OURS)


def transformers_peers(packed: bool) -> list[Spec]:
    """transformers one at a time, in padded batches (both also with packed linears), and its continuous batching."""
    module, rows = "peers.run_transformers", []
    for with_packed in (False, True) if packed else (False,):
        tail, note = ("-packed", ", minieng's packed linears") if with_packed else ("", "")
        for size in (1, 8, 32):
            job = {"batching": "static", "batch_size": size, "packed": with_packed, "warmup": SLOW_WARMUP}
            name, what = f"transformers-static-{size}", f"padded batches of {size}"
            if size == 1:
                name, what = REFERENCE, "one at a time"
            rows.append(Spec(name + tail, f"transformers, {what}{note}", module, job, slow=True))
    job = {"batching": "continuous", "warmup": SLOW_WARMUP}
    rows.insert(3, Spec("transformers-continuous", "transformers, its continuous batching", module, job, slow=True))
    return rows


def vllm(peers_dir: Path, cpus: list[int] | None) -> Spec:
    """vLLM in its own environment."""
    env = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": host.cpu_list(cpus) if cpus else "auto",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(peers_dir / "vllm-cache"),
    }
    python, absent = venvs.find(peers_dir, "vllm")
    return Spec("vllm", "vLLM on the CPU", "peers.run_vllm", {}, python, env, absent, in_turns=True)


def behind_http(peers_dir: Path, cpus: list[int] | None) -> list[Spec]:
    """minieng's and vLLM's own servers, asked by one client."""
    module, other = "peers.run_http", vllm(peers_dir, cpus)
    ours = {"server": "minieng", "scheduler": OURS.removeprefix("minieng-")}
    theirs = {"server": "vllm", "python": other.python}
    env = {name: value for name, value in other.env.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}  # as it comes
    return [
        Spec("http-minieng", f"{OURS} behind minieng serve", module, ours, in_turns=True),
        Spec("http-vllm", "vLLM behind its own server", module, theirs, env=env, absent=other.absent, in_turns=True),
    ]


def openvino(peers_dir: Path) -> Spec:
    """OpenVINO GenAI in its own environment; its weights are exported by another."""
    python, absent = venvs.find(peers_dir, "ov")
    what = "OpenVINO GenAI continuous batching"
    return Spec("openvino", what, "peers.run_openvino", {}, python, {}, absent, in_turns=True)


def llama(peers_dir: Path) -> list[Spec]:
    """llama.cpp in its own environment, on weights of 16 and of 8 bits."""
    python, absent = venvs.find(peers_dir, "llama")
    kinds = {"bf16": "llama.cpp, bf16 weights", "q8": "llama.cpp, 8-bit weights"}
    return [
        Spec(f"llama.cpp-{kind}", what, "peers.run_llama", {"kind": kind}, python, {}, absent, in_turns=True)
        for kind, what in kinds.items()
    ]


def select(specs: list[Spec], only: list[str], all_of_it: bool = True) -> list[Spec]:
    """The rows whose names match one of the patterns. Without any: all, or else the engines that take turns.

    A pattern that matches nothing is an error.
    """
    for pattern in only:
        if not any(fnmatch(spec.name, pattern) for spec in specs):
            raise ValueError(f"--only {pattern}: no such peer; there are {', '.join(s.name for s in specs)}")
    if not only:
        return [spec for spec in specs if all_of_it or spec.in_turns and not spec.name.startswith("http-")]
    return [spec for spec in specs if any(fnmatch(spec.name, pattern) for pattern in only)]
