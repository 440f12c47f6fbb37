"""The contract: for any scheduler, order, block size, budget, arrivals, prefix caching on or off, preemption forced or
not, padded or packed, greedy tokens equal transformers' ``generate`` of each prompt alone. Invariants hold after every
step (``checked=True``), and nothing is left behind.
"""

from __future__ import annotations

import random
import zlib

import pytest
from engine_cases import PREEMPTIONS, RUNGS, Case, cases, run_case
from hypothesis import HealthCheck, given, seed, settings

LONGEST = 12


def shared_prompts(vocabulary: int, lengths=(1, 2, 4, 5, 11, 16, 17, 23, 32, 40), share: float = 0.7) -> list[list[int]]:
    """Prompts of which most begin alike, some at block borders, and some are the same."""
    dice = random.Random(5)
    common = [dice.randrange(1, vocabulary) for _ in range(max(lengths))]
    prompts = []
    for length in lengths:
        same = length if dice.random() < 0.2 else int(share * length)
        prompts.append(common[:same] + [dice.randrange(1, vocabulary) for _ in range(length - same)])
    return prompts


@pytest.mark.parametrize("preemption", PREEMPTIONS)
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no prefix"])
@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("rung", RUNGS)
def test_any_workload_gives_the_oracles_tokens(tiny, rung, block_size, prefix, preemption):
    prompts = shared_prompts(tiny.oracle.model.config.vocab_size)

    @seed(zlib.crc32(f"{rung} {block_size} {prefix} {preemption}".encode()))
    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases(len(prompts), LONGEST))
    def check(case: Case) -> None:
        run_case(tiny, prompts, case, rung, block_size, prefix, preemption)

    check()
