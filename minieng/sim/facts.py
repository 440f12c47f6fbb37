"""Numbers that circulate about batching, as functions: the arithmetic behind each claim, nothing measured.

Lengths in tokens, sizes in bytes, shares between 0 and 1, times in seconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from .cost_model import StepTimeModel, decodes
from .hardware import ModelSpec, find_model

# -- rectangles ---------------------------------------------------------------------------------------------


def static_utilisation(lengths: Sequence[int]) -> float:
    """Share of row-steps that make a token when all rows of a static batch wait for the longest.

    50, 100, 200, 500 gives 0.425, not "60 to 70 %"; 10, 20, 50, 100 gives 0.45.
    """
    return sum(lengths) / (len(lengths) * max(lengths))


def padding_waste(lengths: Sequence[int], width: int | None = None) -> float:
    """Share of a padded rectangle that is padding. 1, 4, 4, 1 wastes 0.375;
    padded to 5 for no reason, 0.5.
    """
    return 1 - sum(lengths) / (len(lengths) * (width or max(lengths)))


def steps_static(lengths: Sequence[int], seats: int) -> int:
    """Decode steps of static batches of ``seats`` rows, in order: each as long as its longest."""
    return sum(max(lengths[i : i + seats]) for i in range(0, len(lengths), seats))


def steps_continuous(lengths: Sequence[int], seats: int) -> int:
    """Decode steps when a free seat takes the next request at once (list scheduling).

    "sum(lengths)/efficiency" forgets that the seats work side by side: it is one seat's time, not the
    batch's.
    """
    ends = [0] * seats
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


# -- waiting ------------------------------------------------------------------------------------------------


def mean_fill_wait(batch: int, interval: float) -> float:
    """Mean seconds a request waits until its batch is full, arrivals every ``interval`` s in the mean.

    (B - 1)/2 intervals, for Poisson arrivals too: request k waits for B - k more gaps.
    """
    return (batch - 1) / 2 * interval


def worst_fill_wait(batch: int, interval: float, share: float = 0.95) -> float:
    """Seconds within which a ``share`` of batches fill, counted from their first request, Poisson arrivals.

    The quantile of an Erlang distribution of B - 1 gaps, by bisection.
    """
    low, high = 0.0, (batch + 10 * math.sqrt(batch) + 10) * interval
    for _ in range(60):
        middle = (low + high) / 2
        x = middle / interval
        # Fewer than B-1 arrivals so far.
        late = math.exp(-x) * sum(x**k / math.factorial(k) for k in range(batch - 1))
        low, high = (middle, high) if late > 1 - share else (low, middle)
    return high if batch > 1 else 0.0


def throughput(requests: int, seconds: float) -> float:
    """Requests a second. 4 in 150 ms are 26.7, not 30."""
    return requests / seconds


def overtaken_after(priority_gap: float, wait_weight: float = 1.0, priority_weight: float = 2.0) -> float:
    """Units of waiting after which a lower priority overtakes, for score = wait·1 + 2·priority:
    waiting is ageing.
    """
    return priority_gap * priority_weight / wait_weight


# -- KV -----------------------------------------------------------------------------------------------------


def kv_elements(model: str | ModelSpec, batch: int, tokens: int) -> int:
    """Numbers in the KV cache. Llama-7B, 32 x 2048: 17.2e9, which is often printed with the word bytes."""
    m = find_model(model)
    return 2 * m.layers * m.kv_heads * m.head_size * batch * tokens


def kv_nbytes(model: str | ModelSpec, batch: int, tokens: int) -> float:
    """Bytes of KV. Llama-7B in half precision, 32 x 2048: 34.4 GB. distilgpt2 in fp32, 4 x 100: 14.7 MB."""
    return kv_elements(model, batch, tokens) * find_model(model).kv_bytes


def paged_use(tokens: int, block_size: int = 16) -> float:
    """Share of a request's blocks that holds tokens: at most block_size - 1 slots are empty,
    all in the last block.

    With blocks of 16: 0.625 at 20 tokens, 0.893 at 100, 0.992 at 1,000.
    """
    return tokens / (-(-tokens // block_size) * block_size)


# -- compute ------------------------------------------------------------------------------------------------


def linear_flops(model: str | ModelSpec) -> int:
    """FLOP of the layers' matrices for one token."""
    return 2 * find_model(model).linear_params


def attention_flops(model: str | ModelSpec, context: int) -> int:
    """FLOP of attention for one token that sees ``context`` tokens."""
    m = find_model(model)
    return 4 * m.layers * m.heads * m.head_size * context


def attention_equals_linear(model: str | ModelSpec, whole_prompt: bool = False) -> float:
    """Tokens at which attention costs as many FLOP as the matrices.

    For one more token: 25 thousand tokens of context for Llama-7B. For a whole prompt, whose tokens see half
    of it in the mean, twice that: 49 thousand.
    """
    return (2 if whole_prompt else 1) * linear_flops(model) / attention_flops(model, 1)


def flops_per_byte(model: str | ModelSpec, new: int, context: int) -> float:
    """Arithmetic intensity of one request's step: FLOP of ``new`` tokens after ``context``, over bytes read.

    At equal position prefill and decode cost the same FLOP a token; only prefill shares the bytes among many
    tokens.
    """
    m = find_model(model)
    flops = (
        new * linear_flops(m)
        + attention_flops(m, 1) * (new * context + new * (new + 1) // 2)
        + 2 * m.head_params
    )
    return flops / (
        m.weight_bytes * (m.linear_params + m.head_params) + m.kv_nbytes_per_token * (context + new)
    )


def step_growth(times: StepTimeModel, batch: int, context: int = 512) -> float:
    """Seconds of a decode step of ``batch`` requests over those of one request."""
    return float(times.seconds(decodes(batch, context)) / times.seconds(decodes(1, context)))


def largest_cheap_batch(
    times: StepTimeModel, growth: float = 1.2, context: int = 512, most: int = 4096
) -> int:
    """The largest batch whose step costs at most ``growth`` times that of one request.

    "32 for only 20 % more" holds where the weights dominate: with grouped-query attention or short contexts.
    """
    return max(b for b in range(1, most + 1) if b == 1 or step_growth(times, b, context) <= growth)
