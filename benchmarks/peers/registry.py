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
REFERENCE_WARMUP = 8


@dataclass(frozen=True)
class Spec:
    """One row of the table: which script, in which Python, with which job and environment variables."""

    name: str
    what: str
    module: str
    job: dict
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)
    absent: str | None = None


def all_peers(schedulers: list[str], packed: bool, peers_dir: Path, cpus: list[int] | None) -> list[Spec]:
    """Every row in the order of the table. The reference comes first: the others are compared with its tokens."""
    return [
        *transformers_peers(packed),
        *[Spec(f"minieng-{s}", f"minieng, {s} scheduler", "peers.run_minieng", {"scheduler": s}) for s in schedulers],
        vllm(peers_dir, cpus),
        openvino(peers_dir),
        *behind_http(peers_dir, cpus),
    ]


def transformers_peers(packed: bool) -> list[Spec]:
    """transformers one at a time, in padded batches (both also with packed linears), and its continuous batching."""
    module, rows = "peers.run_transformers", []
    for with_packed in (False, True) if packed else (False,):
        tail, note = ("-packed", ", minieng's packed linears") if with_packed else ("", "")
        one = {"batching": "static", "batch_size": 1, "packed": with_packed, "warmup": REFERENCE_WARMUP}
        rows.append(Spec(REFERENCE + tail, f"transformers, one at a time{note}", module, one))
        for size in (8, 32):
            job = {"batching": "static", "batch_size": size, "packed": with_packed}
            rows.append(Spec(f"transformers-static-{size}{tail}", f"transformers, padded batches of {size}{note}", module, job))
    job = {"batching": "continuous"}
    rows.insert(3, Spec("transformers-continuous", "transformers, its continuous batching", module, job))
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
    return Spec("vllm", "vLLM on the CPU", "peers.run_vllm", {}, python, env, absent)


def behind_http(peers_dir: Path, cpus: list[int] | None) -> list[Spec]:
    """minieng's and vLLM's own servers, asked by one client."""
    module, other = "peers.run_http", vllm(peers_dir, cpus)
    ours = {"server": "minieng", "scheduler": OURS.removeprefix("minieng-")}
    theirs = {"server": "vllm", "python": other.python}
    env = {name: value for name, value in other.env.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}  # as it comes
    return [
        Spec("http-minieng", f"{OURS} behind minieng serve", module, ours),
        Spec("http-vllm", "vLLM behind its own server", module, theirs, env=env, absent=other.absent),
    ]


def openvino(peers_dir: Path) -> Spec:
    """OpenVINO GenAI in its own environment; its weights are exported by another."""
    python, absent = venvs.find(peers_dir, "ov")
    return Spec("openvino", "OpenVINO GenAI continuous batching", "peers.run_openvino", {}, python, {}, absent)


def select(specs: list[Spec], only: list[str]) -> list[Spec]:
    """The rows whose names match one of the patterns; all without any. A pattern that matches nothing is an error."""
    for pattern in only:
        if not any(fnmatch(spec.name, pattern) for spec in specs):
            raise ValueError(f"--only {pattern}: no such peer; there are {', '.join(s.name for s in specs)}")
    return [s for s in specs if not only or any(fnmatch(s.name, pattern) for pattern in only)]
