"""What the simulator's tests share: a fake model's engine and a simulated one with the same knobs, fed alike."""

from __future__ import annotations

import random

from minieng import Engine, Request, SamplingParams
from minieng.clock import VirtualClock
from minieng.plan import Plan, StepResult
from minieng.sim.cost_model import StepTimeModel
from minieng.sim.executor import SimExecutor
from minieng.sim.simulated import simulated_engine
from support.fakes import VOCABULARY, fake_engine

RUNGS = ("static", "dynamic", "continuous", "chunked")
KNOBS = dict(num_blocks=24, block_size=4, max_num_seqs=5, batch_size=3, max_num_batched_tokens=16, wait_window=0.02)


class AsSimulated:
    """A model's tokens with the simulator's durations, so that arrivals fall into the same steps."""

    def __init__(self, executor, times: StepTimeModel, block_size: int) -> None:
        self.executor, self.times = executor, SimExecutor(times, block_size)

    def execute(self, plan: Plan) -> StepResult:
        duration = self.times.execute(plan).duration
        result = self.executor.execute(plan)
        return StepResult(result.tokens, duration, result.logprobs)


TIMES = StepTimeModel.named("smollm2-135m", "T4")


def on_model(**knobs) -> Engine:
    """The fake model, on the simulator's clock."""
    engine = fake_engine(**{**KNOBS, **knobs})
    engine.executor = AsSimulated(engine.executor, TIMES, engine.kv.block_size)
    return engine


def on_simulator(**knobs) -> Engine:
    return simulated_engine("smollm2-135m", "T4", checked=True, **{**KNOBS, "swap_space_gb": 64 * 4 * 23040 / 2**30, **knobs})


def like_a_simulation(llm) -> Engine:
    """A real model's engine, on the simulator's clock."""
    llm.engine.executor, llm.engine.clock = (
        AsSimulated(llm.engine.executor, TIMES, llm.config.block_size),
        VirtualClock(),
    )
    return llm.engine


def requests(seed: int, n: int = 12, most_prompt: int = 30, most_output: int = 12, vocabulary: int = VOCABULARY) -> list[Request]:
    """Random lengths, arrivals within a few steps of each other, half of the prompts with a common beginning."""
    rng = random.Random(seed)
    shared = [rng.randrange(vocabulary) for _ in range(10)]
    made, when = [], 0.0
    for i in range(n):
        when += rng.expovariate(200)
        prompt = (shared if rng.random() < 0.5 else []) + [rng.randrange(vocabulary) for _ in range(rng.randint(1, most_prompt))]
        params = SamplingParams(max_tokens=rng.randint(1, most_output), ignore_eos=True)
        made.append(Request(f"r{i}", prompt, params, arrival_time=when, priority=rng.randint(0, 2), user=rng.choice("ab")))
    return made


def run(engine: Engine, made: list[Request]) -> Engine:
    for request in made:
        engine.add_request(request)
    engine.run()
    return engine
