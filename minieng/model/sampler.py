"""The next token of each row, from its logits.

A random choice is keyed by (seed, sample, position): the same request draws the same noise alone, in a crowd,
after a preemption and under every scheduler. The noise comes from a hash of the key and the token id, so it
needs no generator state and is the same on every device.
"""

from __future__ import annotations

import hashlib
import struct

import torch

from ..kernels.transfer import as_list, on_device
from ..request import Request

COLDEST = 1e-5  # below this temperature fp32 has nothing left to choose from
NONE = -1  # in place of a token, where logits are no numbers


def noise_key(request: Request, ahead: int = 0) -> tuple[int, int]:
    """Two 32-bit numbers for this request at the position that is sampled now, or ``ahead`` tokens later."""
    digest = hashlib.blake2b(request.sample_key + struct.pack("<q", request.num_tokens + ahead), digest_size=8).digest()
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
    uniform = ((bits >> 9) & 0x7FFFFF).float().add_(0.5).mul_(2.0**-23)  # 23 bits: one more, and 1.0 would appear
    return uniform.log_().neg_()


def filter_logits(logits: torch.Tensor, top_k: list[int], top_p: list[float]) -> torch.Tensor:
    """Keep each row's top_k most likely tokens (0: all), and of those the fewest whose probability reaches top_p."""
    values, index = logits.sort(dim=-1, descending=True)
    rank = torch.arange(values.shape[-1], device=logits.device)[None]
    k = on_device([k or values.shape[-1] for k in top_k], torch.int64, logits.device)[:, None]
    values = values.masked_fill(rank >= k, -torch.inf)
    probability = values.softmax(-1)
    p = on_device(top_p, torch.float32, logits.device)[:, None]
    values = values.masked_fill((probability.cumsum(-1) - probability >= p) & (p < 1), -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter_(-1, index, values)


def forbid_early_end(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """Where fewer than min_tokens have been made, the tokens that end a text cannot be chosen."""
    rows, tokens = [], []
    for row, request in enumerate(requests):
        params = request.params
        if params.min_tokens and request.num_output_tokens + ahead < params.min_tokens:
            ends = set(params.stop_token_ids) | (set() if params.ignore_eos else request.eos_token_ids)
            inside = [token for token in ends if token < logits.shape[-1]]
            tokens += inside
            rows += [row] * len(inside)
    if not rows:
        return logits
    where = on_device([rows, tokens], torch.int64, logits.device)
    return logits.index_put((where[0], where[1]), logits.new_full((), -torch.inf))


def best(values: torch.Tensor) -> torch.Tensor:
    """The column of each row's largest value; ``NONE`` where that is no number, as after an overflow."""
    top, column = values.max(-1)  # of a row with a NaN the largest is NaN
    return column.masked_fill_(~torch.isfinite(top), NONE)


def refuse_nan(tokens: list[int], dtype: torch.dtype) -> None:
    """Raise FloatingPointError if there is a row without a token."""
    if NONE in tokens:
        name = str(dtype).removeprefix("torch.")
        remedy = "dtype='float32'" + (" (or 'bfloat16' on a GPU of sm_80 and later)" if dtype == torch.float16 else "")
        raise FloatingPointError(
            f"the model's logits are not finite: a layer computed in {name}, whose largest number is "
            f"{torch.finfo(dtype).max:.4g}, overflowed, or a weight is no number; use {remedy}, or fetch the model again"
        )


def choose(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """Tokens [E] for rows of logits [E, vocabulary], on the device, which nothing here waits for.

    ahead  tokens that the requests will have got before this one, and that are not on the host yet

    ``NONE`` for a row without numbers: whoever brings the tokens to the host asks ``refuse_nan``.
    """
    logits = forbid_early_end(logits, requests, ahead)
    drawn = [row for row, r in enumerate(requests) if r.params.temperature]
    if not drawn:
        return best(logits)
    logits = logits.float()
    if len(drawn) == len(requests):
        return draw(logits, requests, ahead)
    rows = on_device(drawn, torch.int64, logits.device)
    return best(logits).index_copy_(0, rows, draw(logits[rows], [requests[row] for row in drawn], ahead))


def sample(logits: torch.Tensor, requests: list[Request]) -> tuple[list[int], list[dict[int, float] | None] | None]:
    """Tokens for rows of logits [E, vocabulary], and the log-probabilities that were asked for (None if none were)."""
    chosen = as_list(choose(logits, requests))
    refuse_nan(chosen, logits.dtype)
    if all(r.params.logprobs is None for r in requests):
        return chosen, None
    logits = forbid_early_end(logits.float(), requests)
    return chosen, [log_probabilities(logits[row], chosen[row], r.params.logprobs) for row, r in enumerate(requests)]


def draw(logits: torch.Tensor, requests: list[Request], ahead: int = 0) -> torch.Tensor:
    """Sample by the exponential race: argmax of p / noise is distributed as p, and needs no sync with a device."""
    heat = [max(COLDEST, r.params.temperature) for r in requests]
    logits = (logits - logits.amax(-1, keepdim=True)) / on_device(heat, torch.float32, logits.device)[:, None]
    if any(r.params.top_k or r.params.top_p < 1 for r in requests):
        logits = filter_logits(logits, [r.params.top_k for r in requests], [r.params.top_p for r in requests])
    noise = exponential_noise([noise_key(r, ahead) for r in requests], logits.shape[-1], logits.device)
    return best(logits.softmax(-1) / noise)


def log_probabilities(logits: torch.Tensor, chosen: int, count: int | None) -> dict[int, float] | None:
    """The ``count`` most likely tokens and the chosen one, most likely first; before temperature and filters."""
    if count is None:
        return None
    values = logits.log_softmax(-1)
    top = values.topk(count) if count else None
    found = dict(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top is not None else {}
    found.setdefault(chosen, float(values[chosen]))
    return found
