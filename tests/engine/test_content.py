"""Any workload on a cache whose content can be looked at: every token sees exactly its own past.

The same contract as in ``test_same_tokens``, thousands of times faster: the model is a function of the text, and a
slot of KV holds the text up to its token (``support/fakes``). Aborts and Ctrl-C come at any moment.
"""

from __future__ import annotations

import random

import pytest
from support.content import check, random_engine, random_requests
from support.fakes import Scripted, ask, fake_engine, finish, forced, nothing_left

from minieng.request import Request, SamplingParams


def run(engine, requests: list[Request], aborts: dict[int, str], interrupts: dict[int, int]) -> None:
    for step in range(6_000):
        if aborts.get(step) in engine.requests:
            engine.abort(aborts[step])
        if step in interrupts:
            engine.executor.interrupt_in = interrupts[step]
        try:
            if engine.step() is None:
                return
        except KeyboardInterrupt:
            engine.kv.check_invariants([*engine.scheduler.waiting, *engine.scheduler.running])
    raise AssertionError("the engine does not finish")


@pytest.mark.parametrize("first", range(0, 3_000, 500))
def test_every_token_sees_its_own_past(first):
    for number in range(first, first + 500):
        dice = random.Random(number)
        longest = dice.randint(3, 40)
        engine = random_engine(dice, longest)
        requests = random_requests(dice, engine, longest)
        if not requests:
            continue
        aborts = {dice.randint(0, 30): dice.choice(requests).request_id for _ in range(dice.choice([0, 1, 3]))}
        interrupts = {dice.randint(0, 30): dice.randint(0, 6) for _ in range(dice.choice([0, 0, 1, 3]))}
        try:
            run(engine, requests, aborts, interrupts)
            nothing_left(engine)
            assert len(engine.kv.free_host_blocks) == len(engine.executor.host), "host blocks are lost"
            check(requests)
        except Exception as problem:
            problem.add_note(f"workload number {number}: {type(engine.scheduler).__name__}, {engine.config}")
            raise


def samples(engine, prompt: list[int], n: int, max_tokens: int) -> list[Request]:
    group = [Request(f"s{i}", prompt, SamplingParams(max_tokens=max_tokens)) for i in range(n)]
    for i, request in enumerate(group):
        request.sample_index = i
    engine.add_request(group[0])
    engine.add_siblings(group[0], group[1:])
    return group


def test_a_sibling_may_be_admitted_in_the_step_in_which_its_first_comes_back():
    """Both are looked up before either is attached: on paper the first had no blocks to share yet."""
    engine = fake_engine(Scripted({"s0": 4}, {"s0": 1}, {"s0": 1}, {"s0": 0}, {"s0": 3, "s1": 4}))
    requests = samples(engine, [1, 2, 3, 4], 2, 6)
    finish(engine)
    check(requests)


def test_a_block_taken_over_from_a_sibling_forgets_what_that_one_wrote():
    """The first leaves in the step in which its sibling starts in its half-written block. The block was full and known
    by the first's text; a later prompt must not find the sibling's text under that name.
    """
    engine = fake_engine(Scripted({"s0": 3}, {"s0": 1}, {"s0": 0, "s1": 1}))
    requests = samples(engine, [1, 2, 3], 2, 5)
    for _ in range(4):
        engine.step()
    requests.append(ask(engine, "later", requests[0].token_ids[:4] + [9], 3))
    finish(engine)
    check(requests)


def test_a_finished_row_outlives_the_abort_of_the_last_live_one():
    """A static batch whose only live row is aborted is over: nobody waits for it for ever."""
    engine = fake_engine("static", batch_size=2)
    short, long = ask(engine, "short", 3, 1), ask(engine, "long", 3, 9)
    engine.step()
    assert short.is_done and not long.is_done
    engine.abort("long")
    assert not engine.requests
    nothing_left(engine)


def test_a_row_of_a_rectangle_is_never_swapped():
    """Its KV stands behind padding, where a later batch would not look for it; it is computed again."""
    engine = fake_engine(forced("static", 3), batch_size=2, preemption="swap")
    requests = [ask(engine, "a", 7, 6), ask(engine, "b", 3, 6), ask(engine, "c", 5, 4)]
    finish(engine)
    check(requests)
    assert sum(r.num_preemptions for r in requests) and not any(record.swapped != (0, 0) for record in engine.trace)
