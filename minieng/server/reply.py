"""Answers in OpenAI's form, whole or in chunks, made of an engine's events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ..request import Logprob, Request, TokenEvent
from .protocol import Asked, usage

Told = dict[int, Logprob] | None  # what is said of one token
ENCODE = json.JSONEncoder(separators=(",", ":")).encode  # made once: ``json.dumps`` makes one each time
DONE = b"data: [DONE]\n\n"


class Choice:
    """One text of an answer, as far as it has been told.

    first   the first sample of the same prompt, which was told of the prompt's tokens
    offset  characters told before the next token, prompt included if that is repeated
    """

    def __init__(self, index: int, request: Request, first: Request, tokenizer: Any) -> None:
        self.index, self.request, self.first, self.tokenizer = index, request, first, tokenizer
        self.num_told = self.offset = 0
        self.begun = False

    @property
    def prompt_token_ids(self) -> list[int]:
        return self.request.token_ids[: self.request.num_prompt_tokens]

    def next_logprobs(self, count: int) -> list[Told]:
        """What is said of the next ``count`` output tokens."""
        found: list[Told] = [*self.request.logprobs[self.num_told : self.num_told + count]]
        self.num_told += count
        return found

    def name(self, token: int) -> str:
        return self.tokenizer.decode([token])

    def completion_logprobs(self, tokens: Sequence[int], told: Sequence[Told], _: int) -> dict[str, list]:
        """OpenAI's older form: lists beside each other; of the first token of a prompt nothing is said."""
        names, offsets = [self.name(token) for token in tokens], []
        for name in names:
            offsets.append(self.offset)
            self.offset += len(name)
        chosen = [
            None if found is None else found[token].logprob for token, found in zip(tokens, told, strict=True)
        ]
        top = [None if found is None else self.named(found) for found in told]
        return {"text_offset": offsets, "token_logprobs": chosen, "tokens": names, "top_logprobs": top}

    def named(self, found: dict[int, Logprob]) -> dict[str, float]:
        """By the tokens' texts; of two that look the same the likelier one stays,
        which stands further in front.
        """
        return {self.name(token): value.logprob for token, value in reversed(found.items())}

    def chat_logprobs(self, tokens: Sequence[int], told: Sequence[Told], most: int) -> dict[str, list]:
        """OpenAI's newer form: one object a token."""

        def entry(token: int, logprob: float) -> dict[str, Any]:
            name = self.name(token)
            return {"token": name, "logprob": logprob, "bytes": list(name.encode())}

        content = []
        for token, found in zip(tokens, told, strict=True):
            assert found is not None  # asked for, so it is there
            # They stand in the order of rank.
            top = [entry(t, v.logprob) for t, v in islice(found.items(), most)]
            content.append({**entry(token, found[token].logprob), "top_logprobs": top})
        return {"content": content}


