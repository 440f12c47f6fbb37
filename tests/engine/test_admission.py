"""The rule that SGLang has for newcomers, number by number: what it charges whom, and how its ratio moves."""

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
