"""What each endpoint answers and refuses, over a real port, on the fake model: all of HTTP, none of the arithmetic."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.door import Door, fake_llm, found, nothing_runs, raw, refused, tokens_of
from support.fakes import expected, nothing_left

import minieng

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
JSON = b"content-type: application/json\r\n"


@pytest.fixture(scope="module")
def door():
    llm = fake_llm(max_num_queued_reqs=16)
    with Door(llm, max_body_mb=0.01, served_model_name="fake-one") as door:
        yield door
    assert door.exit_code == 0
    nothing_left(llm.engine)
    nothing_runs()


# -- completions ------------------------------------------------------------------------------------------------


def test_a_completion_has_vllms_fields(door):
    answer = door.complete([1, 2, 3], max_tokens=5, model="fake-one", return_token_ids=True)
    (choice,) = answer.pop("choices")
    assert answer.pop("id").startswith("cmpl-") and answer.pop("created") > 1.7e9
    assert answer == {
        "object": "text_completion", "model": "fake-one",
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 0}},
    }  # fmt: skip
    assert choice == {
        "index": 0, "text": "", "logprobs": None, "finish_reason": "length", "stop_reason": None,
        "token_ids": expected([1, 2, 3], 5), "prompt_token_ids": [1, 2, 3],
    }  # fmt: skip


def test_sixteen_tokens_unless_said_otherwise(door):
    assert door.complete([1])["usage"]["completion_tokens"] == 16
    assert door.complete([1], max_tokens=None, temperature=None, stop=None, n=None)["usage"]["completion_tokens"] == 16


def test_prompts_and_samples_are_numbered_through(door):
    answer = door.complete([[1, 2], [3]], max_tokens=3, n=2, return_token_ids=True)
    told = [(c["index"], c["prompt_token_ids"], c["token_ids"]) for c in answer["choices"]]
    assert told == [(2 * i + k, prompt, expected(prompt, 3, k)) for i, prompt in enumerate(([1, 2], [3])) for k in (0, 1)]
    assert answer["usage"]["prompt_tokens"] == 3 and answer["usage"]["completion_tokens"] == 12


def test_what_was_cached_is_told(door):
    prompt = [7, 7, 7, 7, 8, 8, 8, 8, 9]
    told = [door.complete(prompt, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)]
    assert told == [0, 8]


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True},
                                     {"include_usage": True, "continuous_usage_stats": True}])  # fmt: skip
def test_a_stream_keeps_the_rules_that_broke_real_servers(door, options):
    """One id, one ending, usage only if asked for and then in a chunk without choices, ``finish_reason`` with the last token."""
    body = {"prompt": [4, 5], "max_tokens": 6, "n": 2, "return_token_ids": True, "stream_options": options}
    chunks = door.chunks(COMPLETIONS, body)
    wanted = bool(options and options["include_usage"])
    if wanted:
        last = chunks.pop()
        assert last["choices"] == [] and last["usage"]["completion_tokens"] == 12 and last["usage"]["prompt_tokens"] == 2
        assert {name: last[name] for name in ("id", "created", "object", "model")}.items() <= chunks[0].items()
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("text_completion", "fake-one")}
    assert all(("usage" in chunk) == wanted for chunk in chunks)
    if wanted:
        counts = [chunk["usage"] and chunk["usage"]["completion_tokens"] for chunk in chunks]
        assert counts == sorted(counts) if "continuous_usage_stats" in options else set(counts) == {None}
    assert tokens_of(chunks) == {i: expected([4, 5], 6, i) for i in (0, 1)}
    for index in (0, 1):
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert [choice["finish_reason"] for choice in mine] == [None] * (len(mine) - 1) + ["length"]
        assert all(choice["token_ids"] for choice in mine), "no chunk without a token, the last one neither"
        assert [choice.get("prompt_token_ids") for choice in mine] == [[4, 5]] + [None] * (len(mine) - 1)


def test_a_prompt_that_is_read_in_parts_sends_nothing_until_its_first_token():
    llm = fake_llm(scheduler="chunked", max_num_batched_tokens=8, slow=0.002)
    with Door(llm) as door:
        chunks = door.chunks(COMPLETIONS, {"prompt": [1] * 100, "max_tokens": 3, "return_token_ids": True})
    assert len(llm.trace) >= 100 / 8 + 2 and len(chunks) <= 3
    assert tokens_of(chunks) == {0: expected([1] * 100, 3)} and all(chunk["choices"][0]["token_ids"] for chunk in chunks)
    nothing_left(llm.engine)


def test_stop_tokens_and_least_lengths(door):
    answer = expected([1, 2, 3], 16)
    end = answer[4]
    choice = door.complete([1, 2, 3], stop_token_ids=[end], return_token_ids=True)["choices"][0]
    assert (choice["token_ids"], choice["finish_reason"]) == (answer[: answer.index(end) + 1], "stop")
    assert choice["stop_reason"] == end
    later = door.complete([1, 2, 3], stop_token_ids=[end], min_tokens=10)["usage"]["completion_tokens"]
    assert later >= 10


# -- what is refused --------------------------------------------------------------------------------------------

BAD = [
    ({}, "prompt=None: must be a string, a list of token ids"),
    ({"prompt": 5}, "prompt=5"),
    ({"prompt": []}, "prompt=[]"),
    ({"prompt": [[]]}, "the prompt is empty"),
    ({"prompt": [{"role": "user", "content": "x"}]}, "must be a string, a list of token ids"),
    ({"prompt": [1, "a"]}, "must be a string, a list of token ids"),
    ({"prompt": [[1], 2]}, "must be a string, a list of token ids"),
    ({"prompt": [1.5]}, "must be a string, a list of token ids"),
    ({"prompt": [True]}, "must be a string, a list of token ids"),
    ({"prompt": [97]}, "token id 97 is out of range: the vocabulary has 97 tokens"),
    ({"prompt": [-1]}, "token id -1 is out of range"),
    ({"prompt": [1] * 300}, "the prompt has 300 tokens, the longest text is 250"),
    ({"prompt": [1], "n": 0}, "n=0: must be at least 1"),
    ({"prompt": [1], "n": 17}, "17 texts at once are more than max_num_queued_reqs=16"),
    ({"prompt": [1], "max_tokens": 0}, "max_tokens=0: must be at least 1"),
    ({"prompt": [1], "max_tokens": "5"}, "max_tokens='5': must be a whole number"),
    ({"prompt": [1], "max_tokens": 10**400}, "max_tokens=2**"),
    ({"prompt": [1], "temperature": -1}, "temperature=-1"),
    ({"prompt": [1], "temperature": float("nan")}, "temperature=nan"),
    ({"prompt": [1], "top_p": 0}, "top_p=0"),
    ({"prompt": [1], "seed": "x"}, "seed='x'"),
    ({"prompt": [1], "logprobs": 21}, "logprobs=21: must be at most 20"),
    ({"prompt": [1], "logit_bias": {"x": 1}}, "logit_bias"),
    ({"prompt": [1], "logit_bias": {"97": 1}}, "logit_bias: token 97 is out of range"),
    ({"prompt": [1], "stop": 5}, "stop"),
    ({"prompt": [1], "stream": "yes"}, "stream='yes': must be true or false"),
    ({"prompt": [1], "stream_options": {"include_usage": True}}, "stream_options: needs stream=true"),
    ({"prompt": [1], "stream": True, "stream_options": 5}, "stream_options=5: must be an object"),
    ({"prompt": [1], "priority": 1.5}, "priority=1.5: must be a whole number"),
    ({"prompt": [1], "user": 5}, "user=5: must be a string"),
    ({"prompt": [1], "model": 5}, "model=5: must be a string"),
    ({"prompt": [1], "best_of": 3}, "best_of=3: not supported"),
    ({"prompt": [1], "suffix": "x"}, "suffix='x': not supported"),
    ({"prompt": [1], "response_format": {"type": "json_object"}}, "response_format"),
    ({"prompt": [1], "stream": True, "max_tokens": -3}, "max_tokens=-3"),
]


@pytest.mark.parametrize("body, words", BAD, ids=range(len(BAD)))
def test_bad_input_is_named_and_nothing_is_queued(door, body, words):
    response = door.client.post(COMPLETIONS, content=json.dumps(body), headers={"content-type": "application/json"})
    assert words in refused(response, 400)
    assert door.engine.num_open == 0 and not door.llm.engine.requests


@pytest.mark.parametrize("body, words", [
    ({}, "messages=None"), ({"messages": []}, "messages=[]"), ({"messages": "hi"}, "messages='hi'"),
    ({"messages": [{"role": "user"}]}, "content=None: must be a string"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only parts of type 'text' are supported"),
    ({"messages": [{"content": "x"}]}, "each must have a 'role'|no chat template"),
    ({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}, "tools=.*not supported"),
    ({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}, "tool_choice='required': not supported"),
    ({"messages": [{"role": "user", "content": "x"}], "echo": True}, "echo"),
    ({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}, "top_logprobs: needs logprobs=true"),
    ({"messages": [{"role": "user", "content": "x"}]}, "no chat template"),
], ids=range(11))  # fmt: skip
def test_bad_conversations_are_named(door, body, words):
    message = refused(door.post(CHAT, body), 400)
    assert any(part in message for part in words.split("|")) or re.search(words, message)


@pytest.mark.parametrize("content, status, words", [
    (b"", 400, "no JSON"), (b"{", 400, "no JSON"), (b"[1]", 400, "is list in JSON: must be an object"), (b"5", 400, "int"),
    (b'{"prompt": "\xff"}', 400, "no JSON"), (b"[" * 5000, 400, "no JSON"),
    (b'{"prompt": "' + b"x" * 20_000 + b'"}', 413, "larger"),
    (b'{"prompt": "\\ud800"}', 400, "lone surrogate|reads no text"),
], ids=range(8))  # fmt: skip
def test_bodies_that_are_none(door, content, status, words):
    response = door.client.post(COMPLETIONS, content=content, headers={"content-type": "application/json"})
    message = refused(response, status)
    assert any(part in message for part in words.split("|"))


def test_other_kinds_of_content_are_refused(door):
    """A page of another site may send text/plain from its reader's browser without asking; JSON it may not."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = door.client.post(COMPLETIONS, content=b'{"prompt": [1]}', headers={"content-type": kind})
        assert "must be application/json" in refused(response, 415)
    response = door.client.post(
        COMPLETIONS, content=b'{"prompt": [1]}', headers={"content-type": "Application/JSON; charset=utf-8"}
    )
    assert response.status_code == 200
    assert "access-control-allow-origin" not in door.get("/v1/models", headers={"origin": "https://elsewhere.example"}).headers


