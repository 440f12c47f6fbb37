"""The numbers of the fact-checks, to the digit in which the lessons print them."""

from __future__ import annotations

import random

import pytest

from minieng.sim import facts
from minieng.sim.cost_model import StepTimeModel


def test_static_batches_use_less_than_is_said():
    assert facts.static_utilisation([50, 100, 200, 500]) == 0.425
    assert facts.static_utilisation([10, 20, 50, 100]) == 0.45


def test_padding():
    assert facts.padding_waste([1, 4, 4, 1]) == 0.375
    assert facts.padding_waste([1, 4, 4, 1], width=5) == 0.5
    assert facts.padding_waste([7, 7]) == 0


def test_bytes_of_kv():
    assert facts.kv_nbytes("llama-7b", 32, 2048) / 1e9 == pytest.approx(34.4, abs=0.05)
    assert facts.kv_elements("llama-7b", 32, 2048) / 1e9 == pytest.approx(17.2, abs=0.05)
    assert facts.kv_nbytes("distilgpt2", 4, 100) / 1e6 == pytest.approx(14.7, abs=0.05)


def test_where_attention_equals_the_matrices():
    assert facts.attention_equals_linear("llama-7b") == pytest.approx(25_000, rel=0.02)
    assert facts.attention_equals_linear("llama-7b", whole_prompt=True) == pytest.approx(49_000, rel=0.01)


def test_paged_blocks_are_full_only_when_texts_are_long():
    assert [round(facts.paged_use(n), 3) for n in (20, 100, 1000)] == [0.625, 0.893, 0.992]


def test_four_requests_in_150_ms():
    assert facts.throughput(4, 0.150) == pytest.approx(26.7, abs=0.05)


def test_continuous_is_never_slower_than_static():
    """The claim's own lengths, and any others: the flaw is to add the lengths of slots that work side by side."""
    lengths = [100, 50, 200, 80, 150]
    assert facts.steps_static(lengths, 5) == facts.steps_continuous(lengths, 5) == 200
    assert (facts.steps_static(lengths, 2), facts.steps_continuous(lengths, 2)) == (450, 330)
    rng = random.Random(0)
    for _ in range(200):
        lengths, slots = [rng.randint(1, 50) for _ in range(rng.randint(1, 30))], rng.randint(1, 8)
        assert facts.steps_continuous(lengths, slots) <= facts.steps_static(lengths, slots)


def test_waiting_for_a_batch_to_fill():
    rng = random.Random(1)
    fills = [[rng.expovariate(100) for _ in range(7)] for _ in range(20_000)]
    waits = [sum(gaps[k:]) for gaps in fills for k in range(8)]
    assert facts.mean_fill_wait(8, 0.01) == pytest.approx(sum(waits) / len(waits), rel=0.01)
    assert facts.worst_fill_wait(8, 0.01) == pytest.approx(sorted(map(sum, fills))[19_000], rel=0.02)
    assert facts.worst_fill_wait(1, 0.01) == 0


def test_priority_is_overtaken_by_waiting():
    assert facts.overtaken_after(3) == 6


def test_a_large_batch_is_nearly_free_only_with_little_kv():
    seven, eight = (StepTimeModel.named(m, "A100-80G", host=0) for m in ("llama-7b", "llama-3-8b"))
    assert facts.step_growth(seven, 32, 512) > 1.5  # multi-head: 512 KiB of KV a token
    assert facts.step_growth(eight, 32, 512) < 1.2  # grouped: 128 KiB
    cheap = facts.largest_cheap_batch(seven, 1.2, 512, most=100)
    assert facts.step_growth(seven, cheap, 512) <= 1.2 < facts.step_growth(seven, cheap + 1, 512)


def test_prefill_and_decode_differ_in_bytes_not_in_flops():
    assert facts.flops_per_byte("llama-7b", 512, 0) > 400 * facts.flops_per_byte("llama-7b", 1, 511)
