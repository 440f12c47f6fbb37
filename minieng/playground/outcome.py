"""A workload under a choice, simulated: a trace, counts, or what went wrong and where."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from ..engine import Engine
from ..llm import LLM
from ..observe.metrics import Metrics, is_good
from ..observe.trace import Trace
from ..plan import PlanError
from ..request import Request
from ..sim.cluster import check_length
from ..sim.executor import scripted_requests
from ..workload import Workload
from .choice import FILE, Choice, knobs_of, scheduler_of

MOST_STEPS = 20_000  # a picture of more says nothing, and a plan that waits in tiny steps would never end
PROMISE = {"ttft": 500, "tpot": 50}  # ms; whoever gets less is too late, and no good answer
SMALL = {"max_num_seqs": 4, "num_blocks": 64, "enable_prefix_caching": False}  # unless a knob says otherwise


class TooLong(RuntimeError):
    """The run has more steps than are drawn."""


@dataclass
class Outcome:
    """What came of a choice. Times in seconds on the virtual clock.

    trace     the steps, up to the error if there was one; None if nothing could begin
    metrics   the run in numbers; None after an error
    requests  those that were let in, in order of arrival
    refused   (request id, reason) of the others
    rule      the rule that a plan broke, by the engine's own name for it
    error     what went wrong; ``line`` of the reader's text, if it was there
    """

    choice: Choice
    trace: Trace | None = None
    metrics: Metrics | None = None
    requests: list[Request] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    rule: str = ""
    error: str = ""
    line: int | None = None

    def counts(self) -> dict[str, float]:
        """The figures that are compared: whole numbers, and times in milliseconds. Empty after an error."""
        if self.metrics is None or self.trace is None:
            return {}
        trace, metrics = self.trace, self.metrics
        gaps = [b - a for r in self.requests for a, b in zip(r.token_times, r.token_times[1:], strict=False)]
        counts: dict[str, float] = {
            "completed": metrics.completed,
            "refused": metrics.refused,
            "steps": len(trace),
            "computed": trace.total("num_tokens"),
            "padding": trace.total("padding"),
            "done_rows": trace.total("finished_rows"),
            "recomputed": trace.total("recomputed"),
            "cached": trace.total("cached"),
            "preemptions": metrics.preemptions,
            "swapped": sum(sum(record.swapped) for record in trace),
            "most_running": max(len(record.rows or record.slices) for record in trace) if trace.steps else 0,
            "most_waiting": max((record.num_waiting for record in trace), default=0),
            "mixed_steps": sum(record.mode == "mixed" for record in trace),
            "late": sum(not is_good(request, PROMISE) for request in self.requests),
            "mean_ttft_ms": metrics.ttft.mean,
            "mean_e2el_ms": metrics.e2el.mean,
            "longest_gap_ms": 1e3 * max(gaps, default=0.0),
            "total_ms": 1e3 * metrics.duration,
        }
        if metrics.bubble is not None:
            counts["bubble_percent"] = 100 * metrics.bubble
        return counts

    def first_tokens(self) -> list[str]:
        """Who was answered first, second and so on."""
        begun = [r for r in self.requests if r.token_times]
        return [r.request_id for r in sorted(begun, key=lambda r: r.token_times[0])]

    def first_token_ms(self, request_id: str) -> float:
        """From its arrival to its first token, in milliseconds of virtual time."""
        request = next(r for r in self.requests if r.request_id == request_id)
        return 1e3 * (request.token_times[0] - request.arrival_time)


def run(workload: Workload, choice: Choice) -> Outcome:
    """Simulate the workload. Never raises for what a reader can get wrong: the outcome says it."""
    outcome = Outcome(choice)
    try:
        serve(workload, choice, outcome)
    except PlanError as broken:
        outcome.rule, outcome.error = broken.rule, str(broken)
    except (Exception, SystemExit) as problem:
        outcome.error = in_words(problem)
        outcome.line = line_of(problem)
    return outcome


def serve(workload: Workload, choice: Choice, outcome: Outcome) -> None:
    knobs: dict[str, Any] = SMALL | knobs_of(choice.knobs)
    with LLM.simulated(scheduler=scheduler_of(choice), checked=True, **knobs) as llm:
        outcome.trace = llm.trace
        for request in scripted_requests(workload, llm.max_model_len):
            try:
                check_length(request, llm.max_model_len)
                llm.engine.add_request(request)
                outcome.requests.append(request)
            except ValueError as reason:
                outcome.refused.append((request.request_id, str(reason)))
        until_done(llm.engine)
        outcome.metrics = Metrics.of(
            outcome.requests, llm.trace, llm.engine.clock.now(), config=llm.config,
            refused=len(outcome.refused), name=choice.label(),
        )  # fmt: skip


def until_done(engine: Engine) -> None:
    while engine.has_work:
        if len(engine.trace) >= MOST_STEPS:
            raise TooLong(f"{MOST_STEPS:,} steps and not done: take fewer or shorter requests, or more seats")
        engine.step()


def in_words(problem: BaseException) -> str:
    """A sentence for what the engine or the simulator says, the type before what Python says."""
    own = isinstance(problem, (ValueError, TooLong)) and not isinstance(problem, (SyntaxError, UnicodeError))
    return str(problem) if own and str(problem) else f"{type(problem).__name__}: {problem}"


def line_of(problem: BaseException) -> int | None:
    """The line of the reader's text in which it happened, or that no Python could read."""
    if isinstance(problem, SyntaxError) and problem.filename == FILE:
        return problem.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == FILE]
    return lines[-1] if lines else None