def test_a_body_of_fifty_megabytes_is_told_so(door):
    """Its sender is heard out, within limits, so that he hears the answer; what he sends is not kept."""
    body = b'{"prompt": "' + b"x" * 120_000 + b'"}'
    response = door.client.post(COMPLETIONS, content=body, headers={"content-type": "application/json"})
    assert "the body is larger than 10485 bytes" in refused(response, 413) and response.headers["connection"] == "close"
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n" + JSON + b"content-length: 50000000\r\n\r\n"
    answer = b""
    try:
        answer = raw(door.port, head + b"x" * 400_000)
    except OSError:
        pass  # cut off while sending: it was told that much
    assert answer == b"" or b" 413 " in answer.split(b"\r\n")[0]


def test_wrong_paths_methods_and_models(door):
    assert "GET '/v2/models'" in refused(door.get("/v2/models"), 404)
    refused(door.get(COMPLETIONS), 405)
    for path, body in ((COMPLETIONS, {"prompt": [1]}), (CHAT, {"messages": [{"role": "user", "content": "x"}]}),
                       ("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [1]})):  # fmt: skip
        assert "The model 'gpt' does not exist" in refused(door.post(path, {**body, "model": "gpt"}), 404)
    assert "does not exist" in refused(door.get("/v1/models/gpt/4"), 404)


# -- the rest ---------------------------------------------------------------------------------------------------


def test_the_model_is_listed_with_its_root(door):
    (card,) = found(door.get("/v1/models"))["data"]
    assert card["id"] == "fake-one" and card["root"] == "fake" and card["max_model_len"] == 250
    assert found(door.get("/v1/models/fake-one")) == card


def test_health_version_and_tokens(door):
    assert door.get("/health").status_code == 200
    assert found(door.get("/version")) == {"version": minieng.__version__}
    assert "tokens='x'" in refused(door.post("/detokenize", {"tokens": "x"}), 400)
    assert "must be at most 96" in refused(door.post("/detokenize", {"tokens": [97]}), 400)
    assert "prompt=None" in refused(door.post("/tokenize", {}), 400)


def test_a_full_queue_is_a_503_that_says_when_to_come_again():
    llm = fake_llm(max_num_queued_reqs=2, slow=0.02)
    with Door(llm) as door:
        body = {"prompt": [1], "max_tokens": 100, "stream": True}
        with door.client.stream("POST", COMPLETIONS, json=body), door.client.stream("POST", COMPLETIONS, json=body):
            response = door.post(COMPLETIONS, {"prompt": [2]})
            assert "max_num_queued_reqs=2" in refused(response, 503) and int(response.headers["retry-after"]) >= 1
            text = door.get("/metrics").text
            assert re.search(r'vllm:admission_rejections_total\{.*reason="max_num_queued_reqs"\} 1.0', text)
    nothing_left(llm.engine)


def test_priority_and_user_reach_the_queue():
    for knobs, others, last in (({"order": "priority"}, [{"priority": 5}, {"priority": -5}], [1, 0]),
                                ({"order": "fair"}, [{"user": "a"}, {"user": "b"}], [1, 0])):  # fmt: skip
        llm, order = fake_llm(max_num_seqs=1, slow=0.01, **knobs), []

        def ask(door, number, body, order=order):
            door.complete([number], **{"max_tokens": 5, **body})
            order.append(number)

        with Door(llm) as door:
            threads = [threading.Thread(target=ask, args=(door, 9, {"user": "a", "max_tokens": 30}))]
            threads += [threading.Thread(target=ask, args=(door, i, body)) for i, body in enumerate(others)]
            for thread in threads:
                thread.start()
                while len(llm.engine.requests) < threads.index(thread) + 1:
                    time.sleep(0.001)
            for thread in threads:
                thread.join()
        assert order[1:] == last


def test_a_key_is_asked_for_everywhere_but_where_watchers_look():
    llm = fake_llm()
    with Door(llm, api_key="secret") as door:
        for given in (None, "Bearer wrong", "Bearer secre", "secret", "bearer secret"):
            headers = {} if given is None else {"authorization": given}
            assert "secret" not in refused(door.post(COMPLETIONS, {"prompt": [1]}, headers=headers), 401)
            for path in ("/v1/models", "/tokenize", "/docs", "/nowhere"):
                refused(door.get(path, headers=headers), 401)
        right = {"authorization": "Bearer secret"}
        assert door.post(COMPLETIONS, {"prompt": [1]}, headers=right).status_code == 200
        assert all(door.get(path).status_code == 200 for path in ("/health", "/metrics", "/version"))


def test_metrics_bear_vllms_names_and_add_up():
    llm = fake_llm()
    with Door(llm, served_model_name="m") as door:
        for _ in range(2):
            door.complete([1, 2, 3, 4, 5, 6, 7, 8, 9], max_tokens=5)
        door.chunks(COMPLETIONS, {"prompt": [[1], [2]], "max_tokens": 3})
        response = door.get("/metrics")
        values = dict(re.findall(r'^(vllm:\S+)\{engine="0",model_name="m"\} (\S+)$', response.text, re.MULTILINE))
        values = {name.removeprefix("vllm:"): float(value) for name, value in values.items()}
    assert response.headers["content-type"].startswith("text/plain")
    wanted = {
        "prompt_tokens_total": 20, "prompt_tokens_cached_total": 8, "generation_tokens_total": 16, "num_preemptions_total": 0,
        "prefix_cache_queries_total": 20, "prefix_cache_hits_total": 8, "num_requests_running": 0, "num_requests_waiting": 0,
        "kv_cache_usage_perc": 0, "time_to_first_token_seconds_count": 4, "inter_token_latency_seconds_count": 12,
        "e2e_request_latency_seconds_count": 4, "request_queue_time_seconds_count": 4, "request_prompt_tokens_sum": 20,
        "request_generation_tokens_sum": 16, "request_params_max_tokens_sum": 16, "iteration_tokens_total_sum": 20 - 8 + 16 - 4,
        "request_prefill_time_seconds_count": 4, "request_decode_time_seconds_count": 4,
        "request_inference_time_seconds_count": 4, "request_time_per_output_token_seconds_count": 4,
        "request_prefill_kv_computed_tokens_sum": 12, "request_num_preemptions_sum": 0,
    }  # fmt: skip
    assert {name: values[name] for name in wanted} == wanted
    assert 'finished_reason="length",model_name="m"} 4.0' in response.text
    assert re.search(r'vllm:num_requests_waiting_by_reason\{engine="0",model_name="m",reason="capacity"\} 0.0', response.text)
    assert re.search(
        r'vllm:cache_config_info\{block_size="4",enable_prefix_caching="True".*num_gpu_blocks="64"\} 1.0', response.text
    )


def test_one_line_a_request_and_no_word_of_its_text(caplog):
    with caplog.at_level("INFO", logger="minieng.server"), Door(fake_llm(), api_key="k") as door:
        door.client.headers["authorization"] = "Bearer k"
        door.complete([1, 2, 3], max_tokens=4)
        door.chunks(COMPLETIONS, {"prompt": [1], "max_tokens": 2})
        door.post(COMPLETIONS, {"prompt": "private words"})
        door.get("/no%0awhere%1b[31m")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4 and "private" not in "".join(lines)
    assert re.fullmatch(r"127.0.0.1 POST /v1/completions 200 prompt=3 cached=0 output=4 finish=length ttft=\S+s \S+s", lines[0])
    assert " 200 stream=1 prompt=1 cached=0 output=2 finish=length " in lines[1] and " 400 " in lines[2]
    assert r"/no\nwhere\x1b[31m 404" in lines[3]


def test_an_error_of_the_server_itself_is_a_500_and_the_next_request_is_fine(door, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("private details")

    monkeypatch.setattr("minieng.server.http.facts", broken)
    assert "private" not in refused(door.post(COMPLETIONS, {"prompt": [1]}), 500)
    monkeypatch.undo()
    assert door.complete([1], max_tokens=1)


def test_requests_side_by_side_get_their_own(door):
    def ask(i: int) -> None:
        for k in range(8):
            prompt = [i, k, i]
            answers[i, k] = door.complete(prompt, max_tokens=7, return_token_ids=True)["choices"][0]["token_ids"]

    answers: dict = {}
    with ThreadPoolExecutor(8) as askers:
        list(askers.map(ask, range(8)))  # which raises what one of them met
    assert answers == {(i, k): expected([i, k, i], 7) for i in range(8) for k in range(8)}
