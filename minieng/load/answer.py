"""What a stream of completions says: each token's time, the lengths, or why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .http import Exchange

GAP = re.compile(rb"\r?\n\r?\n")


@dataclass
class Answer:
    """One request as a client saw it; it can be measured like a request of an engine (``observe.latency``).

    arrival_time  when it was due, in seconds after the start, as are the others
    late          seconds after that until it was sent: much of it, and the client is too slow
    token_times   when each chunk with text or tokens came. A server may put several tokens into one
    finish_time   when the last of them came
    finish_reason "stop" or "length" as the server said, None if the answer is not whole
    num_cached_tokens  of the prompt, found in the server's cache, where it says so
    problem       why it is not, or nothing
    tokens        the token ids, from servers that were asked for them and tell them
    """

    num_prompt_tokens: int
    arrival_time: float = 0.0
    late: float = 0.0
    token_times: list[float] = field(default_factory=list)
    finish_time: float | None = None
    finish_reason: str | None = None
    num_output_tokens: int = 0
    num_cached_tokens: int = 0
    problem: str = ""
    tokens: list[int] = field(default_factory=list)


def answer_of(request: Exchange, num_prompt_tokens: int) -> Answer:
    """The answer to one request for a stream. What is wrong with it stands in ``problem``."""
    answer = Answer(
        num_prompt_tokens, request.due, max(0.0, request.begun - request.due), problem=request.problem
    )
    if answer.problem:
        return answer
    try:
        body, when = request.body()
        if request.status != 200:
            answer.problem = f"{request.status}: {message_in(body)}"
            return answer
        done = _read_events(answer, body, when)
    except ValueError as problem:
        answer.problem = str(problem)
        return answer
    if not answer.problem and not (done and answer.token_times):
        answer.problem = "the stream breaks off"
    if answer.problem:
        answer.finish_reason = None
        return answer
    if len(answer.token_times) == answer.num_output_tokens + 1:
        answer.token_times.pop()  # a chunk of its own said that the text has ended
    answer.finish_time = answer.token_times[-1]
    answer.finish_reason = answer.finish_reason or "stop"
    answer.num_output_tokens = answer.num_output_tokens or len(answer.token_times)
    return answer


def _read_events(answer: Answer, body: bytes, when: Callable[[int], float]) -> bool:
    """All events of a stream; whether it says that it is done. Raises ValueError for what is no JSON."""
    begin, done = 0, False
    for gap in GAP.finditer(body):
        for data in data_of(body[begin : gap.start()]):
            done = done or data == b"[DONE]"
            if not done:
                _read(answer, json.loads(data), when(gap.end()))
        begin = gap.end()
    return done


def data_of(event: bytes) -> list[bytes]:
    """The data lines of an event; comments and other fields are passed over."""
    lines = (line.strip() for line in event.splitlines())
    return [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]


def _read(answer: Answer, chunk: dict[str, Any], when: float) -> None:
    if "error" in chunk:
        answer.problem = message_in(json.dumps(chunk).encode())
        return
    for choice in chunk.get("choices") or ():
        answer.tokens += choice.get("token_ids") or []
        answer.token_times.append(when)  # some tokens are no text yet: an empty one counts
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
    if usage := chunk.get("usage"):
        answer.num_output_tokens = usage.get("completion_tokens", 0)
        answer.num_prompt_tokens = usage.get("prompt_tokens", answer.num_prompt_tokens)
        answer.num_cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


def message_in(body: bytes) -> str:
    """What an error says, in OpenAI's form or any other."""
    try:
        found = json.loads(body)
        error = found.get("error", found)
        return str(error["message"] if isinstance(error, dict) and "message" in error else error)[:300]
    except (ValueError, AttributeError):
        return body[:300].decode(errors="replace").strip() or "no reason was given"
