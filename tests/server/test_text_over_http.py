"""Text, log-probabilities and chats over HTTP are those of ``LLM.generate``, and greedy tokens those of transformers."""

from __future__ import annotations

import asyncio
import json
import random
import time

import httpx
import pytest
from support.door import TEMPLATE, Door, choices_of, found, refused, tokens_of

from minieng import SamplingParams

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPT = "Once there was a"
ASKED = [
    {"max_tokens": 24},
    {"max_tokens": 24, "stop": ["the"]},
    {"max_tokens": 24, "stop": " ", "include_stop_str_in_output": True},
    {"max_tokens": 24, "n": 2, "temperature": 0.9, "seed": 3},
    {"max_tokens": 12, "bad_words": ["the"], "repetition_penalty": 1.3, "logit_bias": {"9": 5}},
    {"max_tokens": 24, "ignore_eos": True, "presence_penalty": 1.0, "temperature": 1.0, "seed": 1, "top_k": 5},
]
KNOBS = {"num_blocks": 256, "block_size": 4, "scheduler": "chunked", "max_num_batched_tokens": 32}


@pytest.fixture(scope="module")
def llm(tiny):
    """What answers are held against: a second engine on the same weights."""
    with tiny.llm(**KNOBS) as llm:
        yield llm


@pytest.fixture(scope="module")
def door(tiny):
    with tiny.llm(**KNOBS) as llm:
        llm.tokenizer.chat_template = TEMPLATE
        with Door(llm, served_model_name="tiny") as door:
            yield door
        assert not llm.engine.requests and not llm._streams and llm.engine.kv.pool.num_free == 256


def answer(llm, prompt, **asked):
    return llm.generate(prompt, SamplingParams(**asked))[0].outputs


def test_text_is_the_engines_whole_and_in_a_stream(door, llm):
    for asked in ASKED:
        want = answer(llm, PROMPT, **asked)
        body = {"prompt": PROMPT, "temperature": 0, **asked, "return_token_ids": True}
        told = found(door.post(COMPLETIONS, body))["choices"]
        assert [(c["text"], c["token_ids"], c["finish_reason"], c["stop_reason"]) for c in told] == [
            (out.text, out.token_ids, out.finish_reason, out.stop_reason) for out in want
        ]
        chunks = door.chunks(COMPLETIONS, body)
        assert tokens_of(chunks) == {out.index: out.token_ids for out in want}
        for out in want:
            mine = [choice for choice in choices_of(chunks) if choice["index"] == out.index]
            assert "".join(choice["text"] for choice in mine) == out.text
            assert (mine[-1]["finish_reason"], mine[-1]["stop_reason"]) == (out.finish_reason, out.stop_reason)


