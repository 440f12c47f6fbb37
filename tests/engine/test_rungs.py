"""The four rungs by their plans, on cases small enough to follow by hand. A step takes one second of virtual time."""

from __future__ import annotations

import pytest
from support.fakes import ask, fake_engine, finish

from minieng.plan import Mode
from minieng.scheduler import SCHEDULERS


def planned(engine) -> list[dict[str, int]]:
    """What each step computed: request → tokens."""
    return [{name: n for name, _, n in record.slices} for record in engine.trace]


def starts(engine) -> dict[str, float]:
    """When each request was first computed."""
    first: dict[str, float] = {}
    for record in engine.trace:
        for name, _, _ in record.slices:
            first.setdefault(name, record.start)
    return first


# -- static -----------------------------------------------------------------------------------------------------


def test_static_waits_for_a_full_batch():
    engine = fake_engine("static", batch_size=2)
    ask(engine, "a", 2, 1)
    ask(engine, "b", 2, 1, at=7.0)
    finish(engine)
    assert planned(engine) == [{"a": 2, "b": 2}] and engine.trace[0].start == 7.0


def test_static_flushes_when_no_more_can_come():
    engine = fake_engine("static", batch_size=4)
    ask(engine, "a", 2, 1)
    finish(engine)
    assert starts(engine) == {"a": 0.0}


def test_static_keeps_late_comers_out_until_the_longest_is_done_and_all_leave_together():
    engine = fake_engine("static", batch_size=2)
    a, b = ask(engine, "a", 4, 1), ask(engine, "b", 2, 5)
    c = ask(engine, "c", 2, 1, at=0.5)
    finish(engine)
    assert planned(engine) == [{"a": 4, "b": 2}] + [{"b": 1}] * 4 + [{"c": 2}]
    assert a.finish_time == b.finish_time == 5.0, "the batch's end is everybody's end"
    assert a.token_times == [1.0], "its token came long before"
    assert c.finish_time == 6.0


def test_a_rectangles_waste_is_counted():
    engine = fake_engine("static", batch_size=3)
    for name, length, count in (("a", 5, 1), ("b", 3, 3), ("c", 1, 2)):
        ask(engine, name, length, count)
    finish(engine)
    first, second, third = engine.trace
    assert first.rows == ["a", "b", "c"] and (first.num_tokens, first.padding, first.finished_rows) == (9, 6, 0)
    assert (second.num_tokens, second.padding, second.finished_rows) == (2, 0, 1)
    assert (third.num_tokens, third.padding, third.finished_rows) == (1, 0, 2)
    assert engine.trace.total("padding") == 6 and engine.trace.total("finished_rows") == 3
    assert first.mode == "extend" and second.mode == "decode"


def test_a_rectangle_holds_kv_for_all_its_positions_from_the_start():
    engine = fake_engine("static", num_blocks=16, block_size=4, batch_size=2)
    ask(engine, "a", 6, 2)
    ask(engine, "b", 1, 4)
    finish(engine)
    # width 6 and three tokens after the first: 9 slots, so 3 blocks in each of the two rows, in every step
    assert [record.blocks_free for record in engine.trace] == [10, 10, 10, 16]


def test_static_takes_fewer_rows_where_the_rectangle_would_not_fit():
    engine = fake_engine("static", num_blocks=5, block_size=4, batch_size=2)
    ask(engine, "a", 8, 4)
    ask(engine, "b", 3, 2)
    finish(engine)
    assert [list(slices) for slices in planned(engine)] == [["a"]] * 4 + [["b"]] * 2
    assert engine.trace[0].refused == [("b", "the rectangle would not fit into the cache with one more row")]


# -- dynamic ----------------------------------------------------------------------------------------------------


def test_dynamic_goes_when_the_window_of_the_oldest_ends():
    engine = fake_engine("dynamic", batch_size=4, wait_window=3.0)
    for name, at in (("a", 1.0), ("b", 2.5), ("c", 3.9), ("late", 30.0)):
        ask(engine, name, 2, 1, at=at)
    finish(engine)
    assert planned(engine) == [{"a": 2, "b": 2, "c": 2}, {"late": 2}]
    assert engine.trace[0].start == 4.0


