"""How long a fresh process takes: ``import minieng``, ``LLM(model)`` with its imports and after them, and a first token at the
command line.

    python benchmarks/starting.py [--model smollm2-135m] [--runs 5] [--json FILE]

Seconds of wall time, medians, on a warm disk: one run of each is not counted. It also makes what later starts find in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from peers.host import describe  # noqa: E402

from minieng.save import writable  # noqa: E402

TIMED = "import time; begin = time.perf_counter()\n{}\nprint(time.perf_counter() - begin)"
CODES = {
    "import minieng": TIMED.format("import minieng"),
    "import torch": TIMED.format("import torch"),
    "LLM(model), with both imports": TIMED.format("import sys\nfrom minieng import LLM\nllm = LLM(sys.argv[1], device='cpu')"),
    "LLM(model), after them": "import sys\nfrom minieng import LLM\nimport torch\n"
    + TIMED.format("llm = LLM(sys.argv[1], device='cpu')"),
}


def inside(code: str, model: str) -> float:
    """Seconds that the code says it took, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout.split()[-1])


def at_the_command_line(model: str) -> float:
    """Seconds from the start of ``minieng generate`` to its end, the interpreter's own start with it."""
    line = [sys.executable, "-m", "minieng", "generate", "Hi", "--max-tokens", "1", "--model", model, "--device", "cpu"]
    begin = time.perf_counter()
    subprocess.run(line, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="short name or directory (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="processes that count, for each line (default: 5)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="where to store the seconds (default: nowhere)")
    args = parser.parse_args()
    seconds = {}
    calls = {name: lambda code=code: inside(code, args.model) for name, code in CODES.items()}
    calls['minieng generate "Hi" --max-tokens 1'] = lambda: at_the_command_line(args.model)
    for name, call in calls.items():
        times = sorted([call() for _ in range(args.runs + 1)][1:])
        seconds[name] = {"median": round(statistics.median(times), 3), "all": [round(t, 3) for t in times]}
        print(f"{name:40} {statistics.median(times):6.2f} s  ({times[0]:.2f}–{times[-1]:.2f})", flush=True)
    if args.json:
        report = {"command": " ".join(["python", *sys.argv]), "date": date.today().isoformat(),
                  "versions": {name: version(name) for name in ("torch", "safetensors")}, "machine": describe(),
                  "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"), "seconds": seconds}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
