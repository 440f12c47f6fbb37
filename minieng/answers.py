"""Answers: what is handed out of the requests in an engine, as text grows and when it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .request import CompletionOutput, Logprob, Request, RequestMetrics, RequestOutput, TokenEvent
from .text import TextStream

Told = list[dict[int, Logprob]]


class Answers:
    """The texts of requests under way; a request with ``detokenize=False`` has none.

    streams  request → its text
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.streams: dict[Request, TextStream] = {}

    def open(self, requests: Iterable[Request]) -> None:
        self.streams |= {r: TextStream(self.tokenizer, r) for r in requests if r.params.detokenize}

    def drop(self, request: Request) -> None:
        self.streams.pop(request, None)

    def on_token(self, request: Request) -> bool:
        """Called for each new token: whether the text ends here, at a stop string."""
        stream = self.streams.get(request)
        return stream is not None and bool(request.params.stop) and stream.push()

    def text_of(self, request: Request) -> str:
        """All text of a request that is over."""
        stream = self.streams.get(request)
        if stream is None:
            return ""
        stream.flush()
        return stream.text

    def new_text(self, request: Request) -> str:
        """What may be shown of a request's text and has not been."""
        stream = self.streams.get(request)
        if stream is None:
            return ""
        if request.is_done:
            stream.flush()
        elif not request.params.stop:
            stream.push()
        return stream.new_text()

    def events(self, request: Request, seen: dict[Request, int | None]) -> Iterator[TokenEvent]:
        """The tokens of a request that have not been shown, each with the text that became readable with it.

        seen: how many have been shown; None after the last, which bears the reasons why the text ended.
        """
        tokens, over = request.output_token_ids, request.is_done
        if seen[request] is None or len(tokens) == seen[request] and not over:
            return
        text = self.new_text(request)
        fresh: list[int | None] = [*tokens[seen[request] :]]
        *others, last = fresh or [None]
        seen[request] = None if over else len(tokens)
        for token in others:
            yield TokenEvent(request.prompt_id, request.sample_index, token, "", None)
        ends = (request.finish_reason, request.stop_reason) if over else (None, None)
        yield TokenEvent(request.prompt_id, request.sample_index, last, text, *ends)

    def output(self, group: list[Request]) -> RequestOutput:
        """The answer to a prompt, from its samples."""
        first = group[0]
        metrics = RequestMetrics(
            first.arrival_time, first.admitted_time, first.token_times,
            max(r.finish_time or 0.0 for r in group), sum(r.num_preemptions for r in group),
            first.num_cached_tokens,
        )  # fmt: skip
        prompt, told = first.token_ids[: first.num_prompt_tokens], None
        if first.params.prompt_logprobs is not None:
            told = [None, *self.decoded(first.prompt_logprobs, first)]
        return RequestOutput(
            first.prompt_id, first.prompt, prompt, [self.completion(r) for r in group], metrics, told
        )

    def completion(self, request: Request) -> CompletionOutput:
        text = self.text_of(request)  # it may find a stop string, so it comes before the reasons
        tokens, told, total = request.output_token_ids, None, None
        if request.params.logprobs is not None:
            told = self.decoded(request.logprobs, request)
            total = sum(found[token].logprob for token, found in zip(tokens, told, strict=True))
        reasons = request.finish_reason, told, request.stop_reason
        return CompletionOutput(request.sample_index, text, tokens, *reasons, total)

    def decoded(self, told: Told, request: Request) -> Told:
        """The same with each token's text."""
        if not request.params.detokenize:
            return told
        return [
            {t: Logprob(v, v.rank, self.tokenizer.decode([t])) for t, v in found.items()} for found in told
        ]
