"""The rules that look ahead, number by number: SGLang's, what it charges whom, and how its ratio moves; and the peak."""

from __future__ import annotations

import pytest
from support.fakes import ask, fake_engine, finish

from minieng.plan import Plan
from minieng.scheduler.admission import NewTokenRatio

STEP = (0.7 - 0.7 * 0.14) / 600


def engine_with(num_blocks: int, scheduler="continuous", **knobs):
    knobs = {"block_size": 1, "enable_prefix_caching": False} | knobs
    return fake_engine(scheduler, num_blocks, admission="new_token_ratio", **knobs)


def ratio(engine) -> float:
    assert isinstance(engine.scheduler.admission, NewTokenRatio)
    return engine.scheduler.admission.ratio


@pytest.mark.parametrize("free, together", [(130, False), (131, True)])
def test_a_newcomer_is_charged_in_full(free, together):
    """a has its 15 prompt tokens and is asked 50 more, b is the same: 2 x 65 tokens, and one to spare."""
    engine = engine_with(free)
    for name in "ab":
        ask(engine, name, 15, 50)
    engine.step()
    assert (len(engine.trace[0].slices) == 2) == together, engine.trace[0].refused


@pytest.mark.parametrize("spare, enters", [(-1, False), (0, True)])
def test_who_writes_is_charged_a_share_of_what_is_to_come(spare, enters):
    """After its first step a has 16 tokens, 15 of them in the cache, and 49 to come: 34.3 at a ratio of 0.7."""
    engine = engine_with(15 + 34 + 65 + 1 + spare)
    ask(engine, "a", 15, 50)
    ask(engine, "b", 15, 50, at=1.0)
    engine.step()
    engine.step()
    assert ("b", 0, 15) in engine.trace[1].slices or not enters
    assert bool(engine.trace[1].refused) != enters, engine.trace[1].refused


@pytest.mark.parametrize("scheduler, mixed", [("continuous", False), ("continuous", True), ("chunked", False)])
def test_the_ratio_falls_with_decode_steps_only(scheduler, mixed):
    engine = engine_with(400, scheduler, mixed=mixed, max_num_batched_tokens=8)
    ask(engine, "a", 30, 9)
    ask(engine, "b", 30, 9, at=6.0)
    finish(engine)
    decodes = [record.mode == "decode" for record in engine.trace]
    assert True in decodes and False in decodes
    assert ratio(engine) == pytest.approx(0.7 - sum(decodes) * STEP)


def test_the_ratio_is_never_less_than_14_percent_of_its_start():
    engine = engine_with(4_000)
    ask(engine, "a", 5, 900)
    finish(engine)
    assert ratio(engine) == pytest.approx(0.7 * 0.14)


def test_after_a_pause_the_ratio_is_as_at_the_start():
    engine = engine_with(400)
    ask(engine, "a", 5, 90)
    finish(engine)
    assert ratio(engine) < 0.65
    ask(engine, "b", 5, 9)
    ask(engine, "c", 5, 9)
    engine.step()
    assert ratio(engine) == 0.7


def test_a_preemption_estimates_the_ratio_anew_from_those_who_stay():
    """b goes when a has made 4 tokens of 90: (4 + 20) / (90 + 1). The step that preempts does not count as a decode."""
    engine = engine_with(400)
    a, b = ask(engine, "a", 5, 90), ask(engine, "b", 5, 90)
    for _ in range(4):
        engine.step()
    engine.carry_out(Plan([(a, 1)], [b]), engine.clock.now())
    assert ratio(engine) == pytest.approx((4 + 20) / (90 + 1))


# -- the peak to come ---------------------------------------------------------------------------------------------


def peaked(num_blocks: int, **knobs):
    return fake_engine("continuous", num_blocks, mixed=True, admission="future_peak", enable_prefix_caching=False, **knobs)


@pytest.mark.parametrize("slots, together", [(9, False), (10, True)])
def test_two_enter_together_if_their_peak_fits(slots, together):
    """a will hold 2 + 3 tokens when it leaves, b 5 of its 9: 10 together, though both ends are 14."""
    engine = peaked(slots, block_size=1)
    ask(engine, "a", 2, 4)
    ask(engine, "b", 2, 8)
    finish(engine)
    assert (len(engine.trace[0].slices) == 2) == together, engine.trace[0].refused
    assert not any(record.preempted for record in engine.trace)
    assert together or engine.trace[0].refused == [("b", "10 blocks would be held at the peak, there are 9")]


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("mixed", [False, True])
def test_with_lengths_known_nobody_is_preempted(block_size, mixed):
    engine = peaked(-(-64 // block_size), block_size=block_size) if mixed else fake_engine(
        "continuous", -(-64 // block_size), block_size=block_size, admission="future_peak", enable_prefix_caching=False
    )  # fmt: skip
    requests = [ask(engine, str(i), 1 + 5 * i % 13, 2 + 7 * i % 23, at=float(i // 2)) for i in range(30)]
    finish(engine)
    assert all(r.num_preemptions == 0 and r.num_output_tokens for r in requests)
    assert max(record.num_running for record in engine.trace) > 1


def test_a_prediction_lets_in_more_and_one_that_says_too_little_is_made_up_for():
    """They may write 40 tokens and write as many; 10 are predicted: more enter, some go, all are answered."""
    most, gone = [], []
    for predictor in (None, lambda request: 10):
        engine = peaked(24, block_size=4, predictor=predictor)
        requests = [ask(engine, str(i), 5, 40) for i in range(8)]
        finish(engine)
        assert all(r.num_output_tokens == 40 for r in requests)
        most.append(max(record.num_running for record in engine.trace))
        gone.append(sum(r.num_preemptions for r in requests))
    assert most[0] < most[1] and gone[0] == 0 < gone[1]
