"""The contract on the real model, fp32: any two options meet in one of these runs, under pressure for memory."""

from __future__ import annotations

import pytest
from support.cases import PREEMPTIONS, RUNGS, Asked, Case, pairs, run_case

STORY = "Once upon a time there was a small dog who lived in a house by the sea. Every morning"
TEXTS = (STORY, STORY + " he ran to the water and", "The capital of France is", "def add(a, b):\n    return")

OPTIONS = {
    "rung": list(RUNGS),
    "block_size": [1, 4, 16],
    "prefix": [True, False],
    "preemption": list(PREEMPTIONS),
    "attention": ["auto", "torch", "padded"],
    "victim": ["newest", "fewest_output", "lowest_priority"],
    "admission": ["watermark", "new_token_ratio", "reserve_max"],
    "order": ["fcfs", "sjf", "lpm"],
}
FIXED = {"max_num_batched_tokens": 16, "max_num_seqs": 8, "batch_size": 3, "wait_window": 2.0, "watermark": 0.05}
ASKED = [
    Asked(0, 8, 1, 0.0, 1, False, None), Asked(1, 10, 2, 0.0, 0, True, None), Asked(2, 6, 1, 1.0, 2, False, None),
    Asked(3, 9, 1, 1.0, 1, False, 7),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("setting", pairs(OPTIONS), ids=lambda s: "-".join(str(value).replace(" ", "_") for value in s.values()))
def test_pairs_of_options(smollm2, setting):
    from minieng.hub.resolve import load_tokenizer

    tokenizer = load_tokenizer(smollm2.path)
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    knobs = {**FIXED, **{name: setting[name] for name in ("attention", "victim", "admission", "order")}}
    case = Case(ASKED, knobs, 1.7, 0)
    run_case(smollm2, prompts, case, setting["rung"], setting["block_size"], setting["prefix"], setting["preemption"])
