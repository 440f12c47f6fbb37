"""The engine: plan → reserve → execute → commit, one step at a time, and nothing else.

    request ──add_request──► scheduler.waiting
                                  │ scheduler.plan(now)      a decision; changes nothing
                                  │ scheduler.reserve(plan)  checked, queues moved, blocks named
                                  │ executor.execute(plan)   the model, or a simulator
                                  ▼ scheduler.commit(...)    progress, tokens, full blocks published
    answer ◄──whoever is done leaves──┘                      one StepRecord in the trace

No threads: ``step()`` can be called by hand in a notebook. An exception inside a step (Ctrl-C too) leaves all
requests where they were, with KV that is whole or forgotten.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from .clock import VirtualClock, WallClock
from .config import EngineConfig
from .executor import Executor
from .interrupt import uninterrupted
from .kv.allocator import KVCache
from .observe.record import Draft, StepRecord
from .observe.trace import Trace
from .plan import Plan, PlanError, StepResult
from .request import Request, Status
from .scheduler import Scheduler, make_scheduler


class QueueFull(RuntimeError):
    """No room for a request now; the same request may be welcome later. A server answers 503."""


def unread(requests: Sequence[Request]) -> int:
    """Tokens of their prompts that have yet to be computed; samples of one prompt share it."""
    return sum(max(0, r.num_prompt_tokens - r.num_computed_tokens) for r in requests if not r.sample_index)


def note_logprobs(plan: Plan, result: StepResult) -> None:
    for (request, _), entry in zip(plan.extend, result.logprobs or (), strict=False):
        if entry is not None:
            request.logprobs.append(entry)
    for (request, n), told in zip(plan.extend, result.foretold or (), strict=False):
        if told is not None and request.status is Status.RUNNING:
            begin = request.num_computed_tokens - n  # after a preemption once more, and the same
            request.prompt_logprobs[begin : begin + len(told)] = told


class Engine:
    """Requests in, tokens out.

    executor   carries plans out
    kv         the block tables; its geometry must be the executor's
    clock      wall or virtual time
    on_token   called for each new token; returns True if the text ends here (a stop string)
    checked    verify the cache's invariants after every step (slow; for tests and curious readers)
    trace      where steps are recorded (default: everything, the last 100,000 steps)
    """

    def __init__(
        self,
        executor: Executor,
        kv: KVCache,
        config: EngineConfig,
        clock: WallClock | VirtualClock | None = None,
        on_token: Callable[[Request], bool] | None = None,
        checked: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self.executor, self.kv, self.config = executor, kv, config
        self.clock, self.on_token, self.checked = clock or WallClock(), on_token, checked
        self.scheduler: Scheduler = make_scheduler(config.scheduler)
        self.scheduler.bind(kv, config)
        self.trace = Trace() if trace is None else trace
        self.trace.meta |= {"config": config.as_plain(), "num_blocks": kv.pool.num_blocks}
        self.requests: dict[str, Request] = {}
        self._future: list[tuple[float, int, Request]] = []  # heap of requests that have not arrived yet
        self._siblings: dict[Request, list[Request]] = {}  # samples that wait for the first one's prompt
        self._count = 0

    # -- requests come and go ---------------------------------------------------------------------------

    @uninterrupted()
    def add_request(self, request: Request) -> Request:
        """Queue a request; it arrives at its ``arrival_time`` (now, if that has passed).

        Raises ValueError if its id is taken, if it has no token to go on from or has been in an engine
        before, or if it could not finish even with the whole cache to itself; QueueFull if it comes now and a
        limit is reached.
        """
        if not request.token_ids or request.status is not Status.WAITING:
            raise ValueError(f"{request!r} is not a new request with at least one token: make a new one")
        if request.request_id in self.requests:
            raise ValueError(f"request id {request.request_id!r} is in use: choose another or abort it first")
        longest = self.kv.never_fits(request)
        if longest is not None:
            what = f"needs {longest} tokens of KV, the cache holds {self.kv.num_slots}"
            raise ValueError(f"request {request.request_id!r} {what}: raise num_blocks or lower max_tokens")
        if request.arrival_time <= self.clock.now():
            self.check_room([request])
        self._count += 1
        request.sequence = self._count
        self.requests[request.request_id] = request
        self.trace.note_request(request)
        heapq.heappush(self._future, (request.arrival_time, request.sequence, request))
        return request

    def check_room(self, newcomers: Sequence[Request]) -> None:
        """Raise QueueFull if these are more than ``max_num_queued_reqs`` or
        ``max_num_queued_tokens`` let in now.

        Only who came before them counts: not who is to arrive later. Samples of one prompt compute it once.
        """
        most, most_tokens = self.config.max_num_queued_reqs, self.config.max_num_queued_tokens
        if most is None and most_tokens is None:
            return
        first = newcomers[0]
        place = (first.arrival_time, first.sequence) if first.sequence else (self.clock.now(), math.inf)
        here = [r for r in self.requests.values() if (r.arrival_time, r.sequence) < place]
        if most is not None and len(here) + len(newcomers) > most:
            what = f"{len(newcomers)} more than the {len(here)} requests here are over"
            raise QueueFull(f"{what} max_num_queued_reqs={most}: come again later, or raise it")
        prompts, more = unread(here), unread(newcomers)
        if most_tokens is not None and prompts + more > most_tokens:
            what = f"{more} more than the {prompts} prompt tokens that wait are over"
            raise QueueFull(f"{what} max_num_queued_tokens={most_tokens}: come again later, or raise it")

    @uninterrupted()
    def add_siblings(self, first: Request, others: list[Request]) -> None:
        """More samples of one prompt: they start when the first has computed it, and share its blocks."""
        for request in others:
            self.add_request(request)
            request.fork_of = first
            self._future.remove((request.arrival_time, request.sequence, request))
        heapq.heapify(self._future)
        if others:
            self._siblings[first] = list(others)

    @uninterrupted()
    def abort(self, request_id: str) -> Request:
        """End a request at any moment; what it has made so far stays readable.
        Raises KeyError for an unknown id.
        """
        if request_id not in self.requests:
            raise KeyError(f"no request {request_id!r}: unknown, or finished already")
        request = self.requests[request_id]
        request.finish_reason = request.finish_reason or "abort"
        self.trace.aborted.append(request_id)
        self._release_siblings(request, arrived=request in self.scheduler.members)
        for others in self._siblings.values():
            if request in others:
                others.remove(request)
        if request in self.scheduler.members:
            self.scheduler.remove(request)
        # Whoever aborts all, in order of arrival, finds each in front: the queue need not be searched then.
        elif self._future and (first := heapq.heappop(self._future))[2] is not request:
            self._future = [first, *(entry for entry in self._future if entry[2] is not request)]
            heapq.heapify(self._future)
        self._finish(request)
        self._close_batch()
        return request

    @property
    def has_work(self) -> bool:
        return bool(self.requests)

    # -- one step ---------------------------------------------------------------------------------------

    def step(self, until: float | None = None) -> StepRecord | None:
        """Plan, reserve, execute, commit. Waits on the clock if there is a reason to.
        None if there is no work.

        until  more requests may be added from outside at that time (seconds on the clock), so that a
               scheduler that gathers a batch goes on waiting; None if nothing could be run before it
        """
        if not self.has_work:
            return None
        scheduler = self.scheduler
        self._close_batch()
        while self.has_work:
            now = self._let_in_arrivals(until)
            if not self.has_work:  # all that waited came too late
                break
            plan = self._checked_plan(now)
            if plan.extend or plan.preempt:
                return self.carry_out(plan, now)
            scheduler.check(plan, now)
            self._wait(plan, now, until)
            if until is not None and self.clock.now() >= until:
                break
        return None

    def carry_out(self, plan: Plan, now: float) -> StepRecord:
        """Everything after the decision. Raises PlanError, with nothing changed,
        if the plan breaks a rule.
        """
        draft, result = self._begin(plan, now)
        with uninterrupted():
            return self._commit(plan, result, draft)

    def _begin(self, plan: Plan, now: float) -> tuple[Draft, Any]:
        """Reserve and execute; what the executor gives back comes second. Raises as above."""
        draft = None
        try:
            with uninterrupted():
                draft = self.trace.draft(plan, now, self.scheduler.reserve(plan, now))
            return draft, self._send(plan)
        except BaseException:
            if draft is not None:
                with uninterrupted():
                    self.scheduler.roll_back(plan)
            raise

    def _send(self, plan: Plan) -> Any:
        """A pipeline has another way: it does not wait for the result."""
        return self.executor.execute(plan)

    def _commit(
        self, plan: Plan, result: StepResult, draft: Draft, under_way: Collection[Request] = ()
    ) -> StepRecord:
        """What the step has made, written down. under_way: whose next step is in flight, in a pipeline."""
        scheduler, queues = self.scheduler, self.scheduler.queues
        self.clock.advance(result.duration)
        now = self.clock.now()
        scheduler.commit(plan, result, now)
        finished = self._after_step(plan, result, now)
        state = {
            "blocks_free": self.kv.pool.num_free,
            "blocks_total": self.kv.pool.num_blocks,
            "kv_used": sum(r.num_computed_tokens for r in queues.running),
            "num_waiting": len(queues.waiting),
            "num_running": len(queues.running),
            "stages": [(now + begin, now + end) for begin, end in result.stages],
        }
        record = self.trace.add(draft, plan, result, [r.request_id for r in finished], state)
        if self.checked:
            self.kv.check_invariants([*queues.waiting, *queues.running], under_way)
        return record

    def run(self) -> Trace:
        """Steps until nothing is left to do."""
        while self.has_work:
            self.step()
        return self.trace

    # -- inside -----------------------------------------------------------------------------------------

    def _checked_plan(self, now: float) -> Plan:
        """The scheduler's decision. Raises PlanError if it is no Plan,
        or if the queues were changed to make it.
        """
        queues = self.scheduler.queues
        before = queues.snapshot()
        try:
            plan = self.scheduler.plan(now)
        finally:
            if changed := before != queues.snapshot():
                queues.restore(before)
                self.scheduler.order.line_up()
        if changed:
            raise PlanError("a plan changes nothing", "plan() moved requests; the engine does that later")
        if not isinstance(plan, Plan):
            raise PlanError("plan() returns a Plan", f"{type(self.scheduler).__name__} returned {plan!r:.60}")
        return plan

    @uninterrupted()
    def _let_in_arrivals(self, until: float | None) -> float:
        """Requests whose time has come join the queue, those whose time is over leave it;
        returns that time.
        """
        now = self.clock.now()
        while self._future and self._future[0][0] <= now:
            request = self._future[0][2]
            try:
                self.check_room([request, *self._siblings.get(request, [])])
            except QueueFull:
                self._turn_away(request, "queue full")
            else:
                self.scheduler.add(request)
                heapq.heappop(self._future)
        while overdue := self.scheduler.overdue(now):
            self._turn_away(overdue[0], "deadline")
        self.scheduler.queues.arrivals_open = bool(self._future) or until is not None
        return now

    def _turn_away(self, request: Request, reason: str) -> None:
        """End a request that waits, with all samples that wait for it."""
        for one in [*self._siblings.get(request, []), request]:
            one.stop_reason = reason
            self.abort(one.request_id)

    def _wait(self, plan: Plan, now: float, until: float | None) -> None:
        """Until the plan's own time or the next arrival, whichever is first."""
        times = [self._future[0][0]] if self._future else []
        if until is not None:
            times.append(until)
        if plan.wait_until is not None and plan.wait_until > now:
            times.append(plan.wait_until)
        self.clock.wait_until(min(times))

    def _after_step(self, plan: Plan, result: StepResult, now: float) -> list[Request]:
        """Log-probabilities, stop strings, siblings that may start,
        and who leaves (even if ``on_token`` fails).
        """
        note_logprobs(plan, result)
        try:
            if self.on_token is not None:
                for (request, _), token in zip(plan.extend, result.tokens, strict=True):
                    if token is not None and request.status is Status.RUNNING and self.on_token(request):
                        request.finish_reason = "stop"
        finally:
            if self._siblings:
                for request, _ in plan.extend:
                    if request.num_computed_tokens >= request.num_prompt_tokens:
                        self._release_siblings(request)
            done = [r for r, _ in plan.extend if r.finish_reason is not None and r.status is Status.RUNNING]
            leaving = list(self.scheduler.leavers(done))  # it may be self.running itself, which changes below
            self._finish_all(leaving, now)
        return leaving

    def _release_siblings(self, first: Request, arrived: bool = True) -> None:
        """The first sample's prompt is computed (or will never be): the others may queue. They are older than
        anything that arrived since, so they stand in front.
        """
        for request in reversed(self._siblings.pop(first, [])):
            if arrived:
                self.scheduler.add(request, front=True)
            else:
                heapq.heappush(self._future, (request.arrival_time, request.sequence, request))

    @uninterrupted()
    def _close_batch(self) -> None:
        """Rows that are done wait for the live ones of their static batch: not if the last of these was
        preempted, aborted or rolled back.
        """
        if all(r.is_done for r in self.scheduler.running):
            self._finish_all(list(self.scheduler.running))

    def _finish_all(self, leaving: list[Request], now: float | None = None) -> None:
        for request in leaving:
            self._finish(request, now)
            self.scheduler.remove(request)

    def _finish(self, request: Request, now: float | None = None) -> None:
        request.finish_time = self.clock.now() if now is None else now
        request.status = Status.FINISHED
        del self.requests[request.request_id]
