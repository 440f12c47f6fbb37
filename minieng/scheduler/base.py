"""What every scheduler shares: two queues, a ledger to count on, and the carrying out of its plans.

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

import sys
from collections import deque
from collections.abc import Iterable

from ..config import EngineConfig
from ..kv.allocator import KVCache, Ledger
from ..plan import Moves, Plan, Refusal, Reservation, StepResult
from ..request import Request, Status
from .admission import make_admission
from .ordering import make_order, make_victim
from .queues import Queues
from .rules import check


class Scheduler:
    """Base of all schedulers. Reads its limits from the engine's configuration in ``bind``.

    waiting        requests without KV, in order of arrival; a preempted one stands in front
    running        requests with KV, in order of admission; of a pipeline's, the group whose turn it is
    members        all together
    longest_chunk  most tokens of one prompt in a step, where a prompt may be cut
    arrivals_open  whether more requests can still come
    token_budget   most tokens a plan of this scheduler may compute; None: the rule does not apply
    rectangles     plans rows of equal width, padded on the left
    """

    token_budget: int | None = None
    rectangles: bool = False

    def bind(self, kv: KVCache, config: EngineConfig) -> None:
        """Called once by the engine, before anything else. Raises ValueError for a name that nothing has."""
        self.kv, self.config, self.queues = kv, config, Queues(kv, config)
        self.max_num_seqs, self.max_num_batched_tokens = config.max_num_seqs, config.max_num_batched_tokens
        self.longest_chunk = config.long_prefill_token_threshold or sys.maxsize
        self.order = make_order(config.order, self.queues)
        self.admission = make_admission(config.admission, self.queues)
        self.victim_key = make_victim(config.victim) if config.victim else self.order.last

    @classmethod
    def largest_step(cls, config: EngineConfig, max_model_len: int) -> int:
        """Most tokens that one step may compute: memory for it is set aside before the cache is sized.

        What ``admit`` lets in with a budget of ``max_prefill_tokens``: a first prompt may be longer.
        """
        return max(config.max_prefill_tokens, max_model_len)

    @property
    def waiting(self) -> deque[Request]:
        return self.queues.waiting

    @property
    def running(self) -> list[Request]:
        return self.queues.group

    @property
    def members(self) -> set[Request]:
        return self.queues.members

    @property
    def arrivals_open(self) -> bool:
        return self.queues.arrivals_open

    # -- the one decision -------------------------------------------------------------------------------

    def plan(self, now: float) -> Plan:
        """What the next step does. Must change nothing: count blocks on ``self.kv.ledger()``.

        now: seconds on the engine's clock.
        """
        raise NotImplementedError(f"{type(self).__name__} must define plan(self, now) -> Plan")

    # -- helpers for plan() -----------------------------------------------------------------------------

    def queue(self, now: float, kv: Ledger) -> Iterable[Request]:
        """The waiting requests in the order of the policy."""
        return self.order.sort(now, kv)

    def make_room(self, plan: Plan, kv: Ledger, request: Request, n: int) -> bool:
        """Count ``n`` tokens for a running request, preempting victims until they fit.

        False if the request itself had to go, or had gone already. A victim planned before is taken out
        again.
        """
        while request not in plan.preempt:
            if kv.take(request, n):
                return True
            victim = max((r for r in self.running if r not in plan.preempt), key=self.victim_key)
            self.evict(plan, kv, victim)
        return False

    def evict(self, plan: Plan, kv: Ledger, request: Request) -> None:
        """Plan that a running request gives up seat and KV: its blocks are free on the ledger. A slice of it
        that was planned before is taken out again.
        """
        kv.give_back(request)
        plan.preempt.append(request)
        plan.drop(request)

    def admit(self, plan: Plan, kv: Ledger, now: float, budget: int, whole: bool = True) -> None:
        """Add waiting requests to the plan, in order, until the first that does not get in; note why not.

        budget  tokens that the newcomers may compute together. With ``whole`` a prompt is computed in one
                step or not at all, and a first one passes even if it alone is over the budget; without it
                the last newcomer gets what is left.
        """
        if not self.waiting:
            return
        seats, first = self.max_num_seqs - len(self.running) + len(plan.preempt), True
        for request in self.queue(now, kv) if seats > 0 else [self.waiting[0]]:
            n = kv.todo(request)
            reason: str | None
            if seats <= 0:
                reason = f"all {self.max_num_seqs} seats are taken"
            elif budget <= 0 or whole and n > budget and not first:
                reason = f"{n} prompt tokens, {max(budget, 0)} left in this step's budget"
            else:
                n = n if whole else min(n, budget, self.longest_chunk)
                reason = self.admission.refuses(request, n, kv, plan)
            if reason:
                plan.refuse.append(Refusal(request, reason))
                return
            kv.take(request, n)
            plan.extend.append((request, n))
            seats, budget, first = seats - 1, budget - n, False

    def overdue(self, now: float) -> list[Request]:
        """Waiting requests that are dropped, because their deadline has passed."""
        if not self.config.drop_overdue:
            return []
        return [r for r in self.waiting if r.deadline is not None and r.deadline <= now]

    # -- carried out by the engine ----------------------------------------------------------------------

    def add(self, request: Request, front: bool = False) -> None:
        self.order.arrived(request)  # first: it may ask a function of the user's, which may fail
        self.queues.add(request, front)
        self.admission.arrived(request)

    def remove(self, request: Request) -> None:
        self.queues.remove(request)
        self.order.leaves(request)

    def check(self, plan: Plan, now: float) -> Ledger:
        """Raise PlanError naming the first rule that the plan breaks. Returns the account of its blocks."""
        return check(self.queues, plan, now, self.token_budget)

    def reserve(self, plan: Plan, now: float) -> Reservation:
        """Check the plan against the rules, then move requests between the queues and name their blocks.

        Raises PlanError, and has changed nothing, if a rule is broken.
        """
        kv = self.check(plan, now)
        rows, pool = plan.rows, self.kv.pool
        packed = rows is None
        done = Reservation([r for r, _ in plan.extend if r.status is Status.WAITING])
        if rows is None:
            for request in done.newcomers:
                shared, first = kv.shared(request), request.admitted_time is None
                self.kv.attach(request, shared)
                done.cached += shared.num_tokens if first else 0
                done.cached_again += 0 if first else shared.num_tokens
                done.shared += len(shared.blocks) + len(shared.due)
        else:
            # it may be self.running itself, and that changes before the trace is written
            plan.rows = list(rows)
        before = pool.num_free
        for request in plan.preempt:  # a rectangle's KV stands too far to the right to be put back
            self.preempt(request, plan.moves if packed else None)
        done.freed = pool.num_free - before
        if not packed:
            width = plan.width
            for request in done.newcomers:
                request.pad, request.span = width - request.num_remaining_tokens, plan.span
        self._name_blocks(plan, done, kv)
        for request in done.newcomers:
            self.queues.start(request, now)
            self.order.leaves(request)
        done.blocks_free = pool.num_free
        return done

    def _name_blocks(self, plan: Plan, done: Reservation, kv: Ledger) -> None:
        size, packed = self.kv.block_size, plan.rows is None
        for request, n in plan.extend:
            # Most slices are decodes, and most decodes stay inside a block that is theirs already. To ask
            # that here, and not in ``grow``, saves a call for each running request in each step.
            new = request.status is Status.WAITING
            if n > 1 or not (request.pad + request.num_computed_tokens) % size or new:
                had = 0 if new else len(request.block_table)
                if new and packed:
                    self.kv.borrow(request, kv.shared(request).due)
                if copied := self.kv.grow(request, n, plan.moves):
                    done.copied.append((request, *copied))
                    # a newcomer that writes into the last of its shared blocks has a copy instead
                    done.shared -= new
                if len(request.block_table) > had:
                    done.taken.append((request, request.block_table[had:]))

    def commit(self, plan: Plan, result: StepResult, now: float) -> None:
        """The step has happened: progress, tokens, and full blocks that others may share from now on."""
        size, running = self.kv.block_size, Status.RUNNING
        for (request, n), token in zip(plan.extend, result.tokens, strict=True):
            if request.status is not running:
                continue  # aborted while the step ran
            request.num_computed_tokens += n
            if request.num_computed_tokens % size < n:  # it reached a block's edge: else no block became full
                self.kv.publish(request)
            if token is not None:
                request.append(token, now)
        self.queues.note_speed(plan.num_tokens, result.duration)
        self.order.served(plan)
        self.admission.after_step(plan)

    def leavers(self, done: list[Request]) -> list[Request]:
        """Which requests leave now, given those whose text was completed by this step."""
        return done

    def roll_back(self, plan: Plan) -> None:
        """A step was interrupted after ``reserve``: whoever's KV this step moved or should have filled starts
        over, nothing else changes.
        """
        moved = {table for _, table in plan.moves.copy} | {block for _, block in plan.moves.swap_in}
        for request in plan.preempt:
            self.kv.release(request)  # its copy on the host may be half written
        size = self.kv.block_size
        empty: set[int] = set()
        for r, _ in plan.extend:
            empty.update(r.block_table[(r.pad + r.num_computed_tokens) // size :])
        lost = [r for r, _ in plan.extend if empty & {*r.block_table[: r.num_computed_tokens // size]}]
        for request in lost:
            self.kv.release(request)  # it borrowed a block that was not written, so it has no KV to speak of
            self.preempt(request)
        for request in [r for r in self.running if r.num_computed_tokens and moved & {*r.block_table}]:
            self.preempt(request)

    def preempt(self, request: Request, moves: Moves | None = None) -> None:
        self.order.waits(request)  # first, as in ``add``
        self.queues.preempt(request, moves)
        self.admission.after_preemption()
