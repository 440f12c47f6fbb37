"""Requests that are aborted before they arrive: whoever is left comes in its time, in whatever order the others went."""

from __future__ import annotations

import random

import pytest

from minieng.clock import VirtualClock
from minieng.config import EngineConfig
from minieng.engine import Engine
from minieng.kv.allocator import KVCache
from minieng.plan import Plan, StepResult
from minieng.request import Request, SamplingParams


class NoModel:
    """Emits token 7 wherever a token is due."""

    def execute(self, plan: Plan) -> StepResult:
        return StepResult([7 if r.num_computed_tokens + n == r.num_tokens else None for r, n in plan.extend], 1e-3)


@pytest.mark.parametrize("order", ["arrival", "backwards", "random"])
def test_the_others_arrive_in_their_time(order):
    engine = Engine(NoModel(), KVCache(256, 16), EngineConfig(scheduler="chunked"), VirtualClock())
    dice = random.Random(0)
    times = [dice.randrange(1, 50) for _ in range(40)]
    for i, time in enumerate(times):
        engine.add_request(Request(str(i), [i] * 5, SamplingParams(max_tokens=2, ignore_eos=True), arrival_time=float(time)))
    gone = sorted(range(0, 40, 2), key=lambda i: (times[i], i), reverse=order == "backwards")
    if order == "random":
        dice.shuffle(gone)
    for i in gone:
        assert engine.abort(str(i)).finish_reason == "abort"
    left = {str(i): engine.requests[str(i)] for i in range(1, 40, 2)}
    trace = engine.run()
    assert [r for step in trace for r in step.finished] == sorted(left, key=lambda name: (times[int(name)], int(name)))
    assert all(r.finish_reason == "length" and r.admitted_time >= times[int(name)] for name, r in left.items())


def test_samples_that_wait_for_the_first_are_aborted_when_nobody_is_to_arrive():
    engine = Engine(NoModel(), KVCache(256, 16), EngineConfig(scheduler="chunked"), VirtualClock())
    params = SamplingParams(max_tokens=2, ignore_eos=True)
    first, *others = (Request(str(i), [1] * 5, params) for i in range(3))
    engine.add_request(first)
    engine.add_siblings(first, others)
    engine.step()
    for request in (first, *others):
        if request.request_id in engine.requests:
            engine.abort(request.request_id)
    assert not engine.has_work and engine.step() is None
