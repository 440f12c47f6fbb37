"""What the model said of tokens: log-probabilities, of chosen ones and of those of a prompt.

They are the model's own: before temperature and filters, and before anything that processors.py does.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ..kernels.batch import Batch
from ..kernels.transfer import on_device
from ..plan import Plan
from ..request import Logprob, Request


def log_probabilities(logits: torch.Tensor, token: int, count: int) -> dict[int, Logprob]:
    """The ``count`` most likely tokens, most likely first, and the token itself. logits: [vocabulary]"""
    values = logits.float().log_softmax(-1)
    top = values.topk(min(count, len(values)))
    likely = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    found = {other: Logprob(value, rank) for rank, (other, value) in enumerate(likely, 1)}
    if token not in found:
        found[token] = Logprob(float(values[token]), 1 + int((values > values[token]).sum()))
    return found


class PromptRows:
    """The rows of a batch at which tokens of prompts are foretold,
    for the requests that want to know of theirs.

    batch  the same one, with logits at these rows besides those that were asked for
    """

    def __init__(self, plan: Plan, batch: Batch) -> None:
        self.num_slices, self.asked = len(plan.extend), asked(plan)
        rows = {request: row for row, request in enumerate(plan.rows or [r for r, _ in plan.extend])}
        self.rows: dict[int, range] = {}
        for i, (request, n, count) in self.asked.items():
            first = batch.q_starts[rows[request] + 1] - n
            self.rows[i] = range(first, first + count)
        self.own = batch.logit_rows
        every = sorted({*self.own.tolist(), *(row for own in self.rows.values() for row in own)})
        self.place = {row: at for at, row in enumerate(every)}
        self.batch = replace(batch, logit_rows=on_device(every, torch.int64, self.own.device))

    def part(self, logits: torch.Tensor) -> tuple[torch.Tensor, list[list[dict[int, Logprob]] | None]]:
        """The logits that were asked for without this,
        and for each slice of the plan what it tells of its prompt.
        """
        told: list[list[dict[int, Logprob]] | None] = [None] * self.num_slices
        for i, (request, _, _) in self.asked.items():
            begin, count = request.num_computed_tokens + 1, request.params.prompt_logprobs or 0
            told[i] = [
                log_probabilities(logits[self.place[row]], request.token_ids[begin + k], count)
                for k, row in enumerate(self.rows[i])
            ]
        return logits[torch.searchsorted(self.batch.logit_rows, self.own)], told


def asked(plan: Plan) -> dict[int, tuple[Request, int, int]]:
    """Index in the plan → (request, its tokens in the step,
    how many of these foretell a token of its prompt).

    Samples of one prompt share what the first was told.
    """
    found = {}
    for i, (request, n) in enumerate(plan.extend):
        if request.params.prompt_logprobs is not None and request.fork_of is None:
            count = min(n, request.num_prompt_tokens - 1 - request.num_computed_tokens)
            if count > 0:
                found[i] = (request, n, count)
    return found
