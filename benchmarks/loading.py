"""How long a model takes to load, and the most memory that this process has meanwhile; beside an older checkout, if one is named.

    python benchmarks/loading.py [--model smollm2-135m] [--runs 5] [--before FOLDER] [--json FILE]

Each run is a fresh process with the model's files in the system's cache: the first run of each side is not counted.
Both sides take turns. Compare the seconds of CPU: a busy neighbour stretches the wall's. Importing torch and
transformers is not counted; what loading imports besides is.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT)]

from peers.host import describe  # noqa: E402

from minieng.save import save_json, writable  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "loading.json"
# VmHWM: the most this process ever had. getrusage would count what the process had that started this one.
CHILD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy, torch, transformers
from transformers import AutoConfig, AutoTokenizer
torch.set_num_threads(1)
def most():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
import minieng
wall, cpu, before = time.perf_counter(), time.process_time(), most()
llm = minieng.LLM(sys.argv[2], device="cpu")
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
assert minieng.__file__.startswith(sys.argv[1]), minieng.__file__
print(json.dumps({"wall_s": wall, "cpu_s": cpu, "imports_mib": before, "peak_mib": most()}))
"""


def load(folder: Path, model: str) -> dict[str, float]:
    """One process; seconds of loading, and MiB that it had at most, before loading and in all."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder), model], capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise SystemExit(f"loading {model} with {folder} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def commit(folder: Path) -> str | None:
    """The commit that a checkout is at, or stands on; None without git."""
    done = subprocess.run(["git", "-C", str(folder), "log", "-1", "--format=%h %cs %s"], capture_output=True, text=True)
    return done.stdout.strip() or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="what is loaded (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="processes of each side (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout of this repository, to compare with")
    parser.add_argument("--json", type=writable, default=RESULTS, help="where to store the results")
    args = parser.parse_args()
    if not Path("/proc/self/status").exists():
        print("loading: memory is read from /proc, which only Linux has", file=sys.stderr)
        return 2
    sides = {"now": ROOT} | ({"before": args.before.resolve()} if args.before else {})
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(args.runs + 1):
        for side, folder in sides.items():
            found = load(folder, args.model)
            if number:
                runs[side].append(found)
                print(side, found, file=sys.stderr, flush=True)
    medians = {side: {key: statistics.median(run[key] for run in found) for key in found[0]} for side, found in runs.items()}
    print(f"{'':8}{'wall s':>8}{'CPU s':>8}{'MiB before':>12}{'MiB at most':>13}")
    for side, m in medians.items():
        print(f"{side:8}{m['wall_s']:8.2f}{m['cpu_s']:8.2f}{m['imports_mib']:12.0f}{m['peak_mib']:13.0f}")
    save_json(args.json, {
        "what": f"loading {args.model}, a fresh process each time, one thread; medians, and all runs",
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "python": platform.python_version(),
        "machine": describe(),
        "commits": {side: commit(folder) for side, folder in sides.items()},
        "medians": medians,
        "runs": runs,
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
