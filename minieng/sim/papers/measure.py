"""What the papers measured: averages over a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from ...config import EngineConfig
from ...observe.latency import e2el, percentile, samples
from ...request import Request
from ..cluster import Cluster
from ..cost_model import StepTimeModel


def serve(
    times: StepTimeModel,
    config: EngineConfig,
    requests: Iterable[Request],
    replicas: int = 1,
    pipelined: bool = False,
) -> tuple[Cluster, list[Request]]:
    """Run requests on replicas; ``pipelined`` keeps a batch in flight for each stage."""
    cluster = Cluster.pipeline(times, config) if pipelined else Cluster.replicas(replicas, times, config)
    return cluster, cluster.run(requests)


def average(cluster: Cluster, value: Callable, until: float) -> float:
    """Mean over time of ``value(record)``, over the steps that began before ``until``."""
    steps = [r for engine in cluster.engines for r in engine.trace if r.start < until]
    return sum(value(r) * r.duration for r in steps) / sum(r.duration for r in steps)


def normalized_latency(requests: list[Request]) -> float:
    """Median of end-to-end seconds for each output token (Orca's measure)."""
    return median(e2el(r) / r.num_output_tokens for r in requests)


def tail_gap(requests: list[Request], percent: float = 99) -> float:
    """Percentile of all gaps between the tokens of a request, pooled (Sarathi's TBT, vLLM's ITL)."""
    return percentile(sorted(samples(requests, "itl")), percent)


def queueing(requests: list[Request]) -> float:
    """Median seconds from arrival to the first step."""
    return median(r.admitted_time - r.arrival_time for r in requests if r.admitted_time is not None)
