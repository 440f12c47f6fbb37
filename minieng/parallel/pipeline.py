"""Several batches in flight, so that every stage of a pipeline has work: groups of requests that take turns.

A request's next token needs its last one, so a request is in one batch at a time. To keep p stages busy it
takes p batches of different requests. Here they are p groups of those who run: one scheduler, one block pool,
and a turn that goes round. While it is a group's turn, ``scheduler.running`` is that group, and ``plan`` is
asked as ever, so every scheduler does, one's own too.

    fill   each group that has no batch in flight: plan, reserve, and off to the first stage (``submit``)
    land   wait for the oldest batch in flight (``collect``), and commit it

vLLM does the same in ``step_with_batch_queue``: fill the queue, else block on the oldest. There the first
batch may take everybody; here each group has its share of the seats, as in SGLang
(``pp_max_micro_batch_size``).

Why this is right, though the cache is shared and plans are made while others are under way:

- Batches pass every stage in the order in which they were begun. So swaps and copies happen in that order on
  each stage, and a block that one batch gave up may be written by the next, even if the first is not done
  yet.
- What a batch computes is known to others when it has landed: progress, tokens, published blocks. All stages
  have written it by then.
- Victims come from the group whose turn it is, and nothing of that group is in flight.
- An abort takes effect at once. The tokens that land for the request later belong to nobody.
- If memory is so short that a group would have to give up its last request, all groups meet: the others are
  waited for, and one plan is made for everybody, so that the newest of all goes and the oldest gets on. Else
  two groups could drive each other's requests out for ever.

No torch: the simulator drives the same groups in virtual time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from ..engine import Engine
from ..executor import Executor
from ..interrupt import uninterrupted
from ..observe.record import Draft, StepRecord
from ..plan import Plan, PlanError, StepResult
from ..request import Status


class StageEnded(RuntimeError):
    """A process of the pipeline is gone, and with it a part of all KV."""


class Submitting(Executor, Protocol):
    """An executor with several plans under way at once.
    Their results come in the order in which they were submitted.
    """

    def submit(self, plan: Plan) -> Any:
        """Send the plan off, and return at once."""

    def collect(self, sent: Any) -> StepResult:
        """Wait for the result of what ``submit`` gave back. It may be asked for again."""


@dataclass
class Flight:
    """A plan that has been begun: reserved and on its way, its tokens not yet back.

    sent   what ``collect`` wants to have
    group  whose turn it was
    """

    plan: Plan
    draft: Draft
    sent: Any
    group: int


class PipelineEngine(Engine):
    """An engine with up to ``depth`` batches in flight, for an executor that is ``Submitting``.

    ``step()`` sends off what can be sent, and returns when the oldest batch is done.
    """

    def __init__(self, *args: Any, depth: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.flights: deque[Flight] = deque()  # begun and not finished, oldest first
        self._next = 0  # the group that is asked first
        self._meeting = False  # nothing more is sent until everybody is here
        self.depth = depth

    @property
    def depth(self) -> int:
        """Batches in flight at most; never more than there are seats.
        Raises ValueError to change it under way.
        """
        return self.scheduler.queues.num_groups

    @depth.setter
    def depth(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth={depth}: must be at least 1")
        if self.requests:
            raise ValueError(
                f"depth={depth}: {len(self.requests)} requests are under way: let them finish first"
            )
        while self.flights:
            self._land()
        self.scheduler.queues.num_groups = min(depth, self.config.max_num_seqs)

    def step(self, until: float | None = None) -> StepRecord | None:
        """Fill, then land the oldest flight; returns its record. None if there is no work. ``until``:
        as in ``Engine``.

        Raises StageEnded if a stage is gone; all requests are aborted then. A Ctrl-C while it waits leaves
        all flights in flight: they land in later steps.
        """
        try:
            return self._step(until)
        except StageEnded as problem:
            count = len(self.requests)
            self.flights.clear()
            while self.requests:  # an abort may let others of a static batch go
                self.abort(next(iter(self.requests)))
            raise StageEnded(
                f"{problem}; its {count} requests were aborted: close this LLM and make a new one"
            ) from None

    def _step(self, until: float | None) -> StepRecord | None:
        while self.requests:
            idle = self._fill(until)
            if self.flights:
                if record := self._land():
                    return record
            elif idle:
                for group, plan, now in idle:  # nobody is under way: idling needs a reason
                    self.scheduler.queues.turn = group
                    self.scheduler.check(plan, now)
                first = min(
                    idle,
                    key=lambda entry: float("inf") if entry[1].wait_until is None else entry[1].wait_until,
                )
                self._wait(first[1], first[2], until)
                if until is not None and self.clock.now() >= until:
                    break
        return None

    def carry_out(self, plan: Plan, now: float) -> StepRecord:
        """A plan made by hand, waited for. Raises PlanError, with nothing changed, if it breaks a rule."""
        draft, sent = self._begin(plan, now)
        result = self._collect(sent)
        with uninterrupted():
            return self._commit(plan, result, draft)

    def _send(self, plan: Plan) -> Any:
        return cast(Submitting, self.executor).submit(plan)

    def _collect(self, sent: Any) -> StepResult:
        return cast(Submitting, self.executor).collect(sent)

    # -- fill -------------------------------------------------------------------------------------------

    def _fill(self, until: float | None) -> list[tuple[int, Plan, float]]:
        """Begin a batch for every group that has none in flight. Returns (group, plan, time)
        of those that idle.
        """
        idle: list[tuple[int, Plan, float]] = []
        flying = {flight.group for flight in self.flights}
        if self._meeting and flying:
            return idle
        self._meeting, depth = False, self.depth
        for group in [(self._next + i) % depth for i in range(depth)]:
            if group in flying:
                continue
            plan, now = self._plan_for(group, until)
            if not self.requests:
                break
            if self._needs_others(plan):
                self._next, self._meeting = group, True
                if self.flights:
                    break
                plan = self._plan_for_all(now)
            if plan.extend or plan.preempt:
                draft, sent = self._begin(plan, now)
                with uninterrupted():
                    self.flights.append(Flight(plan, draft, sent, group))
                    self._next = (group + 1) % depth
            else:
                idle.append((group, plan, now))
            if self._meeting:
                break
        return idle

    def _plan_for(self, group: int, until: float | None) -> tuple[Plan, float]:
        self.scheduler.queues.turn = group
        super()._close_batch()
        now = self._let_in_arrivals(until)
        self._even_out(group)
        self.scheduler.max_num_seqs = self._seats(group)
        return (self._checked_plan(now) if self.requests else Plan()), now

    def _checked_plan(self, now: float) -> Plan:
        """For the group whose turn it is, and nobody else."""
        plan, queues = super()._checked_plan(now), self.scheduler.queues
        for request in [*plan.preempt, *(request for request, _ in plan.extend)]:
            if queues.group_of.get(request, queues.turn) != queues.turn:
                why = f"{request.request_id} is in flight with another group: plan for self.running"
                raise PlanError("one batch at a time", why)
        return plan

    def _needs_others(self, plan: Plan) -> bool:
        """Whether a group is about to give up its last request while others hold memory."""
        queues = self.scheduler.queues
        last = bool(plan.preempt) and not plan.extend
        return last and not self.scheduler.rectangles and len(queues.group) < len(queues.running)

    def _plan_for_all(self, now: float) -> Plan:
        """Everybody in one group, as in an engine without stages."""
        queues = self.scheduler.queues
        queues.group_of = dict.fromkeys(queues.running, queues.turn)
        self.scheduler.max_num_seqs = self.config.max_num_seqs
        return self._checked_plan(now)

    def _seats(self, group: int) -> int:
        """A group's share of the seats, and of those who are here: eight requests are four and four,
        not eight and none.

        A rectangle has the size that its scheduler says.
        """
        most, here = self.config.max_num_seqs, len(self.scheduler.members)
        share = most // self.depth + (group < most % self.depth)
        return share if self.scheduler.rectangles else min(share, -(-here // self.depth))

    def _even_out(self, group: int) -> None:
        """A group with more than its share of those who run gives its newest to smaller ones:
        some end sooner than others.
        """
        queues = self.scheduler.queues
        sizes, share = Counter(queues.group_of.values()), -(-len(queues.running) // self.depth)
        if self.scheduler.rectangles or sizes[group] <= share:
            return
        for request in queues.group[share:]:
            smallest = min(range(self.depth), key=lambda g: sizes[g])
            queues.group_of[request] = smallest
            sizes[smallest] += 1

    # -- land -------------------------------------------------------------------------------------------

    def _land(self) -> StepRecord | None:
        """Wait for the oldest flight and commit it; None if nobody in it is left."""
        flight, queues = self.flights[0], self.scheduler.queues
        queues.turn = flight.group
        try:
            # A Ctrl-C here: the flight stays, and is waited for again.
            result = self._collect(flight.sent)
        except Exception:
            with uninterrupted():
                self.flights.popleft()
                self._start_over(flight.plan)
            raise
        with uninterrupted():
            self.flights.popleft()
            gone = [
                i for i, (request, _) in enumerate(flight.plan.extend) if request.status is not Status.RUNNING
            ]
            if gone and len(gone) == len(flight.plan.extend):
                return None
            for i in gone:
                result.tokens[i] = None
            # What others did since is not this step's.
            flight.draft.reservation.blocks_free = self.kv.pool.num_free
            under_way = {request for other in self.flights for request, _ in other.plan.extend}
            return self._commit(flight.plan, result, flight.draft, under_way)

    def _start_over(self, plan: Plan) -> None:
        """A stage has failed: what this plan should have computed is missing.
        Blocks were moved all the same.
        """
        for request in [r for r, _ in plan.extend if r.status is Status.RUNNING]:
            self.scheduler.preempt(request)

    def _close_batch(self) -> None:
        """Of each group, as ``Engine`` does of everybody."""
        queues = self.scheduler.queues
        turn = queues.turn
        for queues.turn in range(self.depth):
            super()._close_batch()
        queues.turn = turn


def pipelined(depth: int) -> Callable[..., PipelineEngine]:
    """``PipelineEngine`` with the arguments of ``Engine``."""
    return lambda *args, **more: PipelineEngine(*args, depth=depth, **more)
