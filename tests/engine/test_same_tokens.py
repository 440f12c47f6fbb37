"""The contract: for any scheduler, order, block size, budget, arrivals, prefix caching on or off, preemption forced or
not, padded or packed, greedy tokens equal transformers' ``generate`` of each prompt alone. Invariants hold after every
step (``checked=True``), and nothing is left behind.
"""

from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, given, seed, settings
from support.cases import PREEMPTIONS, RUNGS, Case, grid, run_case, shared_prompts
from support.strategies import cases

GRID = {"rung": list(RUNGS), "block_size": [1, 4, 16], "prefix": [True, False], "preemption": list(PREEMPTIONS)}


@pytest.mark.parametrize(", ".join(GRID), grid(GRID))
def test_any_workload_gives_the_oracles_tokens(tiny, rung, block_size, prefix, preemption):
    prompts = shared_prompts(tiny.oracle.model.config.vocab_size)

    @seed(zlib.crc32(f"{rung} {block_size} {prefix} {preemption}".encode()))
    @settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases(len(prompts)))
    def check(case: Case) -> None:
        run_case(tiny, prompts, case, rung, block_size, prefix, preemption)

    check()
