"""Names of prompts and samples: an id is a word of the user's, whatever is in it; who is meant is told by fields."""

from __future__ import annotations

import itertools

import pytest

from minieng import LLM, SamplingParams
from minieng.request import sample_key

IDS = ["doc", "doc#4", "doc#4#1"]
PROMPTS = {"doc": [1, 2, 3], "doc#4": [4, 5, 6], "doc#4#1": [7, 8, 9]}


def asked(n: int, max_tokens: int = 6) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, n=n, ignore_eos=True)


@pytest.fixture
def llm():
    with LLM.simulated(num_blocks=400, block_size=4, checked=True) as llm:
        yield llm
        assert not llm.engine.requests and not llm._streams


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("ids", list(itertools.permutations(IDS)), ids=" ".join)
def test_events_and_answers_bear_the_users_own_ids(llm, ids, n):
    prompts = [PROMPTS[name] for name in ids]
    events = list(llm.stream(prompts, asked(n), request_ids=ids))
    count = {(name, index): 0 for name in ids for index in range(n)}
    for event in events:
        count[event.request_id, event.index] += 1
    assert set(count.values()) == {6} and len(count) == 3 * n
    outs = llm.generate(prompts, asked(n), request_ids=ids)
    assert [(out.request_id, out.prompt_token_ids) for out in outs] == [(name, PROMPTS[name]) for name in ids]
    assert all([o.index for o in out.outputs] == list(range(n)) for out in outs)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("gone", IDS)
def test_an_abort_ends_its_own_samples_and_nobody_elses(llm, gone, n):
    ends, count = {}, 0
    for event in llm.stream(list(PROMPTS.values()), asked(n), request_ids=IDS):
        count += 1
        if count == 3 * n:  # all samples run
            llm.abort(gone)
        if event.finish_reason:
            ends[event.request_id, event.index] = event.finish_reason
    assert ends == {(i, k): "abort" if i == gone else "length" for i in IDS for k in range(n)}


@pytest.mark.parametrize("first, second", [(("doc", 2), ("doc#1", 1)), (("doc#1", 1), ("doc", 2))])
def test_a_users_id_may_be_the_engines_name_of_another_prompts_sample(llm, first, second):
    """Two calls at once, and one call; each gets its own tokens, each can be aborted alone."""
    streams = [llm.stream([PROMPTS["doc"]], asked(n), request_ids=[name]) for name, n in (first, second)]
    seen = [[next(stream)] for stream in streams]
    assert len({r.request_id for r in llm.engine.requests.values()}) == 3
    llm.abort("doc")
    for events, stream in zip(seen, streams, strict=True):
        events += stream
    for (name, n), events in zip((first, second), seen, strict=True):
        assert {e.request_id for e in events} == {name}
        assert [e.finish_reason for e in events if e.finish_reason] == (["abort"] if name == "doc" else ["length"]) * n
    together = llm.generate([[1], [2]], [asked(first[1]), asked(second[1])], request_ids=[first[0], second[0]])
    assert [(out.request_id, len(out.outputs)) for out in together] == [first, second]


@pytest.mark.parametrize("others", [["doc"], ["new", "doc"], ["new", "new"]])
def test_an_id_in_use_is_refused_before_anything_is_queued(llm, others):
    running = llm.stream([PROMPTS["doc"]], asked(3), request_ids=["doc"])
    next(running)
    before = list(llm.engine.requests)
    with pytest.raises(ValueError, match=f"request id '{others[-1]}' is in use: choose another or abort it first"):
        llm.generate([[5, 6]] * len(others), asked(3), request_ids=others)
    assert list(llm.engine.requests) == before
    running.close()


@pytest.mark.parametrize("name", ["doc#1", "do", ""])
def test_the_name_of_a_sample_or_a_part_of_an_id_is_no_id(llm, name):
    running = llm.stream([PROMPTS["doc"]], asked(2), request_ids=["doc"])
    next(running)
    with pytest.raises(KeyError, match="unknown, or finished already"):
        llm.abort(name)
    assert len([e for e in running if e.finish_reason == "length"]) == 2


def test_random_numbers_go_by_the_users_id_and_the_samples_number(llm):
    groups = llm._submit([[1], [2]], [asked(2), SamplingParams(seed=5)], 0, None, "", ["doc#4", "b"], None)
    assert [r.sample_key for group in groups for r in group] == [
        b"engine 0 request doc#4 sample 0",
        b"engine 0 request doc#4 sample 1",
        b"seed 5 sample 0",
    ]
    assert sample_key(None, 0, "doc#4", 1) == groups[0][1].sample_key
    assert [(r.prompt_id, r.sample_index) for group in groups for r in group] == [("doc#4", 0), ("doc#4", 1), ("b", 0)]
    llm._forget(groups)


@pytest.mark.parametrize("wrong", ["prioritty", "arrivals", "progress"])
def test_a_stream_refuses_a_keyword_that_it_has_not(llm, wrong):
    with pytest.raises(TypeError, match=wrong):
        llm.stream([[1, 2]], asked(1), **{wrong: 1})
    assert not llm.engine.requests


def test_a_stream_takes_priority_deadline_and_user(llm):
    with pytest.raises(ValueError, match="priority has 2 entries for 1 prompts"):
        next(llm.stream([[1, 2]], asked(1), priority=[1, 2]))
    running = llm.stream([[1, 2], [3, 4]], asked(1), priority=[1, 2], deadline=9.0, user=["u", "v"])
    next(running)
    assert [(r.priority, r.deadline, r.user) for r in llm.engine.requests.values()] == [(1, 9.0, "u"), (2, 9.0, "v")]
    running.close()


def test_waiting_for_many_prompts_does_not_look_at_all_of_them_in_each_step():
    class Counting(dict):
        looks = 0

        def __contains__(self, key):
            Counting.looks += 1
            return super().__contains__(key)

    with LLM.simulated(num_blocks=4000, block_size=4, max_num_seqs=4) as llm:
        llm.engine.requests = Counting()
        llm.generate([[i, i] for i in range(400)], asked(1, 3))
        assert Counting.looks < 5 * 400


def test_a_real_and_a_simulated_llm_are_built_alike_and_have_an_executor_each(tiny):
    with tiny.llm(num_blocks=8) as real, LLM.simulated(num_blocks=8) as simulated:
        assert vars(real).keys() == vars(simulated).keys()
        for llm in (real, simulated):
            runner = llm.runner
            assert runner is llm.engine.executor and llm.trace.meta["device"] == runner.device_name
            assert runner.kv_nbytes_per_token > 0 and "device" in runner.facts() and callable(runner.execute)
        built = set(vars(simulated))
    assert set(vars(simulated)) == built and simulated.runner is None, "close() adds nothing"
