"""What requests ask to be done to their logits before temperature, filters and the choice.

In vLLM's order: tokens that cannot be chosen (not among those allowed, the last token of a bad word, an end
of the text that comes too early), then biases, then penalties. A row's logits depend on its own request
alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..kernels.transfer import on_device
from ..request import Request


def process(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """The logits [E, vocabulary] that are chosen from; those that came, untouched,
    if nobody asks for anything.

    ahead  tokens that the requests will have got before this one, and that are not on the host yet: no
           request may then have ``follows_text``
    """
    asking = [row for row, request in enumerate(requests) if request.params.moves_logits]
    if not asking:
        return logits
    out = logits.to(torch.float32, copy=True)
    forbidden: list[tuple[int, int]] = []
    biased: list[tuple[int, int, float]] = []
    for row in asking:
        request, params = requests[row], requests[row].params
        if params.allowed_token_ids is not None:
            allow(out[row], params.allowed_token_ids)
        forbidden += [(row, token) for token in forbidden_tokens(request, ahead) if token < out.shape[-1]]
        biased += [(row, token, bias) for token, bias in params.biases]
    if forbidden:
        rows, tokens = on_device(list(zip(*forbidden, strict=True)), torch.int64, out.device)
        out.index_put_((rows, tokens), out.new_full((), -torch.inf))
    if biased:
        rows, tokens, values = zip(*biased, strict=True)
        places = on_device([rows, tokens], torch.int64, out.device)
        out.index_put_(tuple(places), on_device(values, torch.float32, out.device), accumulate=True)
    for row in asking:
        penalise(out[row], requests[row])
    return out


def allow(row: torch.Tensor, tokens: Iterable[int]) -> None:
    """All other tokens cannot be chosen."""
    index = on_device(list(tokens), torch.int64, row.device)
    kept = row[index]
    row.fill_(-torch.inf)
    row[index] = kept


def forbidden_tokens(request: Request, ahead: int = 0) -> set[int]:
    """Tokens that would end the text within its first ``min_tokens``, or complete a bad word.

    None of them where they are all that is allowed: something must be chosen.
    """
    params, text = request.params, request.token_ids
    tokens: set[int] = set()
    if request.num_output_tokens + ahead < params.min_tokens:
        tokens |= set(params.stop_token_ids)
        tokens |= set() if params.ignore_eos else request.eos_token_ids
    for *begun, last in request.bad_words:
        if not begun or text[-len(begun) :] == begun:
            tokens.add(last)
    allowed = params.allowed_token_ids
    return set() if allowed is not None and tokens.issuperset(allowed) else tokens


def penalise(row: torch.Tensor, request: Request) -> None:
    """Make tokens that the text holds already less likely (or more: each penalty has two sides)."""
    params = request.params
    if params.repetition_penalty != 1.0:
        held = on_device(request.token_ids, torch.int64, row.device)
        known = row[held]
        row[held] = torch.where(
            known < 0, known * params.repetition_penalty, known / params.repetition_penalty
        )
    if (params.presence_penalty or params.frequency_penalty) and request.num_output_tokens:
        made = on_device(request.output_token_ids, torch.int64, row.device)
        count = torch.zeros_like(row).index_add_(0, made, torch.ones_like(made, dtype=row.dtype))
        row -= params.frequency_penalty * count + params.presence_penalty * (count > 0)
