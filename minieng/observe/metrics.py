"""What a run was worth: the figures of ``vllm bench serve`` under its names, and what the trace says of waste.

Of one request, in seconds on the engine's clock:

    TTFT   first token − arrival
    ITL    gaps between tokens; all gaps of all requests are pooled
    E2EL   the request left − arrival. A row of a static batch leaves with the batch, and its text with it
    TPOT   (E2EL − TTFT) / (output tokens − 1); none for a single token

TTFT and ITL go by when a token was computed, as if it were streamed at once. So a static batch looks as good as it
can there, and what its short rows wait for its long ones shows in E2EL and TPOT.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import EngineConfig
from ..request import Request

if TYPE_CHECKING:
    from .trace import StepRecord, Trace

PERCENTILES = (50, 90, 95, 99)
OBJECTIVES = ("ttft", "tpot", "e2el")
JSON_NAMES = {
    "total_input": "total_input_tokens",
    "total_output": "total_output_tokens",
}  # vllm's file differs from its class


def ttft(request: Request) -> float:
    return request.token_times[0] - request.arrival_time


def e2el(request: Request) -> float:
    return request.finish_time - request.arrival_time


def tpot(request: Request) -> float:
    """0 for a single token, which then meets any objective (so does ``vllm bench serve``)."""
    gaps = request.num_output_tokens - 1
    return (e2el(request) - ttft(request)) / gaps if gaps > 0 else 0.0


def itl(request: Request) -> list[float]:
    return np.diff(request.token_times).tolist()


def parse_goodput(pairs: Iterable[str]) -> dict[str, float]:
    """["ttft:200", "tpot:50"] → {"ttft": 200.0, "tpot": 50.0}, in milliseconds. Raises ValueError for anything else."""
    goals: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition(":")
        try:
            goals[name] = float(value)
        except ValueError:
            raise ValueError(f"goodput {pair!r}: write NAME:MILLISECONDS, such as ttft:200") from None
    return check_goodput(goals)


def check_goodput(goals: Mapping[str, float]) -> dict[str, float]:
    for name, value in goals.items():
        if name not in OBJECTIVES:
            raise ValueError(f"goodput {name!r}: choose among {', '.join(OBJECTIVES)}")
        if not value >= 0:
            raise ValueError(f"goodput {name}:{value}: must be at least 0 ms")
    return dict(goals)


def is_good(request: Request, goals: Mapping[str, float]) -> bool:
    """All objectives hold; ``goals`` in milliseconds."""
    measure = {"ttft": ttft, "tpot": tpot, "e2el": e2el}
    return all(measure[name](request) * 1e3 <= limit for name, limit in goals.items())


@dataclass(frozen=True)
class Metrics:
    """One run in numbers. ``mean_ttft_ms``, ``p99_itl_ms`` and so on are attributes too.

    completed, failed        requests; the refused are among the failed. All else counts completed ones only
    request_goodput          completed requests a second that met every objective; None if there were none
    max_output_tokens_per_s  in the best second
    padding_waste            share of computed positions that were padding
    done_rows                share of computed positions that belonged to rows whose text was complete
    padding_tokens, finished_row_tokens   positions of padded rectangles: padding, and rows that were done
    idle_slots               share of the slot-steps in which no live row was computed (a slot: a place in the batch)
    busy_slots               share of slots · duration in which a live row was computed
    recomputed_tokens        computed again after a preemption
    cache_hit_tokens         found in the prefix cache instead of being computed
    kv_used, kv_reserved     mean share of the cache's slots, over the time of all steps
    kv_wasted                share of the reserved slots that held no token
    """

    name: str
    duration: float
    completed: int
    failed: int
    refused: int
    total_input: int
    total_output: int
    request_throughput: float
    request_goodput: float | None
    output_throughput: float
    total_token_throughput: float
    max_output_tokens_per_s: float
    max_concurrent_requests: int
    steps: int
    padding_waste: float
    done_rows: float
    padding_tokens: int
    finished_row_tokens: int
    idle_slots: float
    busy_slots: float
    recomputed_tokens: int
    cache_hit_tokens: int
    preemptions: int
    kv_used: float
    kv_reserved: float
    kv_wasted: float
    latencies: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, requests: Sequence[Request], trace: Trace, duration: float, *, config: EngineConfig | None = None,
        refused: int = 0, goodput: Mapping[str, float] | None = None, name: str = "",
    ) -> Metrics:  # fmt: skip
        """From the requests that were let in, finished or aborted, and the trace of the run.

        duration  seconds from the start to the last answer
        config    the engine's knobs: how many slots there were, and how large a block is
        refused   requests that were not let in
        goodput   objectives in milliseconds, such as {"ttft": 200, "tpot": 50}; a good request meets them all
        """
        done = [r for r in requests if r.finish_reason in ("stop", "length")]
        goals, seconds = check_goodput(goodput or {}), max(duration, 1e-9)
        good = sum(is_good(r, goals) for r in done) / seconds if goals else None
        inputs, outputs = sum(r.num_prompt_tokens for r in done), sum(r.num_output_tokens for r in done)
        return cls(
            name=name, duration=duration,
            completed=len(done), failed=len(requests) - len(done) + refused, refused=refused,
            total_input=inputs, total_output=outputs, request_throughput=len(done) / seconds, request_goodput=good,
            output_throughput=outputs / seconds, total_token_throughput=(inputs + outputs) / seconds,
            max_output_tokens_per_s=_best_second(done), max_concurrent_requests=_most_at_once(done),
            **_waste(list(trace), seconds, config or EngineConfig()), latencies=_latencies(done),
        )  # fmt: skip

    def __getattr__(self, name: str) -> float:
        try:
            return self.__dict__["latencies"][name]
        except KeyError:
            raise AttributeError(f"Metrics has no {name!r}") from None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, under the names of the file that ``vllm bench serve --save-result`` writes; ours beside them."""
        values = asdict(self)
        latencies = values.pop("latencies")
        return {JSON_NAMES.get(name, name): value for name, value in values.items()} | latencies

    def __str__(self) -> str:
        return table([self])


