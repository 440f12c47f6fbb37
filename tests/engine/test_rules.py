"""A learner's scheduler runs with nothing but ``plan``; one that breaks a rule is told which, and nothing is harmed."""

from __future__ import annotations

import pytest
from support.fakes import ask, expected, fake_engine, finish, nothing_left

from minieng.plan import Plan, PlanError
from minieng.request import Request, Status
from minieng.scheduler import Scheduler


class OneByOne(Scheduler):
    """The shortest scheduler there is: the oldest request, alone."""

    def plan(self, now):
        request = (self.running or self.waiting)[0]
        return Plan(extend=[(request, request.num_remaining_tokens)])


class Taught(Scheduler):
    """The example in the documentation of ``Scheduler``."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if self.make_room(plan, kv, r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))
        if not plan.preempt:
            self.admit(plan, kv, now, budget=2048)
        return plan


class OnlyPlan(Scheduler):
    """Counts on the ledger by itself, as the course teaches it."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if kv.take(r, 1):
                plan.extend.append((r, 1))
        for r in self.waiting:
            if len(self.running) < 4 and kv.can_take(r, kv.todo(r)):
                kv.take(r, n := kv.todo(r))
                plan.extend.append((r, n))
        return plan


class ByIterators(OnlyPlan):
    """Hands the fields of its plan over as what can be run through once."""

    def plan(self, now):
        made = super().plan(now)
        return Plan(extend=iter(made.extend), preempt=(r for r in made.preempt), refuse=tuple(made.refuse))


@pytest.mark.parametrize("learner", [OneByOne, Taught, OnlyPlan, ByIterators])
def test_a_scheduler_with_nothing_but_plan_runs(learner):
    engine = fake_engine(learner(), num_blocks=64, enable_prefix_caching=learner is not OneByOne)
    requests = [ask(engine, name, 3 + i, 5) for i, name in enumerate("abcd")]
    finish(engine)
    for request in requests:
        assert request.output_token_ids == expected(request.token_ids[: request.num_prompt_tokens], 5)
    nothing_left(engine)


def test_a_scheduler_without_plan_says_so():
    engine = fake_engine(Scheduler())
    ask(engine, "a", 3)
    with pytest.raises(NotImplementedError, match=r"Scheduler must define plan\(self, now\) -> Plan"):
        engine.step()


# -- each rule, broken in one plan: (rule, words of the message, the plan) ----------------------------------------
# At that moment a has 6 tokens computed of 7 and runs, b and c wait with 5 each, gone is finished, the cache has
# 8 blocks of 4, four seats and a budget of 9 tokens.

ONE_BLOCK = "a rectangle is one block of rows"
BROKEN = {
    "over the budget": ("the token budget", "10 tokens planned, the budget is 9", lambda w: Plan([(w.b, 5), (w.c, 5)])),
    "too much KV": ("no more KV than there is", "b needs 2 more blocks, 1 are free",
                    lambda w: Plan(list(zip((w.a, w.big, w.b, w.c), (1, 9, 5, 5))))),
    "unknown": ("only known requests", "stranger", lambda w: Plan([(w.stranger, 3)])),
    "unknown victim": ("only known requests", "stranger", lambda w: Plan(preempt=[w.stranger])),
    "finished": ("no finished requests", "gone is finished", lambda w: Plan([(w.gone, 1)])),
    "twice": ("one slice per request", "b is computed twice", lambda w: Plan([(w.b, 2), (w.b, 3)])),
    "planned and preempted": ("one slice per request", "a is preempted and computed", lambda w: Plan([(w.a, 1)], [w.a])),
    "preempted twice": ("one slice per request", "is preempted twice", lambda w: Plan(preempt=[w.a, w.a])),
    "idle without a reason": ("never idle without a reason", "3 requests wait and 1 run", lambda w: Plan()),
    "idle until a time gone by": ("never idle without a reason", "wait_until=-1", lambda w: Plan(wait_until=-1.0)),
    "idle for ever": ("never idle without a reason", "wait_until=inf", lambda w: Plan(wait_until=float("inf"))),
    "idle until NaN": ("never idle without a reason", "wait_until=nan", lambda w: Plan(wait_until=float("nan"))),
    "too many requests": ("at most max_num_seqs requests run", "1 more than 2 would run",
                          lambda w: w.seats(2, Plan([(w.b, 1), (w.c, 1)]))),
    "too many tokens": ("no more tokens than are left", "b has 5 tokens left to compute, the plan gives it 6",
                        lambda w: Plan([(w.b, 6)])),
    "no tokens": ("a slice has at least one token", "b is planned with 0 tokens", lambda w: Plan([(w.b, 0)])),
    "half a token": ("a slice has at least one token", "b is planned with 2.5 tokens", lambda w: Plan([(w.b, 2.5)])),
    "a waiting victim": ("only running requests are preempted", "b", lambda w: Plan(preempt=[w.b])),
    "no plan": ("plan() returns a Plan", "None", lambda w: None),
    "a rectangle of old and new": (ONE_BLOCK, "", lambda w: Plan([(w.a, 1), (w.b, 5)], rows=[w.a, w.b], span=9)),
    "a row that is not listed": (ONE_BLOCK, "", lambda w: Plan([(w.b, 5), (w.c, 5)], rows=[w.b], span=9)),
    "a row without its whole prompt": (ONE_BLOCK, "b is new and is planned with 2 of its 5 tokens",
                                       lambda w: Plan([(w.b, 2)], rows=[w.b], span=9)),
    "a rectangle too narrow": (ONE_BLOCK, "", lambda w: Plan([(w.b, 5)], rows=[w.b], span=4)),
}  # fmt: skip


