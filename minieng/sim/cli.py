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
from ..engine import Engine
from ..observe.metrics import Metrics, parse_goodput, table
from ..parallel.router import ROUTERS
from ..save import save_json, writable
from ..workload import FILES, Workload
from ..workload_file import MissingTrace
from .apart import KV_LINK, Apart
from .cluster import Cluster
from .cost_model import HOST_SECONDS, StepTimeModel
from .executor import SimExecutor, scripted_requests
from .hardware import GPUS, MODELS, find_gpu
from .papers import PAPERS, rerun
from .papers.table import errors, errors_in_words

HOST_MS = 1e3 * cast(float, HOST_SECONDS["vllm 2025"])
MOST_REPLICAS = 1000
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
    add("--fleet", metavar="N1xGPU1,…", help="replicas on different GPUs, such as 2xH100,L4, for --gpu")
    text = "replicas that compute prompts only; those of --replicas or --fleet then only make the rest"
    add("--prefill", type=int, default=0, metavar="N", help=text)
    text = "gigabytes of KV a second that a prefill replica sends (default: %(default)s, 400 Gbit/s)"
    add("--kv-link-gb", type=float, default=KV_LINK / 1e9, metavar="GB", help=text)
    text = "let a replica die: its number, from 0 on, and when, in seconds; its requests go on elsewhere"
    add("--fail", nargs="+", default=[], metavar="REPLICA:S", help=text)
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
    config, name = cluster.engines[0].config, hardware_of(cluster)
    metrics = Metrics.of(
        served, steps, cluster.seconds, config=config, refused=len(cluster.refused), goodput=goals, name=name
    )
    print(table([metrics]))
    if cluster.resumed:
        print(f"{cluster.resumed} requests went on elsewhere when their replica died", file=sys.stderr)
    if isinstance(cluster, Apart):
        print(", ".join(f"{what} {value:.1f}" for what, value in cluster.facts().items()), file=sys.stderr)
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
    gpus = gpus_of(args.fleet) if args.fleet else [args.gpu] * args.replicas
    if stages > 1 and (len(gpus) > 1 or args.prefill):
        raise ValueError(
            "--stages and --replicas: choose one of them (replicas of a pipeline are not simulated)"
        )
    if args.perfetto and args.replicas > 1:
        raise ValueError(
            f"--perfetto with --replicas {args.replicas}: the file holds one engine's trace: "
            "leave --replicas out"
        )
    host = args.host_ms / 1e3, args.host_us_per_request / 1e6
    times = StepTimeModel.named(args.model, gpus[0], tensor=args.tensor, stages=stages, host=host)
    names = {f.name for f in dataclasses.fields(EngineConfig)}
    given = {name: value for name, value in vars(args).items() if name in names}
    config = EngineConfig(**{"max_model_len": times.model.max_len} | SERVER | given)
    if stages > 1:
        return Cluster.pipeline(times, config, detail=bool(args.perfetto))
    fleet = [times.on(gpu) for gpu in gpus]
    cluster = apart_of(args, fleet, config) if args.prefill else Cluster.fleet(fleet, config, args.router)
    for replica, when in map(failure_of, args.fail):
        cluster.fail(replica, when)
    return cluster


def apart_of(args: argparse.Namespace, fleet: list[StepTimeModel], config: EngineConfig) -> Apart:
    if args.prefill < 0:
        raise ValueError(f"--prefill {args.prefill}: must be at least 0")
    return Apart.of([fleet[0]] * args.prefill, fleet, config, args.router, link=args.kv_link_gb * 1e9)


def gpus_of(fleet: str) -> list[str]:
    """The GPU of each replica: of "2xH100,L4" three. Raises ValueError for a part that is none."""
    gpus: list[str] = []
    for part in fleet.split(","):
        count, times, name = part.partition("x")
        if not times or not count.isdigit():
            count, name = "1", part
        if not name or not 1 <= int(count) <= MOST_REPLICAS:
            raise ValueError(
                f"--fleet {fleet}: {part!r} is no GPU, and no number (1 to {MOST_REPLICAS}) x GPU"
            )
        gpus += [find_gpu(name).name] * int(count)
    return gpus


def failure_of(text: str) -> tuple[int, float]:
    """Which replica, and when."""
    replica, _, when = text.partition(":")
    try:
        return int(replica), float(when)
    except ValueError:
        raise ValueError(f"--fail {text}: write the replica's number, a colon, and seconds: 1:30") from None


def describe(cluster: Cluster, args: argparse.Namespace) -> str:
    engine = cluster.engines[0]
    gpus = [model_of(each).gpu for each in cluster.engines]
    standing = "measured" if all(gpu.standing == "measured" for gpu in gpus) else "guess"
    return (
        f"{args.model} on {hardware_of(cluster)} "
        f"(tensor {args.tensor}, stages {engine.config.stages}; kernel speeds: {standing}), "
        f"{type(engine.scheduler).__name__}, order {engine.scheduler.order.in_words()}, "
        f"at most {engine.config.max_num_seqs} requests and {engine.kv.num_slots:,} tokens of KV each, "
        f"host {args.host_ms:g} ms a step and {args.host_us_per_request:g} us a request, router {args.router}"
    )


def model_of(engine: Engine) -> StepTimeModel:
    return cast(SimExecutor, engine.executor).model


def hardware_of(cluster: Cluster) -> str:
    """Such as "2 x H100 + 1 x L4"; with prefill apart "1 x H100 prefill, 2 x H100 decode"."""

    def counted(engines: list[Engine]) -> str:
        gpus = [model_of(engine).gpu.name for engine in engines]
        return " + ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus))

    if not isinstance(cluster, Apart):
        return counted(cluster.engines)
    sides = {"prefill": [], "decode": []}  # type: dict[str, list[Engine]]
    for i, engine in enumerate(cluster.engines):
        sides["decode" if i in cluster.decodes else "prefill"].append(engine)
    return ", ".join(f"{counted(engines)} {side}" for side, engines in sides.items())


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
