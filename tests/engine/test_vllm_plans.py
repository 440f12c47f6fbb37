"""The same plans as vLLM's schedulers make, step by step, on random workloads: who computes how much, and who is preempted.

What is not compared, since it differs on purpose or by its order, and is told in docs/FROM_VLLM.md:

- prefix caching in a cache that is full. vLLM gives out blocks while it plans, so a decode may be given a block that a
  newcomer of the same step would have found; here what newcomers find is held first. And of two blocks with one
  content vLLM keeps both, here the first alone is known. So which prefix is still there may differ;
- a prompt behind another one that is cut short by ``long_prefill_token_threshold``: here decodes come first;
- who goes on in the step in which a request with priorities preempts itself.
"""

from __future__ import annotations

import random

import pytest
from support.fakes import fake_engine, finish, next_token
from support.vllm import V0, V1, Asked, plans, workload

from minieng.observe.trace import Trace
from minieng.plan import Plan, StepResult
from minieng.request import Request, SamplingParams

WORKLOADS = 300


class OnlyTokens:
    """A step of a second; what the requests say is a function of their text."""

    def execute(self, plan: Plan) -> StepResult:
        return StepResult(
            [next_token(r.token_ids) if r.num_computed_tokens + n == r.num_tokens else None for r, n in plan.extend], 1.0
        )


def ours(scheduler: str, asked: list[Asked], blocks: int, **knobs) -> Trace:
    engine = fake_engine(scheduler, blocks, **knobs)
    engine.executor = OnlyTokens()
    for r in asked:
        params = SamplingParams(max_tokens=r.longest - len(r.tokens), ignore_eos=True)
        engine.add_request(Request(r.name, r.tokens, params, arrival_time=r.arrival))
    finish(engine)
    return engine.trace


def compare(theirs: list[tuple[list, list]], mine: Trace) -> int:
    """Fail at the first step that differs; how many were preempted."""
    for want, record in zip(theirs, mine, strict=False):
        assert want == (record.slices, record.preempted), f"step {record.step}"
    assert len(theirs) == len(mine)
    return sum(len(preempted) for _, preempted in theirs)


def small_cache(dice: random.Random, asked: list[Asked]) -> tuple[int, int]:
    """(blocks, their size): the longest text fits, and perhaps a little more."""
    size = dice.choice([1, 2, 4, 16])
    return -(-max(r.longest for r in asked) // size) + dice.randint(0, 20 // size), size


def test_chunked_plans_as_vllm_v1_does():
    preempted = 0
    for number in range(WORKLOADS):
        dice = random.Random(number)
        asked = workload(dice)
        blocks, size = small_cache(dice, asked)
        seats, budget, watermark = dice.randint(2, 8), dice.choice([1, 3, 8, 20, 64]), dice.choice([0.0, 0.0, 0.1])
        mine = ours(
            "chunked", asked, blocks, block_size=size, max_num_seqs=seats, max_num_batched_tokens=budget, watermark=watermark,
            enable_prefix_caching=False,
        )  # fmt: skip
        preempted += compare(plans(V1(blocks, size, seats, budget, watermark), asked, next_token), mine)
    assert preempted > WORKLOADS, preempted


def test_continuous_plans_as_vllm_v0_did():
    preempted = 0
    for number in range(WORKLOADS):
        dice = random.Random(number)
        asked = workload(dice)
        blocks, size = small_cache(dice, asked)
        seats, budget = dice.randint(2, 8), dice.choice([60, 90, 500])
        knobs = dict(block_size=size, max_num_seqs=seats, max_prefill_tokens=budget, enable_prefix_caching=False)
        mine = ours("continuous", asked, blocks, **knobs)
        preempted += compare(plans(V0(blocks, size, seats, budget), asked, next_token), mine)
    assert preempted > WORKLOADS, preempted


def test_chunked_finds_the_prefixes_that_vllm_v1_finds():
    """In a cache that is never full: hits of earlier steps and of the same step, by chunks and by whole prompts."""
    found = beside = 0
    for number in range(WORKLOADS):
        dice = random.Random(number)
        asked = workload(dice, alike=0.8)
        size, seats, budget = dice.choice([1, 2, 4, 16]), dice.randint(1, 8), dice.choice([1, 3, 8, 20, 64])
        blocks = sum(-(-r.longest // size) for r in asked)
        mine = ours("chunked", asked, blocks, block_size=size, max_num_seqs=seats, max_num_batched_tokens=budget)
        assert not compare(plans(V1(blocks, size, seats, budget, caching=True), asked, next_token), mine)
        found += mine.total("cached")
        beside += mine[0].cached  # the cache was empty: all that is found was filled in the same step
    assert found > 20 * WORKLOADS and 2 * beside > WORKLOADS, (found, beside)


@pytest.mark.parametrize("order, want", [("fcfs", "c"), ("priority", "a")])
def test_the_victim_is_vllms(order, want):
    """``running[-1]``; with priorities the largest (priority, arrival)."""
    engine = fake_engine("chunked", order=order, num_blocks=64)
    for name, priority in (("a", 5), ("b", 0), ("c", 1)):
        engine.add_request(Request(name, [1, 2, 3], SamplingParams(max_tokens=9), priority=priority))
    engine.step()
    assert max(engine.scheduler.running, key=engine.scheduler.victim_key).request_id == want
