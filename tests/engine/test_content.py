"""Any workload on a cache whose content can be looked at: every token sees exactly its own past.

The same contract as in ``test_same_tokens``, thousands of times faster: the model is a function of the text, and a
slot of KV holds the text up to its token (``engine_fakes``). Aborts and Ctrl-C come at any moment.
"""

from __future__ import annotations

import random

import pytest
from engine_fakes import VOCABULARY, Scripted, ask, expected, fake_engine, finish, forced, nothing_left

from minieng.request import Request, SamplingParams
from minieng.scheduler import ADMISSIONS, ORDERS, SCHEDULERS, VICTIMS


def random_engine(dice: random.Random, longest: int):
    """An engine of any make, whose cache holds one request of the longest length and perhaps more."""
    rung, size, every = dice.choice(list(SCHEDULERS)), dice.choice([1, 4, 16]), dice.choice([0, 0, 2, 3, 5])
    knobs = {
        "preemption": dice.choice(["recompute", "swap"]),
        "victim": dice.choice(list(VICTIMS)),
        "admission": dice.choice(list(ADMISSIONS)),
        "order": dice.choice(list(ORDERS)),
        "mixed": dice.random() < 0.5,
        "max_num_batched_tokens": dice.choice([1, 3, 8, 64]),
        "max_prefill_tokens": dice.choice([4, 30]),
        "max_num_seqs": dice.choice([1, 3, 8]),
        "batch_size": dice.choice([1, 3, 8]),
        "wait_window": dice.choice([0.0, 0.5, 5.0]),
        "enable_prefix_caching": dice.random() < 0.6,
        "watermark": dice.choice([0, 0.01, 0.3]),
    }
    scheduler = forced(rung, every, pick=dice.randint(0, 5)) if every else rung
    blocks = int(-(-longest * dice.choice([1, 1.2, 2, 4]) // size)) + dice.randint(0, 2)
    return fake_engine(scheduler, blocks, size, host=dice.choice([1, 3, 64]), **knobs)


def random_requests(dice: random.Random, engine, longest: int) -> list[Request]:
    """Prompts that begin alike, some sampled more than once; those that can never fit are refused and left out."""
    common, requests = [dice.randrange(VOCABULARY) for _ in range(longest)], []
    for i in range(dice.randint(1, 8)):
        length = dice.randint(1, longest - 1)
        same = dice.randint(0, length)
        prompt = common[:same] + [dice.randrange(VOCABULARY) for _ in range(length - same)]
        count, n = dice.randint(1, longest - length), dice.choice([1, 1, 1, 2, 3])
        stop = (expected(prompt, count)[-1],) if dice.random() < 0.2 else ()
        params, arrival = SamplingParams(max_tokens=count, n=n, stop_token_ids=stop), dice.choice([0.0, 0.0, 10 * dice.random()])
        group = [
            Request(f"{i}#{j}", prompt, params, arrival_time=arrival, priority=dice.randint(0, 3), user=dice.choice("ab"))
            for j in range(n)
        ]
        for j, request in enumerate(group):
            request.sample_index = j
        try:
            engine.add_request(group[0])
        except ValueError:
            continue
        engine.add_siblings(group[0], group[1:])
        requests += group
    return requests


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


def check(requests: list[Request]) -> None:
    for request in requests:
        prompt, params = request.token_ids[: request.num_prompt_tokens], request.params
        want = expected(prompt, params.max_tokens, request.sample_index, params.stop_token_ids)
        got = request.output_token_ids
        assert got == (want[: len(got)] if request.finish_reason == "abort" else want), request


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
