"""When KV runs out: refused at once if it can never fit, else preempted and finished, in every combination. Never hangs."""

from __future__ import annotations

import faulthandler
import itertools

import pytest
from support.fakes import ask, expected, fake_engine, finish, forced, nothing_left

from minieng.request import Request, SamplingParams
from minieng.scheduler import ADMISSIONS, VICTIMS

RESERVING = [name for name in ADMISSIONS if name.startswith("reserve")]


@pytest.fixture(autouse=True)
def watchdog():
    """A test that hangs is killed, and shows where it stood."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def correct(*requests) -> None:
    for request in requests:
        prompt = request.token_ids[: request.num_prompt_tokens]
        assert request.output_token_ids == expected(prompt, request.params.max_tokens)


def test_what_can_never_fit_is_refused_at_once_with_the_remedy():
    engine = fake_engine(num_blocks=8, block_size=4)
    beside = ask(engine, "beside", 5, 5)
    with pytest.raises(
        ValueError, match=r"'huge' needs 59 tokens of KV, the cache holds 32: raise num_blocks or lower max_tokens"
    ):
        ask(engine, "huge", 40, 20)
    assert list(engine.requests) == ["beside"]
    finish(engine)
    correct(beside)


def test_what_just_fits_is_served():
    """The last token is sampled but never needs KV: 9 + 24 tokens in 32 slots."""
    engine = fake_engine(num_blocks=8, block_size=4)
    request = ask(engine, "just", 9, 24)
    finish(engine)
    correct(request)
    with pytest.raises(ValueError, match="never|needs 33 tokens"):
        ask(engine, "one more", 9, 25)


@pytest.mark.parametrize("rule, holds", [("reserve_max", 33), ("reserve_pow2", 64)])
def test_a_reservation_that_can_never_be_made_is_refused_too(rule, holds):
    engine = fake_engine(num_blocks=8, block_size=4, admission=rule)
    with pytest.raises(ValueError, match=f"needs {holds} tokens of KV, the cache holds 32"):
        ask(engine, "a", 9, 25)


@pytest.mark.parametrize("rule", RESERVING)
def test_a_reservation_is_what_the_text_needs_and_no_slot_more(rule):
    """33 tokens of text are 32 slots: the last token is sampled, and its KV is never read."""
    engine = fake_engine(num_blocks=8, block_size=4, admission=rule)
    request = ask(engine, "a", 9, 24, scripted_output=[0] * 24)
    finish(engine)
    correct(request)
    assert {record.blocks_free for record in engine.trace if record.num_running} == {0}


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
def test_a_cache_one_block_too_small_for_two_finishes_both(scheduler, preemption):
    engine = fake_engine(scheduler, num_blocks=7, block_size=4, preemption=preemption, watermark=0)
    a, b = ask(engine, "a", 6, 10), ask(engine, "b", 6, 10)  # 15 tokens of KV each: four blocks
    finish(engine)
    correct(a, b)
    nothing_left(engine)
    if scheduler in ("continuous", "chunked"):
        assert b.num_preemptions > 0 and a.num_preemptions == 0


@pytest.mark.parametrize("host", [0, 1, 2, 100])
def test_swapping_with_too_little_host_memory_recomputes_instead(host):
    engine = fake_engine(
        "continuous", num_blocks=7, block_size=4, host=host, preemption="swap", watermark=0, enable_prefix_caching=False
    )
    a, b = ask(engine, "a", 6, 10), ask(engine, "b", 6, 10)
    finish(engine)
    correct(a, b)
    assert bool(engine.trace.total("recomputed")) == (host < 3)
    assert len(engine.kv.free_host_blocks) == host


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
def test_every_combination_finishes_under_severe_pressure(scheduler):
    """Twelve requests, of which hardly two fit at a time."""
    for admission, victim, preemption, mixed in itertools.product(ADMISSIONS, VICTIMS, ("recompute", "swap"), (False, True)):
        engine = fake_engine(
            scheduler, num_blocks=8, block_size=4, admission=admission, victim=victim, preemption=preemption, mixed=mixed,
            max_num_batched_tokens=8, watermark=0.1, host=9, batch_size=4,
        )  # fmt: skip
        requests = [ask(engine, str(i), 2 + 2 * i % 13, 5 + i % 9, at=i % 4, priority=i % 3) for i in range(12)]
        finish(engine)
        correct(*requests)
        nothing_left(engine)


@pytest.mark.parametrize("scheduler", ["static", "dynamic", "continuous", "chunked"])
@pytest.mark.parametrize("every", [2, 3, 7])
def test_forced_starvation_ends(scheduler, every):
    """A victim at every second step, over and over: all get done as soon as it stops, and most before."""
    for preemption, pick in itertools.product(("recompute", "swap"), (0, 1)):
        engine = fake_engine(forced(scheduler, every, most=200, pick=pick), num_blocks=8, block_size=4, preemption=preemption)
        requests = [ask(engine, str(i), 4 + i, 8) for i in range(6)]
        finish(engine)
        correct(*requests)
        assert sum(r.num_preemptions for r in requests) >= 5


def test_the_oldest_is_never_starved_by_newcomers():
    """newest first out: the oldest running request is never a victim, so somebody always gets on."""
    engine = fake_engine("chunked", num_blocks=8, block_size=4, victim="newest", watermark=0)
    first = ask(engine, "first", 6, 20)
    for i in range(20):
        ask(engine, str(i), 5, 9, at=float(i))
    finish(engine)
    assert first.num_preemptions == 0 and first.finish_time == 20.0


def test_chunked_lets_in_only_whose_whole_prompt_fits():
    """As vLLM 0.32 does by default. With the first chunk alone as the measure, prompts throw each other out again and again."""
    preemptions = {}
    for name, knobs in {"default": {}, "first chunk": {"admission": "watermark"}}.items():
        engine = fake_engine("chunked", num_blocks=32, block_size=4, max_num_batched_tokens=16, **knobs)
        requests = [ask(engine, str(i), 100, 10) for i in range(12)]
        finish(engine)
        correct(*requests)
        preemptions[name] = sum(r.num_preemptions for r in requests)
    assert preemptions["default"] == 0 and preemptions["first chunk"] > 9, preemptions


@pytest.mark.parametrize("admission", ["watermark", "full_prompt"])
def test_the_watermark_is_0_unless_set_and_counts_only_beside_others(admission):
    """vLLM 0.32's rule: nobody is kept waiting for a margin that nobody needs."""
    for watermark, together in ((None, 2), (0.25, 1)):
        knobs = {} if watermark is None else {"watermark": watermark}
        engine = fake_engine("continuous", num_blocks=4, block_size=4, admission=admission, **knobs)
        ask(engine, "a", 8, 1)
        ask(engine, "b", 8, 1)
        engine.step()
        assert len(engine.trace[0].slices) == together
    engine = fake_engine("continuous", num_blocks=4, block_size=4, admission=admission, watermark=1.0)
    ask(engine, "alone", 15, 1)
    engine.step()
    assert engine.trace[0].finished == ["alone"]


