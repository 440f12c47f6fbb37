#!/usr/bin/env python
"""The grid of batch size and wait window: one fixed prompt, 32 new tokens, Poisson arrivals, every step really computed.

    python benchmarks/batching_grid.py                 # 9 cells, about three minutes on two cores
    python benchmarks/batching_grid.py --rate 2        # another load
    python benchmarks/batching_grid.py --resume        # only what is missing or was disturbed
    python benchmarks/batching_grid.py --quick         # the tiny model, seconds: does it work?

Each cell runs the dynamic scheduler on the same arrivals. Waiting costs nothing: the clock jumps over idle time and moves
by the measured time of each step. Beside each cell stands what a model of this machine expects, fitted to full batches
only: for the same few arrivals, and for many, since a P95 of twenty requests says little.

A cell that other programs disturbed is repeated, and marked if it stays disturbed: do not quote it then. The result is
stored after each cell, so that --resume can go on on a machine that is seldom quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from peers import host, protocol  # noqa: E402

from minieng.save import writable  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "batching_grid.json"
PROMPT = "The old sailor looked at the sea and said"
SEED = 4


# -- arguments -----------------------------------------------------------------------------------------------------


def numbers(kind: type) -> Any:
    """ "1,4,8" → [1, 4, 8]."""

    def read(text: str) -> list:
        values = [kind(part) for part in text.split(",")]
        if not values or min(values) < (1 if kind is int else 0):
            raise argparse.ArgumentTypeError(f"{text}: numbers with commas, sizes from 1 and windows from 0 on")
        return values

    return read


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments, checked; a mistake ends with the usual usage error."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m", help="short name, repo id or directory (default: smollm2-135m)")
    p.add_argument("--sizes", type=numbers(int), default=[1, 4, 8], help="batch sizes (default: 1,4,8)")
    p.add_argument("--windows", type=numbers(float), default=[0, 10, 50], help="wait windows in milliseconds (default: 0,10,50)")
    p.add_argument("--rate", type=float, default=0.8, help="Poisson arrivals, requests a second (default: 0.8)")
    p.add_argument("--requests", type=int, default=20, help="requests a cell, really computed (default: 20)")
    p.add_argument("--expected", type=int, default=1000, help="requests a cell on the fitted model (default: 1000)")
    p.add_argument("--new-tokens", type=int, default=32, help="tokens that each request makes (default: 32)")
    p.add_argument("--prompt", default=PROMPT, help="the prompt of all requests")
    p.add_argument("--max-foreign", type=float, default=0.05, help="share of the CPUs others may use in a cell (default: 0.05)")
    p.add_argument("--wait-quiet", type=float, default=10.0, help="seconds to wait for quiet before a cell (default: 10)")
    p.add_argument("--retries", type=int, default=1, help="times that a disturbed cell is repeated (default: 1)")
    p.add_argument("--resume", action="store_true", help="keep the undisturbed cells of a result with the same settings")
    p.add_argument("--json", type=writable, metavar="FILE", help=f"where the result goes (default: {RESULTS})")
    p.add_argument("--quick", action="store_true", help="tiny model, six requests a cell, result in the temporary folder")
    args = p.parse_args(argv)
    for name, low in (
        ("rate", 1e-6),
        ("requests", 1),
        ("expected", 1),
        ("new_tokens", 2),
        ("max_foreign", 0),
        ("wait_quiet", 0),
        ("retries", 0),
    ):
        if not getattr(args, name) >= low:
            p.error(f"--{name.replace('_', '-')} must be at least {low}")
    if args.quick:
        args.model, args.requests, args.expected, args.rate, args.retries, args.wait_quiet = "tiny", 6, 60, 10.0, 0, 0.0
    args.json = args.json or (Path(tempfile.gettempdir()) / "batching_grid-quick.json" if args.quick else RESULTS)
    return args


# -- what runs -----------------------------------------------------------------------------------------------------


class Grid:
    """One engine for each batch size, and the arrivals that every cell gets."""

    def __init__(self, args: argparse.Namespace) -> None:
        from minieng import LLM

        self.args, self.engines, self.watch = args, {}, host.Watch(None)
        self.knobs = dict(scheduler="dynamic", enable_prefix_caching=False, num_blocks=256, max_num_seqs=max(32, *args.sizes))
        for size in args.sizes:
            self.engines[size] = LLM(args.model, batch_size=size, dtype="float32", **self.knobs)
        llm = self.engines[args.sizes[0]]
        self.loaded, self.longest = llm.runner.model, llm.max_model_len
        self.prompt = llm.tokenizer(args.prompt)["input_ids"]

    def arrivals(self, count: int) -> list[float]:
        """Poisson arrivals in seconds, the same for every cell."""
        from minieng.workload import Workload, fixed

        return [job.arrival_s for job in Workload.synthetic(count, fixed(1), fixed(1), rate=self.args.rate, seed=SEED)]

    def requests(self, times: list[float]) -> list:
        from minieng import Request, SamplingParams

        limit = SamplingParams(max_tokens=self.args.new_tokens, ignore_eos=True)
        return [Request(str(i), self.prompt, limit, arrival_time=t) for i, t in enumerate(times)]

    def real(self, size: int, window: float, times: list[float]) -> Any:
        """A report of one cell; every step is computed. window in seconds."""
        from minieng.bench import serve

        engine = self.engines[size].engine
        engine.config.wait_window = window
        return serve(engine, self.requests(times), self.longest, virtual=True)

    def expected(self, model: Any, size: int, window: float, times: list[float]) -> Any:
        """A report of one cell on the fitted model."""
        from minieng.bench import serve
        from minieng.config import EngineConfig
        from minieng.observe.trace import Trace
        from minieng.sim.simulated import engine_of

        config = EngineConfig(batch_size=size, wait_window=window, **self.knobs)
        return serve(engine_of(model, config, Trace(detail=False)), self.requests(times), self.longest)


def figures(report: Any) -> dict[str, float]:
    """What is kept of a cell. busy: share of time in which the machine computes; seats: share of rows filled then."""
    metrics = report.metrics
    return {
        "mean_ms": round(metrics.mean_e2el_ms, 1),
        "p95_ms": round(metrics.p95_e2el_ms, 1),
        "requests_per_s": round(metrics.request_throughput, 4),
        "tokens_per_s": round(metrics.output_throughput, 2),
        "busy": round(sum(step.duration for step in report.trace) / metrics.duration, 4),
        "seats": round(1 - metrics.idle_seats, 4),
    }


def undisturbed(grid: Grid, size: int, window: float, times: list[float]) -> tuple[Any, host.Load]:
    """A report and who else used the CPUs: the least disturbed of up to ``retries`` + 1 runs."""
    best = None
    for _ in range(grid.args.retries + 1):
        if grid.args.wait_quiet:
            grid.watch.wait_until_quiet(grid.args.max_foreign, grid.args.wait_quiet)
        grid.watch.lap()
        report = grid.real(size, window, times)
        load = grid.watch.lap()
        if best is None or load.foreign < best[1].foreign:
            best = report, load
        if load.foreign <= grid.args.max_foreign:
            break
    return best


def disturbance(load: host.Load, limit: float) -> dict:
    """How much of the CPUs others used, and whether that is too much to quote the figures."""
    share = round(load.foreign, 4)
    return {"others_cpu_share": share, "disturbed": share > limit, "wall_s": round(load.wall_s, 1)}


def full_batches(grid: Grid) -> tuple[list[dict], list]:
    """Warm-up, then a full batch of each size: what the machine could serve at most, and the steps."""
    rows, steps = [], []
    for size in grid.args.sizes:
        grid.real(size, 0.0, [0.0] * size)
        report, load = undisturbed(grid, size, 0.0, [0.0] * size)
        steps += list(report.trace)
        seconds = report.metrics.duration
        rows.append({"batch_size": size, "seconds": round(seconds, 4), "requests_per_s": round(size / seconds, 3)})
        rows[-1] |= disturbance(load, grid.args.max_foreign)
        say(f"full batch of {size}: {seconds:.3f} s, at most {size / seconds:.2f} requests/s, others {load.foreign:.0%}")
    return rows, steps


def measured_cell(grid: Grid, size: int, window_ms: float) -> dict:
    """One cell of the grid, really computed."""
    report, load = undisturbed(grid, size, window_ms / 1e3, grid.arrivals(grid.args.requests))
    cell = {"batch_size": size, "window_ms": window_ms, "date": now(), "measured": figures(report)}
    cell |= disturbance(load, grid.args.max_foreign)
    m = cell["measured"]
    say(f"batch {size}, window {window_ms:g} ms: mean {m['mean_ms']:.0f} ms, P95 {m['p95_ms']:.0f} ms, others {load.foreign:.0%}")
    return cell


def kept_cells(args: argparse.Namespace, report: dict) -> dict[tuple, dict]:
    """The undisturbed cells of the stored result, if it was made with the same settings on the same machine."""
    if not args.resume or not args.json.exists():
        return {}
    old = json.loads(args.json.read_text())
    if any(old.get(key) != report[key] for key in ("model", "settings", "device", "OMP_NUM_THREADS")):
        say("the stored result was made with other settings: all cells are measured anew")
        return {}
    return {(cell["batch_size"], cell["window_ms"]): cell for cell in old["cells"] if not cell["disturbed"]}


def measure(args: argparse.Namespace, report: dict, grid: Grid) -> Any:
    """Fill the report cell by cell, storing it after each; returns the fit."""
    report["full_batches"], steps = full_batches(grid)
    kept, report["cells"] = kept_cells(args, report), []
    for pair in progress([(size, window) for size in args.sizes for window in args.windows], "measured"):
        report["cells"].append(kept[pair] if pair in kept else measured_cell(grid, *pair))
        store(args.json, report | {"cells": report["cells"] + [c for p, c in kept.items() if c not in report["cells"]]})
    return fill_in_expected(grid, report["cells"], steps)


def fill_in_expected(grid: Grid, cells: list[dict], steps: list) -> Any:
    """Fit the machine to the steps of the full batches; set the expected figures beside the measured ones."""
    from minieng.sim.fit import fit_report
    from minieng.sim.hardware import ModelSpec

    fitted = fit_report(steps, ModelSpec.of_model(grid.loaded, grid.args.model))
    few, many = grid.arrivals(grid.args.requests), grid.arrivals(grid.args.expected)
    for cell in progress(cells, "expected"):
        size, window = cell["batch_size"], cell["window_ms"] / 1e3
        cell["expected"] = figures(grid.expected(fitted.model, size, window, few))
        cell["expected_many"] = figures(grid.expected(fitted.model, size, window, many))
        cell["error_of_mean"] = round(cell["expected"]["mean_ms"] / cell["measured"]["mean_ms"] - 1, 4)
    return fitted


# -- what is told --------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def store(path: Path, report: dict) -> None:
    """Written beside and then moved, so that an interruption leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(report, indent=1) + "\n")
    beside.replace(path)


