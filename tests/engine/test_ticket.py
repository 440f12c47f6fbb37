"""Tickets: prompts are handed in, steps are made by hand, and what came is asked for. ``generate`` and ``stream`` do no more."""

from __future__ import annotations

import pytest
from support.cases import RUNGS

from minieng import SamplingParams
from minieng.engine import QueueFull

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16], [20]]
LONG = SamplingParams(max_tokens=12, ignore_eos=True)


@pytest.fixture(params=RUNGS)
def llm(tiny, request):
    with tiny.llm(num_blocks=64, block_size=4, batch_size=3, max_num_batched_tokens=8, **RUNGS[request.param]) as llm:
        yield llm
        assert not llm._streams and not llm.engine.requests
        assert llm.engine.kv.pool.num_free == 64


def test_two_askers_share_the_steps_and_get_what_each_gets_alone(llm, tiny):
    first = llm.submit(PROMPTS[:2], LONG)
    second = llm.submit(PROMPTS[2], LONG, request_ids=["late"])
    events = {first: [], second: []}
    while not (first.done and second.done):
        llm.step()
        for ticket, told in events.items():
            told += ticket.events()
    assert not list(first.events()) and not list(second.events()), "each event is told once"
    names = [group[0].prompt_id for group in (*first.groups, *second.groups)]
    told = events[first] + events[second]
    for name, prompt in zip(names, PROMPTS, strict=True):
        mine = [event for event in told if event.request_id == name]
        tiny.oracle.compare(prompt, [event.token_id for event in mine], 12)
        assert [event.finish_reason for event in mine] == [None] * 11 + ["length"]
    answers = [*first.outputs(), *second.outputs()]
    assert [out.request_id for out in answers] == names and names[2] == "late"
    for out in answers:
        assert out.outputs[0].text == "".join(event.text for event in told if event.request_id == out.request_id)
    first.close()
    second.close()


def test_who_asks_seldom_gets_several_events_at_once(llm, tiny):
    ticket = llm.submit([PROMPTS[0]], LONG)
    while not ticket.done:
        llm.step()
    tokens = [event.token_id for event in ticket.events()]
    tiny.oracle.compare(PROMPTS[0], tokens, 12)
    ticket.close()


def test_closing_a_ticket_ends_its_requests_and_nobody_elses(llm, tiny):
    leaving = llm.submit([PROMPTS[1]], SamplingParams(max_tokens=12, n=3, ignore_eos=True))
    staying = llm.submit([PROMPTS[0]], LONG)
    llm.step()
    leaving.close()
    leaving.close()
    assert leaving.done and all(request.finish_reason == "abort" for request in leaving.requests)
    while not staying.done:
        llm.step()
    tiny.oracle.compare(PROMPTS[0], staying.outputs()[0].outputs[0].token_ids, 12)
    staying.close()


def test_a_step_without_work_is_none(llm):
    assert llm.step() is None


def test_what_is_refused_leaves_nothing_behind(tiny):
    with tiny.llm(num_blocks=64, max_num_queued_reqs=2) as llm:
        ticket = llm.submit(PROMPTS[:2], LONG)
        with pytest.raises(QueueFull, match="max_num_queued_reqs=2"):
            llm.submit(PROMPTS[2], LONG)
        with pytest.raises(ValueError, match="out of range"):
            llm.submit([[1], [10**6]], LONG)
        assert len(llm.engine.requests) == len(llm._streams) == 2
        ticket.close()
        assert not llm.engine.requests and not llm._streams


def test_nothing_is_stepped_once_the_llm_is_closed(tiny):
    llm = tiny.llm(num_blocks=8)
    ticket = llm.submit([[5]], LONG)
    llm.close()
    with pytest.raises(RuntimeError, match="this LLM is closed"):
        llm.step()
    assert ticket.done and [event.finish_reason for event in ticket.events()] == ["abort"]
    ticket.close()
