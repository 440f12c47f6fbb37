"""The next token of each row, from its logits.

A random choice is keyed by (seed, sample, position): the same request draws the same noise alone, in a crowd,
after a preemption and under every scheduler. The noise comes from a hash of the key and the token id, so it
needs no generator state and is the same on every device.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import torch

from ..kernels.transfer import as_list, on_device
from ..request import Logprob, Request
from .logprobs import log_probabilities
from .processors import process

COLDEST = 1e-5  # below this temperature fp32 has nothing left to choose from
NONE = -1  # in place of a token, where logits are no numbers


def noise_key(request: Request, ahead: int = 0) -> tuple[int, int]:
    """Two 32-bit numbers for this request at the position that is sampled now, or ``ahead`` tokens later."""
    digest = hashlib.blake2b(
        request.sample_key + struct.pack("<q", request.num_tokens + ahead), digest_size=8
    ).digest()
    return struct.unpack("<ii", digest)


def mix(x: torch.Tensor) -> torch.Tensor:
    """MurmurHash3's 32-bit finaliser on int32 tensors; multiplication wraps, shifts are made logical."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * -2048144789  # 0x85ebca6b as a signed number
    x = (x ^ ((x >> 13) & 0x7FFFF)) * -1028477387  # 0xc2b2ae35
    return x ^ ((x >> 16) & 0xFFFF)


def exponential_noise(keys: list[tuple[int, int]], size: int, device: torch.device) -> torch.Tensor:
    """[len(keys), size] exponentially distributed numbers, a function of key and column only."""
    key = on_device(keys, torch.int32, device)
    column = torch.arange(size, dtype=torch.int32, device=device)[None] * -1640531527  # 2^32 / golden ratio
    bits = mix(mix(column ^ key[:, :1]) ^ key[:, 1:])
    # 23 bits: one more, and 1.0 would appear.
    uniform = ((bits >> 9) & 0x7FFFFF).float().add_(0.5).mul_(2.0**-23)
    return uniform.log_().neg_()


def filter_logits(logits: torch.Tensor, requests: list[Request]) -> torch.Tensor:
    """Keep each row's tokens that are likely enough: min_p, then top_k (0: all), then of those left the
    fewest whose probability reaches top_p. The most likely one stays, whatever the numbers become in fp32.
    """
    values, index = logits.sort(dim=-1, descending=True)
    size, device = values.shape[-1], logits.device
    rank = torch.arange(size, device=device)[None]
    first = rank == 0
    if any(r.params.min_p for r in requests):
        lowest = [math.log(r.params.min_p) if r.params.min_p else -math.inf for r in requests]
        unlikely = values < values[:, :1] + on_device(lowest, torch.float32, device)[:, None]
        values = values.masked_fill(unlikely, -torch.inf)
    k = on_device([min(r.params.top_k or size, size) for r in requests], torch.int64, device)[:, None]
    values = values.masked_fill(rank >= k, -torch.inf)
    probability = values.softmax(-1)
    p = on_device([r.params.top_p for r in requests], torch.float32, device)[:, None]
    over = (probability.cumsum(-1) - probability >= p) & (p < 1) & ~first
    return torch.full_like(logits, -torch.inf).scatter_(-1, index, values.masked_fill(over, -torch.inf))


def best(values: torch.Tensor) -> torch.Tensor:
    """The column of each row's largest value; ``NONE`` where that is no number, as after an overflow."""
    if values.is_cpu:  # numpy searches a tenth as long as torch, and wakes no threads
        numbers = values.float().numpy()
        where = numbers.argmax(-1)[:, None]
        top, column = (torch.from_numpy(x[:, 0]) for x in (np.take_along_axis(numbers, where, -1), where))
    else:
        top, column = values.max(-1)
    return column.masked_fill_(~torch.isfinite(top), NONE)  # of a row with a NaN the largest is NaN


def refuse_nan(tokens: list[int], dtype: torch.dtype) -> None:
    """Raise FloatingPointError if there is a row without a token."""
    if NONE in tokens:
        name = str(dtype).removeprefix("torch.")
        remedy = "dtype='float32'" + (
            " (or 'bfloat16' on a GPU of sm_80 and later)" if dtype == torch.float16 else ""
        )
        raise FloatingPointError(
            f"the model's logits are not finite: a layer computed in {name}, whose largest number is "
            f"{torch.finfo(dtype).max:.5g}, overflowed, or a weight is no number; use {remedy}, or fetch "
            "the model again"
        )


def choose(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """Tokens [E] for rows of logits [E, vocabulary], on the device, which nothing here waits for.

    ahead  tokens that the requests will have got before this one, and that are not on the host yet

    ``NONE`` for a row without numbers: whoever brings the tokens to the host asks ``refuse_nan``.
    """
    logits = process(logits, requests, ahead)
    drawn = [row for row, r in enumerate(requests) if r.params.temperature]
    if not drawn:
        return best(logits)
    logits = logits.float()
    if len(drawn) == len(requests):
        return draw(logits, requests, ahead)
    rows = on_device(drawn, torch.int64, logits.device)
    return best(logits).index_copy_(0, rows, draw(logits[rows], [requests[row] for row in drawn], ahead))


def sample(
    logits: torch.Tensor, requests: list[Request]
) -> tuple[list[int], list[dict[int, Logprob] | None] | None]:
    """Tokens for rows of logits [E, vocabulary],
    and the log-probabilities that were asked for (None if none were).
    """
    chosen = as_list(choose(logits, requests))
    refuse_nan(chosen, logits.dtype)
    counts = [r.params.logprobs for r in requests]
    if all(count is None for count in counts):
        return chosen, None
    rows = zip(logits, chosen, counts, strict=True)
    return chosen, [
        None if count is None else log_probabilities(row, token, count) for row, token, count in rows
    ]


def draw(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """Sample by the exponential race: argmax of p / noise is distributed as p,
    and needs no sync with a device.
    """
    heat = [max(COLDEST, r.params.temperature) for r in requests]
    logits = (logits - logits.amax(-1, keepdim=True)) / on_device(heat, torch.float32, logits.device)[:, None]
    if any(r.params.filters for r in requests):
        logits = filter_logits(logits, requests)
    noise = exponential_noise([noise_key(r, ahead) for r in requests], logits.shape[-1], logits.device)
    return best(logits.softmax(-1) / noise)
