#!/usr/bin/env python
"""minieng on a GPU: how much of the machine it reaches, and its peers beside it. One table, one JSON.

    python benchmarks/gpu.py                         # everything: the better part of an hour
    python benchmarks/gpu.py --only decode           # one section, under 8 minutes, merged into the same JSON
    python benchmarks/gpu.py --only attention --sweep     # also: which tile sizes and cuts suit this GPU
    python benchmarks/gpu.py --device cpu --small    # proves the benchmark itself, in a minute; its numbers mean nothing

Sections: ceilings (copy, matrix product), attention (the kernel alone), decode (b: steady steps by batch and context),
nano (a: nano-vllm's workload), nano-transformers, nano-padded and nano-others (the peers on it), mixed (c: long prompts
among decodes), traces (the lessons' workloads, recorded). Weights are random, made on the device from the shape of
Qwen3-0.6B, unless --model names real ones; the JSON says which.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import torch  # noqa: E402
from gpu_parts.machine import device_facts, versions  # noqa: E402
from gpu_parts.report import table  # noqa: E402
from gpu_parts.runs import Skipped  # noqa: E402
from gpu_parts.sections import SECTIONS, Bench  # noqa: E402
from gpu_parts.weights import QWEN3_06B, SMALL, SMOLLM2, Model, random_model, real_model  # noqa: E402

from minieng.save import writable  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    p.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    p.add_argument(
        "--dtype", default=None, choices=("bfloat16", "float16", "float32"), help="default: what the device computes in"
    )
    p.add_argument("--model", help="a model with real weights instead of random ones (short name, hub id or directory)")
    p.add_argument("--lessons-model", default="smollm2-135m", help="for traces; else random weights of that shape")
    p.add_argument("--weights-dir", type=Path, help="where random weights are kept (default: minieng's cache)")
    p.add_argument("--sweep", action="store_true", help="attention: try other tile sizes, cuts and launch shapes")
    p.add_argument("--peer-seconds", type=float, default=330.0, help="padded generate begins no batch after this (330)")
    p.add_argument("--small", action="store_true", help="a shape of two layers and a few requests: does it work?")
    p.add_argument("--json", type=writable, metavar="FILE", help="default: benchmarks/results/gpu-<device>.json")
    return p


def default_dtype(device: torch.device) -> torch.dtype:
    from minieng.model.load import choose_dtype

    return choose_dtype("auto", device, None)


def models(args: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> tuple[Model, Model]:
    """What is measured, and what the lessons' traces are recorded with."""
    from minieng.home import cache_home

    home = args.weights_dir or cache_home() / "benchmark"
    name = str(dtype).removeprefix("torch.")
    if args.small:
        small = random_model(home / f"small-{name}", SMALL, "qwen3", "two layers of 64", dtype, device)
        return small, small
    model = real_model(args.model, dtype) if args.model else None
    if args.model and model is None:
        raise SystemExit(f"gpu: no model {args.model!r} here: leave --model out for random weights")
    model = model or random_model(home / f"qwen3-0.6b-{name}", QWEN3_06B, "qwen3", "Qwen3-0.6B's shape", dtype, device)
    if "traces" not in args.only:
        return model, model
    lessons = real_model(args.lessons_model, dtype)
    return model, lessons or random_model(home / f"smollm2-{name}", SMOLLM2, "llama", "SmolLM2-135M's shape", dtype, device)


def merge(path: Path, name: str, section: dict) -> dict:
    """Put a section into the file, at once, so that an interrupted run loses nothing; a whole file or none is seen."""
    stored = json.loads(path.read_text()) if path.exists() else {"schema": 1, "sections": {}}
    stored["sections"][name] = section
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stored, indent=1) + "\n")
    os.replace(part, path)
    return stored


def slug(facts: dict) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in facts["name"]).lower().split()) or facts["kind"]


def main(argv: list[str] | None = None) -> int:
    """0: done. 1: a section failed. 2: no such device, or wrong arguments. 130: interrupted; finished sections are kept."""
    args = parser().parse_args(argv)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu: this machine has no CUDA device; `--device cpu --small` proves the benchmark itself", file=sys.stderr)
        return 2
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    elif not args.small:
        print("gpu: on a CPU only with --small; benchmarks/cpu_peers.py measures CPUs", file=sys.stderr)
        return 2
    dtype = getattr(torch, args.dtype) if args.dtype else default_dtype(device)
    facts = device_facts(device)
    folder = Path(tempfile.gettempdir()) if args.small else RESULTS
    path = args.json or folder / f"gpu-{slug(facts)}{'-small' if args.small else ''}.json"
    model, lessons = models(args, device, dtype)
    stored = json.loads(path.read_text()) if path.exists() else {"sections": {}}
    label = {"device": facts, "versions": versions(), "dtype": str(dtype).removeprefix("torch."), "small": args.small}
    same = {k: v for k, v in stored["sections"].items() if v["device"] == facts and v["small"] == args.small}
    bench = Bench(device, model, lessons, args.small, args.peer_seconds, args.sweep, path.with_suffix("") / "traces", same)
    failed = 0
    for name in args.only:
        print(f"gpu: {name} …", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        try:
            found = SECTIONS[name](bench)
        except KeyboardInterrupt:
            print("gpu: interrupted; finished sections are kept", file=sys.stderr)
            return 130
        except Skipped as why:
            found = {"skipped": str(why)}
        except torch.OutOfMemoryError as problem:  # what does not fit is no fault
            found = {"skipped": f"skipped, it does not fit into this GPU's memory: {str(problem).partition('. GPU')[0]}"}
        except Exception as problem:
            import traceback

            traceback.print_exc()
            found, failed = {"error": f"{type(problem).__name__}: {str(problem)[:300]}"}, failed + 1
        found |= {**label, "weights": (lessons if name == "traces" else model).label,
                  "date": datetime.now(UTC).isoformat(timespec="seconds"),
                  "command": " ".join(["python", "benchmarks/gpu.py", *(sys.argv[1:] if argv is None else argv)]),
                  "took_s": round(time.perf_counter() - begin, 1)}  # fmt: skip
        bench.known[name] = found
        stored = merge(path, name, found)
    print(table(stored["sections"]))
    print(f"stored in {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
