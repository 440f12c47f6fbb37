"""Sarathi-Serve, OSDI 2024: how many requests a second fit under a limit on the gaps between tokens."""

from __future__ import annotations

from typing import NamedTuple

from ...config import EngineConfig
from ...observe.capacity import highest_rate
from ...workload import Workload, lognormal
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_requests
from .measure import queueing, serve, tail_gap
from .table import Row, Table

QUEUEING = 2.0  # seconds: the median wait for the first step may not be longer
REQUESTS = 400
LIMITS = {"strict": 0.1, "relaxed": 0.5}  # seconds: P99 of the gaps; 5 and 25 times a decode step
BUDGET = {"strict": 512, "relaxed": 2048}  # Sarathi-Serve's tokens a step


class Data(NamedTuple):
    """Log-normal lengths from medians and 90th percentiles (table 2); ``longest``:
    prompt and output together.
    """

    prompt: tuple[float, float]  # median, sigma
    output: tuple[float, float]
    longest: int


DATA = {
    "openchat": Data((1730, 0.93), (415, 0.545), 8192),
    "arxiv": Data((7059, 0.476), (208, 0.45), 16384),
}
PUBLISHED = {
    ("openchat", "strict"): 3.5,
    ("openchat", "relaxed"): 2.15,
    ("arxiv", "strict"): 1.82,
    ("arxiv", "relaxed"): 1.97,
}
REASONS = {
    (
        "openchat",
        "relaxed",
    ): "with gaps of 0.5 s allowed, only several prompts in one step break the limit: vLLM comes nearer "
    "to what throughput allows, which chunks do not raise. What else held back vLLM of early 2024 is not in "
    "this model",
}


def run(seed: int) -> Table:
    table = Table(
        "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve (OSDI 2024), Mistral-7B",
        "Mistral-7B, one A100-80G, at most 128 requests at once, Poisson; highest rate with P99 of the gaps "
        "between tokens at "
        "most 0.1 s (strict) or 0.5 s (relaxed) and a median wait of at most 2 s; vLLM: whole prompts first; "
        "Sarathi: budget "
        "512 (strict) or 2048 (relaxed)",
        {
            "lengths": "log-normal with the published medians, sigma .93/.545 (openchat), .476/.45 (arxiv; "
            "from the 90th percentiles)",
            "host time": "2 ms a step and 82 us a request (vLLM of mid-2024), both systems",
            "requests": f"{REQUESTS} a run, one seed; rates by bisection",
            "vLLM's prompt budget": "8,192 (openchat) and 16,384 (arxiv) tokens a step: the longest text, "
            "its default then",
        },
        ["the sliding window of Mistral-7B", "memory for logits and activations beyond 1 GB"],
    )
    for (data, limit), published in PUBLISHED.items():
        vllm, sarathi = capacity(data, limit, "continuous", seed), capacity(data, limit, "chunked", seed)
        band = (
            dict(low=2, high=4, absolute=True)
            if (data, limit) == ("openchat", "strict")
            else dict(low=0.75, high=1.25)
        )
        table.rows.append(Row(f"{data}, {limit}: vLLM requests/s", None, vllm))
        table.rows.append(Row(f"{data}, {limit}: Sarathi requests/s", None, sarathi))
        table.rows.append(
            Row(
                f"{data}, {limit}: Sarathi over vLLM",
                published,
                sarathi / vllm,
                **band,
                why=REASONS.get((data, limit), ""),
                counts=False,
            )
        )
    return table


def workload(data: Data, rate: float, seed: int) -> Workload:
    """Jobs whose whole text is no longer than ``data.longest``; longer ones are left out, as in the paper."""
    (prompt, prompt_sigma), (output, output_sigma) = data.prompt, data.output
    lengths = (
        lognormal(prompt * 2.718281828 ** (prompt_sigma**2 / 2), prompt_sigma),
        lognormal(output * 2.718281828 ** (output_sigma**2 / 2), output_sigma),
    )
    jobs = Workload.synthetic(2 * REQUESTS, *lengths, rate=rate, seed=seed)
    fitting = [job for job in jobs if job.prompt_tokens + job.output_tokens <= data.longest][:REQUESTS]
    return Workload("kept", tuple(fitting)).scaled(rate)


def capacity(data: str, limit: str, scheduler: str, seed: int) -> float:
    """Highest rate in requests/s at which both limits hold."""
    times = StepTimeModel.named("mistral-7b", "A100-80G", host=HOST_SECONDS["vllm 2024"])
    longest = DATA[data].longest
    config = EngineConfig(
        scheduler=scheduler, max_num_seqs=128, max_prefill_tokens=longest,
        max_num_batched_tokens=BUDGET[limit], enable_prefix_caching=False, memory_fraction=0.9,
    )  # fmt: skip

    def holds(rate: float) -> bool:
        _, served = serve(times, config, scripted_requests(workload(DATA[data], rate, seed)))
        return queueing(served) <= QUEUEING and tail_gap(served) <= LIMITS[limit]

    return highest_rate(holds, 0.3, 6.0, rounds=6)
