"""What travels through a pipeline: a batch with all that a stage needs to know,
and the tokens that come back.

A stage remembers nothing of a request. Each message says where its tokens stand, in which slots their KV
goes, which blocks to read, which to copy, and how the next token is chosen. So there is nothing to be
forgotten when a request ends. vLLM's workers do remember, to save bytes: that pays with thousands of rows.
Here 16 rows of 32 blocks are 4 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from ..kernels.batch import Batch
from ..kernels.transfer import on_device
from ..model.logprobs import PromptRows, asked, log_probabilities
from ..model.sampler import sample
from ..params import INT_MAX, SamplingParams
from ..plan import Moves, Plan
from ..request import Logprob, Request

PLAIN = Request("", [0], SamplingParams())  # the likeliest token, and nothing is told of it
Told = list[dict[int, Logprob]]


class Choice(NamedTuple):
    """How a request's next token is chosen, where that takes more than ``PLAIN``.

    tokens  its text, where the choice depends on it, else only how long it is
    """

    params: SamplingParams
    sample_key: bytes
    tokens: Sequence[int] | int
    num_prompt_tokens: int
    eos_token_ids: frozenset[int]
    bad_words: list[tuple[int, ...]]

    @classmethod
    def of(cls, request: Request) -> Choice | None:
        params = request.params
        if params.greedy and not params.moves_logits and params.logprobs is None:
            return None
        tokens = request.token_ids if params.follows_text else len(request.token_ids)
        own = request.num_prompt_tokens, request.eos_token_ids, request.bad_words
        return cls(params, request.sample_key, tokens, *own)

    def request(self) -> Request:
        """A request that is chosen for in the same way."""
        tokens = [0] * self.tokens if isinstance(self.tokens, int) else self.tokens
        request = Request(
            "", tokens, self.params, sample_key=self.sample_key, max_model_len=INT_MAX,
            eos_token_ids=tuple(self.eos_token_ids), bad_words=self.bad_words,
        )  # fmt: skip
        request.num_prompt_tokens = self.num_prompt_tokens
        return request


@dataclass
class Message:
    """A plan as the stages see it: the fields of ``Batch``, and what else there is to do.

    moves      blocks to copy first
    own        places in ``rows`` of the requests that get a token, ``choices`` how it is chosen
    foretold   for each slice that wants to know of its prompt: (index in the plan, places in ``rows``,
    tokens, how many)
    spans      when each stage so far began and ended, in seconds of the machine's clock
    failure    an exception in a stage: the others hand it on
    """

    moves: Moves
    positions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tables: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    q_starts: list[int] = field(default_factory=list)
    kv_starts: list[int] = field(default_factory=list)
    kv_ends: list[int] = field(default_factory=list)
    width: int = 0
    rows: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    choices: list[Choice | None] = field(default_factory=list)
    foretold: list[tuple[int, list[int], list[int], int]] = field(default_factory=list)
    num_slices: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)
    failure: Exception | None = None

    @classmethod
    def of(cls, plan: Plan, batch: Batch, emitting: list[int]) -> Message:
        """Of a plan and its batch, whose ``logit_rows`` are those of the slices ``emitting``."""
        chosen = [Choice.of(plan.extend[i][0]) for i in emitting]
        own, foretold = list(range(len(emitting))), []
        if asked(plan):
            prompts = PromptRows(plan, batch)
            own = [prompts.place[row] for row in batch.logit_rows.tolist()]
            batch = prompts.batch
            for i, (request, _, count) in prompts.asked.items():
                begin = request.num_computed_tokens + 1
                tokens, places = (
                    request.token_ids[begin : begin + count],
                    [prompts.place[row] for row in prompts.rows[i]],
                )
                foretold.append((i, places, tokens, request.params.prompt_logprobs or 0))
        positions, slots, tables = (
            tensor.cpu().numpy() for tensor in (batch.positions, batch.slots, batch.tables)
        )
        return cls(
            plan.moves, positions, slots, tables, batch.q_starts, batch.kv_starts, batch.kv_ends, batch.width,
            batch.logit_rows.tolist(), own, chosen, foretold, len(plan.extend),
        )  # fmt: skip

    def batch(self, device: torch.device) -> Batch:
        """For a stage without an embedding: it has no use for the tokens themselves."""
        positions, slots = (on_device(values, torch.int64, device) for values in (self.positions, self.slots))
        tables, rows = on_device(self.tables, torch.int32, device), on_device(self.rows, torch.int64, device)
        return Batch(
            positions, positions, slots, self.q_starts, self.kv_starts, self.kv_ends, tables, rows, self.width
        )

    def answer(self, logits: torch.Tensor | None) -> Answer:
        """What the last stage sends back. logits: [len(rows), vocabulary], None if nothing was computed."""
        answer = Answer(self.spans, failure=self.failure)
        if logits is None:
            return answer
        if self.foretold:
            answer.foretold = [None] * self.num_slices
        for i, places, tokens, count in self.foretold:
            assert answer.foretold is not None
            answer.foretold[i] = [
                log_probabilities(logits[p], t, count) for p, t in zip(places, tokens, strict=True)
            ]
        if self.own:
            if self.foretold:
                logits = logits[on_device(self.own, torch.int64, logits.device)]
            requests = [PLAIN if choice is None else choice.request() for choice in self.choices]
            answer.tokens, answer.logprobs = sample(logits, requests)
        return answer


@dataclass
class Answer:
    """tokens, logprobs: of the slices that emit, in their order; foretold: of all slices.
    Else as in ``StepResult``.
    """

    spans: list[tuple[float, float]]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob] | None] | None = None
    foretold: list[Told | None] | None = None
    failure: Exception | None = None


def own_rows(plan: Plan, batch: Batch, emitting: list[int]) -> Batch:
    """A rectangle with logits at the rows that get a token, and not at those that are done."""
    place = {request: row for row, request in enumerate(plan.rows or ())}
    wanted = on_device([place[plan.extend[i][0]] for i in emitting], torch.int64, batch.logit_rows.device)
    return replace(batch, logit_rows=batch.logit_rows[wanted])
