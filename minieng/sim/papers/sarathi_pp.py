"""SARATHI (2308.16369), its GPT-3 simulation: pipeline bubbles with whole prompts and with chunks."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from ...config import EngineConfig
from ...request import Request
from ..cluster import Cluster
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import PipelineExecutor, scripted_request
from .table import Row, Table

REQUESTS = 1200
STAGES, TENSOR = 8, 8
SHORT, LONG, ZIPF, RATIO = 1024, 4096, 0.4, 10  # lengths of whole texts, exponent, prompt : output
COMMON: dict[str, Any] = {"enable_prefix_caching": False, "memory_fraction": 0.95}
ORCA = dict(scheduler="continuous", mixed=True, max_prefill_tokens=LONG)
SARATHI = dict(scheduler="chunked", max_num_batched_tokens=256)
PIPELINE_BATCH, REPLICA_BATCH = 27, 11  # requests in a batch, as published


def run(seed: int) -> Table:
    table = Table(
        "SARATHI: Efficient LLM Inference by Piggybacking Decodes with Chunked Prefills (2023), section 5.3",
        f"GPT-3 175B on 64 A100-80G: 8 (tensor) x 8 (pipeline) with batches of {PIPELINE_BATCH}, or 8 "
        f"replicas of 8 (tensor) with batches of {REPLICA_BATCH}; texts of 1K to 4K tokens, Zipf {ZIPF}, "
        f"prompt : output {RATIO} : 1, all at once; chunks of 256. Ratios of the time until all are done",
        {
            "host time": "0 (the paper simulates too, from profiles of kernels)",
            "requests": f"{REQUESTS:,} with one seed (the paper: 10,000)",
            "orca": "each batch takes whole prompts, up to 4,096 tokens a step, beside its decodes",
            "memory": "0.95 of each GPU, less weights and 1 GB",
        },
        [
            "InfiniBand: a hop between stages is charged like NVLink, with 10 us",
            "bubble per request (its definition decides the figure)",
        ],
    )
    requests = [lengths(seed)] * 3
    orca = Cluster.pipeline(times(STAGES), config(PIPELINE_BATCH, ORCA), batch_share=False)
    chunked = Cluster.pipeline(times(STAGES), config(PIPELINE_BATCH, SARATHI), batch_share=False)
    replicas = Cluster.replicas(8, times(1), config(REPLICA_BATCH, ORCA))
    done = [finish(cluster, made) for cluster, made in zip((orca, chunked, replicas), requests, strict=True)]
    why = (
        "a whole prompt keeps a stage about six times as long as a batch of decodes, and all other batches "
        "queue behind it: with prompts spread evenly over time a stage is busy for a third of it. The "
        "paper's schedule or its profiles lose less"
    )
    table.rows += [
        Row(
            "pipeline, Orca over SARATHI",
            1.91,
            done[0] / done[1],
            1.3,
            2.2,
            absolute=True,
            why=why,
            counts=False,
        ),
        Row(
            "8 replicas over pipeline with SARATHI",
            1.48,
            done[2] / done[1],
            0.85,
            1.15,
            why=why,
            counts=False,
        ),
        Row(
            "pipeline, Orca over 8 replicas",
            1.28,
            done[0] / done[2],
            0.85,
            1.15,
            why="follows from the two rows",
            counts=False,
        ),
        Row("stages busy, Orca, share", None, busy(orca)),
        Row("stages busy, SARATHI, share", None, busy(chunked)),
    ]
    return table


def times(stages: int) -> StepTimeModel:
    host = HOST_SECONDS["cuda graphs, asynchronous"]
    return StepTimeModel.named("gpt3-175b", "A100-80G", tensor=TENSOR, stages=stages, host=host)


def config(batch: int, knobs: dict) -> EngineConfig:
    return EngineConfig(max_num_seqs=batch, **COMMON, **knobs)


def lengths(seed: int) -> list[tuple[int, int]]:
    """(prompt, output) tokens: whole texts with P(length) proportional to rank^-0.4, shortest first."""
    whole = range(SHORT, LONG + 1)
    texts = Random(seed).choices(whole, [rank**-ZIPF for rank in range(1, len(whole) + 1)], k=REQUESTS)
    return [(n - n // (RATIO + 1), n // (RATIO + 1)) for n in texts]


def finish(cluster: Cluster, pairs: list[tuple[int, int]]) -> float:
    """Seconds until the last request is done."""
    requests: list[Request] = [
        scripted_request(i, prompt, output) for i, (prompt, output) in enumerate(pairs)
    ]
    cluster.run(requests)
    return cluster.seconds


def busy(cluster: Cluster) -> float:
    """Share of the time in which a stage works, mean over stages."""
    executors = [cast(PipelineExecutor, engine.executor) for engine in cluster.engines]
    return sum(executor.busy for executor in executors) / (STAGES * cluster.seconds)