def test_a_sampled_text_depends_on_its_seed_alone(door):
    asked = {"max_tokens": 16, "temperature": 1.0, "ignore_eos": True}
    texts = [door.complete(PROMPT, seed=seed, **asked)["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len({door.complete(PROMPT, **asked)["choices"][0]["text"] for _ in range(4)}) > 1, (
        "without one it is another each time"
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_logprobs_of_completions(door, llm, streamed):
    want = answer(llm, PROMPT, max_tokens=6, logprobs=2, ignore_eos=True)[0]
    body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 6, "logprobs": 2, "ignore_eos": True}
    parts = choices_of(door.chunks(COMPLETIONS, body)) if streamed else found(door.post(COMPLETIONS, body))["choices"]
    told: dict = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
    for part in parts:
        for name, values in part["logprobs"].items():
            told[name] += values
    assert told["token_logprobs"] == pytest.approx([f[t].logprob for t, f in zip(want.token_ids, want.logprobs, strict=True)])
    assert told["tokens"] == [llm.tokenizer.decode([t]) for t in want.token_ids]
    for top, known in zip(told["top_logprobs"], want.logprobs, strict=True):
        assert top == pytest.approx({value.decoded_token: value.logprob for value in known.values()})
    lengths = [len(name) for name in told["tokens"]]
    assert told["text_offset"] == [sum(lengths[:i]) for i in range(6)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_echo_tells_of_the_prompt_too(door, llm, streamed, max_tokens):
    """What benchmarks that score given answers ask for: several prompts as tokens, and each token's log-probability."""
    prompts = [[5, 6, 7, 8, 9], [20, 21]]
    body = {"prompt": prompts, "temperature": 0, "max_tokens": max_tokens, "logprobs": 1, "echo": True, "ignore_eos": True,
            "return_token_ids": True}  # fmt: skip
    for _ in range(2):  # the second time the prompts are in the cache
        parts = list(choices_of(door.chunks(COMPLETIONS, body))) if streamed else found(door.post(COMPLETIONS, body))["choices"]
        for index, prompt in enumerate(prompts):
            out = llm.generate(
                [prompt], SamplingParams(max_tokens=max(max_tokens, 1), logprobs=1, prompt_logprobs=1, ignore_eos=True)
            )
            want, first = out[0].prompt_logprobs, out[0].outputs[0]
            tokens, known = [*prompt, *first.token_ids[:max_tokens]], [*want, *first.logprobs[:max_tokens]]
            mine = [part for part in parts if part["index"] == index]
            told = [value for part in mine for value in part["logprobs"]["token_logprobs"]]
            top = [value for part in mine for value in part["logprobs"]["top_logprobs"]]
            assert told[0] is None and top[0] is None and len(told) == len(tokens)
            assert told[1:] == pytest.approx([f[t].logprob for t, f in zip(tokens[1:], known[1:], strict=True)], abs=1e-5)
            best = [max(f.values()).logprob for f in known[1:]]
            assert [max(f.values()) for f in top[1:]] == pytest.approx(best, abs=1e-5)
            text = "".join(part["text"] for part in mine)
            assert text == llm.tokenizer.decode(prompt) + (first.text if max_tokens else "")
            assert [t for part in mine for t in part["token_ids"]] == first.token_ids[:max_tokens]


def test_echo_of_samples_and_of_text(door, llm):
    told = door.complete(PROMPT, max_tokens=3, n=2, echo=True, logprobs=0, seed=5)["choices"]
    for choice in told:
        assert choice["text"].startswith(PROMPT)
        assert len(choice["logprobs"]["token_logprobs"]) == len(llm.tokenizer(PROMPT)["input_ids"]) + 3


def test_a_chat_is_the_completion_of_its_template(door, llm):
    messages = [{"role": "user", "content": [{"type": "text", "text": "Once there "}, {"type": "text", "text": "was a"}]}]
    prompt = llm.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    want = answer(llm, [prompt], max_tokens=10, logprobs=2)[0]
    body = {"messages": messages, "temperature": 0, "max_completion_tokens": 10, "logprobs": True, "top_logprobs": 2,
            "return_token_ids": True}  # fmt: skip
    whole = found(door.post(CHAT, body))
    (choice,) = whole["choices"]
    assert whole["object"] == "chat.completion" and whole["id"].startswith("chatcmpl-")
    assert whole["prompt_token_ids"] == prompt and choice["token_ids"] == want.token_ids
    assert choice["message"] == {"role": "assistant", "content": want.text} and choice["finish_reason"] == want.finish_reason
    chunks = door.chunks(CHAT, body)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and chunks[0]["prompt_token_ids"] == prompt
    deltas = [choice["delta"] for choice in choices_of(chunks)]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta["content"] for delta in deltas) == want.text
    for content in (choice["logprobs"]["content"], [e for c in choices_of(chunks) for e in c["logprobs"]["content"]]):
        for token, entry, known in zip(want.token_ids, content, want.logprobs, strict=True):
            assert entry["logprob"] == pytest.approx(known[token].logprob) and bytes(entry["bytes"]).decode() == entry["token"]
            ranked = sorted(known.values(), key=lambda value: value.rank)[:2]
            assert [top["logprob"] for top in entry["top_logprobs"]] == pytest.approx([value.logprob for value in ranked])


@pytest.mark.parametrize("usage", [False, True])
def test_a_chats_stream_keeps_the_rules_that_broke_real_servers(door, usage):
    """As a completion's does, with the role once in each choice, beside its first text; the prompt is read in several steps."""
    messages = [{"role": "user", "content": f"{PROMPT} cat. " * 12}]
    body = {"messages": messages, "max_tokens": 6, "n": 2, "seed": 4, "ignore_eos": True, "return_token_ids": True}
    chunks = door.chunks(CHAT, body | ({"stream_options": {"include_usage": True}} if usage else {}))
    assert len(chunks[0]["prompt_token_ids"]) > 2 * KNOBS["max_num_batched_tokens"]
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    if usage:
        last = chunks.pop()
        assert last["choices"] == [] and last["usage"]["completion_tokens"] == 12
    assert all(chunk["choices"] for chunk in chunks)
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == [None] * len(chunks) * usage
    for index in (0, 1):
        mine = [choice for choice in choices_of(chunks) if choice["index"] == index]
        assert [choice["delta"].get("role") for choice in mine] == ["assistant"] + [None] * (len(mine) - 1)
        assert [choice["finish_reason"] for choice in mine] == [None] * (len(mine) - 1) + ["length"]
        assert all(choice["token_ids"] for choice in mine) and sum(len(choice["token_ids"]) for choice in mine) == 6


def test_a_chat_goes_on_as_long_as_there_is_room(door, llm):
    told = found(door.post(CHAT, {"messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "n": 2}))
    assert told["usage"]["completion_tokens"] > 2 * 16
    assert {choice["finish_reason"] for choice in told["choices"]} <= {"stop", "length"}
    assert "each must have a 'role'" in refused(door.post(CHAT, {"messages": [{"content": PROMPT}]}), 400)


def test_text_to_tokens_and_back(door, llm):
    want = llm.tokenizer(PROMPT)["input_ids"]
    told = found(door.post("/tokenize", {"prompt": PROMPT}))
    assert told == {"count": len(want), "max_model_len": llm.max_model_len, "tokens": want}
    plain = found(door.post("/tokenize", {"prompt": PROMPT, "add_special_tokens": False}))["tokens"]
    assert plain == llm.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    chat = found(door.post("/tokenize", {"messages": [{"role": "user", "content": PROMPT}]}))["tokens"]
    assert chat == plain and found(door.post("/detokenize", {"tokens": plain})) == {"prompt": llm.tokenizer.decode(plain)}


def test_two_hundred_random_requests_with_random_disconnects(tiny, door, llm):
    """Greedy tokens equal transformers' and ``LLM.generate``'s, up to where a client left; then nothing is left anywhere."""
    dice = random.Random(21)
    prompts = [[dice.randrange(5, 500) for _ in range(dice.choice([1, 3, 8, 21]))] for _ in range(12)]
    asked = [
        (dice.choice(prompts), dice.randint(1, 24), dice.random() < 0.5, dice.choice([None, None, 1, 3, 9])) for _ in range(200)
    ]

    async def one(client, prompt, length, streamed, leave_after) -> tuple[list[int], bool]:
        await asyncio.sleep(dice.random())
        body = {"prompt": prompt, "max_tokens": length, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
        if not streamed and leave_after is None:
            response = await client.post(COMPLETIONS, json=body)
            return response.json()["choices"][0]["token_ids"], True
        if not streamed:
            try:
                async with asyncio.timeout(leave_after / 500):
                    response = await client.post(COMPLETIONS, json=body)
                return response.json()["choices"][0]["token_ids"], True
            except TimeoutError:
                return [], False
        tokens: list[int] = []
        async with client.stream("POST", COMPLETIONS, json={**body, "stream": True}) as response:
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    return tokens, True
                if line:
                    tokens += json.loads(line.removeprefix("data: "))["choices"][0]["token_ids"]
                if leave_after is not None and len(tokens) >= leave_after:
                    return tokens, False
        raise AssertionError("the stream has no end")

    async def everybody():
        async with httpx.AsyncClient(base_url=door.url, timeout=120, limits=httpx.Limits(max_connections=40)) as client:
            return await asyncio.gather(*(one(client, *case) for case in asked))

    told = asyncio.run(everybody())
    params = [SamplingParams(max_tokens=length, ignore_eos=True) for _, length, *_ in asked]
    own = llm.generate([prompt for prompt, *_ in asked], params)
    for (prompt, length, *_), (tokens, whole), out in zip(asked, told, own, strict=True):
        tiny.oracle.compare(prompt, tokens, length, whole=whole)
        assert tokens == out.outputs[0].token_ids[: len(tokens)]
    assert sum(whole for _, whole in told) >= 60 and sum(not whole for _, whole in told) >= 30
    end = time.monotonic() + 10
    while door.engine.num_open or door.llm.engine.requests or door.service.server_state.tasks:
        assert time.monotonic() < end, "something is left"
        time.sleep(0.01)
    pool = door.llm.engine.kv.pool
    assert pool.num_free == pool.num_blocks and not door.llm._streams and door.engine.failure is None
    assert 'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0' in door.get("/metrics").text
