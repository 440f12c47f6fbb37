"""How long a fresh process takes: ``import minieng``, ``LLM(model)`` with its imports, and a first token at the command line.

    python benchmarks/starting.py [--model smollm2-135m] [--runs 5]

Seconds of wall time, medians, on a warm disk: one run of each is not counted. It also makes what later starts find in the cache.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMED = "import time; begin = time.perf_counter()\n{}\nprint(time.perf_counter() - begin)"
CODES = {
    "import minieng": TIMED.format("import minieng"),
    "LLM(model)": TIMED.format("import sys\nfrom minieng import LLM\nllm = LLM(sys.argv[1], device='cpu')"),
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
    args = parser.parse_args()
    calls = {name: lambda code=code: inside(code, args.model) for name, code in CODES.items()}
    calls['minieng generate "Hi" --max-tokens 1'] = lambda: at_the_command_line(args.model)
    for name, call in calls.items():
        times = sorted([call() for _ in range(args.runs + 1)][1:])
        print(f"{name:40} {statistics.median(times):6.2f} s  ({times[0]:.2f}–{times[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