def _latencies(done: list[Request]) -> dict[str, float]:
    """mean, median, std and percentiles in milliseconds of each latency; 0 where there is nothing to measure."""
    samples = {
        "ttft": [ttft(r) for r in done],
        "tpot": [tpot(r) for r in done if r.num_output_tokens > 1],
        "itl": [gap for r in done for gap in itl(r)],
        "e2el": [e2el(r) for r in done],
    }
    found: dict[str, float] = {}
    for name, values in samples.items():
        ms = np.array(values or [0.0]) * 1e3
        found |= {f"{what}_{name}_ms": float(getattr(np, what)(ms)) for what in ("mean", "median", "std")}
        found |= {f"p{p}_{name}_ms": float(np.percentile(ms, p)) for p in PERCENTILES}
    return found


def _best_second(done: list[Request]) -> float:
    """Most output tokens in one of the seconds that begin with the first arrival."""
    if not done:
        return 0.0
    start = min(r.arrival_time for r in done)
    return float(np.bincount([int(t - start) for r in done for t in r.token_times]).max())


def _most_at_once(done: list[Request]) -> int:
    """Most requests between arrival and end at one time; who leaves at a moment leaves before who comes."""
    events = sorted([(r.arrival_time, 1) for r in done] + [(r.finish_time, -1) for r in done])
    return int(np.cumsum([change for _, change in events]).max()) if events else 0


def _waste(steps: list[StepRecord], seconds: float, config: EngineConfig) -> dict[str, float]:
    """What the trace says of padding, slots and cache. Slots: batch_size of a padded scheduler, else max_num_seqs."""
    padding, finished = sum(s.padding for s in steps), sum(s.finished_rows for s in steps)
    positions = sum(s.num_tokens for s in steps) + padding + finished
    padded = any(s.rows is not None for s in steps)
    slots = min(config.batch_size, config.max_num_seqs) if padded else config.max_num_seqs
    busy = sum(s.duration for s in steps) or math.inf  # no steps, no shares
    capacity = sum(s.blocks_total * config.block_size * s.duration for s in steps) or math.inf
    used = sum(s.kv_used * s.duration for s in steps)
    reserved = sum((s.blocks_total - s.blocks_free) * config.block_size * s.duration for s in steps)
    return {
        "steps": len(steps),
        "padding_waste": padding / positions if positions else 0.0,
        "done_rows": finished / positions if positions else 0.0,
        "padding_tokens": padding,
        "finished_row_tokens": finished,
        "idle_slots": 1 - sum(live_rows(s) for s in steps) / (slots * len(steps)) if steps else 0.0,
        "busy_slots": sum(live_rows(s) * s.duration for s in steps) / (slots * max(seconds, busy)),
        "recomputed_tokens": sum(s.recomputed for s in steps),
        "cache_hit_tokens": sum(s.cached for s in steps),
        "preemptions": sum(len(s.preempted) for s in steps),
        "kv_used": used / capacity,
        "kv_reserved": reserved / capacity,
        "kv_wasted": max(0.0, 1 - used / reserved) if reserved else 0.0,  # a shared block is used more than once
    }


