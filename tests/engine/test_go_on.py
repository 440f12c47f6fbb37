"""A text that goes on in another engine, from wherever it was cut: tokens, text, ends, limits and log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest

from minieng import LLM, SamplingParams
from minieng.request import Request
from minieng.resume import going_on

PROMPT = "Once there was a"
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 0.9},
    "sampled with a seed": {"temperature": 1.0, "seed": 3, "top_p": 0.95},
    "penalties": {"repetition_penalty": 1.3, "presence_penalty": 0.2, "frequency_penalty": 0.2},
    "the model's own end": {"max_tokens": 200},
    "a stop string": {"stop": ["and the", " was", "day"], "min_tokens": 6},
    "a stop string that is kept": {"stop": ["and the", " was", "day"], "min_tokens": 6, "include_stop_str_in_output": True},
    "least tokens": {"min_tokens": 25, "max_tokens": 40},
    "log-probabilities": {"logprobs": 2, "temperature": 0.5},
}


@pytest.fixture(scope="module")
def engines():
    knobs: dict[str, Any] = {"device": "cpu", "dtype": "float32", "num_blocks": 128}
    with (
        LLM("tiny", scheduler="continuous", **knobs) as first,
        LLM("tiny", scheduler="chunked", max_num_batched_tokens=32, **knobs) as other,
    ):
        yield first, other


def told(llm: LLM, ticket: Any) -> tuple[list[int], str, Any, Request]:
    """New tokens, all text, the ends, and the request."""
    (request,) = ticket.requests
    tokens, text, ends = [], "", None
    while not ticket.done:
        llm.step()
        for event in ticket.events():
            tokens += [event.token_id] if event.token_id is not None else []
            text += event.text
            ends = (event.finish_reason, event.stop_reason)
    ticket.close()
    return tokens, text, ends, request


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_it_was_cut(engines, kind):
    first, other = engines
    params = SamplingParams(**{"max_tokens": 30, **KINDS[kind]})
    whole, text, ends, request = told(first, first.submit([PROMPT], params, request_ids=["q"]))
    assert len(whole) > 5
    for cut in range(0, len(whole), max(1, len(whole) // 9)):
        part = Request("q", request.token_ids[: request.num_prompt_tokens + cut], params)  # as its client knows it
        part.num_prompt_tokens, part.token_times = request.num_prompt_tokens, [0.0] * cut
        part.sample_key, part.eos_token_ids, part.max_num_tokens = (
            request.sample_key,
            request.eos_token_ids,
            request.max_num_tokens,
        )
        heir = going_on(part, math.inf)
        heir.token_times = []
        rest, again, ends_again, resumed = told(other, other.go_on(heir))
        assert (whole[:cut] + rest, again, ends_again) == (whole, text, ends), cut
        assert resumed.num_prompt_tokens == request.num_prompt_tokens and resumed.num_output_tokens == len(whole)
        if params.logprobs:
            for mine, theirs in zip(resumed.logprobs, request.logprobs[cut:], strict=True):
                assert dict(mine) == pytest.approx(dict(theirs), abs=1e-4)
    assert not other.engine.requests and not other._streams


def test_what_cannot_go_on_leaves_nothing_behind(engines):
    _, other = engines
    request = Request("big", [1] * 100, SamplingParams(max_tokens=5_000), output_so_far=[2, 3])
    with pytest.raises(ValueError, match="raise num_blocks or lower max_tokens"):
        other.go_on(request)
    assert not other.engine.requests and not other._streams
