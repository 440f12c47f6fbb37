"""What users of vLLM ask for: prompts of all kinds, what ended a text, log-probabilities, penalties in every batch."""

from __future__ import annotations

import copy
import json
import threading

import numpy as np
import pytest
import torch
from support.cases import PREEMPTIONS, RUNGS
from support.fakes import forced

from minieng import SamplingParams
from minieng.request import Logprob

PROMPT = [5, 6, 7]


@pytest.fixture(scope="module")
def llm(tiny):
    with tiny.llm(num_blocks=64, block_size=4) as llm:
        yield llm
        assert not llm._streams and not llm.engine.requests


@pytest.mark.parametrize("prompt", [
    PROMPT, tuple(PROMPT), np.array(PROMPT), torch.tensor(PROMPT), torch.tensor(PROMPT, dtype=torch.int32),
    [np.int64(t) for t in PROMPT], list(torch.tensor(PROMPT)), [np.array(PROMPT)], np.array([PROMPT]),
    {"prompt_token_ids": PROMPT}, [{"prompt_token_ids": torch.tensor(PROMPT)}], {"prompt_token_ids": PROMPT, "prompt": "x"},
])  # fmt: skip
def test_token_ids_of_every_kind(llm, prompt):
    (out,) = llm.generate(prompt, SamplingParams(max_tokens=1))
    assert out.prompt_token_ids == PROMPT and all(type(t) is int for t in out.prompt_token_ids)


def test_text_in_a_dictionary(llm):
    bare, wrapped = llm.generate(["the cat", {"prompt": "the cat"}], SamplingParams(max_tokens=1))
    assert wrapped.prompt == "the cat" and wrapped.prompt_token_ids == bare.prompt_token_ids


@pytest.mark.parametrize("prompt, words", [
    (np.array([1.5, 2.0]), "must be a string, a list of token ids"), (torch.tensor([True]), r"prompt \[True\]: must be"),
    ({"prompt_token_ids": "abc"}, "must be a list of token ids"), ({"prompt": 5}, "its 'prompt' must be a string"),
    ({"text": "abc"}, "each must have a 'role'|a dictionary must have 'prompt'"), (np.array([]), "empty list"),
    ({"prompt_token_ids": []}, "the prompt is empty"), ([10**5000], r"token id 2\*\*16609 or more is out of range"),
], ids=range(8))  # fmt: skip
def test_prompts_that_are_none(llm, prompt, words):
    with pytest.raises(ValueError, match=words):
        llm.generate(prompt)


def test_text_is_checked_against_the_embedding_as_lists_are(tiny):
    with tiny.llm(num_blocks=16) as llm:
        llm.tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra{i}>" for i in range(60)]})
        llm.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        for prompt in ("<extra59>hi", [{"role": "user", "content": "<extra59>"}]):
            with pytest.raises(ValueError, match=r"token id \d+ is out of range: the vocabulary has 512 .*'<extra59>"):
                llm.generate(prompt)
        assert not llm.engine.requests


@pytest.mark.parametrize("keywords", [{"priority": 10**400}, {"priority": -(2**64)}, {"deadline": 10**400},
                                      {"arrivals": [10**400]}])  # fmt: skip
def test_numbers_that_nothing_holds(llm, keywords):
    with pytest.raises(ValueError, match=next(iter(keywords)).removesuffix("s")):
        llm.generate([PROMPT], **keywords)


