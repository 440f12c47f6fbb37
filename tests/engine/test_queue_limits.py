"""Who is not let in: a full queue, a deadline that has passed; and how much of one prompt a step takes."""

from __future__ import annotations

import pytest
from support.fakes import ask, fake_engine, finish, nothing_left

from minieng import LLM, SamplingParams
from minieng.engine import QueueFull
from minieng.plan import Plan
from minieng.request import Request
from minieng.scheduler.ordering import Fair
from minieng.sim.cost_model import Work


def simulated(**knobs) -> LLM:
    return LLM.simulated("llama-7b", "A100-80G", num_blocks=64, checked=True, **knobs)


def test_more_requests_than_the_limit_are_refused_before_any_is_queued():
    with simulated(max_num_queued_reqs=3) as llm:
        with pytest.raises(QueueFull, match="4 more than the 0 requests here are over max_num_queued_reqs=3: come again"):
            llm.generate([[5]] * 4)
        assert not llm.engine.requests and not llm.trace.requests
        with pytest.raises(QueueFull):
            llm.generate([[5], [6]], SamplingParams(n=2, temperature=1.0))
        assert len(llm.generate([[5]] * 3, SamplingParams(max_tokens=2))) == 3


def test_running_requests_count_and_leave_room_when_they_go():
    engine = fake_engine(max_num_queued_reqs=2)
    ask(engine, "a", 3)
    ask(engine, "b", 3)
    engine.step()
    with pytest.raises(QueueFull):
        ask(engine, "c", 3)
    finish(engine)
    ask(engine, "c", 3)
    finish(engine)
    nothing_left(engine)


def test_prompt_tokens_count_until_they_are_computed():
    engine = fake_engine("chunked", max_num_queued_tokens=12, max_num_batched_tokens=8)
    ask(engine, "a", 10)
    with pytest.raises(QueueFull, match="3 more than the 10 prompt tokens that wait are over max_num_queued_tokens=12"):
        ask(engine, "b", 3)
    engine.step()
    ask(engine, "b", 10)
    finish(engine)


def test_who_is_to_come_is_looked_at_when_he_comes():
    engine = fake_engine(max_num_queued_reqs=2)
    early = [ask(engine, f"e{i}", 3, at=5.0, max_tokens=3) for i in range(4)]
    late = ask(engine, "late", 3, at=50.0)
    finish(engine)
    assert [r.finish_reason for r in early] == ["length", "length", "abort", "abort"]
    assert early[2].stop_reason == "queue full" and late.finish_reason == "length"
    nothing_left(engine)


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
def test_who_waits_past_the_deadline_is_dropped_if_that_is_asked_for(scheduler):
    for drop in (False, True):
        engine = fake_engine(scheduler, max_num_seqs=1, batch_size=1, drop_overdue=drop)
        runs = ask(engine, "runs", 3, max_tokens=9, deadline=2.0)
        waits = ask(engine, "waits", 3, deadline=4.0)
        patient = ask(engine, "patient", 3, deadline=400.0)
        finish(engine)
        assert runs.finish_reason == patient.finish_reason == "length", "who runs goes on"
        assert (waits.finish_reason, waits.stop_reason) == (("abort", "deadline") if drop else ("length", None))
        nothing_left(engine)


def test_if_all_are_too_late_nothing_is_left_to_do():
    with simulated(drop_overdue=True) as llm:
        outs = llm.generate([[5, 6], [7]], SamplingParams(n=2, temperature=1.0), deadline=[-1.0, -2.0])
        assert {(o.finish_reason, o.stop_reason, len(o.token_ids)) for out in outs for o in out.outputs} == {
            ("abort", "deadline", 0)
        }
        (event,) = llm.stream([[5]], deadline=-1.0)
        assert (event.token_id, event.finish_reason, event.stop_reason) == (None, "abort", "deadline")
        llm.replay(llm.trace)


def test_a_step_takes_no_more_of_one_prompt_than_the_threshold():
    engine = fake_engine("chunked", max_num_batched_tokens=12, long_prefill_token_threshold=5, num_blocks=64)
    for name, length in (("long", 20), ("also", 14), ("short", 2)):
        ask(engine, name, length, max_tokens=2)
    finish(engine)
    slices = [[(name, n) for name, _, n in record.slices] for record in engine.trace]
    assert slices[0] == [("long", 5), ("also", 5), ("short", 2)] and max(n for step in slices for _, n in step) == 5
    unlimited = fake_engine("chunked", max_num_batched_tokens=12, num_blocks=64)
    ask(unlimited, "long", 20)
    finish(unlimited)
    assert unlimited.trace.steps[0].slices[0][2] == 12


def test_a_rectangle_that_only_preempts_takes_no_work():
    assert Work.of_plan(Plan(preempt=[Request("a", [1])], rows=[])) == Work()


def test_counters_of_users_who_have_gone_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(Fair, "MOST_USERS", 8)
    engine = fake_engine(order="fair", num_blocks=64)
    stays = ask(engine, "stays", 3, max_tokens=200, user="stays")
    for i in range(60):
        ask(engine, f"r{i}", 2, max_tokens=1, user=f"user {i}", at=engine.clock.now())
        engine.step()
        engine.step()
    counter = engine.scheduler.order.counter
    assert len(counter) <= 9 and "stays" in counter and stays.request_id in engine.requests
