"""A watermark against preemptions: the table of vLLM's pull request 44594, June 2026."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import NamedTuple

from ...config import EngineConfig
from ...observe.latency import e2el, percentile, ttft
from ...request import Request
from ..cluster import lean
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_request
from ..simulated import engine_of
from .measure import tail_gap
from .table import Row, Table

REQUESTS, CLIENTS = 450, 128
PROMPT, OUTPUT, SPREAD = 1000, 5000, 0.2
KV_TOKENS, BLOCK = 299_584, 16  # what 16 GiB hold


class Outcome(NamedTuple):
    """One setting: counts, tokens a second, seconds, milliseconds, seconds. None: not published."""

    preemptions: float
    throughput: float
    ttft_p50: float | None
    ttft_p99: float | None
    itl_p99: float | None
    e2el_p50: float | None


PUBLISHED = {
    0.0: Outcome(1065, 11_582, 6.56, 25.51, 40.62, 51.6),
    0.02: Outcome(400, 12_134, 11.80, 26.49, 18.80, 48.4),
    0.05: Outcome(187, 12_167, 11.20, 28.94, 17.70, 47.9),
    0.10: Outcome(168, 11_835, 8.96, 31.02, 17.57, 48.6),
    0.15: Outcome(168, 11_635, None, None, None, None),
}


def run(seed: int) -> Table:
    served = {watermark: serve(watermark, seed) for watermark in PUBLISHED}
    ours = {watermark: outcome(*each) for watermark, each in served.items()}
    table = Table(
        "vLLM, pull request 44594: a watermark to reduce preemptions (merged June 2026)",
        f"Qwen2.5-7B on one GB200, {KV_TOKENS:,} tokens of KV, no prefix caching, chunked prefill, at most "
        f"256 requests at once; {REQUESTS} requests of about {PROMPT} tokens with answers of about {OUTPUT} "
        f"(uniform, 20 % up and down), {CLIENTS} clients that each send the next request when the last is "
        "answered",
        {
            "GB200": "bandwidth and FLOP/s of the data sheet; the shares that kernels reach are a guess",
            "host time": "1 ms a step (vLLM of 2025)",
            "token budget of a step": "8,192: vLLM's default for a server on such a GPU; none is named",
            "lengths": "drawn here: the benchmark's own draws are not published",
        },
        ["HTTP, tokenisation", "CUDA graphs: batches rounded up to a captured size"],
    )
    for watermark, published in PUBLISHED.items():
        table.rows += rows_of(watermark, published, ours[watermark])
    table.rows += shape_of(ours)
    again = Counter(request.num_preemptions for request in served[0.0][0] if request.num_preemptions)
    table.rows.append(
        Row("watermark 0: of the preempted, preempted once, %", None, 100 * again[1] / sum(again.values()))
    )
    return table


def serve(watermark: float, seed: int, scale: float = 1.0) -> tuple[list[Request], float]:
    """All requests, answered, and the seconds that took. A client sends its next when its last is answered.

    scale  of all lengths and of the cache: smaller, it takes less time, and shows much the same preemptions
    """
    times = StepTimeModel.named("qwen2.5-7b", "GB200", host=HOST_SECONDS["vllm 2025"])
    config = EngineConfig(
        scheduler="chunked", max_num_seqs=256, max_num_batched_tokens=8192, block_size=BLOCK,
        num_blocks=int(scale * KV_TOKENS) // BLOCK, watermark=watermark, enable_prefix_caching=False,
    )  # fmt: skip
    engine, rng = engine_of(times, config, lean(False)), Random(seed)
    means = scale * PROMPT, scale * OUTPUT
    lengths = [[round(mean * rng.uniform(1 - SPREAD, 1 + SPREAD)) for mean in means] for _ in range(REQUESTS)]
    sent: list[Request] = []

    def send(count: int) -> None:
        for prompt, output in lengths[len(sent) : len(sent) + count]:
            sent.append(engine.add_request(scripted_request(len(sent), prompt, output, engine.clock.now())))

    send(CLIENTS)
    while engine.has_work:
        record = engine.step()
        assert record is not None, "nobody arrives later, so a step computes something"
        send(len(record.finished))
    return sent, engine.clock.now()


def outcome(requests: list[Request], seconds: float) -> Outcome:
    first, whole = (sorted(map(measure, requests)) for measure in (ttft, e2el))
    return Outcome(
        sum(r.num_preemptions for r in requests),
        sum(r.num_output_tokens for r in requests) / seconds,
        percentile(first, 50),
        percentile(first, 99),
        1e3 * tail_gap(requests),
        percentile(whole, 50),
    )


NAMES = ("preemptions", "output tokens/s", "TTFT P50, s", "TTFT P99, s", "ITL P99, ms", "E2EL P50, s")
REASONS = {
    "preemptions": (
        "lengths are drawn, here and there; where few are thrown out, another draw moves their number by a "
        "sixth"
    ),
    "TTFT P50, s": (
        "it lies between those who are let in at once and those who wait for somebody to leave, and a few "
        "of them move it by seconds: the published ones go up and down too"
    ),
    "ITL P99, ms": (
        "about one gap in a hundred holds a prompt, so the P99 lies on the edge between a plain step and "
        "one with a prompt"
    ),
}


def rows_of(watermark: float, published: Outcome, ours: Outcome) -> list[Row]:
    """The figures of one setting that are published."""
    return [
        Row(f"watermark {watermark:g}: {name}", theirs, mine or 0.0, why=REASONS.get(name, ""))
        for name, theirs, mine in zip(NAMES, published, ours, strict=True)
        if theirs is not None
    ]


def shape_of(ours: dict[float, Outcome]) -> list[Row]:
    """What the table is there to show: a setting in the middle is best, and the first tokens pay for it."""
    thrown = [each.preemptions for each in ours.values()]
    falls = sum(after <= 1.05 * before for before, after in zip(thrown, thrown[1:], strict=False))
    best = max(ours, key=lambda watermark: ours[watermark].throughput)
    late, later = (PUBLISHED[watermark].ttft_p99 or 0.0 for watermark in (0.0, 0.10))
    our_late, our_later = (ours[watermark].ttft_p99 or 0.0 for watermark in (0.0, 0.10))
    return [
        Row(
            "steps up with fewer preemptions, or as many within 5 %, of 4", 4, falls, 4, 4, True, counts=False
        ),
        Row("the watermark with most tokens/s", 0.05, best, 0.02, 0.10, True, counts=False),
        Row("P99 of the first token, .10 over 0", later / late, our_later / our_late, counts=False),
    ]
