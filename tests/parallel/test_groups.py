"""Groups that take turns, with several batches in flight: on a cache whose content can be looked at (``support/fakes``).

Whatever is in flight, whoever is preempted, aborted or interrupted, every token sees exactly its own past.
"""

from __future__ import annotations

import random

import pytest
from support.content import check, random_engine, random_requests
from support.fakes import InFlight, Scripted, ask, expected, fake_engine, finish, nothing_left

from minieng.observe.trace import Trace
from minieng.parallel.pipeline import PipelineEngine, StageEnded, pipelined
from minieng.plan import Plan, PlanError
from minieng.request import Request
from minieng.scheduler import SCHEDULERS, Scheduler


def engine_of(depth: int = 2, **more) -> PipelineEngine:
    return fake_engine(make=pipelined(depth), executor=InFlight, **more)


def run(engine: PipelineEngine, dice: random.Random, requests: list[Request], trouble: float) -> None:
    """To the end, with an abort, a Ctrl-C or a failure now and then."""
    for _ in range(6_000):
        if dice.random() < trouble:
            kind = dice.randrange(4)
            if kind == 0 and engine.requests:
                engine.abort(dice.choice(list(engine.requests)))
            elif kind == 1:
                engine.executor.interrupt_in = dice.randint(0, 6)
            elif kind == 2:
                engine.executor.interrupt_collect = True
            else:
                engine.executor.fail_collect = True
        try:
            if engine.step() is None:
                return
        except (KeyboardInterrupt, FloatingPointError):
            under_way = {request for flight in engine.flights for request, _ in flight.plan.extend}
            engine.kv.check_invariants(engine.scheduler.members, under_way)
    raise AssertionError("the engine does not finish")


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.wide) for n in (250, 500, 750))])
def test_every_token_sees_its_own_past_whatever_is_in_flight(first):
    together = 0
    for number in range(first, first + 250):
        dice = random.Random(number)
        longest = dice.randint(3, 40)
        engine = random_engine(dice, longest, make=pipelined(dice.randint(1, 4)), executor=InFlight)
        requests = random_requests(dice, engine, longest)
        try:
            run(engine, dice, requests, dice.choice([0.0, 0.0, 0.1]))
            engine.depth = engine.depth  # what still flies belongs to nobody: it lands
            nothing_left(engine)
            assert len(engine.kv.free_host_blocks) == len(engine.executor.host), "host blocks are lost"
            assert not engine.flights and not engine.executor.flying and not engine.scheduler.queues.group_of
            check(requests)
            together += engine.executor.most > 1
        except Exception as problem:
            problem.add_note(f"workload number {number}: {type(engine.scheduler).__name__}, {engine.depth}, {engine.config}")
            raise
    assert together > 75, "hardly ever was more than one batch in flight"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("depth", [2, 3])
def test_as_many_batches_are_in_flight_as_there_are_groups(scheduler, depth):
    engine = engine_of(depth, scheduler=scheduler, num_blocks=200, batch_size=2, max_num_seqs=12)
    made = [ask(engine, f"r{i}", 5, 6) for i in range(12)]
    finish(engine)
    assert engine.executor.most == depth
    assert [r.output_token_ids for r in made] == [expected(r.token_ids[:5], 6) for r in made]


@pytest.mark.parametrize("checked", [True, False])
def test_what_an_engine_takes_it_takes_too(checked):
    """The cache is looked at after every step or never, tokens are told, and the trace is the one given."""
    tokens, looks, trace = [], [], Trace()
    plain = engine_of(num_blocks=50, max_num_seqs=4)
    engine = pipelined(2)(
        plain.executor,
        plain.kv,
        plain.config,
        plain.clock,
        on_token=lambda request: bool(tokens.append(request.output_token_ids[-1])),
        checked=checked,
        trace=trace,
    )
    check_invariants = engine.kv.check_invariants
    engine.kv.check_invariants = lambda *args: looks.append(check_invariants(*args))
    made = [ask(engine, f"r{i}", 5, 3) for i in range(4)]
    finish(engine)
    assert engine.trace is trace and len(trace) > 3
    assert len(looks) == (len(trace) if checked else 0)
    assert sorted(tokens) == sorted(token for r in made for token in r.output_token_ids)


def test_a_request_is_in_one_batch_at_a_time():
    """Between its begin and its finish no other plan names it."""
    engine = engine_of(3, num_blocks=200, max_num_seqs=9)
    for i in range(9):
        ask(engine, f"r{i}", 3, 8)
    while engine.has_work:
        engine.step()
        names = [r.request_id for flight in engine.flights for r, _ in flight.plan.extend]
        assert len(names) == len(set(names))


def test_few_requests_are_shared_out():
    """With 32 seats, 8 requests are 4 and 4: a group of all would leave the other stage without work."""
    engine = engine_of(2, num_blocks=200, max_num_seqs=32)
    for i in range(8):
        ask(engine, f"r{i}", 4, 4)
    finish(engine)
    assert [len(record.slices) for record in engine.trace] == [4] * 8


def test_seats_are_shared_without_a_rest():
    engine = engine_of(3, num_blocks=400, max_num_seqs=7)
    for i in range(20):
        ask(engine, f"r{i}", 4, 4)
    finish(engine)
    assert max(record.num_running for record in engine.trace) == 7
    assert engine_of(5, max_num_seqs=2).depth == 2, "a group without a seat is none"


