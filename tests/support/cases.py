"""Workloads for the contract "same tokens", and the loop that runs one. (``strategies`` draws them; it needs hypothesis.)"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from minieng.clock import VirtualClock
from minieng.plan import Plan, StepResult
from minieng.request import Request, SamplingParams
from minieng.scheduler import ADMISSIONS, ORDERS, VICTIMS
from support.fakes import forced, nothing_left

RUNGS = {
    "static": {"scheduler": "static"},
    "dynamic": {"scheduler": "dynamic"},
    "continuous": {"scheduler": "continuous"},
    "mixed": {"scheduler": "continuous", "mixed": True},
    "chunked": {"scheduler": "chunked"},
}
PREEMPTIONS = {
    "recompute": ("recompute", None),
    "swap": ("swap", None),
    "forced recompute": ("recompute", 3),
    "forced swap": ("swap", 3),
}
LONGEST = 12  # tokens that a request asks for at most


@dataclass(frozen=True)
class Asked:
    """One request of a workload: which prompt, how long, how often, when, and when it is aborted (a step)."""

    prompt: int
    max_tokens: int
    n: int
    arrival: float
    priority: int
    stops: bool
    abort_at: int | None


@dataclass(frozen=True)
class Case:
    asked: list[Asked]
    knobs: dict = field(hash=False)
    room: float  # size of the cache, in units of its longest request
    pick: int


def shared_prompts(vocabulary: int, lengths=(1, 2, 4, 5, 11, 16, 17, 23, 32, 40), share: float = 0.7) -> list[list[int]]:
    """Prompts of which most begin alike, some at block borders, and some are the same."""
    dice = random.Random(5)
    common = [dice.randrange(1, vocabulary) for _ in range(max(lengths))]
    prompts = []
    for length in lengths:
        same = length if dice.random() < 0.2 else int(share * length)
        prompts.append(common[:same] + [dice.randrange(1, vocabulary) for _ in range(length - same)])
    return prompts


# What a random workload may ask for: a list is drawn from, a range too.
ASKED = {
    "max_tokens": range(1, LONGEST + 1),
    "n": [1, 1, 1, 2, 3],
    "arrival": [0.0, 0.0, 1.5, 6.0],
    "priority": range(3),
    "stops": [False, True],
    "abort_at": [None, None, None, 1, 4, 9],
}
KNOBS = {
    "order": tuple(ORDERS),
    "admission": tuple(ADMISSIONS),
    "victim": tuple(VICTIMS),
    "attention": ["auto", "auto", "torch", "padded"],
    "max_num_batched_tokens": [3, 8, 64],
    "max_prefill_tokens": [8, 2048],
    "max_num_seqs": [2, 8],
    "batch_size": [2, 4],
    "wait_window": [0.0, 2.5],
    "watermark": [0.0, 0.2],
}
MOST, ROOM, PICK = 6, [1.0, 1.3, 2.5, 6.0], range(6)  # requests, room in the cache, which victim


def drawn(dice: random.Random, num_prompts: int) -> Case:
    """A random workload without hypothesis: where a GPU is, there may be no hypothesis."""

    def one(options: dict) -> dict:
        return {name: dice.choice(values) for name, values in options.items()}

    asked = [Asked(prompt=dice.randrange(num_prompts), **one(ASKED)) for _ in range(dice.randint(2, MOST))]
    return Case(asked, one(KNOBS), dice.choice(ROOM), dice.choice(PICK))


class Steady:
    """The real model on a virtual clock: each step takes a second."""

    def __init__(self, runner) -> None:
        self.runner = runner

    def execute(self, plan: Plan) -> StepResult:
        result = self.runner.execute(plan)
        return StepResult(result.tokens, 1.0, result.logprobs)


def run_case(kit, prompts: Sequence[list[int]], case: Case, rung: str, block_size: int, prefix: bool, preemption: str) -> None:
    """Run the case; every text must be what the oracle says to its prompt alone."""
    kind, every = PREEMPTIONS[preemption]
    knobs = {**case.knobs, **RUNGS[rung], "block_size": block_size, "enable_prefix_caching": prefix, "preemption": kind}
    if every:
        knobs["scheduler"] = forced(knobs["scheduler"], every, pick=case.pick)
    longest = max(len(prompts[a.prompt]) + a.max_tokens for a in case.asked)
    if case.knobs["admission"] == "reserve_pow2":
        longest = 1 << (longest - 1).bit_length()
    blocks = -(-int(case.room * longest) // block_size)
    with kit.llm(num_blocks=blocks, swap_space_gb=0.01, **knobs) as llm:
        engine = llm.engine
        engine.clock, engine.executor = VirtualClock(), getattr(kit, "steady", Steady)(llm.runner)
        groups = [queue(engine, kit.oracle, str(i), prompts[a.prompt], a) for i, a in enumerate(case.asked)]
        step = 0
        while engine.has_work:
            for group, asked in zip(groups, case.asked, strict=True):
                if step == asked.abort_at and group[-1].request_id in engine.requests:
                    engine.abort(group[-1].request_id)
            engine.step()
            step += 1
            assert step < 3_000, "the engine does not finish"
        nothing_left(engine)
        for group in groups:
            for request in group:
                params, prompt = request.params, request.token_ids[: request.num_prompt_tokens]
                whole = request.finish_reason != "abort"
                kit.oracle.compare(prompt, request.output_token_ids, params.max_tokens, params.stop_token_ids, whole)


def queue(engine, oracle, name: str, prompt: list[int], asked: Asked) -> list[Request]:
    stop = (oracle.tokens(prompt, asked.max_tokens)[-1],) if asked.stops else ()
    params = SamplingParams(max_tokens=asked.max_tokens, stop_token_ids=stop)
    group = [Request(f"{name}#{i}", prompt, params, arrival_time=asked.arrival, priority=asked.priority) for i in range(asked.n)]
    engine.add_request(group[0])
    engine.add_siblings(group[0], group[1:])
    return group


def pairs(options: dict[str, list]) -> list[dict]:
    """Few settings in which any two values of any two options meet (greedy, so not quite the fewest)."""
    names = list(options)
    missing = {
        (a, x, b, y) for i, a in enumerate(names) for b in names[i + 1 :] for x in options[a] for y in options[b]
    }  # fmt: skip
    rows = []
    while missing:
        row: dict = {}
        a, x, b, y = min(missing, key=str)
        row[a], row[b] = x, y
        for name in names:
            if name not in row:
                row[name] = max(options[name], key=lambda value: len(missing & met({**row, name: value}, names)))  # noqa: B023
        missing -= met(row, names)
        rows.append({name: row[name] for name in names})
    return rows


def met(row: dict, names: list[str]) -> set[tuple]:
    given = [name for name in names if name in row]
    return {(a, row[a], b, row[b]) for i, a in enumerate(given) for b in given[i + 1 :]}


def grid(options: dict[str, list]) -> list:
    """Every combination, as parameters; `make test` takes those in which any two values meet, `make test-wide` the rest."""
    few = pairs(options)
    rows = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    return [pytest.param(*row.values(), marks=[] if row in few else [pytest.mark.wide]) for row in rows]
