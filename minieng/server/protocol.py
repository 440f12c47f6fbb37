"""OpenAI's bodies, in and out, with vLLM's additions. Nothing here knows of sockets, threads or tasks.

What is asked for:   ``read`` makes an ``Asked`` of a JSON object, or raises ValueError naming what is wrong
with it What is answered:    ``Reply`` makes JSON objects of events, whole or in chunks
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ..params import SamplingParams, integer

# Taken over into SamplingParams under their own names.
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "min_tokens", "stop", "stop_token_ids",
            "ignore_eos", "include_stop_str_in_output", "skip_special_tokens", "n", "seed",
            "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "allowed_token_ids",
            "bad_words")  # fmt: skip
# What would change the answer and cannot be done: name → values that ask for nothing.
REFUSED: dict[str, tuple] = {
    "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "suffix": ("",), "response_format": ({"type": "text"},), "structured_outputs": (), "guided_json": (),
    "guided_regex": (), "guided_choice": (), "guided_grammar": (), "modalities": (["text"],), "audio": (),
    "web_search_options": (), "use_beam_search": (False,), "truncate_prompt_tokens": (),
    "prompt_logprobs": (), "add_generation_prompt": (True,), "continue_final_message": (False,),
    "best_of": (1,),
}  # fmt: skip
COMPLETION_TOKENS = 16  # OpenAI's default for completions; a chat goes on as long as there is room


class HTTPError(Exception):
    """An answer that is no success.

    close  the connection cannot be used again: the request has not been read to its end
    """

    def __init__(
        self, status: int, message: str, *, close: bool = False, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"connection": "close"} if close else {}
        self.headers |= {"retry-after": str(retry_after)} if retry_after is not None else {}

    def body(self) -> dict[str, Any]:
        """In OpenAI's form; the type is vLLM's."""
        kind = HTTPStatus(self.status).phrase.replace(" ", "").removesuffix("Error") + "Error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.status}}


@dataclass(frozen=True)
class Asked:
    """A request for text, understood.

    prompts    strings or lists of token ids, or one conversation
    logprobs   so many most likely tokens are told for each token; None: none
    usage      "end": in a chunk of its own at the end of a stream; "always": in every chunk; "": not in a
    stream
    no_tokens  OpenAI's max_tokens=0, for those who ask about the prompt alone: the one token made is not told
    """

    chat: bool
    model: str | None
    prompts: list[Any]
    params: SamplingParams
    stream: bool
    usage: str
    echo: bool
    logprobs: int | None
    no_tokens: bool
    return_token_ids: bool
    priority: int
    user: str


def read(body: dict[str, Any], chat: bool) -> Asked:
    """A request for text. What is null counts as not said; names that mean nothing here are passed over,
    as vLLM does.
    """
    given = {name: value for name, value in body.items() if value is not None}
    for name, harmless in REFUSED.items():
        if name in given and given[name] not in harmless:
            raise ValueError(f"{name}={given[name]!r:.80}: not supported; leave it out")
    echo, stream = flag(given, "echo"), flag(given, "stream")
    if echo and chat:
        raise ValueError("echo=True: only completions repeat their prompt")
    sampling = {"temperature": 1.0} | {name: given[name] for name in SAMPLING if name in given}
    if chat:
        sampling["max_tokens"] = given.get("max_completion_tokens", given.get("max_tokens"))
    no_tokens = echo and sampling.get("max_tokens") == 0
    sampling["max_tokens"] = 1 if no_tokens else sampling.get("max_tokens", COMPLETION_TOKENS)
    logprobs = told_logprobs(given, chat)
    if echo and logprobs is not None:
        sampling["prompt_logprobs"] = logprobs
    priority = given.get("priority", 0)
    integer("priority", priority, -(2**31))
    return Asked(
        chat=chat, model=word(given, "model"), prompts=[conversation(given)] if chat else texts(given),
        params=SamplingParams(**sampling, logprobs=logprobs), stream=stream, usage=usage_wanted(given,
        stream), echo=echo, logprobs=logprobs, no_tokens=no_tokens, return_token_ids=flag(given,
        "return_token_ids"), priority=priority, user=word(given, "user") or "",
    )  # fmt: skip


def flag(given: dict[str, Any], name: str, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r:.80}: must be true or false")
    return value


def word(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}={value!r:.80}: must be a string")
    return value


def told_logprobs(given: dict[str, Any], chat: bool) -> int | None:
    """Completions say how many; a chat says whether, and how many besides the chosen one."""
    if not chat:
        return given.get("logprobs")
    if flag(given, "logprobs"):
        return given.get("top_logprobs", 0)
    if given.get("top_logprobs"):
        raise ValueError("top_logprobs: needs logprobs=true")
    return None


def usage_wanted(given: dict[str, Any], stream: bool) -> str:
    options = given.get("stream_options", {})
    if not isinstance(options, dict):
        raise ValueError(f"stream_options={options!r:.80}: must be an object")
    if options and not stream:
        raise ValueError("stream_options: needs stream=true")
    told = {name: value for name, value in options.items() if value is not None}
    if not flag(told, "include_usage"):
        return ""
    return "always" if flag(told, "continuous_usage_stats") else "end"


def texts(given: dict[str, Any]) -> list[Any]:
    """A string, token ids, or a list of either, as a list of prompts."""
    prompt = given.get("prompt")
    if (
        isinstance(prompt, str)
        or isinstance(prompt, list)
        and prompt
        and all(isinstance(part, int) for part in prompt)
    ):
        return [prompt]
    if (
        not isinstance(prompt, list)
        or not prompt
        or not all(isinstance(part, (str, list)) for part in prompt)
    ):
        raise ValueError(f"prompt={prompt!r:.80}: must be a string, a list of token ids, or a list of these")
    return prompt


def conversation(given: dict[str, Any]) -> list[dict[str, str]]:
    """Chat messages, the parts of each put together. Raises ValueError for what is no text."""
    messages = given.get("messages")
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(message, dict) for message in messages)
    ):
        raise ValueError(f"messages={messages!r:.80}: must be a list of objects with a role and a content")
    return [{**message, "content": content_text(message.get("content"))} for message in messages]


def content_text(content: Any) -> str:
    """A message's content: a string, or a list of parts of text."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"content={content!r:.80}: must be a string or a list of parts")
    for part in parts:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"content part {part!r:.80}: only parts of type 'text' are supported")
    return "".join(part["text"] for part in parts)


def text(given: dict[str, Any]) -> str:
    prompt = given.get("prompt")
    if not isinstance(prompt, str):
        raise ValueError(f"prompt={prompt!r:.80}: must be a string")
    return prompt


def token_list(value: Any, vocab_size: int) -> list[int]:
    if not isinstance(value, list):
        raise ValueError(f"tokens={value!r:.80}: must be a list of token ids")
    for token in value:
        integer("tokens", token, 0, vocab_size - 1)
    return value


def model_card(name: str, root: str, max_model_len: int, created: int) -> dict[str, Any]:
    """``root``: what was loaded under the name; benchmark clients look for its tokenizer there."""
    return {"id": name, "object": "model", "created": created, "owned_by": "minieng", "root": root,
            "parent": None, "max_model_len": max_model_len, "permission": []}  # fmt: skip


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens}}  # fmt: skip


def refusal_of(names: Iterable[str], asked: str | None) -> HTTPError | None:
    """404 for a model that is not here; a request that names none gets the one that is."""
    if asked is None or asked in names:
        return None
    return HTTPError(404, f"The model {asked!r:.200} does not exist: GET /v1/models lists what is here.")