def progress(items: list, what: str) -> Any:
    from tqdm import tqdm

    return tqdm(items, desc=what, unit="cell", disable=not sys.stderr.isatty())


def table(report: dict) -> str:
    """Measured beside expected, a line a cell."""
    few, many = report["settings"]["requests"], report["settings"]["expected"]
    lines = [
        f"{'':14}{f'measured, {few} requests':^44}{'expected, the same':^22}{f'expected, {many} requests':^26}others'",
        "batch  window   mean ms  P95 ms  req/s  tok/s  busy  seats   mean ms  P95 ms  error   mean ms  P95 ms  busy    CPU",
    ]
    for cell in report["cells"]:
        m, e, x = cell["measured"], cell["expected"], cell["expected_many"]
        lines.append(
            f"{cell['batch_size']:5}{cell['window_ms']:5.0f} ms{m['mean_ms']:10.0f}{m['p95_ms']:8.0f}{m['requests_per_s']:7.2f}"
            f"{m['tokens_per_s']:7.1f}{m['busy']:6.0%}{m['seats']:7.0%}{e['mean_ms']:10.0f}{e['p95_ms']:8.0f}"
            f"{cell['error_of_mean']:+7.0%}{x['mean_ms']:10.0f}{x['p95_ms']:8.0f}{x['busy']:6.0%}"
            f"{cell['others_cpu_share']:7.0%}{' DISTURBED' if cell['disturbed'] else ''}"
        )
    return "\n".join(lines)


