"""``minieng simulate``: a workload on GPUs that are not here, or a published experiment again.

minieng simulate --model llama-3-8b --gpu A100-80G --replicas 4 --router least --workload azure.csv
--scheduler chunked minieng simulate --paper vllm
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from datetime import date
from typing import cast

from .. import __version__
from ..config import EngineConfig
from ..observe.metrics import Metrics, parse_goodput, table
from ..parallel.router import ROUTERS
from ..save import save_json, writable
from ..workload import FILES, Workload
from ..workload_file import MissingTrace
from .cluster import Cluster
from .cost_model import HOST_SECONDS, StepTimeModel
from .executor import SimExecutor, scripted_requests
from .hardware import GPUS, MODELS
from .papers import PAPERS, rerun
from .papers.table import errors, errors_in_words

HOST_MS = 1e3 * cast(float, HOST_SECONDS["vllm 2025"])
SERVER = {"max_num_seqs": 256, "memory_fraction": 0.9}  # a GPU server's habits, where no flag says otherwise


def simulate_flags(parser: argparse.ArgumentParser) -> None:
    """All flags but the engine's knobs. ``--model`` is one of them: the simulator needs a shape,
    no weights.
    """
    add = parser.add_argument
    add(
        "--paper",
        choices=[*PAPERS, "all"],
        help="run a published experiment again; only --seed and --json go with it",
    )
    add("--model", default="llama-3-8b", help=f"{', '.join(MODELS)} (default: %(default)s)")
    add("--gpu", default="A100-80G", help=f"{', '.join(GPUS)} (default: %(default)s)")
    add("--tensor", type=int, default=1, metavar="N", help="GPUs that split every layer (default: 1)")
    add(
        "--replicas", type=int, default=1, metavar="N", help="copies of all this behind a router (default: 1)"
    )
    add("--router", default="least", choices=ROUTERS, help="which replica takes a request (default: least)")
    text = "milliseconds of each step on the host (default: %(default)s, vLLM of 2025)"
    add("--host-ms", type=float, default=HOST_MS, metavar="MS", help=text)
    text = "microseconds of each step on the host for each request in it (default: %(default)s)"
    add("--host-us-per-request", type=float, default=0.0, metavar="US", help=text)
    add("--workload", default="chat", metavar="NAME|FILE", help="as for bench (default: %(default)s)")
    add(
        "--num-prompts", type=int, metavar="N",
        help="requests (default: 1000 of a named workload, all of a file)",
    )  # fmt: skip
    add("--rate", type=float, metavar="R", help="requests a second (default: its own)")
    add("--burstiness", type=float, metavar="B", help="1 is Poisson, below 1 bursty (default: its own)")
    text = "objectives that a good request meets: ttft, tpot, e2el"
    add("--goodput", nargs="+", default=[], metavar="NAME:MS", help=text)
    add("--json", type=writable, metavar="FILE", help="save everything, under the names of vllm bench serve")
    text = "save every step as a trace that ui.perfetto.dev and chrome://tracing open; of one engine"
    add("--perfetto", type=writable, metavar="FILE", help=text)


def simulate(args: argparse.Namespace) -> int:
    """Tables to stdout, the set-up to stderr. Raises ValueError for bad input; 1 if nothing was completed."""
    if args.paper:
        return _papers(args)
    cluster, workload, goals = cluster_of(args), _workload(args), parse_goodput(args.goodput)
    print(f"{workload}\n{describe(cluster, args)}", file=sys.stderr)
    served = cluster.run(scripted_requests(workload, cluster.engines[0].config.max_model_len))
    steps = [record for engine in cluster.engines for record in engine.trace]
    config, name = cluster.engines[0].config, f"{args.replicas} x {args.gpu}"
    metrics = Metrics.of(
        served, steps, cluster.seconds, config=config, refused=len(cluster.refused), goodput=goals, name=name
    )
    print(table([metrics]))
    if cluster.refused:
        print(f"{len(cluster.refused)} refused, first: {cluster.refused[0][1]}", file=sys.stderr)
    about = {"setup": describe(cluster, args), "workload": str(workload), "engine": config.as_plain()}
    if args.json:
        save_json(args.json, about | metrics.as_dict())
    if args.perfetto:
        cluster.engines[0].trace.to_perfetto(args.perfetto)
    return 0 if served else 1


def cluster_of(args: argparse.Namespace) -> Cluster:
    """The engines that the flags describe. Raises ValueError naming the flag that cannot be."""
    stages = getattr(args, "stages", 1)  # one of the engine's knobs
    for flag, value in {"tensor": args.tensor, "stages": stages, "replicas": args.replicas}.items():
        if value < 1:
            raise ValueError(f"--{flag} {value}: must be at least 1")
    if stages > 1 and args.replicas > 1:
        raise ValueError(
            "--stages and --replicas: choose one of them (replicas of a pipeline are not simulated)"
        )
    if args.perfetto and args.replicas > 1:
        raise ValueError(
            f"--perfetto with --replicas {args.replicas}: the file holds one engine's trace: "
            "leave --replicas out"
        )
    host = args.host_ms / 1e3, args.host_us_per_request / 1e6
    times = StepTimeModel.named(args.model, args.gpu, tensor=args.tensor, stages=stages, host=host)
    names = {f.name for f in dataclasses.fields(EngineConfig)}
    given = {name: value for name, value in vars(args).items() if name in names}
    config = EngineConfig(**{"max_model_len": times.model.max_len} | SERVER | given)
    if stages > 1:
        return Cluster.pipeline(times, config, detail=bool(args.perfetto))
    return Cluster.replicas(args.replicas, times, config, args.router, detail=bool(args.perfetto))


def describe(cluster: Cluster, args: argparse.Namespace) -> str:
    engine = cluster.engines[0]
    gpu = GPUS.get(args.gpu, cast(SimExecutor, engine.executor).model.gpu)
    return (
        f"{args.model} on {args.replicas} x {gpu.name} "
        f"(tensor {args.tensor}, stages {engine.config.stages}; kernel speeds: {gpu.standing}), "
        f"{type(engine.scheduler).__name__}, order {engine.scheduler.order.in_words()}, "
        f"at most {engine.config.max_num_seqs} requests and {engine.kv.num_slots:,} tokens of KV each, "
        f"host {args.host_ms:g} ms a step and {args.host_us_per_request:g} us a request, router {args.router}"
    )


def _workload(args: argparse.Namespace) -> Workload:
    size = 1000 if args.num_prompts is None and not args.workload.endswith(FILES) else args.num_prompts
    return Workload.named(args.workload, size, args.rate, args.burstiness, getattr(args, "seed", 0))


def _papers(args: argparse.Namespace) -> int:
    tables = []
    for paper in PAPERS if args.paper == "all" else [args.paper]:
        try:
            tables.append(rerun(paper, getattr(args, "seed", 0)))
        except MissingTrace as missing:
            if args.paper != "all":
                raise
            print(f"left out: {missing}\n", file=sys.stderr)
            continue
        print(tables[-1], end="\n\n" if args.paper == "all" else "\n", flush=True)
    if args.paper == "all":
        print(errors_in_words(tables))
    if args.json:
        about = {
            "command": f"minieng simulate --paper {args.paper}",
            "version": __version__,
            "date": date.today().isoformat(),
        }
        save_json(
            args.json, about | {"errors": errors(tables), "tables": [each.as_plain() for each in tables]}
        )
    return 0
