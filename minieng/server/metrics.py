"""What Prometheus is told, under vLLM's names, so that what was made to watch vLLM watches this too.

Written in the engine's thread, read in the event loop; prometheus_client has a lock for each number. Times
are the engine's own: a request arrives when the engine is given it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ..request import Request

if TYPE_CHECKING:
    from ..llm import LLM
    from ..observe.record import StepRecord

LIMITS = ("max_num_queued_reqs", "max_num_queued_tokens")
STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
FIRST_TOKEN = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
    640, 2560,
]  # fmt: skip
BETWEEN_TOKENS = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
]  # fmt: skip
REQUEST = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680]
COUNTERS = {
    "prompt_tokens": "Tokens of prompts that were read, found in the cache or computed.",
    "prompt_tokens_cached": "Tokens of prompts that were found in the prefix cache.",
    "generation_tokens": "Tokens that were generated.",
    "prefix_cache_queries": "Tokens of prompts that were looked for in the prefix cache.",
    "prefix_cache_hits": "Tokens of prompts that were found there.",
    "num_preemptions": "Times that a running request gave up its KV.",
}
# None: buckets of 1, 2, 5, … up to the longest text.
HISTOGRAMS: dict[str, tuple[str, Sequence[float] | None]] = {
    "iteration_tokens_total": ("Tokens computed in a step.", STEP_TOKENS),
    "time_to_first_token_seconds": ("From a request's arrival to its first token.", FIRST_TOKEN),
    "inter_token_latency_seconds": ("Between two tokens of a request.", BETWEEN_TOKENS),
    "request_time_per_output_token_seconds": ("Mean time between a request's tokens.", BETWEEN_TOKENS),
    "e2e_request_latency_seconds": ("From a request's arrival to its end.", REQUEST),
    "request_queue_time_seconds": ("From a request's arrival until it first runs.", REQUEST),
    "request_inference_time_seconds": ("From when a request first runs to its end.", REQUEST),
    "request_prefill_time_seconds": ("From when a request first runs to its first token.", REQUEST),
    "request_decode_time_seconds": ("From a request's first token to its last.", REQUEST),
    "request_prompt_tokens": ("Tokens of a request's prompt.", None),
    "request_generation_tokens": ("Tokens generated for a request.", None),
    "request_params_max_tokens": ("The most tokens that a request may generate.", None),
    "request_prefill_kv_computed_tokens": ("Tokens of a request's prompt that were not in the cache.", None),
    "request_num_preemptions": ("Times that a request gave up its KV.", [0, 1, 2, 5, 10, 20]),
}


class Metrics:
    """All that is counted of one engine, in a registry of its own."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, llm: LLM, model: str, engine: str = "0") -> None:
        self.llm, self.registry = llm, CollectorRegistry()
        self.own = {"model_name": model, "engine": engine}
        self.counters = {
            name: self.make(Counter, name, text).labels(**self.own) for name, text in COUNTERS.items()
        }
        lengths = buckets_up_to(llm.max_model_len)
        self.histograms = {
            name: self.make(Histogram, name, text, buckets=buckets or lengths).labels(**self.own)
            for name, (text, buckets) in HISTOGRAMS.items()
        }
        self.ended = self.make(
            Counter, "request_success", "Requests that ended, by reason.", "finished_reason"
        )
        self.refused = self.make(
            Counter, "admission_rejections", "Requests refused, by the limit reached.", "reason"
        )
        for reason in ("stop", "length", "abort"):
            self.ended.labels(**self.own, finished_reason=reason)
        for limit in LIMITS:
            self.refused.labels(**self.own, reason=limit)
        self.make_gauges()

    def make(self, kind: Any, name: str, text: str, *labels: str, **more: Any) -> Any:
        return kind(f"vllm:{name}", text, [*self.own, *labels], registry=self.registry, **more)

    def make_gauges(self) -> None:
        """These are asked of the engine when somebody looks."""
        engine, config = self.llm.engine, self.llm.config
        scheduler, pool = engine.scheduler, engine.kv.pool
        asked = {
            "num_requests_running": ("Requests that run.", lambda: len(scheduler.running)),
            "num_requests_waiting": (
                "Requests that wait.",
                lambda: len(engine.requests) - len(scheduler.running),
            ),
            "kv_cache_usage_perc": (
                "Share of the cache's blocks in use, 0 to 1.",
                lambda: 1 - pool.num_free / pool.num_blocks,
            ),
        }
        for name, (text, ask) in asked.items():
            self.make(Gauge, name, text).labels(**self.own).set_function(ask)
        why = self.make(
            Gauge, "num_requests_waiting_by_reason", "Requests that wait: for room, or for another one.",
            "reason",
        )  # fmt: skip
        why.labels(**self.own, reason="capacity").set_function(lambda: len(scheduler.waiting))
        why.labels(**self.own, reason="deferred").set_function(
            lambda: max(0, len(engine.requests) - len(scheduler.running) - len(scheduler.waiting))
        )
        facts = {"block_size": config.block_size, "num_gpu_blocks": pool.num_blocks,
                 "enable_prefix_caching": config.enable_prefix_caching}  # fmt: skip
        info = self.make(Gauge, "cache_config_info", "The cache's settings, as labels.", *facts)
        info.labels(**self.own, **{name: str(value) for name, value in facts.items()}).set(1)

    def text(self) -> bytes:
        """For Prometheus."""
        return generate_latest(self.registry)

    # -- in the engine's thread -----------------------------------------------------------------------------

    def on_step(self, record: StepRecord, requests: Mapping[str, Request]) -> None:
        """After a step; ``requests``: those under way, by id, the ones that ended in it included."""
        self.histograms["iteration_tokens_total"].observe(record.num_tokens)
        self.counters["num_preemptions"].inc(len(record.preempted))
        emitted = [
            name
            for (name, _, _), token in zip(record.slices, record.tokens, strict=True)
            if token is not None
        ]
        self.counters["generation_tokens"].inc(len(emitted))
        for name in emitted:
            times = requests[name].token_times
            if len(times) == 1:
                self.on_first_token(requests[name])
            else:
                self.histograms["inter_token_latency_seconds"].observe(times[-1] - times[-2])

    def on_first_token(self, request: Request) -> None:
        """A prompt of several samples is read once."""
        self.histograms["time_to_first_token_seconds"].observe(request.token_times[0] - request.arrival_time)
        if request.sample_index:
            return
        cached = min(request.num_cached_tokens, request.num_prompt_tokens)
        for name, count in (("prompt_tokens", request.num_prompt_tokens), ("prompt_tokens_cached", cached)):
            self.counters[name].inc(count)
        if self.llm.config.enable_prefix_caching:
            self.counters["prefix_cache_queries"].inc(request.num_prompt_tokens)
            self.counters["prefix_cache_hits"].inc(cached)

    def on_end(self, request: Request) -> None:
        """A request has left the engine: done, or aborted."""
        self.ended.labels(**self.own, finished_reason=request.finish_reason or "abort").inc()
        times, begun, end = request.token_times, request.admitted_time, request.finish_time
        if end is None:
            return
        told = {
            "e2e_request_latency_seconds": end - request.arrival_time,
            "request_prompt_tokens": request.num_prompt_tokens,
            "request_generation_tokens": request.num_output_tokens,
            "request_params_max_tokens": request.max_num_tokens - request.num_prompt_tokens,
            "request_num_preemptions": request.num_preemptions,
        }
        if begun is not None:
            told["request_queue_time_seconds"] = begun - request.arrival_time
            told["request_inference_time_seconds"] = end - begun
        if begun is not None and times:
            told["request_prefill_time_seconds"] = times[0] - begun
            told["request_decode_time_seconds"] = times[-1] - times[0]
            told["request_prefill_kv_computed_tokens"] = max(
                0, request.num_prompt_tokens - request.num_cached_tokens
            )
        if len(times) > 1:
            told["request_time_per_output_token_seconds"] = (times[-1] - times[0]) / (len(times) - 1)
        for name, value in told.items():
            self.histograms[name].observe(value)

    def on_refusal(self, problem: Exception) -> None:
        """A submission that was not let in; a limit that was reached is named in the error."""
        for limit in LIMITS:
            if isinstance(problem, RuntimeError) and f"{limit}=" in str(problem):
                self.refused.labels(**self.own, reason=limit).inc()


def buckets_up_to(most: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, … as far as they are not above ``most``."""
    found = [digit * 10**power for power in range(len(str(most))) for digit in (1, 2, 5)]
    return [size for size in found if size <= most]
