"""Ctrl-C at any point of a step, in the middle of moving KV too, on the real tensors: the same engine goes on rightly."""

from __future__ import annotations

import random

import pytest
from support.cases import RUNGS
from support.fakes import forced, nothing_left

from minieng.plan import Moves, Plan
from minieng.request import Request, SamplingParams

COUNT = 10


class Interrupted:
    """The runner, stopped by Ctrl-C after so many moves of blocks, or before or after the model has run."""

    def __init__(self, runner, dice: random.Random) -> None:
        self.runner, self.dice, self.stops = runner, dice, 0

    def execute(self, plan: Plan):
        if self.dice.random() > 0.3:
            return self.runner.execute(plan)
        self.stops += 1
        moves = [(kind, pair) for kind in ("swap_out", "swap_in", "copy") for pair in getattr(plan.moves, kind)]
        point = self.dice.randint(0, len(moves) + 1)
        if point > len(moves):
            self.runner.execute(plan)
        for kind, pair in moves[:point]:
            self.runner.tensors.apply(Moves(**{k: [pair] if k == kind else [] for k in ("swap_out", "swap_in", "copy")}))
        if point < len(moves) and moves[point][0] != "copy":  # half of the next block
            kind, (source, target) = moves[point]
            cache, host = self.runner.tensors.cache, self.runner.tensors.host
            if kind == "swap_out":
                host[target][:1].copy_(cache[:1, :, source])
            else:
                cache[:1, :, target].copy_(host[source][:1])
        raise KeyboardInterrupt


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("rung", RUNGS)
def test_an_interrupted_step_is_as_if_it_had_not_been(tiny, rung, preemption):
    stops = moved = 0
    for number in range(4):
        dice = random.Random(number)
        common = [dice.randrange(1, 300) for _ in range(12)]
        knobs = {**RUNGS[rung], "preemption": preemption, "batch_size": 3, "max_num_batched_tokens": 7, "watermark": 0.0}
        knobs["scheduler"] = forced(knobs["scheduler"], 4, most=8)
        with tiny.llm(block_size=4, num_blocks=13, swap_space_gb=0.01, **knobs) as llm:
            engine = llm.engine
            engine.executor = interrupted = Interrupted(llm.runner, dice)
            requests = []
            for i in range(5):
                prompt = common[: dice.randint(1, 12)] + [dice.randrange(1, 300) for _ in range(dice.randint(1, 6))]
                group = [Request(f"{i}#{j}", prompt, SamplingParams(max_tokens=COUNT)) for j in range(dice.choice([1, 1, 3]))]
                engine.add_request(group[0])
                engine.add_siblings(group[0], group[1:])
                requests += group
            for _ in range(800):
                try:
                    if engine.step() is None:
                        break
                except KeyboardInterrupt:
                    engine.kv.check_invariants([*engine.scheduler.waiting, *engine.scheduler.running])
            nothing_left(engine)
            for request in requests:
                tiny.oracle.compare(request.token_ids[: request.num_prompt_tokens], request.output_token_ids, COUNT)
            stops += interrupted.stops
            moved += sum(sum(record.swapped) + len(record.copied) for record in engine.trace)
    assert stops > 20 and (moved or rung in ("static", "dynamic"))
