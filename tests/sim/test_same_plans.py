"""The same scheduler, fed the same arrivals, plans the same on a model and on the simulator, step for step."""

from __future__ import annotations

import pytest
from support.sim_cases import RUNGS, TIMES, like_a_simulation, on_model, on_simulator, requests, run

from minieng.scheduler import make_scheduler
from minieng.sim.simulated import simulated_engine

NAMES = """
    step mode slices rows span column padding finished_rows recomputed cached preempted refused finished taken copied
    freed shared swapped blocks_free kv_used num_waiting num_running
""".split()


def same(one, other):
    for left, right in zip(one.trace, other.trace, strict=True):
        for name in NAMES:
            assert getattr(left, name) == getattr(right, name), f"{name} differs:\n{left}\n{right}"
        assert left.start == pytest.approx(right.start)
        assert [t is None for t in left.tokens] == [t is None for t in right.tokens]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung(rung, seed):
    """As scheduler objects, not names: a learner's own class goes the same way."""
    same(*(run(make(scheduler=make_scheduler(rung)), requests(seed)) for make in (on_model, on_simulator)))


@pytest.mark.parametrize("order", ["sjf", "priority", "adaptive", "lpm", "hrrn", "fair"])
def test_every_order(order):
    same(*(run(make(scheduler="continuous", order=order, ageing=5.0), requests(4)) for make in (on_model, on_simulator)))


@pytest.mark.parametrize("rung", ["continuous", "chunked"])
@pytest.mark.parametrize(
    "knobs",
    [dict(admission="full_prompt", num_blocks=17), dict(preemption="swap", num_blocks=17),
     dict(enable_prefix_caching=False, num_blocks=17),
     dict(admission="reserve_pow2"), dict(admission="new_token_ratio", num_blocks=16),
     dict(victim="fewest_output", num_blocks=17),
     dict(mixed=True)],
    ids=lambda knobs: " ".join(f"{k}={v}" for k, v in knobs.items()),
)  # fmt: skip
def test_under_pressure(rung, knobs):
    engines = [run(make(scheduler=rung, **knobs), requests(5, most_output=25)) for make in (on_model, on_simulator)]
    same(*engines)
    if knobs.get("num_blocks") == 17 and "admission" not in knobs:
        assert engines[0].trace.total("recomputed") or any(r.swapped[0] for r in engines[0].trace), (
            "nobody was preempted: a weak test"
        )


@pytest.mark.parametrize("rung", RUNGS)
def test_on_a_real_model(shape, rung):
    knobs = dict(scheduler=rung, num_blocks=30, block_size=8, max_num_seqs=4, batch_size=3, max_num_batched_tokens=24)
    with shape("llama").llm(**knobs) as llm:
        real = run(like_a_simulation(llm), requests(6, n=8, most_prompt=40, vocabulary=llm.vocab_size))
        same(
            real,
            run(
                simulated_engine(TIMES.model, TIMES.gpu, **knobs),
                requests(6, n=8, most_prompt=40, vocabulary=llm.vocab_size),
            ),
        )
