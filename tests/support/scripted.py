"""Runs of the engine without a model, for pictures: every step lasts one second and emits token 7."""

from __future__ import annotations

from minieng import Engine, EngineConfig, Plan, Request, SamplingParams
from minieng.clock import VirtualClock
from minieng.kv.allocator import KVCache
from minieng.plan import StepResult

#            prompt, output, arrival (s)
REQUESTS = {"A": (4, 6, 0.0), "B": (7, 2, 0.0), "C": (2, 9, 0.0), "D": (5, 3, 0.0), "E": (3, 5, 2.0), "F": (14, 4, 3.0)}


class OneSecond:
    def execute(self, plan: Plan) -> StepResult:
        return StepResult([7 if r.num_computed_tokens + n == r.num_tokens else None for r, n in plan.extend], 1.0)


def run(requests: dict = REQUESTS, num_blocks: int = 64, **knobs) -> Engine:
    config = EngineConfig(max_num_seqs=4, batch_size=4, enable_prefix_caching=False, **knobs)
    cache = KVCache(num_blocks, 4, enable_prefix_caching=False)
    engine = Engine(OneSecond(), cache, config, VirtualClock(), checked=True)
    for name, (prompt, output, arrival) in requests.items():
        params = SamplingParams(max_tokens=output, ignore_eos=True)
        engine.add_request(Request(name, range(prompt), params, arrival_time=arrival))
    engine.run()
    return engine
