"""Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024: what it is worth to know who is short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from random import Random
from statistics import mean
from typing import Any

from ...config import EngineConfig
from ...kv.allocator import known_length
from ...plan import Plan
from ...request import Request
from ...scheduler import Scheduler
from ...workload import Workload
from ..cost_model import HOST_SECONDS, StepTimeModel
from ..executor import scripted_requests
from .measure import serve
from .table import Row, Table

REQUESTS, SEATS, QUANTUM = (
    2_000,
    256,
    32,
)  # a burst; vLLM's default; output tokens on the first level of an MLFQ

# their figure for a burst of 2,000 ShareGPT prompts, Llama-3-8B: mean seconds a token; and Kendall's tau
PUBLISHED = {"FCFS": 1.15, "MLFQ": 1.07, "classifier": 1.13, "ranker": 0.56}
TAU = {"classifier": 0.24, "ranker": 0.54}
SPREADS = {"classifier": 2.4, "ranker": 0.75}  # of the noise on the exact lengths, so that tau comes out so


class Noisy:
    """A predictor: the length that an answer will have, times e^(spread · normal), drawn once a request."""

    def __init__(self, spread: float, seed: int = 0) -> None:
        self.spread, self.seed = spread, seed
        self.factors: dict[str, float] = {}

    def factor(self, request_id: str) -> float:
        if request_id not in self.factors:
            self.factors[request_id] = math.exp(self.spread * Random(f"{self.seed} {request_id}").gauss(0, 1))
        return self.factors[request_id]

    def __call__(self, request: Request) -> float:
        return (known_length(request) - request.num_prompt_tokens) * self.factor(request.request_id)


class Levels(Scheduler):
    """A multi-level feedback queue: who has made little goes first, and takes the seat of who has made most.

    Level 0 lasts QUANTUM output tokens, each further one twice as long as the one before.
    """

    @staticmethod
    def place(request: Request) -> tuple:
        level = (request.num_output_tokens // QUANTUM + 1).bit_length()
        return level, request.arrival_time, request.sequence

    def plan(self, now: float) -> Plan:
        plan, kv = Plan(), self.kv.ledger()
        stay = sorted(self.running, key=self.place)
        come: list[Request] = []
        for request in sorted(self.waiting, key=self.place):
            if len(stay) + len(come) == self.max_num_seqs:
                if not stay or self.place(stay[-1])[0] <= self.place(request)[0]:
                    break
                self.evict(plan, kv, stay.pop())
            come.append(request)
        for request in stay:
            if self.make_room(plan, kv, request, request.num_remaining_tokens):
                plan.extend.append((request, request.num_remaining_tokens))
        for request in come:
            n = kv.todo(request)
            if not kv.take(request, n):
                break
            plan.extend.append((request, n))
        return plan


def run(seed: int) -> Table:
    table = Table(
        "Efficient LLM Scheduling by Learning to Rank (NeurIPS 2024), burst of ShareGPT prompts",
        f"Llama-3-8B, A100-40G, {REQUESTS:,} ShareGPT requests at once, {SEATS} seats; mean over requests of "
        "end-to-end seconds for each output token",
        {
            "lengths": "log-normal, published means 161/338, sigma 1.2/1.0, cut at 1024",
            "predictors": "exact lengths times log-normal noise, so wide that tau is as published: 0.75, 2.4",
            "host time": "2 ms a step and 82 us a request (vLLM of mid-2024)",
            "memory": "an A100 of 40 GB (which one is not said); prompts and decodes share a step",
            "MLFQ": f"levels of {QUANTUM}, {2 * QUANTUM}, {4 * QUANTUM}, ... output tokens; recompute",
        },
        ["the predictor's own time (published: below 2 %)", "promotion of those who starve"],
    )
    burst = Workload.preset("sharegpt", REQUESTS, rate=math.inf, seed=seed)
    lengths = [job.output_tokens for job in burst]
    predictors = {name: Noisy(spread, seed) for name, spread in SPREADS.items()}
    for name, predictor in predictors.items():
        said = [length * predictor.factor(str(i)) for i, length in enumerate(lengths)]
        what, found = f"tau of the {name}'s predictions", kendall_tau(said, lengths)
        table.rows.append(Row(what, TAU[name], found, why="one draw of the noise", counts=False))
    ours = {
        "FCFS": seconds_a_token(burst),
        "MLFQ": seconds_a_token(burst, scheduler=Levels()),
    }
    ours |= {name: seconds_a_token(burst, order="sjf", predictor=p) for name, p in predictors.items()}
    exact = seconds_a_token(burst, order="sjf", predictor=Noisy(0.0))
    table.rows += [Row(f"{name}: s a token", PUBLISHED[name], ours[name], why=ABSOLUTE) for name in ours]
    for name in ("ranker", "classifier", "MLFQ"):
        published, here = PUBLISHED["FCFS"] / PUBLISHED[name], ours["FCFS"] / ours[name]
        table.rows.append(Row(f"FCFS over {name}", published, here, why=GAINS[name], counts=False))
    table.rows.append(Row("FCFS over exact lengths", None, ours["FCFS"] / exact, counts=False))
    return table


ABSOLUTE = (
    "in a mean of seconds for each token the shortest answers decide, and of their lengths only the mean is "
    "published; with it goes the whole column, so compare the ratios"
)
GAINS = {
    "ranker": "as far as the lengths go: a wider spread has more to gain",
    "classifier": (
        "tau 0.24 orders a fifth more pairs rightly than wrongly, which is worth something here; theirs puts "
        "most requests into one class, and what it leaves equal stays first come, first served"
    ),
    "MLFQ": "a seat taken away is paid for with tokens computed again; how they preempt is not published",
}


def seconds_a_token(burst: Workload, **knobs: Any) -> float:
    """Mean over requests of end-to-end seconds for each token of the answer."""
    times = StepTimeModel.named("llama-3-8b", "A100-40G", host=HOST_SECONDS["vllm 2024"])
    config = EngineConfig(
        mixed=True, max_num_seqs=SEATS, max_prefill_tokens=8192, memory_fraction=0.9,
        enable_prefix_caching=False, **knobs,
    )  # fmt: skip
    _, done = serve(times, config, scripted_requests(burst, 8192))
    return mean(((r.finish_time or 0.0) - r.arrival_time) / r.num_output_tokens for r in done)


def kendall_tau(said: Sequence[float], really: Sequence[float]) -> float:
    """The share of all pairs in the right order, less the share in the wrong one."""
    order = 0
    for (a, x), (b, y) in combinations(zip(said, really, strict=True), 2):
        product = (a - b) * (x - y)
        order += (product > 0) - (product < 0)
    return order / (len(said) * (len(said) - 1) / 2)
