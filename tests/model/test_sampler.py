"""The sampler by itself: what it chooses follows softmax, and its filters are what a plain reading of them says."""

from __future__ import annotations

import math

import pytest
import torch

from minieng.model.sampler import exponential_noise, sample
from minieng.request import Request, SamplingParams, sample_key

VOCABULARY = 40
LOGITS = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(3)) * 2


def request(name: str = "a", prompt: int = 3, made: int = 0, ends: tuple[int, ...] = (), **params) -> Request:
    one = Request(name, [1] * prompt, SamplingParams(max_tokens=100, **params), eos_token_ids=ends)
    one.token_ids += [2] * made
    one.sample_key = sample_key(params.get("seed"), 0, name, 0)
    return one


def draws(count: int, **params) -> torch.Tensor:
    """How often each token was chosen, at ``count`` positions and seeds."""
    requests = [request(prompt=i % 40 + 1, seed=i // 40, **params) for i in range(count)]
    tokens, _ = sample(LOGITS.expand(count, -1), requests)
    return torch.bincount(torch.tensor(tokens), minlength=VOCABULARY)


def filtered(temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """Token → probability, by the definition: the k most likely, of these the fewest that reach p, renormalised."""
    probability = torch.softmax(LOGITS.double() / temperature, -1).tolist()
    ranked = sorted(range(VOCABULARY), key=lambda t: -probability[t])[: top_k or VOCABULARY]
    whole = sum(probability[t] for t in ranked)
    kept, reached = [], 0.0
    for token in ranked:
        kept.append(token)
        reached += probability[token] / whole
        if reached >= top_p:
            break
    whole = sum(probability[t] for t in kept)
    return {t: probability[t] / whole for t in kept}


def chi_square(counts: torch.Tensor, want: dict[int, float]) -> float:
    """How many standard deviations the chi-square statistic lies above its mean; rare tokens are put together."""
    total, statistic, cells, rare_got, rare_want = int(counts.sum()), 0.0, 0, 0.0, 0.0
    for token, probability in want.items():
        if probability * total < 8:
            rare_got, rare_want = rare_got + float(counts[token]), rare_want + probability * total
        else:
            statistic += (float(counts[token]) - probability * total) ** 2 / (probability * total)
            cells += 1
    if rare_want:
        statistic, cells = statistic + (rare_got - rare_want) ** 2 / rare_want, cells + 1
    return (statistic - (cells - 1)) / math.sqrt(2 * max(1, cells - 1))


@pytest.mark.parametrize(
    "temperature, top_k, top_p",
    [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.7, 0, 1.0), (1.0, 7, 1.0), (1.0, 0, 0.8), (1.3, 12, 0.9), (1.0, 3, 0.2)],
)
def test_sampling_follows_softmax(temperature, top_k, top_p):
    want = filtered(temperature, top_k, top_p)
    counts = draws(20_000, temperature=temperature, top_k=top_k, top_p=top_p)
    assert not counts[[t for t in range(VOCABULARY) if t not in want]].any(), "a token outside the filter was chosen"
    assert chi_square(counts, want) < 4


def test_the_noise_of_neighbouring_positions_seeds_and_samples_is_independent():
    """Pairs of choices under two keys that differ by one are as frequent as chance has it."""
    rows, p = LOGITS.expand(8_000, -1), torch.softmax(LOGITS.double(), -1)
    chance = float((p * p).sum())

    def chosen(**other) -> torch.Tensor:
        return torch.tensor(
            sample(rows, [request(**{"prompt": i % 40 + 1, "seed": i // 40, "temperature": 1.0, **other}) for i in range(8_000)])[
                0
            ]
        )

    plain = chosen()
    seeds = torch.tensor(sample(rows, [request(prompt=i % 40 + 1, seed=i // 40 + 1, temperature=1.0) for i in range(8_000)])[0])
    for other in (chosen(made=1), seeds, plain.roll(1)):
        same = float((plain == other).float().mean())
        assert abs(same - chance) < 5 * math.sqrt(chance / 8_000)


def test_the_noise_is_exponential_and_never_zero_or_infinite():
    noise = exponential_noise([(i * 7919, i * 104729 + 1) for i in range(300)], 49_152, torch.device("cpu"))
    assert float(noise.min()) > 0 and math.isfinite(float(noise.max()))
    assert abs(float(noise.double().mean()) - 1) < 2e-3 and abs(float((noise < math.log(2)).double().mean()) - 0.5) < 1e-3


def test_the_largest_uniform_number_is_less_than_one():
    """All bits set gave 1.0 once, so noise 0, so 0/0 for a filtered token, which then won."""
    largest = torch.tensor([0x7FFFFF]).float().add_(0.5).mul_(2.0**-23)
    assert float(largest) < 1.0


def test_cold_is_greedy_and_hot_is_finite():
    best = int(LOGITS.argmax())
    for params in ({"temperature": 0.0}, {"temperature": 1e-30}, {"temperature": 5e-324}, {"temperature": 1.0, "top_k": 1},
                   {"temperature": 1.0, "top_p": 1e-9}):  # fmt: skip
        assert int(draws(50, **params).argmax()) == best and int(draws(50, **params)[best]) == 50
    assert (draws(4_000, temperature=1e30) > 0).all(), "every token is as likely as any other"


def test_a_choice_does_not_depend_on_the_neighbours():
    crowd = [request(str(i), temperature=1.0, top_k=i % 5, top_p=1 - i / 50, seed=i % 3) for i in range(20)]
    rows = torch.randn(20, VOCABULARY, generator=torch.Generator().manual_seed(1))
    together = sample(rows, crowd)[0]
    alone = [sample(rows[i : i + 1], [one])[0][0] for i, one in enumerate(crowd)]
    backwards = sample(rows.flip(0), crowd[::-1])[0][::-1]
    assert together == alone == backwards


def test_a_choice_depends_on_seed_position_and_sample_and_nothing_else():
    rows = torch.zeros(1, 1_000)
    plain = request(seed=5, temperature=1.0)

    def choice(one: Request) -> int:
        return sample(rows, [one])[0][0]

    assert choice(request("other name", seed=5, temperature=1.0)) == choice(plain), "a seed of one's own beats the id"
    assert choice(request(seed=6, temperature=1.0)) != choice(plain) != choice(request(seed=5, prompt=4, temperature=1.0))
    second = request(seed=5, temperature=1.0)
    second.sample_key = sample_key(5, 0, "a", 1)
    assert choice(second) != choice(plain)
    assert choice(request(seed=5, prompt=2, made=1, temperature=1.0)) == choice(plain), (
        "the position counts, not whose token it is"
    )


def test_before_min_tokens_nothing_that_ends_the_text_is_chosen():
    best, second = LOGITS.topk(2).indices.tolist()
    rows = LOGITS[None]
    for made, want in ((0, second), (1, second), (2, best)):
        assert sample(rows, [request(made=made, min_tokens=2, ends=(best,))])[0] == [want]
        assert sample(rows, [request(made=made, min_tokens=2, stop_token_ids=[best])])[0] == [want]
    assert sample(rows, [request(min_tokens=2, ends=(best,), ignore_eos=True)])[0] == [best], "it does not end the text"
    assert sample(rows, [request(min_tokens=2, ends=(best, 10**6))])[0] == [second], "an end that the head does not know"
    assert sample(rows.expand(2, -1), [request(min_tokens=2, ends=(best,)), request("b", ends=(best,))])[0] == [second, best]


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_logprobs_are_the_log_of_softmax_before_temperature_and_filters(count):
    one = request(temperature=2.0, top_k=30, logprobs=count, seed=4)
    (token,), (found,) = sample(LOGITS[None], [one])
    want = torch.log_softmax(LOGITS.double(), -1)
    top = LOGITS.topk(count).indices.tolist() if count else []
    assert set(found) == {*top, token} and list(found)[:count] == top
    assert all(abs(found[t] - float(want[t])) < 1e-5 for t in found)


def test_logprobs_only_where_they_were_asked_for():
    tokens, found = sample(LOGITS.expand(3, -1), [request("a"), request("b", logprobs=2), request("c")])
    assert found[0] is None and len(found[1]) == 2 and found[2] is None
    assert sample(LOGITS[None], [request("a")])[1] is None
