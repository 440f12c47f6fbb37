"""A server seen from outside and played again: how far the simulator is off, and whether two clients see the same.

    python benchmarks/observe_replay.py [--model smollm2-135m] [--requests 60] [--peers-dir DIR] [--json FILE]

minieng serves on this machine. First all requests at once say what it can do. Then the same requests come at 0.5, 0.8 and
1.2 of that, ``minieng bench --record`` looks, and ``minieng replay-load`` serves the arrivals on the simulator: with step times
fitted to that recording, and to the one at 0.8. Last, ``vllm bench serve`` (where its environment is) and ``minieng bench`` send
one timed trace to the server, one after the other. A load during which others used the machine is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from minieng.save import save_json, writable  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "observe_replay.json"
KNOBS = [
    "--scheduler",
    "chunked",
    "--max-num-seqs",
    "16",
    "--max-num-batched-tokens",
    "256",
    "--num-blocks",
    "1024",
    "--no-enable-prefix-caching",
]  # the same prompts come at each load
SHARES = (0.5, 0.8, 1.2)
MOST_FOREIGN = 0.05
FIGURES = [f"mean_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el")]


def minieng(*words: str) -> None:
    """A command of minieng's, in a process of its own; its table is shown."""
    subprocess.run([sys.executable, "-m", "minieng", *words], check=True, cwd=ROOT)


def serve(model: str, threads: int) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "minieng", "serve", "--model", model, "--port", "0", "--dtype", "float32", "--device", "cpu"]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(
        [*command, *KNOBS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=env
    )
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the server ended with code {process.wait()}")
    return process, line.split()[-1]


def quietly(what: str, measure: Callable[[], dict], tries: int) -> dict:
    """Measure until nobody else used the machine, a few times at most; the best is kept, with the others' share."""
    from peers.host import Watch

    kept: dict = {}
    for _ in range(tries):
        watch = Watch(None)
        found = measure()
        foreign = watch.lap().foreign
        print(f"{what}: others used {foreign:.1%} of the machine", file=sys.stderr)
        if not kept or foreign < kept["foreign_cpu_share"]:
            kept = {**found, "foreign_cpu_share": round(foreign, 3)}
        if foreign <= MOST_FOREIGN:
            break
    return kept


def theirs(python: str, url: str, model_dir: str, trace: Path, name: str, out: Path) -> dict:
    """``vllm bench serve`` on a timed trace."""
    words = [
        str(ROOT / "tests" / "clients" / "use_vllm_bench.py"), "--backend", "openai", "--base-url", url,
        "--endpoint", "/v1/completions", "--model", name, "--tokenizer", model_dir, "--dataset-name", "timed_trace",
        "--dataset-path", str(trace), "--timed-trace-chunk-hash-size", "512", "--timed-trace-sec-multiplier", "0.001",
        "--num-prompts", str(len(trace.read_text().splitlines())), "--temperature", "0", "--seed", "0", "--save-result",
        "--result-dir", str(out.parent), "--result-filename", out.name, "--percentile-metrics", "ttft,tpot,itl,e2el",
    ]  # fmt: skip
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([python, *words], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(out.read_text())


def replays(folder: Path, share: float) -> dict:
    """The load at a share of the capacity on the simulator, with step times fitted to itself and to that at 0.8."""
    found, told = {}, folder / "again.json"
    for what, other in (("fitted to itself", share), ("fitted to 0.8", 0.8)):
        fit = ["--fit-to", str(folder / f"seen-{other}.json")]
        minieng("replay-load", str(folder / f"seen-{share}.json"), *KNOBS, *fit, "--json", str(told))
        report = json.loads(told.read_text())
        found[what] = {key: value for key, value in report.items() if key not in ("recording", "fitted_to")}
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="what is served (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=60, help="requests of each load (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the server (default: %(default)s; the client needs the rest)"
    )
    parser.add_argument("--tries", type=int, default=4, help="of a load that others disturbed (default: %(default)s)")
    parser.add_argument("--peers-dir", type=Path, help="where cpu_peers.py --setup-peers made vLLM's environment")
    parser.add_argument("--json", type=writable, default=RESULTS, help="where to store the results")
    return parser.parse_args()


def main() -> None:
    args = arguments()

    from peers import venvs
    from peers.host import describe

    from minieng.hub.resolve import resolve
    from minieng.workload import Workload

    python, absent = venvs.find(args.peers_dir, "vllm") if args.peers_dir else ("", "no --peers-dir")
    process, url = serve(args.model, args.threads)
    folder = Path(tempfile.mkdtemp(prefix="observe-"))
    many = ["--workload", "ladder", "--num-prompts", str(args.requests)]
    try:
        bench = ["bench", "--base-url", url]
        minieng(*bench, *many[:2], "--num-prompts", "8", "--rate", "inf")  # warm up
        minieng(*bench, *many, "--rate", "inf", "--json", str(folder / "most.json"))
        capacity = json.loads((folder / "most.json").read_text())["results"][0]["request_throughput"]
        loads = {}
        for share in SHARES:
            seen, told = folder / f"seen-{share}.json", folder / f"told-{share}.json"

            def look(share=share, seen=seen, told=told) -> dict:
                minieng(*bench, *many, "--rate", f"{share * capacity:.3f}", "--record", str(seen), "--json", str(told))
                return json.loads(told.read_text())["results"][0]

            loads[str(share)] = {"seen": quietly(f"{share} of capacity", look, args.tries)}
        for share in SHARES:
            loads[str(share)] |= replays(folder, share)
        clients: dict = {"absent": absent}
        if not absent:
            trace = folder / "trace.jsonl"
            Workload.preset("ladder", args.requests, rate=0.5 * capacity).to_timed_trace(trace)

            def ours() -> dict:
                minieng(*bench, "--workload", str(trace), "--json", str(folder / "ours.json"))
                return json.loads((folder / "ours.json").read_text())["results"][0]

            def vllms() -> dict:
                return theirs(str(python), url, str(resolve(args.model)), trace, args.model, folder / "theirs.json")

            both = {
                name: quietly(name, client, args.tries) for name, client in (("minieng bench", ours), ("vllm bench serve", vllms))
            }
            kept = (*FIGURES, "completed", "total_output_tokens", "foreign_cpu_share")
            clients = {name: {figure: told[figure] for figure in kept} for name, told in both.items()}
            for figure in FIGURES:
                mine, other = (told[figure] for told in clients.values())
                print(f"{figure:14} minieng bench {mine:8.2f}   vllm bench serve {other:8.2f}   {mine / other - 1:+.1%}")
    finally:
        process.terminate()
        process.wait(60)
    save_json(args.json, {
        "what": "minieng serve seen by minieng bench and by vllm bench serve, and its load replayed on the simulator",
        "command": " ".join(["python", *sys.argv]), "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "transformers")}, "machine": describe(),
        "server": KNOBS, "threads": args.threads, "requests": args.requests,
        "capacity_per_s": capacity, "loads": loads, "clients": clients,
    })  # fmt: skip
    print(f"written: {args.json}")


if __name__ == "__main__":
    main()
