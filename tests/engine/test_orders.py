"""Who is next in the queue, and who goes when memory runs out. All orders are total."""

from __future__ import annotations

import itertools
import random

import pytest
from support.fakes import ask, fake_engine, finish, nothing_left

from minieng.plan import Plan, PlanError
from minieng.scheduler import ORDERS
from minieng.scheduler.ordering import KeyOrder, ShortestJob


def queue(engine, now: float = 0.0) -> str:
    """The names of the waiting requests in the policy's order."""
    engine.clock.wait_until(now)
    engine._let_in_arrivals(None)
    return "".join(r.request_id for r in engine.scheduler.queue(now, engine.kv.ledger()))


def test_fcfs_is_the_order_of_arrival():
    engine = fake_engine(order="fcfs")
    for name, at in (("a", 2.0), ("b", 1.0), ("c", 1.0)):
        ask(engine, name, 3, at=at)
    assert queue(engine, 5.0) == "bca"


def test_fcfs_puts_preempted_requests_in_front():
    engine = fake_engine(num_blocks=4, block_size=4, watermark=0)
    for name in "abc":
        ask(engine, name, 6, 8)
    while not engine.trace.total("num_waiting") or not engine.trace[-1].preempted:
        engine.step()
    assert engine.scheduler.waiting[0].request_id == engine.trace[-1].preempted[-1]


def test_sjf_takes_the_shortest_predicted_output_less_what_is_made():
    engine = fake_engine(order="sjf")
    for name, count in (("a", 9), ("b", 3), ("c", 5)):
        ask(engine, name, 2, count)
    assert queue(engine) == "bca"
    own = fake_engine(order="sjf", predictor=lambda r: {"a": 1, "b": 9, "c": 4}[r.request_id])
    for name in "abc":
        ask(own, name, 2, 9)
    assert queue(own) == "acb"


def test_priority_is_smallest_first_and_ageing_overtakes():
    for ageing, want in ((0.0, "ba"), (1.0, "ab")):
        engine = fake_engine(order="priority", ageing=ageing)
        ask(engine, "a", 2, priority=5)
        ask(engine, "b", 2, at=6.0, priority=0)
        assert queue(engine, 6.0) == want, "a gap of 5 points is overtaken after 5 / ageing seconds"


def test_hrrn_weighs_waiting_against_work():
    engine = fake_engine(order="hrrn")
    engine.scheduler.queues.seconds_per_token = 1.0
    ask(engine, "a", 8, 20)
    ask(engine, "b", 2, 2, at=4.0)
    assert queue(engine, 5.0) == "ba", "5 s for 28 tokens of work against 1 s for 4"
    assert queue(engine, 400.0) == "ba" and queue(engine, 5.0) == "ba"
    engine = fake_engine(order="hrrn")
    engine.scheduler.queues.seconds_per_token = 1.0
    ask(engine, "a", 8, 20)
    ask(engine, "b", 2, 2, at=40.0)
    assert queue(engine, 41.0) == "ab", "who has waited long enough goes first, however long the work"


def test_lpm_takes_the_longest_cached_prefix():
    engine = fake_engine(num_blocks=16, block_size=4, order="lpm")
    ask(engine, "warm", list(range(12)), 1)
    finish(engine)
    for name, prompt in (("a", [90, 91, 92]), ("b", list(range(6))), ("c", list(range(12)) + [50])):
        ask(engine, name, prompt)
    assert queue(engine, engine.clock.now()) == "cba"


def test_fair_serves_the_user_who_was_served_least():
    engine = fake_engine(order="fair", max_num_seqs=1, num_blocks=64)
    for i in range(3):
        ask(engine, f"x{i}", 10, 3, user="greedy")
    ask(engine, "y0", 10, 3, user="modest", at=0.5)
    finish(engine)
    assert [record.finished[0] for record in engine.trace if record.finished] == ["x0", "y0", "x1", "x2"]


