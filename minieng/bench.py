"""Serve a workload on an engine, real or simulated: arrivals on its clock, lengths as scripted,
and a report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .clock import VirtualClock, WallClock
from .engine import Engine
from .observe.metrics import Metrics, check_goodput
from .observe.trace import Trace
from .prefixes import part_tokens
from .prompts import progress_bar
from .request import Request, SamplingParams
from .workload import Workload

MOST_DRAWN = 50_000_000  # tokens of random prompts, 36 bytes each


@dataclass(frozen=True)
class Report:
    """What came of a workload.

    trace     the run's steps, on a clock that began with it
    metrics   the run in numbers
    requests  those that were let in, in order of arrival, with their tokens and times
    refused   (request id, reason) of the others
    """

    trace: Trace
    metrics: Metrics
    requests: list[Request]
    refused: list[tuple[str, str]]

    def __str__(self) -> str:
        return str(self.metrics)


def requests_of(workload: Workload, vocab_size: int, seed: int) -> list[Request]:
    """A request for each job, "0", "1", …: random tokens in,
    exactly ``output_tokens`` out whatever the model says.
    """
    total = sum(job.prompt_tokens for job in workload)
    if total > MOST_DRAWN:
        raise ValueError(
            f"{workload.name!r} has {total:,} tokens of prompts, at most {MOST_DRAWN:,} are drawn at once: "
            "take fewer requests (head, --num-prompts) or shorter ones (shortened, --length-scale)"
        )
    return [
        Request(
            str(i), prompt, SamplingParams(max_tokens=job.output_tokens, ignore_eos=True),
            arrival_time=job.arrival_s, user=job.user, priority=job.priority,
            deadline=None if job.deadline is None else job.arrival_s + job.deadline,
            scripted_output=(
                part_tokens(job.answer, job.output_tokens, vocab_size, seed) if job.answer else None
            ),
        )
        for i, (job, prompt) in enumerate(zip(workload, workload.prompts(vocab_size, seed), strict=True))
    ]  # fmt: skip


def serve(
    engine: Engine, requests: Sequence[Request], max_model_len: int, *, virtual: bool = False,
    progress: bool = False, goodput: Mapping[str, float] | None = None,
) -> Report:  # fmt: skip
    """Run requests from arrival to end and measure. The engine keeps its own clock and trace for afterwards.

    The prefix cache is emptied first, so that a second run measures what the first did. Whoever can never fit
    is refused. Raises RuntimeError if other requests are still in the engine; whatever goes wrong, none of
    these stay.
    """
    if engine.has_work:
        raise RuntimeError(
            f"{len(engine.requests)} requests are still in the engine: finish or abort them first"
        )
    check_goodput(goodput or {})
    engine.kv.forget_prefixes()
    clock, trace = engine.clock, engine.trace
    engine.clock = VirtualClock() if virtual or clock.virtual else WallClock()
    engine.trace = replace(trace, steps=deque(), dropped=0, requests={}, aborted=[])
    try:
        refused = _let_in(engine, requests, max_model_len)
        _run(engine, len(engine.requests), progress)
        entered = [r for r in requests if r.finish_time is not None]
        metrics = Metrics.of(
            entered, engine.trace, engine.clock.now(), config=engine.config, refused=len(refused),
            goodput=goodput, name=scheduler_name(engine.config.scheduler),
        )  # fmt: skip
        return Report(engine.trace, metrics, entered, refused)
    finally:
        while engine.requests:  # an abort may let others go
            engine.abort(next(iter(engine.requests)))
        engine.clock, engine.trace = clock, trace


def _let_in(engine: Engine, requests: Sequence[Request], max_model_len: int) -> list[tuple[str, str]]:
    """Queue whoever can fit; (id, reason) of the others."""
    refused = []
    for request in requests:
        try:
            if request.max_num_tokens > max_model_len:
                raise ValueError(
                    f"request {request.request_id!r} is {request.max_num_tokens} tokens long with its "
                    f"output, the longest text is {max_model_len}: raise max_model_len or shorten the "
                    "workload"
                )
            engine.add_request(request)
        except ValueError as reason:
            refused.append((request.request_id, str(reason)))
    return refused


def _run(engine: Engine, total: int, progress: bool) -> None:
    with progress_bar(progress, total, scheduler_name(engine.config.scheduler)) as bar:
        while engine.has_work:
            if (record := engine.step()) and record.finished:
                bar.update(len(record.finished))


def scheduler_name(scheduler: Any) -> str:
    """The word in the configuration, or the class of one's own."""
    return scheduler if isinstance(scheduler, str) else type(scheduler).__name__