@pytest.mark.parametrize("name, value", [
    ("temperature", 10**400), ("temperature", 1e39), ("seed", 2**64), ("seed", 10**5000), ("n", 10**9), ("min_p", 1.5),
    ("max_tokens", 10**5000), ("repetition_penalty", 0.0), ("presence_penalty", 2.1), ("frequency_penalty", float("nan")),
    ("logit_bias", {5: 101.0}), ("logit_bias", {-1: 1.0}), ("logit_bias", {5: float("inf")}), ("logit_bias", [3]),
    ("allowed_token_ids", []), ("allowed_token_ids", ["a"]), ("bad_words", [" "]), ("bad_words", 7), ("prompt_logprobs", 21),
], ids=lambda value: value if isinstance(value, str) else type(value).__name__)  # fmt: skip
def test_numbers_out_of_bounds(name, value):
    with pytest.raises(ValueError, match=name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize("params", [{"logit_bias": {512: 1.0}}, {"allowed_token_ids": [4, 512]}])
def test_tokens_that_are_not_in_the_vocabulary(llm, params):
    with pytest.raises(ValueError, match=f"{next(iter(params))}: token 512 is out of range: the vocabulary has 512"):
        llm.generate([PROMPT], SamplingParams(**params))


def test_no_max_tokens_is_as_many_as_there_is_room_for(tiny):
    params = SamplingParams(max_tokens=None, ignore_eos=True, detokenize=False)
    for knobs, longest in (({"num_blocks": 64, "max_model_len": 50}, 50), ({"num_blocks": 8}, 33)):
        with tiny.llm(block_size=4, **knobs) as llm:
            out = llm.generate([PROMPT], params)[0].outputs[0]
            assert len(PROMPT) + len(out.token_ids) == longest and out.finish_reason == "length"


def test_what_ended_a_text_is_told_by_answers_and_streams(llm, tiny):
    answer = tiny.oracle.tokens(PROMPT, 12)
    for params, reason in (
        ({"stop_token_ids": [answer[3]]}, answer[3]),
        ({"stop": [llm.tokenizer.decode(answer)[2:4]]}, llm.tokenizer.decode(answer)[2:4]),
        ({}, None),
    ):
        asked = SamplingParams(max_tokens=12, ignore_eos=True, n=2, **params)
        outs = llm.generate([PROMPT], asked)[0].outputs
        last = [event for event in llm.stream([PROMPT], asked) if event.finish_reason]
        assert [out.stop_reason for out in outs] == [event.stop_reason for event in last] == [reason] * 2
        assert {out.finish_reason for out in outs} == {"length" if reason is None else "stop"}


def test_no_text_is_made_if_none_is_asked_for(llm, monkeypatch):
    params = SamplingParams(max_tokens=5, detokenize=False, logprobs=1, n=2, temperature=1.0)
    monkeypatch.setattr(llm._answers, "tokenizer", None)
    outs = llm.generate([PROMPT], params)[0].outputs
    events = list(llm.stream([PROMPT], params))
    assert [out.text for out in outs] == ["", ""] and all(len(out.token_ids) == 5 for out in outs)
    assert len(events) == 10 and {event.text for event in events} == {""}
    assert all(value.decoded_token is None for found in outs[0].logprobs for value in found.values())


# -- log-probabilities ----------------------------------------------------------------------------------------


def test_a_logprob_is_a_number_with_rank_and_text():
    value = Logprob(-0.5, 2, " x")
    assert value == -0.5 and value - 0.5 == -1.0 and (value.logprob, value.rank, value.decoded_token) == (-0.5, 2, " x")
    assert json.dumps({5: value}) == '{"5": -0.5}'
    again = copy.deepcopy(value)
    assert (again, again.rank, again.decoded_token) == (-0.5, 2, " x")


@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("rung", RUNGS)
def test_logprobs_of_prompts_are_transformers_own(tiny, rung, every):
    knobs = {**RUNGS[rung], "batch_size": 3, "max_num_batched_tokens": 5, "block_size": 4, "num_blocks": 40}
    if every:
        knobs["scheduler"] = forced(knobs["scheduler"], every)
    common = list(range(20, 32))
    prompts = [[*common, 5, 6, 7], [*common, 9], [40]]
    params = SamplingParams(max_tokens=4, ignore_eos=True, prompt_logprobs=2, logprobs=0, n=2)
    with tiny.llm(**knobs) as llm:
        for _ in range(2):  # the second time the prefix is in the cache
            outs = llm.generate(prompts, params)
            for prompt, out in zip(prompts, outs, strict=True):
                tiny.oracle.compare(prompt, out.outputs[0].token_ids, 4)
                with torch.inference_mode():
                    want = tiny.oracle.model(torch.tensor([prompt])).logits[0].log_softmax(-1)
                assert len(out.prompt_logprobs) == len(prompt) and out.prompt_logprobs[0] is None
                for row, token, found in zip(want, prompt[1:], out.prompt_logprobs[1:], strict=False):
                    assert token in found and 2 <= len(found) <= 3
                    assert all(abs(value - float(row[t])) < 1e-3 for t, value in found.items())
                    assert found[token].decoded_token == llm.tokenizer.decode([token])
                total = sum(f[t] for t, f in zip(out.outputs[1].token_ids, out.outputs[1].logprobs, strict=True))
                assert abs(out.outputs[1].cumulative_logprob - total) < 1e-9


# -- penalties and the like: the same alone, in a crowd and after preemption ----------------------------------

ASKED = [
    {"repetition_penalty": 3.0},
    {"presence_penalty": 2.0, "frequency_penalty": 1.5, "temperature": 1.0},
    {"min_p": 0.4, "temperature": 1.2},
    {"logit_bias": {7: 12.0, 9: -100.0}, "temperature": 0.7},
    {"bad_words": ["the", "was a"], "temperature": 1.0},
    {"allowed_token_ids": list(range(3, 60)), "min_tokens": 9},
]


@pytest.fixture(scope="module")
def crowd(tiny):
    """Prompts, parameters, and the answers that each gets alone."""
    prompts = [[5, 6, 7, 8, *range(30, 30 + i)] for i in range(len(ASKED))]
    params = [SamplingParams(max_tokens=12, ignore_eos=True, seed=i, **asked) for i, asked in enumerate(ASKED)]
    with tiny.llm(num_blocks=64, attention="torch") as llm:
        alone = [llm.generate([p], q)[0].outputs[0].token_ids for p, q in zip(prompts, params, strict=True)]
        plain = [
            llm.generate([p], SamplingParams(max_tokens=12, ignore_eos=True, seed=i, temperature=q.temperature))[0].outputs[0]
            for i, (p, q) in enumerate(zip(prompts, params, strict=True))
        ]
    assert sum(one != out.token_ids for one, out in zip(alone, plain, strict=True)) >= 4, "they make a difference"
    assert not {9} & set(alone[3]) and set(alone[5]) <= set(range(3, 60))
    return prompts, params, alone


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("rung", RUNGS)
def test_what_is_asked_of_logits_gives_the_same_text_in_every_batch(tiny, crowd, rung, preemption):
    prompts, params, alone = crowd
    kind, every = PREEMPTIONS[preemption]
    knobs = {**RUNGS[rung], "preemption": kind, "block_size": 4, "num_blocks": 24, "max_num_batched_tokens": 7, "batch_size": 3}
    if every:
        knobs["scheduler"] = forced(knobs["scheduler"], every)
    with tiny.llm(watermark=0.0, swap_space_gb=0.01, **knobs) as llm:
        outs = llm.generate(prompts, params)
        assert [out.outputs[0].token_ids for out in outs] == alone
        replayed = llm.replay(llm.trace).outputs()
        assert [replayed[out.request_id] for out in outs] == alone, "bad words and biases are in the trace"


def test_a_bad_word_is_never_written(llm):
    params = {"max_tokens": 40, "temperature": 1.0, "ignore_eos": True}
    (the,), (began, *rest) = (llm.tokenizer(text)["input_ids"] for text in (" the", " was a"))

    def counts(bad_words: list[str]) -> tuple[int, int]:
        outs = llm.generate("The", SamplingParams(seed=0, n=6, bad_words=bad_words, **params))[0].outputs
        texts = [out.token_ids for out in outs]
        pairs = sum(text[i : i + 1 + len(rest)] == [began, *rest] for text in texts for i in range(40))
        return sum(text.count(the) for text in texts), pairs

    free, bound = counts([]), counts([" the", "was a"])
    assert free[0] and bound == (0, 0)


# -- threads --------------------------------------------------------------------------------------------------


def in_a_thread(call) -> list:
    found: list = []

    def work() -> None:
        try:
            found.append(call())
        except Exception as problem:
            found.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    return found


def test_a_second_thread_is_told_so_and_the_first_goes_on(llm, tiny):
    events = llm.stream([PROMPT], SamplingParams(max_tokens=8, ignore_eos=True), request_ids=["mine"])
    tokens = [next(events).token_id]
    for call in (lambda: llm.generate([PROMPT]), lambda: next(llm.stream([PROMPT])), lambda: llm.abort("mine"), llm.close):
        (problem,) = in_a_thread(call)
        assert isinstance(problem, RuntimeError) and "another thread is using this LLM" in str(problem)
        tokens.append(next(events).token_id)
    assert llm.generate([PROMPT], SamplingParams(max_tokens=2)), "the same thread may"
    tokens += [event.token_id for event in events]
    tiny.oracle.compare(PROMPT, tokens, 8)
    (outs,) = in_a_thread(lambda: llm.generate([PROMPT], SamplingParams(max_tokens=8, ignore_eos=True)))
    tiny.oracle.compare(PROMPT, outs[0].outputs[0].token_ids, 8)
