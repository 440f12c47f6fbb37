"""The front door: shapes and order of answers, ends of texts, streams, aborts, what is said of itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.cases import RUNGS

from minieng import SamplingParams

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16], [20]]
LONG = SamplingParams(max_tokens=12, ignore_eos=True)


@pytest.fixture(params=RUNGS)
def llm(tiny, request):
    with tiny.llm(num_blocks=64, block_size=4, batch_size=3, max_num_batched_tokens=8, **RUNGS[request.param]) as llm:
        yield llm
        assert not llm._streams and not llm.engine.requests
        assert llm.engine.kv.pool.num_free == 64


def test_answers_come_in_the_order_of_the_prompts(llm, tiny):
    params = [SamplingParams(max_tokens=n, ignore_eos=True) for n in (12, 3, 7)]
    outs = llm.generate(PROMPTS, params, request_ids=["x", "y", "z"])
    assert [out.request_id for out in outs] == ["x", "y", "z"]
    for prompt, param, out in zip(PROMPTS, params, outs, strict=True):
        (only,) = out.outputs
        assert out.prompt_token_ids == prompt and out.prompt is None and only.index == 0
        assert only.finish_reason == "length" and only.logprobs is None
        tiny.oracle.compare(prompt, only.token_ids, param.max_tokens)
        assert only.text == llm.tokenizer.decode(only.token_ids, skip_special_tokens=True)


def test_metrics_are_in_the_order_of_events(llm):
    for out in llm.generate(PROMPTS, LONG):
        m = out.metrics
        times = [m.arrival_time, m.admitted_time, *m.token_times, m.finish_time]
        assert times == sorted(times) and len(m.token_times) == 12 and m.first_token_time == m.token_times[0]


def test_a_text_ends_at_a_stop_token_and_keeps_it_in_the_list_only(llm, tiny):
    answer = tiny.oracle.tokens(PROMPTS[0], 12)
    end = answer[5]
    want = answer[: answer.index(end) + 1]
    out = llm.generate([PROMPTS[0]], SamplingParams(max_tokens=12, stop_token_ids=[end], ignore_eos=True))[0].outputs[0]
    assert (out.token_ids, out.finish_reason) == (want, "stop")
    assert out.text == llm.tokenizer.decode(want[:-1], skip_special_tokens=True)


def test_a_text_ends_at_the_models_own_end_unless_that_is_ignored(llm, tiny):
    answer = tiny.oracle.tokens(PROMPTS[1], 12)
    kept, llm.eos_token_ids = llm.eos_token_ids, [answer[4]]
    want = answer[: answer.index(answer[4]) + 1]
    try:
        stopped = llm.generate([PROMPTS[1]], SamplingParams(max_tokens=12))[0].outputs[0]
        ignored = llm.generate([PROMPTS[1]], LONG)[0].outputs[0]
        late = llm.generate([PROMPTS[1]], SamplingParams(max_tokens=12, min_tokens=9))[0].outputs[0]
    finally:
        llm.eos_token_ids = kept
    assert (stopped.token_ids, stopped.finish_reason) == (want, "stop")
    assert (ignored.token_ids, ignored.finish_reason) == (answer, "length")
    assert len(late.token_ids) >= 9 and answer[4] not in late.token_ids[:9]


def test_a_text_ends_before_a_stop_string(llm, tiny):
    answer = tiny.oracle.tokens(PROMPTS[2], 12)
    texts = [llm.tokenizer.decode(answer[:n]) for n in range(13)]
    whole = texts[12]
    at = next(i for i in range(3, len(whole)) if whole.find(whole[i : i + 3]) == i and "\ufffd" not in whole[: i + 4])
    stop = whole[at : at + 3]
    out = llm.generate([PROMPTS[2]], SamplingParams(max_tokens=12, stop=stop, ignore_eos=True))[0].outputs[0]
    assert (out.text, out.finish_reason) == (whole[:at], "stop")
    assert stop in llm.tokenizer.decode(out.token_ids) and stop not in llm.tokenizer.decode(out.token_ids[:-1])


def test_a_stream_shows_each_token_once_and_ends_once(llm, tiny):
    events = list(llm.stream(PROMPTS, [SamplingParams(max_tokens=n, ignore_eos=True) for n in (12, 3, 7)]))
    names = sorted({event.request_id for event in events}, key=int)
    for name, prompt, count in zip(names, PROMPTS, (12, 3, 7), strict=True):
        mine = [event for event in events if event.request_id == name]
        tiny.oracle.compare(prompt, [event.token_id for event in mine], count)
        assert [event.finish_reason for event in mine] == [None] * (count - 1) + ["length"]
        text = llm.tokenizer.decode([event.token_id for event in mine], skip_special_tokens=True)
        assert "".join(event.text for event in mine) == text


def test_a_stream_of_samples_names_them(llm):
    events = list(llm.stream([PROMPTS[0]], SamplingParams(max_tokens=5, n=3, ignore_eos=True)))
    assert sorted((event.index, event.token_id is not None) for event in events) == [
        (i, True) for i in range(3) for _ in range(5)
    ]
    assert len({event.request_id for event in events}) == 1 and "#" not in events[0].request_id


def test_leaving_a_stream_aborts_its_request(llm):
    for event in llm.stream([PROMPTS[0]], LONG):
        if event.token_id is not None:
            break
    del event
    assert not llm.engine.requests and not llm._streams


def test_an_abort_in_a_stream_ends_it_with_its_reason(llm):
    events = []
    for event in llm.stream([PROMPTS[0]], LONG, request_ids=["a"]):
        events.append(event)
        if len(events) == 3:
            llm.abort("a")
    assert [e.finish_reason for e in events] == [None] * 3 + ["abort"] and events[-1].token_id is None


def test_an_abort_of_a_prompt_ends_all_its_samples_and_nobody_else(llm, tiny):
    tokens, ends = [], []
    others = llm.stream([PROMPTS[1]], LONG, request_ids=["other"])
    for event in llm.stream([PROMPTS[0]], SamplingParams(max_tokens=12, n=3, ignore_eos=True), request_ids=["mine"]):
        if not tokens:
            tokens.append(next(others).token_id)
            llm.abort("mine")
        ends += [event.finish_reason] if event.finish_reason else []
    assert len(ends) == 3 and "abort" in ends
    tokens += [event.token_id for event in others]
    tiny.oracle.compare(PROMPTS[1], tokens, 12)


def test_ctrl_c_in_generate_leaves_nothing_and_the_next_call_is_right(llm, tiny):
    execute, calls = llm.runner.execute, []

    def interrupted(plan):
        calls.append(plan)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return execute(plan)

    llm.runner.execute = interrupted
    with pytest.raises(KeyboardInterrupt):
        llm.generate(PROMPTS, LONG)
    assert not llm.engine.requests and not llm._streams
    out = llm.generate([PROMPTS[1]], LONG)[0].outputs[0]
    del llm.runner.execute
    tiny.oracle.compare(PROMPTS[1], out.token_ids, 12)


def test_ctrl_c_while_tokens_become_text_leaves_an_engine_that_goes_on(llm, tiny):
    on_token, calls = llm.engine.on_token, []

    def interrupted(request):
        calls.append(request)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return on_token(request)

    llm.engine.on_token = interrupted
    groups = llm._submit(PROMPTS, LONG, 0, None, "", None, None)
    with pytest.raises(KeyboardInterrupt):
        llm.engine.run()
    llm.engine.run()
    for prompt, (request,) in zip(PROMPTS, groups, strict=True):
        tiny.oracle.compare(prompt, request.output_token_ids, 12)
    llm._forget(groups)


def test_arrivals_are_waited_for(tiny):
    with tiny.llm(num_blocks=64) as llm:
        outs = llm.generate(PROMPTS[:2], LONG, arrivals=[0.0, 0.05])
        first, second = (out.metrics for out in outs)
        assert second.arrival_time - first.arrival_time == pytest.approx(0.05) and second.admitted_time >= second.arrival_time


def test_explain_names_what_runs(tiny):
    with tiny.llm(num_blocks=64, block_size=8, scheduler="chunked", order="sjf") as llm:
        llm.generate([PROMPTS[0]], LONG)
        told = llm.explain()
    for words in (
        str(tiny.path),
        "cpu",
        "float32",
        "ChunkedScheduler",
        "order sjf",
        "64 blocks of 8 = 512 tokens",
        "prefix caching on",
    ):
        assert words in told, told


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux")
def test_loading_a_model_asks_for_huge_pages_in_time_and_importing_does_not_ask():
    """torch puts tensors of at least 2 MiB on a page's edge when it was told to, and reads that once."""
    code = (
        "import os, minieng, torch; assert 'THP_MEM_ALLOC_ENABLE' not in os.environ\n"
        "llm = minieng.LLM('tiny', num_blocks=8)\n"
        "assert [torch.empty(2**22 + i, dtype=torch.uint8).data_ptr() % 4096 for i in range(4)] == [0] * 4"
    )
    clean = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)
