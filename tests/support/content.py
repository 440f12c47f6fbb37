"""Random engines and workloads on a cache whose content can be looked at (``fakes``), thousands of times a minute."""

from __future__ import annotations

import random

from minieng.request import Request, SamplingParams
from minieng.scheduler import ADMISSIONS, ORDERS, SCHEDULERS, VICTIMS
from support.fakes import VOCABULARY, expected, fake_engine, forced


def random_engine(dice: random.Random, longest: int, **kind):
    """An engine with any knobs, whose cache holds one request of the longest length and perhaps more.

    kind  of another class: see ``fake_engine``
    """
    rung, size, every = dice.choice(list(SCHEDULERS)), dice.choice([1, 4, 16]), dice.choice([0, 0, 2, 3, 5])
    knobs = {
        "preemption": dice.choice(["recompute", "swap"]),
        "victim": dice.choice(list(VICTIMS)),
        "admission": dice.choice(list(ADMISSIONS)),
        "order": dice.choice(list(ORDERS)),
        "mixed": dice.random() < 0.5,
        "max_num_batched_tokens": dice.choice([1, 3, 8, 64]),
        "max_prefill_tokens": dice.choice([4, 30]),
        "max_num_seqs": dice.choice([1, 3, 8]),
        "batch_size": dice.choice([1, 3, 8]),
        "wait_window": dice.choice([0.0, 0.5, 5.0]),
        "enable_prefix_caching": dice.random() < 0.6,
        "watermark": dice.choice([0, 0.01, 0.3]),
    }
    scheduler = forced(rung, every, pick=dice.randint(0, 5)) if every else rung
    blocks = int(-(-longest * dice.choice([1, 1.2, 2, 4]) // size)) + dice.randint(0, 2)
    return fake_engine(scheduler, blocks, size, host=dice.choice([1, 3, 64]), **kind, **knobs)


def random_requests(dice: random.Random, engine, longest: int) -> list[Request]:
    """Prompts that begin alike, some sampled more than once; those that can never fit are refused and left out."""
    common, requests = [dice.randrange(VOCABULARY) for _ in range(longest)], []
    for i in range(dice.randint(1, 8)):
        length = dice.randint(1, longest - 1)
        same = dice.randint(0, length)
        prompt = common[:same] + [dice.randrange(VOCABULARY) for _ in range(length - same)]
        count, n = dice.randint(1, longest - length), dice.choice([1, 1, 1, 2, 3])
        stop = (expected(prompt, count)[-1],) if dice.random() < 0.2 else ()
        params, arrival = SamplingParams(max_tokens=count, n=n, stop_token_ids=stop), dice.choice([0.0, 0.0, 10 * dice.random()])
        group = [
            Request(f"{i}#{j}", prompt, params, arrival_time=arrival, priority=dice.randint(0, 3), user=dice.choice("ab"))
            for j in range(n)
        ]
        for j, request in enumerate(group):
            request.sample_index = j
        try:
            engine.add_request(group[0])
        except ValueError:
            continue
        engine.add_siblings(group[0], group[1:])
        requests += group
    return requests


def check(requests: list[Request]) -> None:
    for request in requests:
        prompt, params = request.token_ids[: request.num_prompt_tokens], request.params
        want = expected(prompt, params.max_tokens, request.sample_index, params.stop_token_ids)
        got = request.output_token_ids
        assert got == (want[: len(got)] if request.finish_reason == "abort" else want), request