def test_fair_charges_one_for_a_prompt_token_and_two_for_an_output_token():
    engine = fake_engine(order="fair")
    ask(engine, "a", 5, 4, user="u")
    finish(engine)
    assert engine.scheduler.order.counter == {"u": 5 * 1 + 4 * 2}


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_fair_charges_recomputation_as_prompt(scheduler):
    engine = fake_engine(scheduler, num_blocks=4, block_size=4, order="fair", enable_prefix_caching=False, watermark=0)
    requests = [ask(engine, name, 6, 8, user=name) for name in "ab"]
    finish(engine)
    recomputed = engine.trace.total("recomputed")
    assert recomputed > 0 and sum(r.num_preemptions for r in requests) > 0
    assert sum(engine.scheduler.order.counter.values()) == 2 * (6 + 8 * 2) + recomputed


def test_fair_lifts_who_comes_back_to_the_smallest_counter_that_waits():
    engine = fake_engine(order="fair", num_blocks=64)
    ask(engine, "a", 20, 5, user="busy")
    ask(engine, "b", 1, 1, user="pausing")
    finish(engine)
    ask(engine, "c", 9, 1, user="busy")
    ask(engine, "d", 9, 1, user="pausing")
    queue(engine, engine.clock.now())
    counter = engine.scheduler.order.counter
    assert counter["pausing"] == counter["busy"] == 30, "idling saves nothing up"


def test_adaptive_takes_the_urgent_then_the_short():
    engine = fake_engine(order="adaptive")
    ask(engine, "a", 3, 8)
    ask(engine, "b", 3, 2)
    ask(engine, "c", 3, 8, deadline=1.0)
    assert queue(engine, 0.9) == "cba"


def test_an_order_of_ones_own_is_a_function():
    engine = fake_engine(order=lambda request, now: -request.num_prompt_tokens)
    for name, length in (("a", 2), ("b", 9), ("c", 5)):
        ask(engine, name, length)
    assert queue(engine) == "bca"


@pytest.mark.parametrize("order", [*ORDERS, lambda request, now: 0])
def test_ties_go_to_the_earlier_arrival_whatever_the_queue_looks_like(order):
    for shuffled in itertools.permutations("abc"):
        engine = fake_engine(order=order)
        for name in "abc":
            ask(engine, name, [1, 2, 3], 4)
        queue(engine)
        if order != "fcfs":  # whose order is the queue itself
            known = {r.request_id: r for r in engine.scheduler.waiting}
            engine.scheduler.waiting.clear()
            engine.scheduler.waiting.extend(known[name] for name in shuffled)
        assert queue(engine) == "abc"


STANDING = {  # order → what it puts in a line of its own goes by
    "sjf": lambda order, r: r.max_num_tokens - r.num_prompt_tokens - r.num_output_tokens,
    "priority": lambda order, r: r.priority + order.queues.config.ageing * r.arrival_time,
    "fair": lambda order, r: order.counter[r.user],
}


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
@pytest.mark.parametrize("order", STANDING)
def test_a_line_is_at_each_step_what_sorting_makes_of_the_queue(order, scheduler, monkeypatch):
    """Through arrivals, starts, preemptions, aborts in the queue and later, and a plan that meddles with the queues."""
    dice, compared = random.Random(f"{order} {scheduler}"), 0
    for _ in range(12):
        engine = fake_engine(
            scheduler, num_blocks=24, order=order, ageing=dice.choice([0.0, 0.25, 3.0]), max_num_seqs=4, batch_size=3, watermark=0
        )
        for i in range(40):
            ask(engine, f"r{i}", dice.randrange(1, 12), dice.randrange(1, 9), at=dice.randrange(12) / 2,
                user=f"u{dice.randrange(7)}", priority=dice.randrange(3))  # fmt: skip
        queues, plan, moment = engine.scheduler.queues, engine.scheduler.plan, 0
        while engine.has_work:
            kv = engine.kv.ledger()
            want = sorted(queues.waiting, key=lambda r: (STANDING[order](engine.scheduler.order, r), r.arrival_time, r.sequence))
            assert list(engine.scheduler.queue(engine.clock.now(), kv)) == want
            compared, moment = compared + len(want), moment + 1
            if moment % 5 == 0 and engine.requests:
                engine.abort(dice.choice(list(engine.requests)))
            meant = sorted((r for r in queues.members if not r.is_done), key=lambda r: r.sequence)
            if moment % 7 == 0 and meant:
                one = dice.choice(meant)
                move = engine.scheduler.preempt if one in queues.running else engine.scheduler.remove
                monkeypatch.setattr(engine.scheduler, "plan", lambda now, one=one, move=move: move(one) or Plan())
                with pytest.raises(PlanError, match="a plan changes nothing"):
                    engine.step()
                monkeypatch.setattr(engine.scheduler, "plan", plan)
                continue
            engine.step()
    assert compared > 1_000


