"""The rules that every plan must keep, whoever made it. A broken one is a PlanError with the rule's name."""

from __future__ import annotations

import math

from ..kv.allocator import Ledger
from ..plan import Plan, PlanError
from ..request import Request, Status
from .queues import Queues

ONE_BLOCK = "a rectangle is one block of rows"


def check(queues: Queues, plan: Plan, now: float, token_budget: int | None = None) -> Ledger:
    """Raise PlanError naming the first rule that the plan breaks; change nothing.
    Returns the account of its blocks.

    now           seconds on the engine's clock
    token_budget  most tokens the plan may compute; None: there is no such rule
    """
    kv = queues.kv.ledger()
    if not plan.extend and not plan.preempt:
        check_idle(queues, plan, now)
        return kv
    if len(set(plan.preempt)) < len(plan.preempt):
        raise PlanError("one slice per request", "a request is preempted twice in one plan")
    if plan.rows is not None:
        check_rectangle(plan)
    check_victims(queues, plan, kv)
    check_slices(queues, plan, kv)
    newcomers = sum(r.status is Status.WAITING for r, _ in plan.extend)
    most = queues.config.max_num_seqs
    over = len(queues.running) - len(plan.preempt) + newcomers - most
    if newcomers and over > 0:  # the limit may be lowered while more run: they stay, and nobody new comes
        raise PlanError("at most max_num_seqs requests run", f"{over} more than {most} would run")
    if token_budget is not None and plan.num_tokens > token_budget:
        raise PlanError("the token budget", f"{plan.num_tokens} tokens planned, the budget is {token_budget}")
    return kv


def check_idle(queues: Queues, plan: Plan, now: float) -> None:
    """Planning nothing needs a reason: a time to wait for, or arrivals that can still come."""
    due = plan.wait_until
    reason = queues.arrivals_open if due is None or due == math.inf else due > now
    if not reason and (queues.waiting or queues.running):
        what = f"{len(queues.waiting)} requests wait and {len(queues.running)} run, yet nothing is planned, "
        what += f"no request can still arrive and wait_until={due} does not lie ahead of now={now:.3f}: "
        what += "plan something, or set plan.wait_until to a time to come"
        raise PlanError("never idle without a reason", what)


def check_victims(queues: Queues, plan: Plan, kv: Ledger) -> None:
    """Only who runs can be preempted; what the victims hold is free for the slices."""
    for request in plan.preempt:
        check_known(queues, request)
        if request.status is not Status.RUNNING:
            raise PlanError("only running requests are preempted", f"{request} is not running")
        kv.give_back(request)


def check_slices(queues: Queues, plan: Plan, kv: Ledger) -> None:
    """Each request at most once, known and alive, with tokens that it lacks and KV that there is."""
    named = dict.fromkeys(plan.preempt, "preempted and computed")
    for request, n in plan.extend:
        # This loop runs in every step for every running request. A member that is not done is known, and a
        # decode, one token of a request that has KV, lacks at least that token: only what is left is looked
        # at closely.
        if request not in queues.members or request.finish_reason is not None:
            check_known(queues, request)
        if request in named:
            raise PlanError("one slice per request", f"{request.request_id} is {named[request]} in one plan")
        named[request] = "computed twice"
        if type(n) is not int or n != 1 or not request.block_table:
            check_length(request, n, kv, plan)
        if not kv.take(request, n, 0 if request.block_table else plan.span):
            free, need = kv.free, kv.need(request, n, plan.span)
            what = f"{request.request_id} needs {need} more blocks, {free} are free"
            raise PlanError("no more KV than there is", f"{what}: count with self.kv.ledger().take(...)")


def check_known(queues: Queues, request: Request) -> None:
    if request.status is Status.FINISHED or request.finish_reason is not None:
        raise PlanError("no finished requests", f"{request.request_id} is finished")
    if request not in queues.members:
        raise PlanError("only known requests", f"{request!r} was never given to this engine")


def check_length(request: Request, n: int, kv: Ledger, plan: Plan) -> None:
    """At least one token, and none that is there already."""
    if not isinstance(n, int) or n < 1:
        what = f"{request.request_id} is planned with {n!r} tokens"
        raise PlanError("a slice has at least one token", what)
    most = request.num_remaining_tokens if plan.rows is not None else kv.most(request)
    if n > most:
        what = f"{request.request_id} has {most} tokens left to compute, the plan gives it {n} "
        what += "(tokens found in the prefix cache are not computed again: ask ledger.todo(request))"
        raise PlanError("no more tokens than are left", what)


def check_rectangle(plan: Plan) -> None:
    """All new or all running, every row in one list, and all rows ending in one column."""
    new = [r for r, _ in plan.extend if r.status is Status.WAITING]
    for r, n in plan.extend:
        if r.status is Status.WAITING and n < r.num_remaining_tokens:
            what = f"{r.request_id} is new and is planned with {n} of its {r.num_remaining_tokens} tokens"
            raise PlanError(ONE_BLOCK, f"{what}: a new row computes its whole prompt in its first step")
    if why := misfit(plan, new):
        raise PlanError(ONE_BLOCK, why)
    if any(r.num_computed_tokens for r in new):
        what = f"{new} have been swapped out: use preemption='recompute'"
        raise PlanError("a new row starts at its first token", what)


def misfit(plan: Plan, new: list[Request]) -> str | None:
    """Why these rows are no rectangle; None if they are one."""
    assert plan.rows is not None
    rows, old = set(plan.rows), [r for r in plan.rows if r.status is Status.RUNNING]
    if new and old:
        pair = f"{new[0].request_id} is new and {old[0].request_id} runs"
        return f"{pair}: the rows of a rectangle are all new or all running"
    missing = next((r.request_id for r, _ in plan.extend if r not in rows), None)
    if missing is not None:
        return f"plan.rows lacks {missing}, which is in plan.extend: rows names all, extend who makes tokens"
    ends = {plan.width} if new else {r.pad + r.num_computed_tokens + n for r, n in plan.extend}
    if len(ends) > 1:
        return f"the rows do not end in one column but in {sorted(ends)}: leave out nobody who makes tokens"
    if new and plan.span < plan.width:
        narrow = f"plan.span={plan.span} does not hold a new rectangle {plan.width} tokens wide"
        return f"{narrow}: it says how wide a row may grow"
    return None
