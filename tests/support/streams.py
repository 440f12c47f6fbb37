"""Clients of replicas: what each asks, what it is told, and what one engine alone says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from minieng import LLM
from minieng.request import SamplingParams, TokenEvent
from minieng.server.replica import Spec
from minieng.server.replicas import Replicas

KNOBS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "num_blocks": 512, "max_num_seqs": 16, "max_num_queued_reqs": 1024}
SPEC = Spec("tiny", KNOBS, "tiny")
WORDS = ["Once upon a time", "The fox", "A red ball and", "Tom had", "In the garden there was", "She said:"]


def asked(number: int, short: bool = False) -> tuple[str, SamplingParams]:
    """Prompts of all kinds: greedy, sampled with a seed and without, with a stop string, with logprobs, with penalties.

    short  a few tokens each
    """
    rng = random.Random(number)
    kinds: list[dict[str, Any]] = [
        {}, {"temperature": 0.9, "seed": number}, {"temperature": 0.8, "top_p": 0.9}, {"stop": [" the", "\n"], "min_tokens": 8},
        {"logprobs": 2}, {"temperature": 1.0, "repetition_penalty": 1.2, "frequency_penalty": 0.3, "seed": 7},
    ]  # fmt: skip
    more = kinds[number % len(kinds)]
    params = SamplingParams(max_tokens=rng.randint(20, 60), ignore_eos=number % 4 == 0, **more)
    return rng.choice(WORDS), replace(params, max_tokens=rng.randint(1, 6), min_tokens=0) if short else params


async def told(front: Replicas, number: int, answers: dict[int, Any], short: bool = False) -> None:
    """A client: streams a text, and keeps every event that it is told."""
    text, params = asked(number, short)
    prompt = {"prompt": text, "prompt_token_ids": list(front.llm.tokenizer(text)["input_ids"])}
    feed = await front.submit([prompt], params, request_ids=[f"r{number}"])
    events: list[TokenEvent] = []
    try:
        async for some in feed:
            events += some
    finally:
        feed.close()
    answers[number] = events, feed.requests


def answer(events: Sequence[TokenEvent]) -> tuple[list[int], str, str | None, Any]:
    ends = [event.finish_reason for event in events if event.finish_reason]
    assert len(ends) == 1 and events[-1].finish_reason, "a text ends once, with its last event"
    tokens = [event.token_id for event in events if event.token_id is not None]
    return tokens, "".join(event.text for event in events), events[-1].finish_reason, events[-1].stop_reason


def alone(count: int, short: bool = False) -> list[tuple]:
    """What one engine says, all by itself, and its logprobs."""
    with LLM("tiny", **KNOBS | {"max_num_queued_reqs": None}) as llm:
        prompts, params = zip(*(asked(number, short) for number in range(count)), strict=True)
        outs = llm.generate(list(prompts), list(params), request_ids=[f"r{i}" for i in range(count)])
        return [
            ((o.token_ids, o.text, o.finish_reason, o.stop_reason), o.logprobs)
            for out in outs for o in out.outputs
        ]  # fmt: skip
