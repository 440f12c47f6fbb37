"""What is done to logits before the choice is what transformers' own processors do, and touches nobody else's row."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from minieng.model.processors import forbidden_tokens, process
from minieng.model.sampler import filter_logits, sample
from minieng.request import Request, SamplingParams

VOCABULARY, PROMPT, MADE = 40, [3, 5, 5, 9], [7, 5, 11, 7, 2]
TEXT = torch.tensor([PROMPT + MADE])


def logits(rows: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


def request(prompt=PROMPT, made=MADE, ends=(), bad=(), **params) -> Request:
    if bad:
        params["bad_words"] = ["in words"]
    one = Request("a", prompt, SamplingParams(max_tokens=100, **params), eos_token_ids=ends, bad_words=bad)
    one.token_ids += made
    return one


BAD = [[8], [7, 2, 30], [2, 31], [9, 32], [9, 7, 33], [5, 11, 7, 2, 34]]
AS_TRANSFORMERS = {
    "repetition": (request(repetition_penalty=1.7), RepetitionPenaltyLogitsProcessor(1.7)),
    "repetition below one": (request(repetition_penalty=0.6), RepetitionPenaltyLogitsProcessor(0.6)),
    "biases": (
        request(logit_bias={4: 2.5, 6: -3.0, 39: 100.0}),
        SequenceBiasLogitsProcessor([[[4], 2.5], [[6], -3.0], [[39], 100.0]]),
    ),
    "allowed tokens": (request(allowed_token_ids=[1, 17, 4]), PrefixConstrainedLogitsProcessor(lambda *_: [1, 17, 4], 1)),
    "bad words": (request(bad=BAD), NoBadWordsLogitsProcessor(BAD)),
    "no early end": (
        request(min_tokens=6, ends=(12, 13)), MinNewTokensLengthLogitsProcessor(len(PROMPT), 6, [12, 13], device="cpu"),
    ),
    "an end in time": (
        request(min_tokens=5, ends=(12, 13)), MinNewTokensLengthLogitsProcessor(len(PROMPT), 5, [12, 13], device="cpu"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AS_TRANSFORMERS)
def test_each_is_as_transformers_has_it(case):
    one, theirs = AS_TRANSFORMERS[case]
    row = logits()
    torch.testing.assert_close(process(row, [one]), theirs(TEXT, row.clone()))
    assert torch.equal(row, logits()), "what came in is still what the model said"


def test_all_together_are_in_vllms_order():
    one = request(repetition_penalty=1.3, logit_bias={5: 4.0}, allowed_token_ids=[5, 7, 8, 20], bad=[[8]])
    theirs = LogitsProcessorList([
        PrefixConstrainedLogitsProcessor(lambda *_: [5, 7, 8, 20], 1), NoBadWordsLogitsProcessor([[8]]),
        SequenceBiasLogitsProcessor([[[5], 4.0]]), RepetitionPenaltyLogitsProcessor(1.3),
    ])  # fmt: skip
    torch.testing.assert_close(process(logits(), [one]), theirs(TEXT, logits()))


def test_presence_counts_once_and_frequency_each_time_and_only_in_the_output():
    row, out = logits(), process(logits(), [request(presence_penalty=1.5, frequency_penalty=0.25)])
    taken_off = {7: 1.5 + 2 * 0.25, 5: 1.75, 11: 1.75, 2: 1.75}
    want = row.clone()
    for token, penalty in taken_off.items():
        want[0, token] -= penalty
    torch.testing.assert_close(out, want)
    assert torch.equal(process(row, [request(made=[], presence_penalty=2.0)]), row)


@pytest.mark.parametrize("min_p", [0.001, 0.05, 0.3, 1.0])
def test_min_p_is_transformers_own(min_p):
    rows = logits(20)
    ours = filter_logits(rows, [request(min_p=min_p)] * 20)
    assert torch.equal(ours.isinf(), MinPLogitsWarper(min_p)(None, rows).isinf())


@pytest.mark.parametrize("params", [{"top_p": 1e-50}, {"top_p": 5e-324}, {"top_k": 1}, {"min_p": 1.0}])
def test_the_smallest_filters_keep_the_most_likely_token(params):
    row = logits()
    assert sample(row, [request(temperature=1.0, **params)])[0] == [int(row.argmax())]


@pytest.mark.parametrize("params", [{"top_k": 2**63}, {"top_k": 10**400}, {"top_k": -1}, {"min_p": 1e-300}])
def test_the_widest_filters_keep_everything(params):
    assert torch.isfinite(filter_logits(logits(), [request(top_p=0.999999, **params)])).sum() > 30
    plain, wide = request(temperature=1.0, seed=4), request(temperature=1.0, seed=4, **params)
    assert sample(logits(), [wide])[0] == sample(logits(), [plain])[0]


def test_something_can_always_be_chosen():
    assert forbidden_tokens(request(allowed_token_ids=[4, 6], min_tokens=9, ends=(4, 6))) == set()
    assert forbidden_tokens(request(allowed_token_ids=[4, 6], min_tokens=9, ends=(4, 8))) == {4, 8}
    assert sample(logits(), [request(allowed_token_ids=[8], bad=[[8]], temperature=1.0)])[0] == [8]


def test_nobody_asks_and_nothing_is_computed():
    row = logits()
    assert process(row, [request(), request(temperature=2.0, top_k=3, logprobs=2)]) is row


def test_neighbours_are_left_alone():
    dice = random.Random(2)
    kinds = [{}, *[{"repetition_penalty": 1.5, "logit_bias": {dice.randrange(40): 3.0}} for _ in range(4)],
             {"allowed_token_ids": [2, 3]}, {"bad": BAD}, {"presence_penalty": -2.0}, {}]  # fmt: skip
    crowd, rows = [request(**kind) for kind in kinds], logits(len(kinds), 5)
    together = process(rows, crowd)
    for row, one, found in zip(rows, crowd, together, strict=True):
        assert torch.equal(process(row[None], [one])[0], found)
    assert torch.equal(together[0], rows[0]) and torch.equal(together[-1], rows[-1])


def test_logprobs_are_what_the_model_said_before_all_that():
    one = request(min_tokens=9, ends=(1,), logit_bias={3: 100.0}, repetition_penalty=2.0, logprobs=20)
    (token,), (found,) = sample(logits(), [one])
    want = logits().log_softmax(-1)[0]
    assert token == 3 and 20 <= len(found) <= 21
    assert all(abs(value - float(want[t])) < 1e-5 for t, value in found.items())
    assert [value.rank for value in found.values()][:20] == list(range(1, 21))
    (token,), (found,) = sample(logits(), [request(logit_bias={3: 100.0}, logprobs=1)])
    assert found[3].rank == 1 + int((want > want[3]).sum()) and found[3].logprob == float(found[3])
