"""Prompts that begin alike and start in one step: the beginning is computed once. Written before it is read, layer by layer."""

from __future__ import annotations

import pytest
from support.fakes import Scripted, ask, expected, fake_engine, finish, nothing_left

from minieng import LLM, SamplingParams
from minieng.plan import Plan
from minieng.scheduler import ContinuousScheduler

SYSTEM = list(range(100, 612))
PACKED = {"continuous": {}, "mixed": {"scheduler": "continuous", "mixed": True}, "chunked": {"scheduler": "chunked"}}
PROMPTS = {"a": [*range(9), 20], "b": [*range(9), 30, 31], "c": [*range(6), 40]}  # 2 blocks of 4 alike, then 1


def correct(requests) -> None:
    for request in requests:
        prompt = request.token_ids[: request.num_prompt_tokens]
        assert request.output_token_ids == expected(prompt, request.params.max_tokens), request


@pytest.mark.parametrize("name", PACKED)
def test_a_common_beginning_is_computed_once_whoever_starts_beside_whom(name):
    """Sixteen prompts of 512 equal tokens and 32 of their own, 16 tokens of output each: 512 + 16 x (32 + 15), as vLLM V1."""
    knobs = {"max_num_batched_tokens": 2_048, "num_blocks": 600, "checked": True} | PACKED[name]
    with LLM.simulated(**knobs) as llm:
        llm.generate([SYSTEM + [1_000 * i + k for k in range(32)] for i in range(16)], SamplingParams(max_tokens=16))
        assert llm.trace.total("num_tokens") == 512 + 16 * 47
        assert len(llm.trace[0].slices) == 16 and llm.trace[0].cached == 15 * 512
        assert [r.num_cached_tokens for r in llm.trace.requests.values()] == [0] + [512] * 15


@pytest.mark.parametrize("scheduler", ["static", "dynamic"])
def test_a_rectangle_shares_nothing(scheduler):
    engine = fake_engine(scheduler, num_blocks=40, batch_size=3)
    requests = [ask(engine, name, prompt, 4) for name, prompt in PROMPTS.items()]
    finish(engine)
    correct(requests)
    assert engine.trace.total("cached") == engine.trace.total("shared") == 0


def test_without_the_prefix_cache_nothing_is_shared():
    engine = fake_engine(enable_prefix_caching=False, num_blocks=40)
    requests = [ask(engine, name, prompt, 4) for name, prompt in PROMPTS.items()]
    finish(engine)
    correct(requests)
    assert engine.trace.total("cached") == 0


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_the_blocks_are_one_and_the_record_says_so(scheduler):
    engine = fake_engine(scheduler, num_blocks=40)
    requests = [ask(engine, name, prompt, 4) for name, prompt in PROMPTS.items()]
    first = engine.step()
    assert first.slices == [("a", 0, 10), ("b", 8, 3), ("c", 4, 3)] and (first.cached, first.shared) == (12, 3)
    assert first.taken == [("a", [0, 1, 2]), ("b", [0, 1, 3]), ("c", [0, 4])]
    assert engine.kv.pool.refs[:3] == [3, 2, 1]
    finish(engine)
    correct(requests)
    nothing_left(engine)


def test_a_chunk_shares_what_an_earlier_chunk_of_the_step_fills():
    """a is cut after 8 and 12 tokens: b, which starts beside its second chunk, finds three blocks of it."""
    engine = fake_engine("chunked", num_blocks=40, max_num_batched_tokens=8)
    a = ask(engine, "a", list(range(12)), 3)
    b = ask(engine, "b", [*range(12), 50, 51], 3)
    finish(engine)
    correct([a, b])
    assert engine.trace[1].slices == [("a", 8, 4), ("b", 12, 2)] and b.num_cached_tokens == 12


def test_a_plan_need_not_know_of_it():
    """Who computes its whole prompt shares nothing with its own step, or as much as it leaves uncomputed."""
    for planned, computed in ((11, 0), (10, 0), (7, 4), (3, 8), (2, 8)):
        engine = fake_engine(Scripted({"a": 10, "b": planned}), num_blocks=40)
        requests = [ask(engine, name, PROMPTS[name], 4) for name in "ab"]
        assert engine.step().slices == [("a", 0, 10), ("b", computed, planned)]
        finish(engine)
        correct(requests)
        nothing_left(engine)