def test_dynamic_never_goes_later_than_full():
    engine = fake_engine("dynamic", batch_size=2, wait_window=100.0)
    for name, at in (("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 2.5), ("e", 90.0)):
        ask(engine, name, 2, 1, at=at)
    finish(engine)
    assert starts(engine) == {"a": 2.0, "b": 2.0, "c": 3.0, "d": 3.0, "e": 90.0}


def test_dynamic_is_never_empty():
    engine = fake_engine("dynamic", batch_size=2, wait_window=0.0)
    ask(engine, "a", 2, 1, at=5.0)
    ask(engine, "b", 2, 1, at=9.0)
    finish(engine)
    assert [record.num_tokens for record in engine.trace] == [2, 2] and starts(engine) == {"a": 5.0, "b": 9.0}


def test_dynamic_flushes_when_no_more_can_come():
    engine = fake_engine("dynamic", batch_size=4, wait_window=50.0)
    ask(engine, "a", 2, 1)
    finish(engine)
    assert starts(engine) == {"a": 0.0}


# -- continuous -------------------------------------------------------------------------------------------------


def test_continuous_computes_prompts_first_and_decodes_when_none_fits():
    engine = fake_engine("continuous", mixed=False)
    ask(engine, "a", 3, 4)
    ask(engine, "b", 5, 3, at=2.0)
    finish(engine)
    assert planned(engine) == [{"a": 3}, {"a": 1}, {"b": 5}, {"a": 1, "b": 1}, {"a": 1, "b": 1}]
    assert [record.mode for record in engine.trace] == ["extend", "decode", "extend", "decode", "decode"]


def test_mixed_lets_prompts_and_decodes_share_a_step():
    engine = fake_engine("continuous", mixed=True)
    ask(engine, "a", 3, 4)
    ask(engine, "b", 5, 3, at=2.0)
    finish(engine)
    assert planned(engine) == [{"a": 3}, {"a": 1}, {"a": 1, "b": 5}, {"a": 1, "b": 1}, {"b": 1}]
    assert engine.trace[2].mode == Mode.MIXED.value


def test_continuous_lets_whoever_is_done_leave_at_once():
    engine = fake_engine("continuous", max_num_seqs=1)
    a, b = ask(engine, "a", 3, 2), ask(engine, "b", 3, 2)
    finish(engine)
    assert a.finish_time == 2.0 and b.finish_time == 4.0
    assert engine.trace[0].refused == [("b", "all 1 seats are taken")] or engine.trace[0].refused == []


def test_prompts_admitted_in_a_step_keep_to_their_budget_but_a_first_one_always_passes():
    engine = fake_engine("continuous", num_blocks=64, max_prefill_tokens=8)
    for name, length in (("a", 20), ("b", 5), ("c", 3), ("d", 1)):
        ask(engine, name, length, 1)
    finish(engine)
    assert planned(engine) == [{"a": 20}, {"b": 5, "c": 3}, {"d": 1}]
    assert engine.trace[0].refused == [("b", "5 prompt tokens, 0 left in this step's budget")]


def test_a_refusal_says_how_many_blocks_were_wanting():
    engine = fake_engine("continuous", num_blocks=4, block_size=4, admission="full_prompt", watermark=0.25)
    ask(engine, "a", 7, 3)
    ask(engine, "b", 8, 3)
    engine.step()
    assert engine.trace[0].refused == [("b", "needs 2 blocks and 1 must stay free, 2 are free")]


# -- chunked ----------------------------------------------------------------------------------------------------


def test_chunked_fills_its_budget_with_decodes_then_unfinished_then_new():
    engine = fake_engine("chunked", num_blocks=64, max_num_batched_tokens=6)
    ask(engine, "a", 2, 9)
    ask(engine, "b", 13, 2)
    ask(engine, "c", 4, 2)
    finish(engine)
    assert planned(engine)[:4] == [{"a": 2, "b": 4}, {"a": 1, "b": 5}, {"a": 1, "b": 4, "c": 1}, {"a": 1, "b": 1, "c": 3}]
    assert all(record.num_tokens <= 6 for record in engine.trace)
    assert [name for name, _, _ in engine.trace[2].slices] == ["a", "b", "c"]


def test_chunked_puts_decodes_before_a_prompt_that_came_earlier():
    engine = fake_engine("chunked", num_blocks=64, max_num_batched_tokens=5, order="sjf")
    ask(engine, "long", 40, 9)
    ask(engine, "short", 2, 3)
    finish(engine)
    assert [name for name, _, _ in engine.trace[1].slices] == ["short", "long"]


def test_chunked_emits_a_token_only_when_the_prompt_is_complete():
    engine = fake_engine("chunked", max_num_batched_tokens=4)
    ask(engine, "a", 10, 2)
    finish(engine)
    assert planned(engine) == [{"a": 4}, {"a": 4}, {"a": 2}, {"a": 1}]
    assert [record.tokens[0] is None for record in engine.trace] == [True, True, False, False]


def test_a_budget_smaller_than_the_decodes_still_serves_all_of_them():
    engine = fake_engine("chunked", num_blocks=64, max_num_batched_tokens=2)
    requests = [ask(engine, name, 1, 5) for name in "abcd"]
    finish(engine)
    assert all(record.num_tokens <= 2 for record in engine.trace) and all(len(r.token_times) == 5 for r in requests)


# -- all --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
def test_planning_changes_nothing(scheduler):
    engine = fake_engine(scheduler, num_blocks=6, block_size=4, batch_size=2)
    for name in "abc":
        ask(engine, name, 6, 5)
    for _ in range(4):
        engine._let_in_arrivals(None)
        state = (
            list(engine.scheduler.waiting),
            list(engine.scheduler.running),
            engine.kv.pool.num_free,
            list(engine.kv.pool.refs),
        )
        plans = {str(engine.scheduler.plan(engine.clock.now())) for _ in range(3)}
        assert len(plans) == 1, "the same question has the same answer"
        assert state == (
            list(engine.scheduler.waiting),
            list(engine.scheduler.running),
            engine.kv.pool.num_free,
            list(engine.kv.pool.refs),
        )
        engine.step()


def test_a_plan_reads_like_a_sentence():
    engine = fake_engine("static", batch_size=2)
    ask(engine, "a", 4, 2)
    ask(engine, "b", 2, 2)
    engine._let_in_arrivals(None)
    assert str(engine.scheduler.plan(0.0)) == "extend | a+4 b+2 | rectangle 2x4"


def test_preemption_is_recorded_and_its_recomputation_counted():
    engine = fake_engine("continuous", num_blocks=4, block_size=4, enable_prefix_caching=False, watermark=0)
    a, b = ask(engine, "a", 7, 8), ask(engine, "b", 7, 8)
    finish(engine)
    assert [record.preempted for record in engine.trace if record.preempted] == [["b"]]
    assert a.num_preemptions == 0 and b.num_preemptions == 1
    again = next(record for record in engine.trace if record.recomputed)
    assert again.kinds == ["recompute"] and again.recomputed == 8 and again.num_tokens == 9


def test_the_budget_of_a_victim_that_was_planned_already_is_free_again():
    engine = fake_engine("chunked", num_blocks=6, block_size=2, victim="lowest_priority", watermark=0)
    for name, length, priority in (("a", 3, 9), ("b", 4, 0), ("c", 3, 0)):
        ask(engine, name, length, 5, priority=priority)
    engine.step()
    engine.scheduler.max_num_batched_tokens = 2
    plan = engine.scheduler.plan(1.0)
    assert [r.request_id for r in plan.preempt] == ["a"] and [r.request_id for r, _ in plan.extend] == ["b", "c"]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_step_is_larger_than_the_scheduler_says(scheduler, mixed):
    """Memory is set aside for the largest step before the cache is sized; the widest case comes near it."""
    knobs = {"max_num_seqs": 4, "batch_size": 4, "max_prefill_tokens": 20, "max_num_batched_tokens": 10, "mixed": mixed}
    engine = fake_engine(scheduler, num_blocks=64, **knobs)
    for i, (prompt, output) in enumerate([(12, 8), (1, 2), (12, 8), (24, 1), (12, 8), (12, 8), (24, 1)]):
        ask(engine, f"r{i}", prompt, output, at=i * 0.5)
    finish(engine)
    computed = [record.num_tokens + record.padding + record.finished_rows for record in engine.trace]
    most = SCHEDULERS[scheduler].largest_step(engine.config, 25)
    assert most / 2 < max(computed) <= most
