"""What a run was worth: the figures of ``vllm bench serve`` under its names,
and what the trace says of waste.

The latencies of one request (TTFT, TPOT, ITL, E2EL) are defined in ``latency``, shares of seats, cache and
stages in ``waste``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from ..config import EngineConfig
from ..request import Request
from .latency import PERCENTILES, Latency, e2el, itl, samples, tpot, ttft
from .waste import live_rows, waste

if TYPE_CHECKING:
    from .record import StepRecord

__all__ = [
    "OBJECTIVES", "PERCENTILES", "Latency", "Metrics", "check_goodput", "e2el", "is_good", "itl",
    "ladder_table", "live_rows", "parse_goodput", "table", "tpot", "ttft",
]  # fmt: skip
OBJECTIVES = ("ttft", "tpot", "e2el")
LATENCIES = ("ttft", "tpot", "itl", "e2el")
JSON_NAMES = {  # what a file says for a field here
    "total_input": "total_input_tokens",  # vllm's file differs from its class
    "total_output": "total_output_tokens",
    "idle_seats": "idle_slots",  # vLLM's word for a seat
    "busy_seats": "busy_slots",
}


def parse_goodput(pairs: Iterable[str]) -> dict[str, float]:
    """["ttft:200", "tpot:50"] → {"ttft": 200.0, "tpot": 50.0}, in milliseconds.
    Raises ValueError for anything else.
    """
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
        if not 0 <= value < math.inf:
            raise ValueError(f"goodput {name}:{value}: must be a number of milliseconds, at least 0")
    return dict(goals)


def is_good(request: Request, goals: Mapping[str, float]) -> bool:
    """All objectives hold; ``goals`` in milliseconds."""
    measure = {"ttft": ttft, "tpot": tpot, "e2el": e2el}
    return all(measure[name](request) * 1e3 <= limit for name, limit in goals.items())


class Figure:
    """A figure of a latency under the name that ``vllm bench serve`` gives it:
    ``mean_ttft_ms`` is ``ttft.mean``.
    """

    def __init__(self, what: str, latency: str) -> None:
        self.what, self.latency = what, latency

    @overload
    def __get__(self, run: None, owner: type[Metrics]) -> Figure: ...
    @overload
    def __get__(self, run: Metrics, owner: type[Metrics]) -> float: ...
    def __get__(self, run: Metrics | None, owner: type[Metrics]) -> float | Figure:
        if run is None:
            return self
        return getattr(getattr(run, self.latency), self.what)


@dataclass(frozen=True)
class Metrics:
    """One run in numbers. A seat is a place in the batch (vLLM calls it a slot), a slot one in the KV cache.

    ttft, tpot, itl, e2el    latencies, in milliseconds: ``ttft.mean``, ``itl.p99`` and so on
    completed, failed        requests; the refused are among the failed. All else counts completed ones only
    request_goodput          completed requests a second that met every objective; None if there were none
    max_output_tokens_per_s  in the best second
    padding_waste            share of computed positions that were padding
    done_rows                share of computed positions that belonged to rows whose text was complete
    padding_tokens, finished_row_tokens   positions of padded rectangles: padding, and rows that were done
    idle_seats               share of seats · steps in which no live row was computed
    busy_seats               share of seats · duration in which a live row was computed
    recomputed_tokens        computed again after a preemption
    cache_hit_tokens         found in the prefix cache instead of being computed, when a request was first let
    in
    cache_hit_tokens_again   the same when it was let in again after a preemption: no hits of its prompt
    kv_used, kv_reserved     mean share of the cache's slots, over the time of all steps
    kv_wasted                share of the reserved slots that held no token
    bubble                   share of the stages' time in which they had nothing to do; None where there are
    no stages
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
    idle_seats: float
    busy_seats: float
    recomputed_tokens: int
    cache_hit_tokens: int
    cache_hit_tokens_again: int
    preemptions: int
    kv_used: float
    kv_reserved: float
    kv_wasted: float
    ttft: Latency
    tpot: Latency
    itl: Latency
    e2el: Latency
    bubble: float | None = None

    mean_ttft_ms = Figure("mean", "ttft")
    median_ttft_ms = Figure("median", "ttft")
    std_ttft_ms = Figure("std", "ttft")
    p50_ttft_ms = Figure("p50", "ttft")
    p90_ttft_ms = Figure("p90", "ttft")
    p95_ttft_ms = Figure("p95", "ttft")
    p99_ttft_ms = Figure("p99", "ttft")
    mean_tpot_ms = Figure("mean", "tpot")
    median_tpot_ms = Figure("median", "tpot")
    std_tpot_ms = Figure("std", "tpot")
    p50_tpot_ms = Figure("p50", "tpot")
    p90_tpot_ms = Figure("p90", "tpot")
    p95_tpot_ms = Figure("p95", "tpot")
    p99_tpot_ms = Figure("p99", "tpot")
    mean_itl_ms = Figure("mean", "itl")
    median_itl_ms = Figure("median", "itl")
    std_itl_ms = Figure("std", "itl")
    p50_itl_ms = Figure("p50", "itl")
    p90_itl_ms = Figure("p90", "itl")
    p95_itl_ms = Figure("p95", "itl")
    p99_itl_ms = Figure("p99", "itl")
    mean_e2el_ms = Figure("mean", "e2el")
    median_e2el_ms = Figure("median", "e2el")
    std_e2el_ms = Figure("std", "e2el")
    p50_e2el_ms = Figure("p50", "e2el")
    p90_e2el_ms = Figure("p90", "e2el")
    p95_e2el_ms = Figure("p95", "e2el")
    p99_e2el_ms = Figure("p99", "e2el")

    @property
    def idle_slots(self) -> float:
        """``idle_seats`` under the name that it has in files."""
        return self.idle_seats

    @property
    def busy_slots(self) -> float:
        """``busy_seats`` under the name that it has in files."""
        return self.busy_seats

    @classmethod
    def of(
        cls, requests: Sequence[Request], trace: Iterable[StepRecord], duration: float, *,
        config: EngineConfig | None = None, refused: int = 0, goodput: Mapping[str, float] | None = None,
        name: str = "",
    ) -> Metrics:  # fmt: skip
        """From the requests that were let in, finished or aborted, and the trace of the run.

        duration  seconds from the start to the last answer
        config    the engine's knobs: how many seats there were, and how large a block is
        refused   requests that were not let in
        goodput   objectives in milliseconds, such as {"ttft": 200, "tpot": 50}; a good request meets them all
        """
        done = [r for r in requests if r.finish_reason in ("stop", "length")]
        goals, seconds = check_goodput(goodput or {}), max(duration, 1e-9)
        good = sum(is_good(r, goals) for r in done) / seconds if goals else None
        inputs, outputs = sum(r.num_prompt_tokens for r in done), sum(r.num_output_tokens for r in done)
        latencies: dict[str, Any] = {name: Latency.of(samples(done, name)) for name in LATENCIES}
        return cls(
            name=name, duration=duration,
            completed=len(done), failed=len(requests) - len(done) + refused, refused=refused,
            total_input=inputs, total_output=outputs, request_throughput=len(done) / seconds,
            request_goodput=good, output_throughput=outputs / seconds,
            total_token_throughput=(inputs + outputs) / seconds, max_output_tokens_per_s=_best_second(done),
            max_concurrent_requests=_most_at_once(done), **waste(list(trace), seconds,
            config or EngineConfig()), **latencies,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """For JSON, under the names of the file that ``vllm bench serve --save-result`` writes;
        ours beside them.
        """
        values = asdict(self)
        spread = {name: values.pop(name) for name in LATENCIES}
        latencies = {
            f"{what}_{name}_ms": ms for name, figures in spread.items() for what, ms in figures.items()
        }
        return {JSON_NAMES.get(name, name): value for name, value in values.items()} | latencies

    def __str__(self) -> str:
        return table([self])


def _best_second(done: list[Request]) -> float:
    """Most output tokens in one of the seconds that begin with the first arrival."""
    if not done:
        return 0.0
    start = min(r.arrival_time for r in done)
    return float(max(Counter(int(t - start) for r in done for t in r.token_times).values()))


def _most_at_once(done: list[Request]) -> int:
    """Most requests between arrival and end at one time; who leaves at a moment leaves before who comes."""
    events = sorted([(r.arrival_time, 1) for r in done] + [(r.finish_time, -1) for r in done])
    return max(accumulate(change for _, change in events), default=0)


COLUMNS = (  # heading in two lines, how wide, how to print, the value
    ("", "done", 6, "d", lambda m: m.completed),
    ("", "failed", 8, "d", lambda m: m.failed),
    ("", "req/s", 7, ".2f", lambda m: m.request_throughput),
    ("", "good/s", 8, ".2f", lambda m: m.request_goodput),
    ("", "tok/s", 8, ".1f", lambda m: m.output_throughput),
    ("TTFT ms", "mean", 9, ".0f", lambda m: m.ttft.mean),
    ("", "p99", 7, ".0f", lambda m: m.ttft.p99),
    ("TPOT ms", "mean", 9, ".1f", lambda m: m.tpot.mean),
    ("", "p99", 7, ".1f", lambda m: m.tpot.p99),
    ("ITL ms", "p99", 8, ".1f", lambda m: m.itl.p99),
    ("E2EL ms", "mean", 9, ".0f", lambda m: m.e2el.mean),
    ("", "p99", 7, ".0f", lambda m: m.e2el.p99),
    ("", "padding", 9, ".0%", lambda m: m.padding_waste),
    ("idle", "seats", 7, ".0%", lambda m: m.idle_seats),
    ("KV", "wasted", 8, ".0%", lambda m: m.kv_wasted),
    ("", "preempted", 11, "d", lambda m: m.preemptions),
    ("", "bubble", 8, ".0%", lambda m: m.bubble),
)


def _spread(heading: str, name: str) -> list[tuple]:
    """Mean and percentiles of one latency."""
    whats = ("mean", "p50", "p95", "p99")
    return [
        (heading, what, 7 if i == 0 else 6, ".0f", lambda m, what=what: getattr(getattr(m, name), what))
        for i, what in enumerate(whats)
    ]


LADDER = (
    *_spread("TTFT ms", "ttft"),
    *_spread("ITL ms", "itl"),
    *_spread("E2EL ms", "e2el"),
    ("", "tok/s", 8, ".0f", lambda m: m.output_throughput),
    ("", "padding", 9, ".0%", lambda m: m.padding_waste),
    ("done", "rows", 6, ".0%", lambda m: m.done_rows),
    ("idle", "seats", 7, ".0%", lambda m: m.idle_seats),
    ("KV", "wasted", 8, ".0%", lambda m: m.kv_wasted),
)


FIRST = ("TTFT mean", "ITL p99", "E2EL mean", "tok/s", "idle seats")  # fits beside a file browser


def _name(column: tuple) -> str:
    """ "TTFT mean", "tok/s": how a column of the ladder is asked for."""
    return f"{column[0].removesuffix(' ms')} {column[1]}".strip()


def table(runs: Sequence[Metrics]) -> str:
    """Plain text, one row a run. Goodput, failures and bubbles have a column only if there are any, what the
    steps say only if they were seen: a client of a server sees none.
    """
    unseen = not any(m.steps for m in runs)
    hidden = {
        "good/s": all(m.request_goodput is None for m in runs),
        "failed": not any(m.failed for m in runs),
        **dict.fromkeys(("padding", "seats", "wasted", "preempted"), unseen),
    }
    hidden["bubble"] = all(m.bubble is None for m in runs)
    return _rendered(
        [column for column in COLUMNS if not hidden.get(column[1])], {id(m): (m.name, m) for m in runs}
    )


def ladder_table(runs: Mapping[str, Any], *more: str) -> str:
    """Plain text, one row a named run (its report or its metrics), five columns: mean TTFT, P99 of ITL, mean
    E2EL, tokens/s and idle seats.

    more  further columns, such as "padding", "done rows", "KV wasted" or "E2EL p95"; "all" for every one
    """
    names = [_name(column) for column in LADDER]
    unknown = [name for name in more if name not in (*names, "all")]
    if unknown:
        raise ValueError(f"ladder_table: no column {unknown[0]!r}: choose among all, {', '.join(names)}")
    shown = [
        column for column, name in zip(LADDER, names, strict=True) if name in (*FIRST, *more) or "all" in more
    ]
    columns: list[tuple] = []
    room = 0 if "all" in more else 4  # all of them want the whole width
    for i, (top, bottom, width, *rest) in enumerate(shown):
        columns.append((top if i == 0 or top != shown[i - 1][0] else "", bottom, width + room, *rest))
    return _rendered(columns, {name: (name, getattr(run, "metrics", run)) for name, run in runs.items()})


def _rendered(columns: Sequence[tuple], rows: Mapping[Any, tuple[str, Metrics]]) -> str:
    wide = max([len("scheduler"), *(len(name) for name, _ in rows.values())])
    lines = [
        " " * wide + "".join(f"{top:>{width}}" for top, _, width, _, _ in columns),
        "scheduler".ljust(wide) + "".join(f"{bottom:>{width}}" for _, bottom, width, _, _ in columns),
    ]
    for name, metrics in rows.values():
        cells = [
            (" " + ("-" if (got := value(metrics)) is None else format(got, form))).rjust(n)
            for _, _, n, form, value in columns
        ]
        lines.append(name.ljust(wide) + "".join(cells))
    return "\n".join(lines)