def test_the_limit_may_be_lowered_while_more_run():
    """They go on to the end, and nobody new comes in before enough of them are gone."""
    engine = fake_engine("continuous", num_blocks=64, max_num_seqs=4)
    requests = [ask(engine, str(i), 3, 4 + i) for i in range(6)]
    engine.step()
    engine.config.max_num_seqs = engine.scheduler.max_num_seqs = 2
    finish(engine)
    assert all(r.num_preemptions == 0 for r in requests)
    running = [record.num_running + len(record.finished) for record in engine.trace]
    assert running[:4] == [4] * 4 and max(running[4:]) == 3 and running[-1] <= 2


class World(Scheduler):
    """Runs as ``Taught`` until the test has it return one bad plan."""

    token_budget = 9
    bad = None

    def plan(self, now):
        if self.bad is not None:
            bad, self.bad = self.bad, None
            return bad(self)
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if self.make_room(plan, kv, r, min(r.num_remaining_tokens, 4)):
                plan.extend.append((r, min(r.num_remaining_tokens, 4)))
        if not plan.preempt:
            self.admit(plan, kv, now, budget=9 - plan.num_tokens, whole=False)
        return plan

    def seats(self, count: int, plan: Plan) -> Plan:
        self.config.max_num_seqs = count
        return plan


@pytest.fixture
def world():
    scheduler = World()
    engine = fake_engine(scheduler, num_blocks=6, block_size=4, max_num_seqs=4, watermark=0)
    scheduler.engine, scheduler.stranger = engine, Request("stranger", [1, 2, 3])
    scheduler.gone = ask(engine, "gone", 2, 1)
    scheduler.a = ask(engine, "a", 6, 6)
    engine.step()
    assert scheduler.gone.is_done and (scheduler.a.num_computed_tokens, scheduler.a.num_tokens) == (6, 7)
    scheduler.b, scheduler.c, scheduler.big = ask(engine, "b", 5, 6), ask(engine, "c", 5, 6), ask(engine, "big", 9, 2)
    engine._let_in_arrivals(None)
    return scheduler


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named_and_harms_nobody(world, case):
    rule, words, world.bad = BROKEN[case]
    engine = world.engine

    def state():
        held = [(r, r.status, r.num_computed_tokens, list(r.block_table)) for r in engine.requests.values()]
        return held, set(world.waiting), list(world.running), engine.kv.pool.num_free, engine.clock.now()

    before = state()
    with pytest.raises(PlanError) as broken:
        engine.step()
    assert broken.value.rule == rule and words in str(broken.value), str(broken.value)
    assert state() == before
    world.config.max_num_seqs = 4
    finish(engine)
    for request in (world.a, world.b, world.c, world.big):
        prompt = request.token_ids[: request.num_prompt_tokens]
        assert request.output_token_ids == expected(prompt, request.params.max_tokens)
    nothing_left(engine)


def popped(scheduler):
    return Plan([(scheduler.waiting.popleft(), 1)])


def moved(scheduler):
    scheduler.running.append(scheduler.waiting.popleft())
    return Plan()


def popped_then_an_error(scheduler):
    scheduler.waiting.popleft()
    raise ZeroDivisionError


def started(scheduler):
    scheduler.queues.start(scheduler.waiting[0], 0.0)
    return Plan()


def turned_round(scheduler):
    scheduler.waiting.rotate(1)
    return Plan([(scheduler.running[0], 1)])


def two_exchanged(scheduler):
    scheduler.waiting[1], scheduler.waiting[2] = scheduler.waiting[2], scheduler.waiting[1]
    return Plan([(scheduler.running[0], 1)])


@pytest.mark.parametrize("meddling", [popped, moved, popped_then_an_error, started, turned_round, two_exchanged])
def test_a_plan_that_moves_requests_itself_is_told_so_and_undone(world, meddling):
    world.bad = meddling
    error, words = (ZeroDivisionError, None) if meddling is popped_then_an_error else (PlanError, "a plan changes nothing")
    with pytest.raises(error, match=words):
        world.engine.step()
    assert [r.request_id for r in world.waiting] == ["b", "c", "big"] and [r.request_id for r in world.running] == ["a"]
    assert all(r.status is Status.WAITING and r.admitted_time is None for r in world.waiting)
    finish(world.engine)
    nothing_left(world.engine)


def test_a_plan_that_takes_a_request_off_itself_is_told_so_and_the_request_starts_again(world):
    def dropped(scheduler):
        scheduler.queues.preempt(scheduler.running[0])
        return Plan()

    world.bad = dropped
    with pytest.raises(PlanError, match="a plan changes nothing"):
        world.engine.step()
    assert [r.request_id for r in world.waiting] == ["a", "b", "c", "big"] and not world.running
    prompt = world.a.token_ids[: world.a.num_prompt_tokens]
    finish(world.engine)
    assert world.a.output_token_ids == expected(prompt, world.a.params.max_tokens)
    nothing_left(world.engine)


def test_waiting_for_the_next_arrival_is_a_reason():
    class Patient(OneByOne):
        def plan(self, now):
            return Plan() if self.arrivals_open else super().plan(now)

    engine = fake_engine(Patient())
    ask(engine, "a", 3, 1)
    ask(engine, "b", 3, 1, at=8.0)
    finish(engine)
    assert [record.start for record in engine.trace] == [8.0, 9.0]


def test_waiting_for_a_time_is_a_reason():
    class Late(OneByOne):
        def plan(self, now):
            return Plan(wait_until=5.0) if now < 5 else super().plan(now)

    engine = fake_engine(Late())
    ask(engine, "a", 3, 1)
    finish(engine)
    assert engine.trace[0].start == 5.0
