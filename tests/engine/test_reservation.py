"""What ``reserve`` says it did is what was done, and what the trace writes down."""

from __future__ import annotations

import pytest

from minieng import LLM, SamplingParams


def traced(prompts, params, **knobs):
    with LLM.simulated(block_size=4, checked=True, **knobs) as llm:
        llm.generate(prompts, params)
        return llm.trace


def test_siblings_share_copy_and_free_nothing_when_they_start():
    trace = traced([[1, 2, 3, 4, 5] * 2], SamplingParams(max_tokens=6, n=3, ignore_eos=True), num_blocks=40)
    start = trace[1]
    assert start.taken == [("0#1", [0, 1, 3]), ("0#2", [0, 1, 4])]
    assert start.copied == [("0#1", 2, 3), ("0#2", 2, 4)] and start.shared == 4 and start.cached == 18
    assert [record.freed for record in trace] == [0, 0, 0, 0, 0, 0, 8]


def test_a_prompt_that_ends_a_token_behind_a_block_shares_all_but_its_copy():
    trace = traced([[1, 2, 3, 4, 5]], SamplingParams(max_tokens=2, n=2, ignore_eos=True), num_blocks=40)
    assert (trace[1].taken, trace[1].copied, trace[1].shared) == ([("0#1", [0, 2])], [("0#1", 1, 2)], 1)


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("scheduler", ["continuous", "chunked", "static"])
def test_what_is_taken_and_freed_adds_up(scheduler, preemption):
    """Free blocks of a step = those of the step before - blocks without an owner that were taken + blocks given back."""
    params = [SamplingParams(max_tokens=n, n=1 + n % 3, ignore_eos=True) for n in (30, 7, 16, 23, 9, 12)]
    trace = traced(
        [[i] * 9 + [5, 5, 5] for i in range(6)], params, num_blocks=24, max_num_seqs=6, batch_size=2,
        scheduler=scheduler, preemption=preemption, swap_space_gb=0.05, admission="full_prompt",
    )  # fmt: skip
    assert scheduler == "static" or any(record.preempted for record in trace)
    free, held = 24, {}
    for i, record in enumerate(trace):
        tables = trace.tables(i)
        for name in (*record.preempted, *record.aborted):
            held.pop(name, None)
        owned = {block for table in held.values() for block in table}
        fresh = {block for table in tables.values() for block in table} - owned
        assert record.freed >= 0 and record.blocks_free == free - len(fresh) + record.freed
        free = record.blocks_free
        held = {name: table for name, table in tables.items() if name not in record.finished}


def decided(plan):
    return plan.extend, plan.preempt, plan.refuse, plan.rows, plan.span


def test_a_plan_is_rebuilt_from_its_record():
    params = SamplingParams(max_tokens=12, ignore_eos=True)
    with LLM.simulated(block_size=4, num_blocks=12, max_num_seqs=4, scheduler="chunked", admission="full_prompt") as llm:
        plans, execute = [], llm.runner.execute
        llm.runner.execute = lambda plan: plans.append(decided(plan)) or execute(plan)
        llm.generate([[i] * 9 for i in range(5)], params)
        known = llm.trace.requests
        assert any(record.preempted for record in llm.trace) and any(record.refused for record in llm.trace)
        for record, wanted in zip(llm.trace, plans, strict=True):
            assert decided(record.plan(known)) == wanted
    refusing = next(record for record in llm.trace if record.refused)
    few = {name: known[name] for name, _, _ in refusing.slices} | {name: known[name] for name in refusing.preempted}
    assert refusing.plan(few).refuse == [], "who was refused need not be there"
    with pytest.raises(KeyError):
        refusing.plan({})
