"""What every scheduler shares: two queues, a ledger to count on, and the rules a plan must keep.

A scheduler knows requests and counts of blocks. It knows no model and no clock but the ``now`` it is given.
A new one writes ``plan`` and nothing else:

    class Mine(Scheduler):
        def plan(self, now):
            plan, kv = Plan(), self.kv.ledger()
            for r in self.running:                                   # every running request decodes one token
                if self.make_room(plan, kv, r, r.num_remaining_tokens):
                    plan.extend.append((r, r.num_remaining_tokens))
            if not plan.preempt:                                     # admit in order, whole prompts
                self.admit(plan, kv, now, budget=2048)
            return plan
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..kv.allocator import KVCache, Ledger
from ..plan import Plan, PlanError, Refusal, StepResult
from ..request import Request, Status
from .admission import make_admission
from .ordering import VICTIMS, make_order

if TYPE_CHECKING:
    from ..config import EngineConfig


class Scheduler:
    """Base of all schedulers. Reads its limits from the engine's configuration in ``bind``.

    waiting        requests without KV, in order of arrival; a preempted one stands in front
    running        requests with KV, in order of admission
    arrivals_open  whether more requests can still come (the engine keeps it true to the facts)
    token_budget   most tokens a plan of this scheduler may compute; None: the rule does not apply
    """

    token_budget: int | None = None

    def bind(self, kv: KVCache, config: EngineConfig) -> None:
        """Called once by the engine, before anything else."""
        self.kv, self.config = kv, config
        self.max_num_seqs, self.max_num_batched_tokens = config.max_num_seqs, config.max_num_batched_tokens
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.members: set[Request] = set()
        self.arrivals_open = False
        self.seconds_per_token = 0.0  # moving average over steps, for orders that weigh waiting against work
        self.order = make_order(config.order, self)
        self.admission = make_admission(config.admission, self)
        self.victim_key = VICTIMS[config.victim]

    @classmethod
    def largest_step(cls, config: EngineConfig, max_model_len: int) -> int:
        """Most tokens that one step may compute: memory for it is set aside before the cache is sized.

        What ``admit`` lets in with a budget of ``max_prefill_tokens``: a first prompt may be longer.
        """
        return max(config.max_prefill_tokens, max_model_len)

    # -- the one decision -------------------------------------------------------------------------------

    def plan(self, now: float) -> Plan:
        """What the next step does. Must change nothing: count blocks on ``self.kv.ledger()``.

        now: seconds on the engine's clock.
        """
        raise NotImplementedError(f"{type(self).__name__} must define plan(self, now) -> Plan")

    # -- helpers for plan() -----------------------------------------------------------------------------

    def queue(self, now: float, kv: Ledger) -> Iterable[Request]:
        """The waiting requests in the order of the policy."""
        return self.order.sort(self.waiting, now, kv)

    def make_room(self, plan: Plan, kv: Ledger, request: Request, n: int) -> bool:
        """Count ``n`` tokens for a running request, preempting victims until they fit.

        False if the request itself had to go, or had gone already. A victim planned before is taken out again.
        """
        if request in plan.preempt:
            return False
        while not kv.take(request, n):
            victim = max((r for r in self.running if r not in plan.preempt), key=self.victim_key)
            kv.give_back(victim)
            plan.preempt.append(victim)
            plan.drop(victim)
            if victim is request:
                return False
        return True

    def admit(self, plan: Plan, kv: Ledger, now: float, budget: int, whole: bool = True) -> None:
        """Add waiting requests to the plan, in order, until the first that does not get in; note why not.

        budget  tokens that the newcomers may compute together. With ``whole`` a prompt is computed in one
                step or not at all, and a first one passes even if it alone is over the budget; without it
                the last newcomer gets what is left.
        """
        if not self.waiting:
            return
        slots, first = self.max_num_seqs - len(self.running) + len(plan.preempt), True
        for request in self.queue(now, kv) if slots > 0 else [self.waiting[0]]:
            n = kv.todo(request)
            if slots <= 0:
                reason = f"all {self.max_num_seqs} slots are taken"
            elif budget <= 0 or whole and n > budget and not first:
                reason = f"{n} prompt tokens, {max(budget, 0)} left in this step's budget"
            else:
                n = n if whole else min(n, budget)
                reason = self.admission.refuses(request, n, kv, plan)
            if reason:
                plan.refuse.append(Refusal(request, reason))
                return
            kv.take(request, n)
            plan.extend.append((request, n))
            slots, budget, first = slots - 1, budget - n, False

    # -- carried out by the engine ----------------------------------------------------------------------

    def add(self, request: Request, front: bool = False) -> None:
        self.members.add(request)
        (self.waiting.appendleft if front else self.waiting.append)(request)
        self.order.arrived(request)

    def reserve(self, plan: Plan, now: float) -> None:
        """Check the plan against the rules, then move requests between the queues and name their blocks.

        Raises PlanError, and has changed nothing, if a rule is broken.
        """
        self.check(plan, now)
        if plan.rows is not None:
            plan.rows = list(plan.rows)  # it may be self.running itself, and that changes before the trace is written
        admitted = [r for r, _ in plan.extend if r.status is Status.WAITING]
        if plan.rows is None:  # all are looked up before any is attached, as the ledger did
            for request, shared in [(r, self.kv.lookup(r, plan.preempt)) for r in admitted]:
                self.kv.attach(request, shared)
        for request in plan.preempt:
            self._preempt(request, plan)
        if plan.rows is not None:
            width = plan.width
            for request in admitted:
                request.pad, request.span = width - request.num_remaining_tokens, plan.span
        size, moves = self.kv.block_size, plan.moves
        for request, n in plan.extend:  # a decode inside its block has all it needs
            if n > 1 or not (request.pad + request.num_computed_tokens) % size or request.status is Status.WAITING:
                self.kv.grow(request, n, moves)
        for request in admitted:
            self._start(request, now)

    def commit(self, plan: Plan, result: StepResult, now: float) -> None:
        """The step has happened: progress, tokens, and full blocks that others may share from now on."""
        size, running = self.kv.block_size, Status.RUNNING
        for (request, n), token in zip(plan.extend, result.tokens, strict=True):
            if request.status is not running:
                continue  # aborted while the step ran
            request.num_computed_tokens += n
            if request.num_computed_tokens % size < n:
                self.kv.publish(request)
            if token is not None:
                request.append(token, now)
        tokens = plan.num_tokens
        if tokens:
            old, new = self.seconds_per_token, result.duration / tokens
            self.seconds_per_token = 0.9 * old + 0.1 * new if old else new
        self.order.served(plan)
        self.admission.after_step(plan)

    def leavers(self, done: list[Request]) -> list[Request]:
        """Which requests leave now, given those whose text was completed by this step."""
        return done

    def remove(self, request: Request) -> None:
        """Finished or aborted: gone from its queue, its blocks given back."""
        self.kv.release(request)
        request.status = Status.FINISHED
        self.members.discard(request)
        if request in self.running:
            self.running.remove(request)
        else:
            self.waiting.remove(request)

    def restore(self) -> None:
        """The queues made anew from what each request says of itself (somebody has meddled with them)."""
        known = sorted(self.members, key=lambda r: r.sequence)
        self.waiting = deque(r for r in known if r.status is Status.WAITING)
        self.running = [r for r in known if r.status is Status.RUNNING]

    def roll_back(self, plan: Plan) -> None:
        """A step was interrupted after ``reserve``: whoever's KV this step moved starts over, nothing else changes."""
        moved = {table for _, table in plan.moves.copy} | {block for _, block in plan.moves.swap_in}
        for request in plan.preempt:
            self.kv.release(request)  # its copy on the host may be half written
        for request in [r for r in self.running if r.num_computed_tokens and moved.intersection(r.block_table)]:
            self._preempt(request, Plan(), keep=False)

    def _start(self, request: Request, now: float) -> None:
        if self.waiting[0] is request:
            self.waiting.popleft()
        else:
            self.waiting.remove(request)
        self.running.append(request)
        request.status = Status.RUNNING
        if request.admitted_time is None:
            request.admitted_time = now

    def _preempt(self, request: Request, plan: Plan, keep: bool = True) -> None:
        request.high_water = max(request.high_water, request.num_computed_tokens)
        packed = plan.rows is None  # the KV of a rectangle's row stands too far to the right to be put back
        if not (keep and packed and self.config.preemption == "swap" and self.kv.swap_out(request, plan.moves)):
            self.kv.release(request)
        request.num_preemptions += 1
        request.status = Status.WAITING
        self.running.remove(request)
        self.waiting.appendleft(request)
        self.admission.after_preemption()

    # -- the rules --------------------------------------------------------------------------------------

    def check(self, plan: Plan, now: float) -> None:
        """Raise PlanError naming the first rule that the plan breaks."""
        if not plan.extend and not plan.preempt:
            return self._check_idle(plan, now)
        kv, tokens, seen = self.kv.ledger(), 0, set(plan.preempt)
        if len(seen) < len(plan.preempt):
            raise PlanError("one slice per request", "a request is preempted twice in one plan")
        if plan.rows is not None:
            self._check_rectangle(plan)
        for request in plan.preempt:
            self._check_known(request)
            if request.status is not Status.RUNNING:
                raise PlanError("only running requests are preempted", f"{request} is not running")
            kv.give_back(request)
        seats = self.max_num_seqs - len(self.running) + len(seen)
        for request, n in plan.extend:
            if request not in self.members or request.finish_reason is not None:
                self._check_known(request)
            if request in seen:
                raise PlanError("one slice per request", f"{request.request_id} is named twice in one plan")
            seen.add(request)
            tokens += n
            seats -= request.status is Status.WAITING
            if type(n) is not int or n != 1 or not request.block_table:
                self._check_slice(request, n, kv, plan)
            if not kv.take(request, n, 0 if request.block_table else plan.span):
                free, need = kv.free, kv.need(request, n, plan.span)
                raise PlanError(
                    "no more KV than there is",
                    f"{request.request_id} needs {need} more blocks, {free} are free: count with self.kv.ledger().take(...)",
                )
        if seats < 0:
            raise PlanError("at most max_num_seqs requests run", f"{-seats} more than {self.max_num_seqs} would run")
        if self.token_budget is not None and tokens > self.token_budget:
            raise PlanError("the token budget", f"{tokens} tokens planned, the budget is {self.token_budget}")

    def _check_rectangle(self, plan: Plan) -> None:
        """All new or all running, every row in one list, and all rows ending in one column."""
        new = [r for r, _ in plan.extend if r.status is Status.WAITING]
        ends = {r.pad + r.num_computed_tokens + n for r, n in plan.extend} if not new else {plan.width}
        for request, n in plan.extend:
            if request.status is Status.WAITING and n < request.num_remaining_tokens:
                raise PlanError(
                    "a rectangle is one block of rows",
                    f"{request.request_id} is new and is planned with {n} of its {request.num_remaining_tokens} tokens: "
                    "a new row computes its whole prompt in its first step",
                )
        rows, old = set(plan.rows), [r for r in plan.rows if r.status is Status.RUNNING]
        why = None
        if new and old:
            why = f"{new[0].request_id} is new and {old[0].request_id} runs: the rows of a rectangle are all new or all running"
        elif not rows.issuperset(r for r, _ in plan.extend):
            missing = next(r.request_id for r, _ in plan.extend if r not in rows)
            why = f"plan.rows lacks {missing}, which is in plan.extend: rows names every row, extend those that make tokens"
        elif len(ends) > 1:
            why = f"the rows do not end in one column but in {sorted(ends)}: leave out nobody who still makes tokens"
        elif new and plan.span < plan.width:
            why = f"plan.span={plan.span} does not hold a new rectangle {plan.width} tokens wide: it says how wide a row may grow"
        if why:
            raise PlanError("a rectangle is one block of rows", why)
        if any(r.num_computed_tokens for r in new):
            raise PlanError("a new row starts at its first token", f"{new} have been swapped out: use preemption='recompute'")

    def _check_idle(self, plan: Plan, now: float) -> None:
        """Planning nothing needs a reason: a time to wait for, or arrivals that can still come."""
        due = plan.wait_until
        reason = self.arrivals_open if due is None or due == math.inf else due > now
        if not reason and (self.waiting or self.running):
            raise PlanError(
                "never idle without a reason",
                f"{len(self.waiting)} requests wait and {len(self.running)} run, yet nothing is planned, "
                f"no request can still arrive and wait_until={plan.wait_until} does not lie ahead of now={now:.3f}: "
                "plan something, or set plan.wait_until to a time to come",
            )

    def _check_known(self, request: Request) -> None:
        if request.status is Status.FINISHED or request.finish_reason is not None:
            raise PlanError("no finished requests", f"{request.request_id} is finished")
        if request not in self.members:
            raise PlanError("only known requests", f"{request!r} was never given to this engine")

    def _check_slice(self, request: Request, n: int, kv: Ledger, plan: Plan) -> None:
        if not isinstance(n, int) or n < 1:
            raise PlanError("a slice has at least one token", f"{request.request_id} is planned with {n!r} tokens")
        todo = request.num_remaining_tokens if plan.rows is not None else kv.todo(request)
        if n > todo:
            raise PlanError(
                "no more tokens than are left",
                f"{request.request_id} has {todo} tokens left to compute, the plan gives it {n} "
                "(tokens found in the prefix cache are not computed again: ask ledger.todo(request))",
            )