def test_groups_stay_even_when_some_texts_end_early():
    """The first group's texts end; the second gives half of its own to it, and both stages go on."""
    engine = engine_of(2, num_blocks=200, max_num_seqs=8)
    made = [ask(engine, f"r{i}", 4, 3 if i < 4 else 20) for i in range(8)]
    finish(engine)
    assert [len(record.slices) for record in list(engine.trace)[-20:]] == [2] * 20
    assert all(r.output_token_ids == expected(r.token_ids[:4], r.params.max_tokens) for r in made)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_two_groups_do_not_drive_each_other_out_for_ever(scheduler, preemption):
    """Each of two texts needs all of the cache. Alone in its group, each could give up only itself."""
    engine = engine_of(2, scheduler=scheduler, num_blocks=10, block_size=1, max_num_batched_tokens=1, preemption=preemption)
    first, second = ask(engine, "first", 8, 3), ask(engine, "second", 8, 3)
    finish(engine, limit=200)
    assert [r.output_token_ids for r in (first, second)] == [expected(r.token_ids[:8], 3) for r in (first, second)]
    assert first.num_preemptions == 0, "the oldest is never a victim of others"


def test_an_abort_takes_effect_at_once_and_its_tokens_belong_to_nobody():
    engine = engine_of(2, num_blocks=64)
    gone, stays = ask(engine, "gone", 4, 9), ask(engine, "stays", 4, 9)
    engine.step()
    free = engine.kv.pool.num_free
    assert any(r is gone for flight in engine.flights for r, _ in flight.plan.extend) or engine.step()
    made = len(gone.output_token_ids)
    engine.abort("gone")
    assert engine.kv.pool.num_free > free
    finish(engine)
    assert len(gone.output_token_ids) == made == len(engine.trace.outputs()["gone"])
    assert stays.output_token_ids == expected(stays.token_ids[:4], 9)


def test_ctrl_c_while_waiting_leaves_the_batches_in_flight():
    engine = engine_of(2, num_blocks=64)
    made = [ask(engine, f"r{i}", 4, 5) for i in range(4)]
    engine.step()
    engine.executor.interrupt_collect = True
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert len(engine.flights) == 2
    finish(engine)
    assert [r.num_preemptions for r in made] == [0] * 4
    check(made)


def test_what_a_stage_raises_ends_one_step_and_the_engine_goes_on():
    engine = engine_of(2, num_blocks=64)
    made = [ask(engine, f"r{i}", 4, 5) for i in range(4)]
    engine.executor.fail_collect = True
    with pytest.raises(FloatingPointError):
        engine.step()
    finish(engine)
    check(made)


def test_a_stage_that_is_gone_aborts_everything():
    engine = engine_of(2, num_blocks=64)
    made = [ask(engine, f"r{i}", 4, 5) for i in range(4)]
    engine.step()

    def gone(sent):
        raise StageEnded("stage 1 ended: killed by SIGKILL")

    engine.executor.collect = gone
    with pytest.raises(StageEnded, match=r"stage 1 ended: killed by SIGKILL; its 4 requests were aborted: close this LLM"):
        engine.step()
    assert {r.finish_reason for r in made} == {"abort"}
    assert not engine.requests and not engine.flights and engine.kv.pool.num_free == 64


class Greedy(Scheduler):
    """Plans for everybody, whoever's turn it is."""

    def plan(self, now: float) -> Plan:
        plan, kv = Plan(), self.kv.ledger()
        for r in self.members:
            n = kv.todo(r)
            if kv.take(r, n):
                plan.extend.append((r, n))
        return plan


def test_a_plan_for_who_is_in_flight_is_refused():
    engine = engine_of(2, scheduler=Greedy(), num_blocks=64)
    ask(engine, "a", 4, 5)
    with pytest.raises(PlanError, match="one batch at a time.*a is in flight with another group: plan for self.running"):
        finish(engine)


def test_a_plan_made_by_hand_is_carried_out():
    engine = engine_of(2, scheduler=Scripted({}), num_blocks=64)
    request = ask(engine, "a", 4, 1)
    engine._let_in_arrivals(None)
    record = engine.carry_out(Plan([(request, 4)]), engine.clock.now())
    assert record.finished == ["a"] and request.output_token_ids == expected(request.token_ids[:4], 1)
    assert not engine.flights and not engine.has_work


def test_idling_needs_a_reason_when_nobody_flies():
    engine = engine_of(2, scheduler=Scripted({}), num_blocks=64)
    engine.scheduler.plan = lambda now: Plan()
    ask(engine, "a", 4, 5)
    with pytest.raises(PlanError, match="never idle without a reason"):
        engine.step()


def test_arrivals_are_waited_for():
    engine = engine_of(2, num_blocks=64, scheduler="dynamic", batch_size=4, wait_window=2.0)
    made = [ask(engine, f"r{i}", 4, 3, at=when) for i, when in enumerate((1.0, 1.5, 50.0))]
    finish(engine)
    assert [r.admitted_time for r in made] == [3.0, 3.0, 50.0]
    check(made)


def test_depth_changes_between_requests_only():
    engine = engine_of(2)
    ask(engine, "a", 4, 5)
    with pytest.raises(ValueError, match="depth=1: 1 requests are under way"):
        engine.depth = 1
    finish(engine)
    engine.depth = 1
    ask(engine, "b", 4, 5), ask(engine, "c", 4, 5)
    engine.executor.most = 0
    finish(engine)
    assert engine.executor.most == 1
    with pytest.raises(ValueError, match="depth=0: must be at least 1"):
        engine.depth = 0
