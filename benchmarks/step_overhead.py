"""What a step costs outside the model: planning, naming blocks, committing and recording n running requests.

    python benchmarks/step_overhead.py [--running 256,512,1024,2048,4096] [--waiting 0,10000] [--steps 200] [--json FILE]

The executor does nothing, so all that is timed is the engine's own Python. Prints and stores the median and the
95th percentile of a step, and microseconds a request, which must not grow with the number of requests. With
``--waiting`` as many more stand in the queue behind the fewest running, with prompts of their own. Prefix caching is on.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from minieng.config import EngineConfig
from minieng.engine import Engine
from minieng.kv.allocator import KVCache
from minieng.plan import Plan, StepResult
from minieng.request import Request, SamplingParams
from minieng.save import writable
from minieng.scheduler import SCHEDULERS

RESULTS = Path(__file__).parent / "results" / "step_overhead.json"


class NoModel:
    """Emits token 7 wherever a token is due, at once."""

    def execute(self, plan: Plan) -> StepResult:
        return StepResult([7 if r.num_computed_tokens + n == r.num_tokens else None for r, n in plan.extend], 1e-3)


def measure(scheduler: str, running: int, steps: int, waiting: int = 0) -> dict:
    """Time decode steps of an engine with that many running requests, and others that wait. Times in milliseconds."""
    config = EngineConfig(
        scheduler=scheduler, max_num_seqs=running, batch_size=running,
        max_num_batched_tokens=64 * running, max_prefill_tokens=64 * running,
    )  # fmt: skip
    engine = Engine(NoModel(), KVCache(running * (64 + steps) // 16 + running, 16), config)
    for i in range(running + waiting):
        params = SamplingParams(max_tokens=steps + 10, ignore_eos=True)
        engine.add_request(Request(str(i), [i] * 30, params))
    engine.step()
    gc.collect()
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        record = engine.step()
        times.append((time.perf_counter() - begin) * 1e3)
        assert record is not None and record.num_decodes == running
    ordered, median = sorted(times), statistics.median(times)
    return {
        "scheduler": scheduler,
        "running": running,
        "waiting": waiting,
        "median_ms": round(median, 4),
        "p95_ms": round(ordered[int(0.95 * len(ordered))], 4),
        "us_per_request": round(median * 1e3 / running, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", default="256,512,1024,2048,4096", help="numbers of running requests")
    parser.add_argument("--waiting", default="10000", help="numbers of waiting requests, each beside the fewest running")
    parser.add_argument("--schedulers", default=",".join(SCHEDULERS), help="which schedulers")
    parser.add_argument("--steps", type=int, default=200, help="steps timed for each (default 200)")
    parser.add_argument("--json", type=writable, default=RESULTS, help="where to store the results")
    args = parser.parse_args()
    rows = []
    print(f"{'scheduler':12} {'running':>8} {'waiting':>8} {'median ms':>10} {'p95 ms':>8} {'us/request':>11}")
    for scheduler in args.schedulers.split(","):
        sizes = [int(n) for n in args.running.split(",")]
        cases = [(n, 0) for n in sizes] + [(min(sizes), int(n)) for n in args.waiting.split(",") if int(n)]
        for running, waiting in cases:
            row = measure(scheduler, running, args.steps, waiting)
            rows.append(row)
            times = f"{row['median_ms']:10.3f} {row['p95_ms']:8.3f} {row['us_per_request']:11.2f}"
            print(f"{scheduler:12} {running:8} {waiting:8} {times}")
    from peers.host import describe

    result = {
        "what": "engine time of a decode step without a model: plan, reserve, commit, record",
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "machine": describe(),
        "rows": rows,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"stored in {args.json}")


if __name__ == "__main__":
    main()
