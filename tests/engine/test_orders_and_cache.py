"""Orders that look at the cache: what is found counts, who shares nothing may starve, and how that is cured."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import ask, fake_engine, finish

from minieng import LLM
from minieng.workload import Job, Workload


def queue(engine, now: float = 0.0) -> str:
    """The names of the waiting requests in the policy's order."""
    engine.clock.wait_until(now)
    engine._let_in_arrivals(None)
    return "".join(r.request_id for r in engine.scheduler.queue(now, engine.kv.ledger()))


def warmed(order, **knobs):
    """An engine in whose cache the tokens 0 to 11 are known."""
    engine = fake_engine(num_blocks=32, block_size=4, order=order, **knobs)
    ask(engine, "warm", list(range(12)), 1)
    finish(engine)
    return engine, engine.clock.now()


def test_spf_takes_the_fewest_tokens_that_are_left_to_compute():
    engine, now = warmed("spf")
    for name, prompt in (("a", list(range(90, 97))), ("b", list(range(12)) + [50, 51]), ("c", [91, 92, 93])):
        ask(engine, name, prompt, at=now)
    assert queue(engine, now) == "bca", "2 of 14 tokens, 3 of 3, 7 of 7"
    assert queue(fake_engine(order="spf")) == ""


def test_hrrn_counts_the_work_that_is_not_in_the_cache():
    for caching, want in ((True, "ba"), (False, "ab")):
        engine, now = warmed("hrrn", enable_prefix_caching=caching)
        engine.scheduler.queues.seconds_per_token = 1.0
        ask(engine, "a", list(range(90, 97)), 1, at=now)  # 7 tokens and one to write
        ask(engine, "b", list(range(12)) + [50, 51], 1, at=now)  # 14 and one, 12 of them known
        assert queue(engine, now + 1.0) == want


def test_a_key_of_ones_own_may_look_at_the_ledger():
    engine, now = warmed(lambda request, now, ledger: -ledger.shared(request).num_tokens)
    for name, prompt in (("a", [90, 91]), ("b", list(range(6)))):
        ask(engine, name, prompt, at=now)
    assert queue(engine, now) == "ba"
    engine, now = warmed(lambda request, now: -request.num_prompt_tokens)
    for name, prompt in (("a", [90, 91]), ("b", list(range(6)))):
        ask(engine, name, prompt, at=now)
    assert queue(engine, now) == "ba"


def test_a_key_that_python_cannot_look_into_takes_two():
    engine = fake_engine(order=max)  # max(request, now) cannot be called, and has no signature
    ask(engine, "a", 2)
    with pytest.raises(TypeError):
        queue(engine)


def test_lpm_says_once_that_it_falls_back_to_the_order_of_arrival():
    engine, now = warmed("lpm")
    for number in range(129):
        ask(engine, f"x{number}", [200 + number, 7], at=now)
    ask(engine, "b", list(range(6)), at=now)
    with pytest.warns(UserWarning, match="130 requests wait, and it looks at 128 at most: first come, first served"):
        assert queue(engine, now).startswith("x0x1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue(engine, now)
        for number in range(2):
            engine.abort(f"x{number}")
        assert queue(engine, now).startswith("bx2"), "128 are looked at again"


# -- starvation, and its cure ---------------------------------------------------------------------------------------


def starts(jobs, order):
    """{request: when it started}, on a simulated engine with one seat and room for one prefix and some blocks."""
    knobs = dict(scheduler="continuous", max_num_seqs=1, num_blocks=40, block_size=4)
    with LLM.simulated("llama-7b", "A100-80G", order=order, **knobs) as llm:
        done = llm.serve_workload(Workload("jobs", tuple(jobs))).requests
    return {r.request_id: r.admitted_time for r in done}


def popular_and_rare(n):
    """One popular prefix, a request every 10 ms, faster than they are served; number 1 has another."""
    return [Job(0.01 * i, 60, 2, parts=(("rare" if i == 1 else "popular", 56),)) for i in range(n)]


def test_lpm_lets_a_rare_prefix_wait_as_long_as_popular_ones_come():
    for n in (10, 20, 40):
        at = starts(popular_and_rare(n), "lpm")
        assert at["1"] == max(at.values()), "it is the last, however many come"
    assert starts(popular_and_rare(40), "fcfs")["1"] < 0.1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 14), st.integers(0, 3)), min_size=3, max_size=14),
    st.sampled_from([100.0, 400.0, 2000.0]),
)
def test_ageing_bounds_by_whom_a_request_can_be_overtaken(drawn, weight):
    """Waiting counts ``weight`` tokens a second: who came longest prefix / weight seconds later, or more, never passes."""
    jobs, at = [], 0.0
    for name, blocks, gap in drawn:
        at += 0.02 * gap
        jobs.append(Job(at, 4 * blocks + 2, 2, parts=((f"p{name}", 4 * blocks),) if blocks else ()))

    def aged(request, now, ledger):
        return -(ledger.shared(request).num_tokens + weight * (now - request.arrival_time))

    started = starts(jobs, aged)
    bound = max(4 * blocks for _, blocks, _ in drawn) / weight
    arrival = {str(i): job.arrival_s for i, job in enumerate(jobs)}
    for one in started:
        for other in started:
            if arrival[other] > arrival[one] + bound + 1e-9:
                assert started[one] <= started[other], f"{other} passes {one}"