def live_rows(step: StepRecord) -> int:
    """Rows that computed something for a request that is not done. A trace without detail knows it of rectangles only,
    and counts everybody who ran for packed steps.
    """
    if step.slices:
        return len(step.slices)
    if step.rows is not None:
        live = step.num_tokens + step.padding
        return round(len(step.rows) * live / max(1, live + step.finished_rows))
    return step.num_running + len(step.finished)


COLUMNS = (  # heading in two lines, how wide, how to print, the value
    ("", "done", 6, "d", lambda m: m.completed),
    ("", "failed", 8, "d", lambda m: m.failed),
    ("", "req/s", 7, ".2f", lambda m: m.request_throughput),
    ("", "good/s", 8, ".2f", lambda m: m.request_goodput),
    ("", "tok/s", 8, ".1f", lambda m: m.output_throughput),
    ("TTFT ms", "mean", 9, ".0f", lambda m: m.mean_ttft_ms),
    ("", "p99", 7, ".0f", lambda m: m.p99_ttft_ms),
    ("TPOT ms", "mean", 9, ".1f", lambda m: m.mean_tpot_ms),
    ("", "p99", 7, ".1f", lambda m: m.p99_tpot_ms),
    ("ITL ms", "p99", 8, ".1f", lambda m: m.p99_itl_ms),
    ("E2EL ms", "mean", 9, ".0f", lambda m: m.mean_e2el_ms),
    ("", "p99", 7, ".0f", lambda m: m.p99_e2el_ms),
    ("", "padding", 9, ".0%", lambda m: m.padding_waste),
    ("idle", "slots", 7, ".0%", lambda m: m.idle_slots),
    ("KV", "wasted", 8, ".0%", lambda m: m.kv_wasted),
    ("", "preempted", 11, "d", lambda m: m.preemptions),
)


def _spread(heading: str, name: str) -> list[tuple]:
    """Mean and percentiles of one latency."""
    whats = ("mean", "p50", "p95", "p99")
    return [
        (heading if i == 0 else "", what, 7 if i == 0 else 6, ".0f", lambda m, field=f"{what}_{name}_ms": getattr(m, field))
        for i, what in enumerate(whats)
    ]


LADDER = (
    *_spread("TTFT ms", "ttft"),
    *_spread("ITL ms", "itl"),
    *_spread("E2EL ms", "e2el"),
    ("", "tok/s", 8, ".0f", lambda m: m.output_throughput),
    ("", "padding", 9, ".0%", lambda m: m.padding_waste),
    ("done", "rows", 6, ".0%", lambda m: m.done_rows),
    ("idle", "slots", 7, ".0%", lambda m: m.idle_slots),
    ("KV", "wasted", 8, ".0%", lambda m: m.kv_wasted),
)


def table(runs: Sequence[Metrics]) -> str:
    """Plain text, one row a run. Goodput and failures have a column only if there are any."""
    hidden = {"good/s": all(m.request_goodput is None for m in runs), "failed": not any(m.failed for m in runs)}
    return _rendered([column for column in COLUMNS if not hidden.get(column[1])], {id(m): (m.name, m) for m in runs})


def ladder_table(runs: Mapping[str, Any]) -> str:
    """Plain text, one row a named run (its report or its metrics): the spread of each latency, and what was wasted."""
    return _rendered(LADDER, {name: (name, getattr(run, "metrics", run)) for name, run in runs.items()})


def _rendered(columns: Sequence[tuple], rows: Mapping[Any, tuple[str, Metrics]]) -> str:
    wide = max([len("scheduler"), *(len(name) for name, _ in rows.values())])
    lines = [
        " " * wide + "".join(f"{top:>{width}}" for top, _, width, _, _ in columns),
        "scheduler".ljust(wide) + "".join(f"{bottom:>{width}}" for _, bottom, width, _, _ in columns),
    ]
    for name, metrics in rows.values():
        cells = [
            (" " + ("-" if (got := value(metrics)) is None else format(got, form))).rjust(n) for _, _, n, form, value in columns
        ]
        lines.append(name.ljust(wide) + "".join(cells))
    return "\n".join(lines)