class Reply:
    """The answer to an ``Asked``: objects for ``json``, of all events or of some.

    requests  the samples of all prompts, in order
    """

    def __init__(
        self, name: str, model: str, asked: Asked, requests: Sequence[Request], tokenizer: Any
    ) -> None:
        self.asked = asked
        self.head = {"id": name, "object": "", "created": int(time.time()), "model": model}
        firsts = {r.prompt_id: r for r in requests if not r.sample_index}
        self.choices = {
            (r.prompt_id, r.sample_index): Choice(index, r, firsts[r.prompt_id], tokenizer)
            for index, r in enumerate(requests)
        }
        self.num_output_tokens = 0
        self.finish_reasons: list[str] = []

    @property
    def usage(self) -> dict[str, Any]:
        """A prompt of several samples counts once."""
        firsts = [choice.request for choice in self.choices.values() if not choice.request.sample_index]
        prompt = sum(r.num_prompt_tokens for r in firsts)
        cached = sum(min(r.num_cached_tokens, r.num_prompt_tokens) for r in firsts)
        return usage(prompt, self.num_output_tokens, cached)

    def chunks(self, events: Sequence[TokenEvent]) -> Iterator[dict[str, Any]]:
        """For a stream: one object for each text that has something new.
        The last of a text bears its finish_reason.
        """
        head = {**self.head, "object": "chat.completion.chunk" if self.asked.chat else "text_completion"}
        for choice, own in self.by_choice(events):
            part, text, tokens = self.part(choice, own)
            if self.asked.chat:
                role = {} if choice.begun else {"role": "assistant"}
                part["delta"] = {**role, "content": text}
            else:
                part["text"] = text
            chunk: dict[str, Any] = {**head, "choices": [part]}
            if self.asked.return_token_ids:
                part["token_ids"] = tokens
                if not choice.begun:
                    (chunk if self.asked.chat else part)["prompt_token_ids"] = choice.prompt_token_ids
            if self.asked.usage:
                chunk["usage"] = self.usage if self.asked.usage == "always" else None
            choice.begun = True
            yield chunk

    def last_chunk(self) -> dict[str, Any] | None:
        """The usage, for those who asked for it."""
        if not self.asked.usage:
            return None
        kind = "chat.completion.chunk" if self.asked.chat else "text_completion"
        return {**self.head, "object": kind, "choices": [], "usage": self.usage}

    def whole(self, events: Sequence[TokenEvent]) -> dict[str, Any]:
        """The whole answer, of all events."""
        chat, choices = self.asked.chat, []
        answer: dict[str, Any] = {**self.head, "object": "chat.completion" if chat else "text_completion"}
        for choice, own in self.by_choice(events):
            part, text, tokens = self.part(choice, own)
            part |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if self.asked.return_token_ids:
                part["token_ids"] = tokens
                (answer if chat else part)["prompt_token_ids"] = choice.prompt_token_ids
            choices.append(part)
        return {**answer, "choices": choices, "usage": self.usage}

    def by_choice(self, events: Sequence[TokenEvent]) -> Iterator[tuple[Choice, list[TokenEvent]]]:
        """The events of each text, in the order of the choices."""
        own: dict[tuple[str, int], list[TokenEvent]] = {}
        for event in events:
            own.setdefault((event.request_id, event.index), []).append(event)
        for key in sorted(own, key=lambda key: self.choices[key].index):
            yield self.choices[key], own[key]

    def part(self, choice: Choice, events: Sequence[TokenEvent]) -> tuple[dict[str, Any], str, list[int]]:
        """What a choice says whatever its form, its new text and its new tokens."""
        asked, last = self.asked, events[-1]
        tokens = [] if asked.no_tokens else [event.token_id for event in events if event.token_id is not None]
        text = "" if asked.no_tokens else "".join(event.text for event in events)
        told = choice.next_logprobs(len(tokens)) if asked.logprobs is not None else []
        shown = tokens
        if asked.echo and not choice.begun:
            text = self.prompt_text(choice) + text
            shown = [*choice.prompt_token_ids, *tokens]
            told = [None, *choice.first.prompt_logprobs, *told] if asked.logprobs is not None else []
        logprobs = None
        if asked.logprobs is not None:
            form = choice.chat_logprobs if asked.chat else choice.completion_logprobs
            logprobs = form(shown, told, asked.logprobs)
        self.num_output_tokens += len(tokens)
        if last.finish_reason:
            self.finish_reasons.append(last.finish_reason)
        ends = {"finish_reason": last.finish_reason, "stop_reason": last.stop_reason}
        return {"index": choice.index, "logprobs": logprobs, **ends}, text, tokens

    def prompt_text(self, choice: Choice) -> str:
        """As it came; of token ids, as the tokenizer writes them."""
        text = choice.request.prompt
        return choice.tokenizer.decode(choice.prompt_token_ids) if text is None else text


def event(data: dict[str, Any]) -> bytes:
    """An object as a server-sent event."""
    return b"data: " + ENCODE(data).encode() + b"\n\n"
