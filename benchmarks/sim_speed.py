"""How fast the simulator is, and whether a request costs the same in a long run as in a short one.

    MINIENG_TRACES=folder python -m benchmarks.sim_speed [--out benchmarks/results/sim_speed.json]

The Azure conversation trace of 2023 through a simulated Llama-3-8B on an A100-80G, chunked: its first 1,000 to all
19,366 requests, then all of it, 3.8 times as fast, through 4 replicas. Then a long queue: 1,250 and 10,000 of them within
seconds, 64 seats, 200 users and 5 priorities, in each order. Seconds are this process's CPU time, which a busy
neighbour does not stretch as it does the wall's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import sys
import time
from datetime import datetime

from minieng.config import EngineConfig
from minieng.request import Request
from minieng.save import writable
from minieng.scheduler import ORDERS
from minieng.sim.cluster import Cluster
from minieng.sim.cost_model import StepTimeModel
from minieng.sim.executor import scripted_requests
from minieng.workload import Workload

CROWDS, SEATS, USERS, PRIORITIES = (1_250, 10_000), 64, 200, 5
SIZES = (1_000, 5_000, 10_000, 19_366)
KNOBS = dict(scheduler="chunked", max_num_seqs=256, max_num_batched_tokens=512, enable_prefix_caching=False, max_model_len=8192)


def crowd(workload: Workload) -> list[Request]:
    """All at nearly the same moment, from several users and of several priorities."""
    requests = scripted_requests(workload.scaled(1_000.0), KNOBS["max_model_len"])
    for i, request in enumerate(requests):
        request.user, request.priority = f"user {i % USERS}", i % PRIORITIES
    return requests


def simulate(requests: list[Request], replicas: int = 1, **knobs) -> dict:
    """One run; seconds of CPU and wall, and what the engine did."""
    config, times = EngineConfig(**{**KNOBS, **knobs}), StepTimeModel.named("llama-3-8b", "A100-80G")
    wall, cpu = time.perf_counter(), time.process_time()
    cluster = Cluster.replicas(replicas, times, config, "least")
    served = cluster.run(requests)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    tokens = sum(r.num_output_tokens for r in served)
    return {
        **knobs, "requests": len(requests), "replicas": replicas, "refused": len(cluster.refused), "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2), "cpu_ms_per_request": round(1e3 * cpu / len(requests), 3),
        "cpu_us_per_output_token": round(1e6 * cpu / tokens, 2), "steps": sum(len(e.trace) for e in cluster.engines),
        "virtual_s": round(cluster.seconds, 1), "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=writable, help="save the figures as JSON")
    args = parser.parse_args()
    whole = Workload.preset("azure_conv", n=max(SIZES))
    runs = []
    for workload, replicas in [*((whole.head(n), 1) for n in SIZES), (whole.scaled(3.8 * whole.rate), 4)]:
        runs.append(simulate(scripted_requests(workload, KNOBS["max_model_len"]), replicas))
        print(runs[-1], flush=True)
    for order, count in itertools.product(ORDERS, CROWDS):
        runs.append(simulate(crowd(whole.head(count)), order=order, max_num_seqs=SEATS))
        print(runs[-1], flush=True)
    about = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.sim_speed", *sys.argv[1:]]),
    }
    about |= {
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "engine": KNOBS,
    }
    if args.out:
        args.out.write_text(json.dumps(about | {"runs": runs}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