def test_a_key_that_does_not_change_is_asked_once_for_each_wait(monkeypatch):
    asked = []
    monkeypatch.setattr(ShortestJob, "key", lambda self, r, now: asked.append(r.request_id) or r.max_num_tokens)
    engine = fake_engine("chunked", num_blocks=8, order="sjf", victim="newest", max_num_seqs=4, watermark=0)
    requests = [ask(engine, f"r{i}", 5, 9) for i in range(30)]
    finish(engine)
    preempted = sum(r.num_preemptions for r in requests)
    assert preempted > 0 and len(asked) == len(requests) + preempted


def test_a_prediction_that_is_no_number_loses_nobody():
    numbers = itertools.cycle([float("nan"), 3.0, 9.0, float("nan"), 1.0, float("inf")])
    engine = fake_engine(
        "chunked", num_blocks=12, order="sjf", predictor=lambda r: next(numbers), victim="newest", max_num_seqs=3, watermark=0
    )
    for i in range(40):
        ask(engine, f"r{i}", 5, 6, at=i / 4)
    for i in range(0, 40, 6):
        engine.step()
        engine.abort(f"r{39 - i}")
    finish(engine)
    nothing_left(engine)
    assert not engine.scheduler.order.line.places


def test_a_predictor_that_fails_says_so_at_each_step_until_its_request_is_gone():
    engine = fake_engine(order="sjf", predictor=lambda r: {"a": 3, "c": 2}[r.request_id])
    for name in "abc":
        ask(engine, name, 3, at=ord(name) / 100)
    for _ in range(3):
        with pytest.raises(KeyError, match="b"):
            engine.clock.wait_until(1.0)
            engine.step()
    engine.abort("b")
    finish(engine)
    nothing_left(engine)


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_a_predictor_that_fails_at_a_preemption_loses_nobody(scheduler):
    answers = {name: iter([5]) for name in "abc"}  # one for each arrival, and no other
    engine = fake_engine(scheduler, num_blocks=6, block_size=4, order="sjf", victim="newest", watermark=0,
                         predictor=lambda r: next(answers[r.request_id]))  # fmt: skip
    requests = [ask(engine, name, 6, 12) for name in "abc"]
    with pytest.raises(StopIteration):
        finish(engine)
    assert not any(r.num_preemptions for r in requests) and all(r.block_table for r in engine.scheduler.running)
    answers.update({name: itertools.repeat(5) for name in "abc"})
    finish(engine)
    nothing_left(engine)
    assert sum(r.num_preemptions for r in requests) > 0 and all(r.num_output_tokens == 12 for r in requests)


def test_what_a_step_looks_at_does_not_grow_with_the_line():
    """Of fair, too, where each request has a user of its own and all were served as much."""
    engine = fake_engine("chunked", num_blocks=64, order="fair", max_num_seqs=2)
    for i in range(300):
        ask(engine, f"r{i}", 3, 3, user=f"u{i}")
    engine.step()
    order, looked = engine.scheduler.order, []
    place = order.place
    order.place = lambda *which: looked.append(which) or place(*which)
    first = next(iter(order.sort(engine.clock.now(), engine.kv.ledger())))
    assert first.request_id == "r2" and len(order.lines) == 298 and not looked
    assert not isinstance(order, KeyOrder), "or it would be asked for all keys"


