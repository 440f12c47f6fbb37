"""A workload offered to a server over HTTP, in an open loop: each request is sent when it is due, whether the
others have been answered or not. (A client that waits for answers hides the queue.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..observe.metrics import Metrics
from ..request import Request
from ..workload import Workload
from .answer import Answer, answer_of, message_in
from .http import PATIENCE, Address, Exchange, exchange

VOCABULARY = 256  # token ids that every model has: prompts are drawn from these unless more are known
LATE = 0.01  # seconds by which a request may be sent late before it is said
ASKING_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server: where it is, what it calls its model, and the key it wants.

    cache  what it says of its KV cache (``block_size``, ``num_gpu_blocks`` and so on), if it says that
    """

    address: Address
    model: str
    key: str | None = None
    cache: Mapping[str, str] | None = None

    @classmethod
    def at(cls, url: str, model: str | None = None, key: str | None = None) -> Server:
        """Ask a server which models it has. ``model`` if that is one of them, else its first.

        Raises ValueError for a URL that is none, RuntimeError if the server does not answer as one.
        """
        address = Address.of(url)
        found = json.loads(ask(address, "/v1/models", key))
        names = [each["id"] for each in found["data"]]
        if not names:
            raise RuntimeError(f"{address} has no model")
        try:
            cache = cache_of(ask(address, "/metrics", key).decode())
        except RuntimeError:
            cache = None  # it has no metrics, or not for us
        chosen = model if model in names else names[0]
        return cls(address, str(chosen), key, cache)

    def request(self, prompt: Sequence[int] | str, output_tokens: int, tokens: bool = False) -> bytes:
        """A request for a stream of exactly so many tokens, greedy, as bytes for the wire.

        tokens  ask for the token ids too (vLLM's ``return_token_ids``)
        """
        body: dict[str, Any] = {
            "model": self.model, "prompt": prompt, "max_tokens": output_tokens, "temperature": 0,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        if tokens:
            body["return_token_ids"] = True
        return self.address.request("POST", "/v1/completions", json.dumps(body).encode(), self.key)


def ask(address: Address, path: str, key: str | None = None) -> bytes:
    """The body of a GET. Raises RuntimeError with what went wrong, the address in front."""
    asked = Exchange(address.request("GET", path, key=key))
    try:
        exchange(address, [asked], patience=ASKING_SECONDS)
    except OSError as problem:  # no such host
        raise RuntimeError(f"{address}: {problem.strerror or problem}") from None
    if asked.problem:
        raise RuntimeError(f"{address}: {asked.problem}: is the server running?")
    try:
        body, _ = asked.body()
    except ValueError as problem:
        raise RuntimeError(f"{address}{path}: {problem}") from None
    if asked.status != 200:
        hint = ": give the key as MINIENG_API_KEY" if asked.status == 401 else ""
        raise RuntimeError(f"{address}{path} answers {asked.status}: {message_in(body)}{hint}")
    return body


def cache_of(metrics: str) -> dict[str, str] | None:
    """The labels of ``vllm:cache_config_info``, if it is there."""
    found = re.search(r"^vllm:cache_config_info\{(.*)\} ", metrics, re.MULTILINE)
    return dict(re.findall(r'(\w+)="([^"]*)"', found[1])) if found else None


def offer(
    server: Server, workload: Workload, *, vocab_size: int = VOCABULARY, seed: int = 0,
    patience: float = PATIENCE, tokens: bool = False, told: Callable[[], object] = lambda: None,
) -> list[Answer]:  # fmt: skip
    """Send every job of a workload when it is due, and read what came of it, in the order of the jobs.

    vocab_size  prompts are random tokens below it, as ``LLM.serve_workload`` draws them from the model's own
    told        called for each request that ends
    Nothing that a server does raises: each answer's ``problem`` says what was wrong.
    """
    prompts = workload.prompts(vocab_size, seed)
    sent = [
        Exchange(server.request(prompt, job.output_tokens, tokens), job.arrival_s)
        for job, prompt in zip(workload, prompts, strict=True)
    ]
    exchange(server.address, sent, patience=patience, told=told)
    return [answer_of(each, job.prompt_tokens) for each, job in zip(sent, workload, strict=True)]


def metrics_of(
    answers: Sequence[Answer], goodput: Mapping[str, float] | None = None, name: str = ""
) -> Metrics:
    """What they were worth, from the first arrival due (0 s) to the last token. Of steps, seats and memory a
    client knows nothing: those figures are 0.
    """
    end = max((answer.finish_time or 0.0 for answer in answers), default=0.0)
    return Metrics.of(cast(Sequence[Request], answers), (), end, goodput=goodput, name=name)


def warm_up(server: Server, vocab_size: int = VOCABULARY) -> None:
    """One short request. Raises RuntimeError with the server's words if it is refused."""
    asked = Exchange(server.request([vocab_size - 1], 2))
    exchange(server.address, [asked], patience=ASKING_SECONDS)
    if problem := answer_of(asked, 1).problem:
        raise RuntimeError(f"{server.address}: {problem}")


def lateness(answers: Sequence[Answer]) -> float:
    """Most seconds by which a request was sent after it was due."""
    return max((answer.late for answer in answers), default=0.0)