def test_a_preempted_prefix_is_found_again_in_the_cache():
    engine = fake_engine("continuous", num_blocks=8, block_size=4, watermark=0)
    a, b = ask(engine, "a", 8, 12), ask(engine, "b", 8, 12)
    finish(engine)
    correct(a, b)
    assert b.num_preemptions and engine.trace.total("cached_again") >= 4, "its first blocks were evicted last"


def test_cached_tokens_are_noted_once_and_never_exceed_the_prompt():
    """What a victim finds of its own when it comes back is no hit of its prompt (vLLM's ``prefill_stats`` say the same)."""
    engine = fake_engine("continuous", num_blocks=9, block_size=4)
    ask(engine, "warm", list(range(8)), 1)
    finish(engine)
    requests = [ask(engine, name, list(range(8)) + [50 + i], 14, at=2.0) for i, name in enumerate("ab")]
    finish(engine)
    correct(*requests)
    assert sum(r.num_preemptions for r in requests) and [r.num_cached_tokens for r in requests] == [8, 8]


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_samples_of_one_prompt_share_its_blocks(scheduler):
    engine = fake_engine(scheduler, num_blocks=16, block_size=4, watermark=0)
    group = [Request(f"s{i}", list(range(10)), SamplingParams(max_tokens=2)) for i in range(4)]
    engine.add_request(group[0])
    engine.add_siblings(group[0], group[1:])
    engine.step()
    engine.step()
    assert engine.trace[1].cached == 3 * 9, "all of the prompt but its last token"
    assert engine.kv.pool.num_blocks - min(r.blocks_free for r in engine.trace) <= 3 + 3, "three blocks and a tail each"
    finish(engine)
    nothing_left(engine)