def head(args: argparse.Namespace, argv: list[str], grid: Grid) -> dict:
    """Who, where, when and how: enough to run it again."""
    import torch

    settings = {name: getattr(args, name) for name in ("rate", "requests", "expected", "new_tokens", "prompt", "max_foreign")}
    return {
        "schema": 1,
        "what": "dynamic batching: batch size x wait window, fixed prompt, Poisson arrivals, virtual clock, real steps",
        "complete": False,
        "date": now(),
        "command": " ".join(["python", "benchmarks/batching_grid.py", *argv]),
        "device": host.describe(),
        "versions": protocol.versions(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "torch_threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
        "model": args.model,
        "settings": {
            **settings,
            "prompt_tokens": len(grid.prompt),
            "arrival_seed": SEED,
            "dtype": "float32",
            "arrivals": "Poisson",
        },
    }


def main(argv: list[str] | None = None) -> int:
    """0: done. 1: done, but a cell was disturbed. 2: wrong arguments or no model. 130: interrupted."""
    args = parse(argv)
    try:
        grid = Grid(args)
    except (ValueError, OSError) as error:
        say(f"batching_grid: {error}")
        return 2
    report = head(args, sys.argv[1:] if argv is None else argv, grid)
    try:
        fitted = measure(args, report, grid)
    except KeyboardInterrupt:
        say("batching_grid: interrupted; go on with --resume")
        return 130
    store(args.json, report | {"complete": True, "fit": str(fitted).split("\n")})
    print(fitted)
    print(table(report))
    print(f"stored in {args.json}")
    return 1 if any(cell["disturbed"] for cell in report["cells"]) else 0


if __name__ == "__main__":
    sys.exit(main())