def test_who_stands_behind_the_borrower_in_the_plan_lends_nothing():
    engine = fake_engine(Scripted({"b": 11, "a": 2}), num_blocks=40)
    requests = [ask(engine, name, PROMPTS[name], 4) for name in "ab"]
    assert engine.step().slices == [("b", 0, 11), ("a", 8, 2)]
    finish(engine)
    correct(requests)


def test_a_victim_lends_nothing():
    engine = fake_engine("chunked", num_blocks=40, max_num_batched_tokens=6)
    a, b = ask(engine, "a", PROMPTS["a"], 4), ask(engine, "b", PROMPTS["b"], 4)
    engine.step()
    ledger = engine.kv.ledger()
    assert ledger.take(a, 4) and ledger.todo(b) == 3
    ledger.give_back(a)
    assert ledger.todo(b) == 7, "the first block is in the cache, the second would have been filled by a"
    engine.carry_out(Plan([(b, 6)], [a]), 1.0)
    finish(engine)
    correct([a, b])


@pytest.mark.parametrize("scheduler", ["continuous", "chunked"])
def test_an_interrupted_step_leaves_nobody_with_blocks_that_were_never_written(scheduler):
    for after in range(3):
        engine = fake_engine(scheduler, num_blocks=40)
        requests = [ask(engine, name, prompt, 4) for name, prompt in PROMPTS.items()]
        engine.executor.interrupt_in = after
        with pytest.raises(KeyboardInterrupt):
            engine.step()
        engine.kv.check_invariants([*engine.scheduler.waiting, *engine.scheduler.running])
        assert [r.num_computed_tokens for r in requests] == [0, 0, 0]
        finish(engine)
        correct(requests)
        nothing_left(engine)


def test_the_lender_may_be_aborted():
    engine = fake_engine(num_blocks=40)
    requests = [ask(engine, name, prompt, 6) for name, prompt in PROMPTS.items()]
    engine.step()
    engine.abort("a")
    finish(engine)
    correct(requests[1:])
    nothing_left(engine)


def test_a_trace_with_shared_steps_is_replayed_and_so_is_one_from_before():
    class Whole(ContinuousScheduler):
        """As the engine planned before: every newcomer computes its whole prompt, whatever the step fills."""

        def plan(self, now):
            return Plan([(r, r.num_remaining_tokens) for r in [*self.running, *self.waiting]])

    for scheduler, cached in (("continuous", 12), (Whole(), 0)):
        with LLM.simulated(num_blocks=40, block_size=4, scheduler=scheduler) as llm:
            llm.generate(list(PROMPTS.values()), SamplingParams(max_tokens=4, ignore_eos=True))
            assert llm.trace.total("cached") == cached and llm.replay(llm.trace).plans() == llm.trace.plans()


def test_hits_of_those_who_come_back_are_counted_apart():
    """A hit rate is a share of the prompts: what a victim finds again is no part of it (128 % was seen)."""
    with LLM.simulated(block_size=4, num_blocks=30, scheduler="chunked", checked=True) as llm:
        prompts = [[*range(12), *range(100 * i, 100 * i + 9)] for i in range(1, 9)]
        answers = llm.generate(prompts, SamplingParams(max_tokens=40, ignore_eos=True))
        cached, again = llm.trace.total("cached"), llm.trace.total("cached_again")
        assert sum(a.metrics.num_preemptions for a in answers) and again > 0
        assert cached == sum(a.metrics.num_cached_tokens for a in answers) <= 7 * 12


def test_the_cached_tokens_of_an_answer_are_those_of_its_prompt():
    """However many samples share it."""
    with LLM.simulated(block_size=4, num_blocks=60) as llm:
        params = SamplingParams(max_tokens=4, n=3, ignore_eos=True)
        for found in (0, 8):
            assert llm.generate([[*range(12)]], params)[0].metrics.num_cached_tokens == found


@pytest.mark.parametrize("attention", ["auto", "torch", "padded"])
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_every_way_of_attending_writes_before_it_reads(shape, model, attention):
    kit = shape(model)
    prompts = [[*range(3, 60), 70 + i, 80 + i] for i in range(5)]
    with kit.llm(num_blocks=60, block_size=8, attention=attention) as llm:
        answers = llm.generate(prompts, SamplingParams(max_tokens=12, ignore_eos=True))
        assert llm.trace[0].cached == 4 * 56 and len(llm.trace[0].slices) == 5
    for prompt, answer in zip(prompts, answers, strict=True):
        kit.oracle.compare(prompt, answer.outputs[0].token_ids, 12)
