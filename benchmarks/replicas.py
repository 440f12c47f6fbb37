"""Two replicas on two cores beside one engine on both: requests a second, and tokens, of the same requests.

    python benchmarks/replicas.py [--model smollm2-135m] [--replicas 1,2] [--requests 64] [--rounds 3] [--json FILE]

All run behind the same front, in processes of their own, and share the cores evenly; so what differs is one engine with
all threads and large batches, or several with a thread each and smaller ones. All requests come at once; the best round
counts. Prints and stores throughput, and how many requests each replica was given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from minieng.request import SamplingParams
from minieng.save import writable
from minieng.server.replica import Spec
from minieng.server.replicas import Replicas
from minieng.server.worker import LocalWorker

RESULTS = Path(__file__).parent / "results" / "replicas.json"
PROMPT, OUTPUT = (16, 256), (16, 128)  # tokens, uniform


async def measure(model: str, count: int, requests: int, rounds: int, cores: int) -> dict:
    """The best of several rounds."""
    spec = Spec(model, {"device": "cpu", "scheduler": "chunked", "max_num_seqs": 32, "enable_prefix_caching": False}, model)
    front = Replicas([LocalWorker(spec, i, max(1, cores // count)) for i in range(count)])
    await front.start()
    try:
        seconds = [await serve(front, requests, number) for number in range(rounds)]
    finally:
        await front.stop()
    best = min(seconds, key=lambda each: each[0])
    return {
        "replicas": count, "threads_each": max(1, cores // count), "seconds": [round(each[0], 3) for each in seconds],
        "requests_per_s": round(requests / best[0], 3), "output_tokens_per_s": round(best[1] / best[0], 1),
        "routed": best[2],
    }  # fmt: skip


async def serve(front: Replicas, requests: int, number: int) -> tuple[float, int, list[int]]:
    """Seconds, output tokens, and how many requests each replica was given."""
    rng, routed = Random(0), Counter()
    pick = front.router.pick

    def counting(loads, prompt):
        chosen = pick(loads, prompt)
        routed[loads[chosen].replica] += 1
        return chosen

    async def one(i: int, prompt: list[int], output: int) -> int:
        params = SamplingParams(max_tokens=output, ignore_eos=True)
        feed = await front.submit([{"prompt": None, "prompt_token_ids": prompt}], params, request_ids=[f"{number} {i}"])
        return sum([len(events) async for events in feed])

    jobs = [
        ([rng.randrange(front.llm.vocab_size) for _ in range(rng.randint(*PROMPT))], rng.randint(*OUTPUT))
        for _ in range(requests)
    ]
    front.router.pick = counting
    begin = time.perf_counter()
    tokens = sum(await asyncio.gather(*(one(i, *job) for i, job in enumerate(jobs))))
    seconds = time.perf_counter() - begin
    front.router.pick = pick
    return seconds, tokens, [count for _, count in sorted(routed.items())] or [requests]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--replicas", default="1,2", help="numbers of replicas")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=writable, default=RESULTS, help="where to store the results")
    args = parser.parse_args()
    from peers.host import describe

    cores, rows = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, []
    os.environ.pop("OMP_NUM_THREADS", None)  # each replica gets its share
    for count in map(int, args.replicas.split(",")):
        rows.append(asyncio.run(measure(args.model, count, args.requests, args.rounds, cores)))
        print(rows[-1])
    result = {
        "what": "replicas behind one front, on the same cores",
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "machine": describe(),
        "cores": cores,
        "load_before": os.getloadavg(),
        "rows": rows,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"stored in {args.json}")


if __name__ == "__main__":
    main()
