"""Token-budget-aware pool routing (arXiv 2604.09613): what a pool of their own for short requests saves.

    savings = α·(1 − 1/ρ)     α: share of requests that are short; ρ: requests a second of a replica of the
                              short pool, over those of a replica that is ready for the longest text

The formula is checked twice on a real trace: with a replica that keeps room for the longest text for each
request that it lets in, as the paper has it, and with one that pages its KV and lets in whoever fits.
"""

from __future__ import annotations

from typing import NamedTuple

from ...config import EngineConfig
from ...job import Job
from ...workload import Workload
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_requests
from .measure import serve
from .table import Row, Table

ROWS = 2_000  # of the trace: those that come with this package
LONGEST, BORDER = (
    65_536,
    2_048,
)  # tokens of the longest text: of every replica without pools, of the short pool
GPUS = 8  # of a replica
SEATS = 256  # most requests at once
ALL_SHORT = {2_048: 80, 8_192: 92}  # % of requests that fit into so many tokens: the paper's section 1.1
MIX = (
    "that is of all of the Azure traces, code with its long prompts too; this is the conversation trace alone"
)
LONG_ONES = (
    "the formula takes the long pool to be as fast as the mixed one, but it has the long requests alone"
)
PAGED = (
    "with paging nobody's seat depends on the longest text there may be, so two pools do the work of one; "
    "the formula credits them with the short requests' speed and does not see what the long ones lose"
)


class Pools(NamedTuple):
    """Requests a second of one replica that is given everybody, the short ones, or the long ones, with all
    of them at hand.
    """

    mixed: float
    short: float
    long: float

    @property
    def gain(self) -> float:
        """ρ"""
        return self.short / self.mixed

    def predicted(self, alpha: float) -> float:
        """Share of replicas that are saved, by the formula."""
        return alpha * (1 - 1 / self.gain)

    def saved(self, alpha: float) -> float:
        """Share that is saved, counted: each pool as large as its own requests need it."""
        return 1 - self.mixed * (alpha / self.short + (1 - alpha) / self.long)


def run(seed: int) -> Table:
    """Nothing is drawn, so the seed changes nothing."""
    trace = [*Workload.preset("azure_conv", ROWS)]
    table = Table(
        "Token-Budget-Aware Pool Routing for Cost-Efficient LLM Inference (arXiv 2604.09613, March 2026)",
        f"Llama-3-70B on A100-80G; the first {ROWS:,} requests of Azure's conversation trace of 2023; "
        f"without pools every replica is ready for {LONGEST:,} tokens, the short pool for {BORDER:,}; every "
        "figure is the throughput of one replica with all its requests at hand",
        {
            "a replica": f"{GPUS} GPUs, tensor parallel (not known to us: the weights fit on two)",
            "saved": "share of the replicas; seats: each has room for the longest text; paged: whoever fits",
            "seats of a replica": f"as many as its KV holds texts of the longest kind, {SEATS} at most",
            "step": "chunked, 2,048 tokens; host 1 ms (vLLM of 2025)",
            "what a request will need": "is known; theirs is foretold from bytes, and corrects itself",
        },
        [
            "queues, and promises to keep: throughput alone is compared",
            "LMSYS-Chat-1M, which was not at hand",
        ],
    )
    for border, percent in ALL_SHORT.items():
        table.rows.append(
            Row(f"requests of up to {border:,} tokens, %", percent, 100 * share_short(trace, border), why=MIX)
        )
    alpha = share_short(trace, BORDER)
    for name, paged in (("seats", False), ("paged", True)):
        pools = throughputs(trace, paged)
        table.rows.append(Row(f"{name}: ρ, short pool over mixed", None, pools.gain, counts=False))
        table.rows.append(
            Row(
                f"{name}: saved by the formula, % (17 to 39)", None if paged else 39,
                100 * pools.predicted(alpha), 17, 39, not paged, counts=False, why=HARDWARE,
            )
        )  # fmt: skip
        counted, predicted = pools.saved(alpha), pools.predicted(alpha)
        table.rows.append(Row(f"{name}: saved, counted, %", None, 100 * counted, counts=False))
        why = PAGED if paged else LONG_ONES
        table.rows.append(Row(f"{name}: counted over formula", 1, counted / predicted, why=why, counts=False))
    return table


HARDWARE = (
    "ρ hangs on how many texts of the longest kind fit into a replica, and theirs is not known to us; the "
    "published range is of two data sets"
)


def share_short(trace: list[Job], border: int) -> float:
    return sum(short(job, border) for job in trace) / len(trace)


def short(job: Job, border: int = BORDER) -> bool:
    return job.prompt_tokens + job.output_tokens <= border


def throughputs(trace: list[Job], paged: bool) -> Pools:
    """paged: whoever fits is let in; else so many as texts of the longest kind would fit."""
    few, many = ([job for job in trace if short(job) == is_short] for is_short in (True, False))
    return Pools(speed(trace, LONGEST, paged), speed(few, BORDER, paged), speed(many, LONGEST, paged))


def speed(jobs: list[Job], longest: int, paged: bool) -> float:
    """Requests a second of one replica that has all its work at hand."""
    times = StepTimeModel.named("llama-3-70b", "A100-80G", tensor=GPUS, host=HOST_SECONDS["vllm 2025"])
    slots = times.num_blocks(16) * 16
    config = EngineConfig(
        scheduler="chunked", max_num_seqs=SEATS if paged else min(SEATS, slots // longest),
        max_num_batched_tokens=2048, enable_prefix_caching=False, memory_fraction=0.9,
    )  # fmt: skip
    at_once = [job._replace(arrival_s=0.0) for job in sorted(jobs, key=lambda job: job.arrival_s)]
    cluster, served = serve(times, config, scripted_requests(at_once))
    return len(served) / cluster.seconds