@pytest.mark.parametrize(
    "victim, want",
    [("newest", "d"), ("fewest_output", "b"), ("lowest_priority", "c")],
)
def test_the_victim(victim, want):
    engine = fake_engine(num_blocks=64, victim=victim)
    for name, length, priority in (("a", 3, 1), ("b", 9, 1), ("c", 3, 7), ("d", 3, 0)):
        ask(engine, name, length, 9, priority=priority)
    for _ in range(2):
        engine.step()
    scheduler = engine.scheduler
    assert max(scheduler.running, key=scheduler.victim_key).request_id == want


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
@pytest.mark.parametrize(
    "order, victim", [("priority", "slow"), ("sjf", "slow"), ("fcfs", "quick"), ("fair", "quick"), ("lpm", "quick")]
)
def test_without_a_name_the_victim_is_who_comes_last_in_the_order(scheduler, order, victim):
    """The quick one comes later, is more urgent and has less to do: an order that puts it first must not throw it out."""
    engine = fake_engine(scheduler, num_blocks=6, block_size=4, order=order)
    ask(engine, "slow", 8, 16, priority=5)
    ask(engine, "quick", 8, 9, at=1.0, priority=0)
    finish(engine)
    assert {name for record in engine.trace for name in record.preempted} == {victim}
    named = fake_engine(scheduler, order=order, victim="newest")
    assert named.scheduler.victim_key.__name__ == "<lambda>", "a name that is given counts, whatever the order"


def test_a_victim_may_be_a_function():
    """Of equals the newest goes; ``explain`` and the trace know the function by its name."""

    def most_prompt(request):
        return request.num_prompt_tokens

    engine = fake_engine("chunked", num_blocks=6, block_size=4, victim=most_prompt, enable_prefix_caching=False)
    for name, prompt in (("small", 3), ("large", 7), ("late", 3)):
        ask(engine, name, prompt, 9)
    finish(engine)
    gone = [name for record in engine.trace for name in record.preempted]
    assert gone[0] == "large" and engine.trace.meta["config"]["victim"] == "most_prompt"
    key = engine.scheduler.victim_key
    first, second = (ask(engine, name, 5, 2) for name in "ab")
    assert key(second) > key(first)
    finish(engine)


def test_a_victim_by_priority_has_aged_as_it_has_in_the_queue():
    """9 points and 10 seconds ago against 1 point now: at a point a second the older one is ahead."""
    for ageing, want in ((0.0, "old"), (1.0, "new")):
        engine = fake_engine(order="priority", ageing=ageing, num_blocks=64)
        ask(engine, "old", 3, 90, priority=9)
        ask(engine, "new", 3, 9, at=10.0, priority=1)
        while len(engine.scheduler.running) < 2:
            engine.step()
        assert max(engine.scheduler.running, key=engine.scheduler.victim_key).request_id == want


def test_a_victim_that_was_planned_already_is_taken_out_again():
    engine = fake_engine("chunked", num_blocks=4, block_size=2, victim="lowest_priority", watermark=0)
    a, b = ask(engine, "a", 3, 5, priority=9), ask(engine, "b", 3, 5, priority=0)
    seen: list[Plan] = []
    plan = engine.scheduler.plan
    engine.scheduler.plan = lambda now: seen.append(plan(now)) or seen[-1]
    finish(engine)
    broke = next(p for p in seen if p.preempt)
    assert broke.preempt == [a] and [r for r, _ in broke.extend] == [b]


@pytest.mark.parametrize("order", ["sjf", "hrrn", "adaptive"])
def test_an_order_by_lengths_says_what_it_is_without_a_predictor(order):
    engine = fake_engine(order=order)
    for name, at in (("a", 2.0), ("b", 1.0), ("c", 1.5)):
        ask(engine, name, 3, 8, at=at)
    assert queue(engine, 5.0) == "bca", "all ask for the same: first come, first served"
    assert f"{order} by the length asked for (no predictor: first come, first served" in engine.scheduler.order.in_words()
    assert fake_engine(order=order, predictor=lambda r: 3).scheduler.order.in_words() == order


def test_evict_frees_the_blocks_on_the_ledger_and_takes_the_slice_out():
    engine = fake_engine(num_blocks=8, block_size=4)
    for name in "ab":
        ask(engine, name, 6, 8)
    engine.step()
    a, b = engine.scheduler.running
    plan, kv = Plan(extend=[(a, 1), (b, 1)]), engine.kv.ledger()
    assert kv.free == 4
    engine.scheduler.evict(plan, kv, a)
    assert (plan.preempt, plan.extend, kv.free) == ([a], [(b, 1)], 6)
    engine.scheduler.check(plan, engine.clock.now())
