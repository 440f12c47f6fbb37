"""A text that goes on in another engine, because the one that began it is gone."""

from __future__ import annotations

from typing import Any

from .request import Request


def going_on(request: Request, when: float, **changed: Any) -> Request:
    """A request that goes on from ``when`` with the tokens that the other had by then, in another engine.

    Its seed, its place among the samples of its prompt and its limits are the same, and noise goes by these
    and by a token's position: so it says what the other one would have said.

    changed  fields of ``Request`` that are to be different, such as ``params``
    """
    made = sum(time <= when for time in request.token_times)
    prompt = request.token_ids[: request.num_prompt_tokens]
    kept: dict[str, Any] = {
        "params": request.params, "prompt": request.prompt, "prompt_id": request.prompt_id,
        "sample_index": request.sample_index, "sample_key": request.sample_key, "priority": request.priority,
        "deadline": request.deadline, "user": request.user, "max_model_len": request.max_num_tokens,
        "eos_token_ids": tuple(request.eos_token_ids), "scripted_output": request.scripted_output,
        "bad_words": request.bad_words,
    }  # fmt: skip
    heir = Request(
        request.request_id, prompt, arrival_time=when, output_so_far=request.output_token_ids[:made],
        **kept | changed,
    )  # fmt: skip
    heir.token_times = request.token_times[:made]
    heir.num_cached_tokens = request.num_cached_tokens
    return heir
