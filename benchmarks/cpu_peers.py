#!/usr/bin/env python
"""minieng and its peers on one CPU: same weights, same requests, same threads, one table, one JSON.

    python benchmarks/cpu_peers.py --setup-peers          # once: environments for vLLM, OpenVINO and llama.cpp
    python benchmarks/cpu_peers.py                        # the main workload with every row, fp32
    python benchmarks/cpu_peers.py --workload long busy   # others: minieng and the other engines take turns
    python benchmarks/cpu_peers.py --dtype bfloat16 --only 'minieng-*' vllm
    python benchmarks/cpu_peers.py --sitting              # all of the README's table, in one sitting
    python benchmarks/cpu_peers.py --table                # that table, from the recorded results

Each peer is a process of its own, pinned to the same CPUs. Loading, compiling and one warm-up are not timed. Those that
take turns are in memory together, but whoever has no turn is stopped. A run that other processes disturbed is discarded
and repeated, and never kept without saying so.
"""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from peers import registry, report, venvs, workload  # noqa: E402
from peers.comparison import Benchmark, say  # noqa: E402
from peers.sheet import BYTES, cache_home  # noqa: E402

from minieng.save import writable  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
# What the README's table and ladder need, with as few runs as are honest: the engines in three rounds on everything, the
# rungs below them on the main workload, transformers' once; then the engines again in bf16.
ENGINES = ("minieng-chunked", "vllm", "openvino")
LADDER = ("transformers-1", "transformers-static-8", "transformers-continuous", "minieng-*", *ENGINES[1:])
SITTING = (
    ["--workload", "main", "--only", *LADDER, "--slow-repeats", "1"],
    ["--workload", "single", "long", "many", "shared-prefix", "busy", "--only", *ENGINES],
    ["--workload", "main", "--dtype", "bfloat16", "--only", *ENGINES, "llama.cpp-*"],
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_peers = Path(os.environ.get("MINIENG_PEERS") or cache_home() / "peers")
    p.add_argument("--dtype", choices=BYTES, default="float32", help="precision of weights and KV (default: float32)")
    p.add_argument("--workload", nargs="+", choices=[*workload.WORKLOADS, "all"], default=["main"], metavar="NAME",
                   help=f"{', '.join(workload.WORKLOADS)}, or all (default: main)")  # fmt: skip
    p.add_argument("--busy-share", type=float, default=0.5, help="share of the CPUs that the burner of busy takes (default: 0.5)")
    p.add_argument("--sitting", action="store_true", help="every recorded figure of the README in one sitting")
    p.add_argument("--table", action="store_true", help="print the README's table from the recorded results, then stop")
    p.add_argument("--references", action="store_true", help="only make the tokens to compare with, and keep them")
    p.add_argument("--only", nargs="+", default=[], metavar="PEER", help="these rows only; names or patterns like 'minieng-*'")
    p.add_argument("--schedulers", default=",".join(registry.SCHEDULERS), help="minieng's, with commas (default: all four)")
    p.add_argument("--packed", action=argparse.BooleanOptionalAction, default=True,
                   help="also transformers with minieng's packed linears (default: yes)")  # fmt: skip
    p.add_argument("--engine", nargs="+", default=[], metavar="KNOB=VALUE", help="further knobs of minieng's LLM")
    p.add_argument("--model-dir", type=Path, help="local model directory (default: minieng's smollm2-135m)")
    p.add_argument("--peers-dir", type=Path, default=default_peers, help=f"environments of vLLM and OpenVINO ({default_peers})")
    p.add_argument("--setup-peers", nargs="?", type=Path, const=default_peers, metavar="DIR",
                   help="make those environments with pip, then stop")  # fmt: skip
    p.add_argument("--pip-args", default="", help="for --setup-peers, such as '--extra-index-url URL' with CPU builds of torch")
    p.add_argument("--threads", type=int, default=2, help="threads and CPUs of every peer (default: 2)")
    p.add_argument("--repeats", type=int, default=3, help="undisturbed runs wanted; the median is reported (default: 3)")
    p.add_argument("--slow-repeats", type=int, help="the same for transformers' rows (default: as --repeats)")
    p.add_argument("--retries", type=int, default=6, help="disturbed runs repeated at most, per peer (default: 6)")
    p.add_argument("--max-foreign", type=float, default=0.05,
                   help="share of the CPUs others may use before a run counts as disturbed (0.05)")  # fmt: skip
    p.add_argument("--wait-quiet", type=float, default=20.0, help="seconds to wait for quiet before a run (default: 20)")
    p.add_argument("--timeout", type=float, default=1800.0, help="seconds that a load or a run may take (default: 1800)")
    p.add_argument("--json", type=writable, metavar="FILE", help="where to, for one workload")
    p.add_argument("--results", type=Path, help="folder of cpu_peers-<dtype>[-<workload>].json (default: benchmarks/results)")
    p.add_argument("--ceilings", action=argparse.BooleanOptionalAction, default=True,
                   help="measure what the CPU does at best, for the bound (default: yes)")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="the tiny model and six short requests, once: does it work?")
    return p


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments, checked; a mistake ends with the usual usage error."""
    p = parser()
    args = p.parse_args(argv)
    args.schedulers = [s.strip() for s in args.schedulers.split(",") if s.strip()]
    if unknown := set(args.schedulers) - set(registry.SCHEDULERS):
        p.error(f"--schedulers: {', '.join(sorted(unknown))}: there are {', '.join(registry.SCHEDULERS)}")
    args.workload = list(workload.WORKLOADS) if "all" in args.workload else list(dict.fromkeys(args.workload))
    args.slow_repeats = args.repeats if args.slow_repeats is None else args.slow_repeats
    if args.json and len(args.workload) > 1:
        p.error(f"--json {args.json}: that is one file, {len(args.workload)} workloads write one each; --results names a folder")
    if not 0 < args.busy_share <= 1:
        p.error(f"--busy-share {args.busy_share}: a share of all the CPUs, above 0 and at most 1")
    lowest = {"threads": 1, "repeats": 1, "slow_repeats": 1, "retries": 0, "max_foreign": 0.0, "wait_quiet": 0.0}
    for name, low in lowest.items():
        if not getattr(args, name) >= low:
            p.error(f"--{name.replace('_', '-')} must be at least {low}")
    try:
        args.engine = dict(knob(text) for text in args.engine)
    except ValueError as error:
        p.error(str(error))
    if args.quick:
        args.repeats, args.slow_repeats, args.retries, args.wait_quiet = 1, 1, min(1, args.retries), 0.0
    args.results = args.results or (Path(tempfile.gettempdir()) / "cpu_peers-quick" if args.quick else RESULTS)
    args.peers_dir = args.peers_dir.expanduser().absolute()
    return args


def knob(text: str) -> tuple[str, object]:
    """``max_num_batched_tokens=1024`` → a name and a Python value; a word that is no literal stays a word."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--engine {text}: write KNOB=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def model_dir(args: argparse.Namespace) -> Path:
    """The one directory that every peer loads."""
    if args.model_dir:
        if not args.model_dir.is_dir():
            raise workload.BadModel(f"--model-dir {args.model_dir}: no such directory")
        return args.model_dir.expanduser().absolute()
    from minieng.model import resolve

    return Path(resolve("tiny" if args.quick else "smollm2-135m"))


def main(argv: list[str] | None = None) -> int:
    """0: done. 1: a peer failed. 2: wrong arguments or no model. 130: interrupted, with no process left behind."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    args.argv = argv
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        if args.setup_peers:
            good = venvs.set_up(args.setup_peers.expanduser().absolute(), shlex.split(args.pip_args), say)
            say(f"now: python benchmarks/cpu_peers.py --peers-dir {args.setup_peers}" if good else "not all could be made")
            return 0 if good else 1
        if args.table:
            made = report.load_reports(args.results, tuple(BYTES), tuple(workload.WORKLOADS))
            print(report.ratios_table(made, registry.OURS))
            return 0
        if args.sitting:
            rest = [word for word in argv if word != "--sitting"]
            return max([main([*rest, *part]) for part in SITTING])
        return Benchmark(args, model_dir(args)).run()
    except (workload.BadModel, ValueError) as error:
        say(f"cpu_peers: {error}")
        return 2
    except KeyboardInterrupt:
        say("cpu_peers: interrupted; no process is left behind, no result was written")
        return 130


if __name__ == "__main__":
    sys.exit(main())
