"""Doing again what a trace says was done: the same plans, on the model or on the simulator."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .observe.trace import StepRecord, Trace
from .observe.trace_file import TraceError
from .plan import Plan, PlanError
from .request import Request
from .scheduler.base import Scheduler

if TYPE_CHECKING:
    from .engine import Engine


class ReplayScheduler(Scheduler):
    """Decides nothing: each plan is the next record of a trace, put back together from names."""

    def __init__(self, trace: Trace) -> None:
        self.records: deque[StepRecord] = deque(trace)
        self.requests: dict[str, Request] = {}

    @property
    def token_budget(self) -> None:  # type: ignore[override]  # a value in others
        return None

    def plan(self, now: float) -> Plan:
        record = self.records[0]
        plan, kv = record.plan(self.requests), self.kv.ledger()
        for victim in plan.preempt:
            kv.give_back(victim)
        for (request, n), (name, computed, _) in zip(plan.extend, record.slices, strict=True):
            here = request.num_computed_tokens + (
                0 if request.block_table else kv.shared_beside(request, n).num_tokens
            )
            kv.take(request, n, 0 if request.block_table else plan.span)
            if here != computed and plan.rows is None:
                raise TraceError(
                    f"step {record.step}: {name} had {computed} tokens computed when it was recorded, "
                    f"{here} now: the cache differs (another block_size or num_blocks, or the trace began "
                    "with a warm cache)"
                )
        return plan

    def overdue(self, now: float) -> list[Request]:
        """Who was dropped then is dropped now, with the others that were aborted."""
        return []

    def leavers(self, done: list[Request]) -> list[Request]:
        """Who left then leaves now."""
        gone = set(self.records[0].finished)
        return [r for r in self.running if r.request_id in gone]


def replay(trace: Trace, engine: Engine) -> Trace:
    """Carry out the plans of ``trace`` on ``engine`` and return what happened, as a trace of its own.

    The engine must be idle and have the knobs of the one that was recorded; its prefix cache is emptied
    first. It may have a model or be simulated, whichever the trace was recorded on. The same model gives the
    same tokens: compare ``outputs()`` of the two. Raises TraceError if the trace does not begin at the
    beginning, or does not fit the engine.
    """
    _check(trace, engine)
    engine.kv.forget_prefixes()
    scheduler, kept = ReplayScheduler(trace), (engine.scheduler, engine.trace, engine.on_token)
    lengths = {name: len(tokens) for name, tokens in trace.outputs().items()}
    engine.scheduler, engine.trace = scheduler, Trace(meta=dict(trace.meta))
    # Also where a stop string ended it.
    engine.on_token = lambda r: r.num_output_tokens >= lengths[r.request_id]
    scheduler.bind(engine.kv, engine.config)
    try:
        _add(trace, scheduler, engine)
        while scheduler.records:
            for name in scheduler.records[0].aborted:
                if name in engine.requests:
                    engine.abort(name)
            engine.step()
            scheduler.records.popleft()
        return engine.trace
    except PlanError as problem:
        raise TraceError(f"step {scheduler.records[0].step} cannot be carried out: {problem}") from problem
    finally:
        while engine.requests:  # one may take others with it: the rows of a rectangle
            engine.abort(next(iter(engine.requests)))
        engine.scheduler, engine.trace, engine.on_token = kept


def _check(trace: Trace, engine: Engine) -> None:
    if engine.has_work:
        raise ValueError("the engine still has requests: let it finish, then replay")
    if trace.dropped or not trace.detail:
        raise TraceError(
            "the trace does not hold every step with all names: record it with a larger limit and detail=True"
        )
    named = {
        name
        for record in trace
        for name in (*(each for each, _, _ in record.slices), *record.preempted, *(record.rows or ()))
    }
    if named - trace.requests.keys():
        raise TraceError(
            f"the trace plans {sorted(named - trace.requests.keys())[0]!r} but holds no such request: it "
            "was cut"
        )
    if trace.meta.get("num_blocks", engine.kv.pool.num_blocks) > engine.kv.pool.num_blocks:
        raise TraceError(
            f"recorded with {trace.meta['num_blocks']} blocks, the engine has {engine.kv.pool.num_blocks}: "
            "raise num_blocks"
        )


def _add(trace: Trace, scheduler: ReplayScheduler, engine: Engine) -> None:
    """Fresh copies of the requests, all arrived; samples of one prompt behind their first.

    The recorded output becomes the script, which the simulator follows and a model does not look at.
    Reservations that go by the script keep the one that was recorded.
    """
    now, outputs = engine.clock.now(), trace.outputs()
    children: dict[str, list[Request]] = {}
    scripts = {} if engine.config.admission == "reserve_oracle" else outputs
    for old in trace.requests.values():
        request = Request(
            old.request_id, old.token_ids[: old.num_prompt_tokens], old.params, prompt=old.prompt,
            prompt_id=old.prompt_id, sample_index=old.sample_index, sample_key=old.sample_key,
            arrival_time=now, priority=old.priority, deadline=old.deadline, user=old.user,
            max_model_len=old.max_num_tokens, eos_token_ids=tuple(old.eos_token_ids),
            scripted_output=scripts.get(old.request_id, old.scripted_output), bad_words=old.bad_words,
        )  # fmt: skip
        scheduler.requests[old.request_id] = request
        if old.fork_of is None:
            engine.add_request(request)
        else:
            children.setdefault(old.fork_of.request_id, []).append(request)
    for parent, others in children.items():
        engine.add_siblings(scheduler.requests[parent], others)
