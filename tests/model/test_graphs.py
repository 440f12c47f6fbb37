"""Decode graphs without a GPU: buckets, fixed buffers, spare blocks and steps sent ahead, behind a stand-in for capture.

The stand-in (support/graph_fakes.py) repeats recorded operations on fixed addresses, as a CUDA graph does.
"""

from __future__ import annotations

import os
import random
import zlib

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from support.cases import RUNGS, Case, run_case, shared_prompts
from support.fakes import Scripted
from support.graph_fakes import Again, GraphKit, Tape, give_graphs
from support.strategies import cases

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported

from minieng import SamplingParams  # noqa: E402
from minieng.model.graphs import num_spare_blocks, row_buckets, width_buckets  # noqa: E402

SWEEP = settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def random_prompts(tiny, lengths, number=0):
    dice = random.Random(number)
    return [[dice.randrange(1, tiny.oracle.model.config.vocab_size) for _ in range(n)] for n in lengths]


@pytest.mark.parametrize("most, buckets", [(1, [1]), (3, [3, 2, 1]), (8, [8, 4, 2, 1]), (40, [40, 32, 16, 8, 4, 2, 1])])
def test_row_buckets_are_largest_first_and_hold_every_batch(most, buckets):
    assert row_buckets(most) == buckets


def test_a_bucket_is_never_much_too_large():
    buckets = sorted(row_buckets(256))
    for rows in range(1, 257):
        fit = next(b for b in buckets if b >= rows)
        assert fit < 2 * rows or fit == rows
        assert fit - rows < 16


def test_width_buckets_exist_only_where_all_keys_are_gathered():
    assert width_buckets(512, 16, gathers=False) == [512]
    assert width_buckets(512, 16, gathers=True) == [512, 128, 32]
    assert width_buckets(3, 16, gathers=True) == [3]


def test_spare_blocks_are_few_where_blocks_are_large():
    assert [num_spare_blocks(256, size) for size in (16, 64, 256)] == [256, 64, 16] and num_spare_blocks(2, 16) == 2


@pytest.mark.parametrize("block_size, preemption", [(1, "forced recompute"), (2, "forced swap"), (4, "recompute"), (16, "swap")])
@pytest.mark.parametrize("rung", RUNGS)
def test_any_workload_gives_the_oracles_tokens(tiny, rung, block_size, preemption):
    kit, prompts = GraphKit(tiny), shared_prompts(tiny.oracle.model.config.vocab_size)

    @seed(zlib.crc32(f"graphs {rung} {block_size} {preemption}".encode()))
    @SWEEP
    @given(case=cases(len(prompts)))
    def check(case: Case) -> None:
        run_case(kit, prompts, case, rung, block_size, True, preemption)

    check()
    assert sum(decodes.cuda.replayed for decodes in kit.made), "no step went through a graph"


def run(llm, prompts, params):
    """Texts, and what was decided and computed in each step."""
    outs = llm.generate(prompts, params, request_ids=[f"r{i}" for i in range(len(prompts))])
    return [out.outputs[0].token_ids for out in outs], llm.trace.plans(), [record.tokens for record in llm.trace]


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_sent_ahead_change_neither_plans_nor_tokens_nor_trace(tiny, rung):
    """Stops by token, by length and by string, samples of one prompt, fewer seats than requests."""
    prompts = random_prompts(tiny, (3, 17, 8, 30, 5, 12))
    stop = tiny.oracle.tokens(prompts[1], 24)[9]
    params = [
        SamplingParams(max_tokens=24, ignore_eos=True),
        SamplingParams(max_tokens=24, stop_token_ids=(stop,)),
        SamplingParams(max_tokens=20, temperature=0.9, top_p=0.9, seed=3, ignore_eos=True),
        SamplingParams(max_tokens=9, min_tokens=9, temperature=1.2, top_k=40, seed=4),
        SamplingParams(max_tokens=16, ignore_eos=True, stop="the"),
        SamplingParams(max_tokens=1),
    ]
    knobs = {**RUNGS[rung], "num_blocks": 90, "block_size": 4, "max_num_seqs": 4, "batch_size": 4, "attention": "padded"}
    with tiny.llm(**knobs) as llm:
        plain = run(llm, prompts, params)
    with give_graphs(tiny.llm(**knobs)) as llm:
        fast, decodes = run(llm, prompts, params), llm.runner.decodes
        assert decodes.cuda.replayed > 10
        if rung not in ("static", "dynamic"):
            assert decodes.num_served > 5 and decodes.num_ahead - decodes.num_served < decodes.num_ahead // 2
    assert fast == plain


def test_a_step_sent_ahead_is_used_where_its_requests_go_on_or_leave(tiny):
    """One request stops by a token that nobody could foresee: the others' tokens are under way all the same."""
    prompts = random_prompts(tiny, (6, 9, 4), 1)
    stop = tiny.oracle.tokens(prompts[0], 24)[12]
    first = tiny.oracle.tokens(prompts[0], 24).index(stop) + 1
    params = [SamplingParams(max_tokens=24, stop_token_ids=ids, ignore_eos=True) for ids in ((stop,), (), ())]
    with give_graphs(tiny.llm(num_blocks=64, block_size=4)) as llm:
        outs = llm.generate(prompts, params)
        decodes = llm.runner.decodes
        assert len(outs[0].outputs[0].token_ids) == first < 24
        assert decodes.num_ahead == decodes.num_served == 21  # 23 decodes; the first two are not sent ahead
    for prompt, out in zip(prompts, outs, strict=True):
        got = out.outputs[0].token_ids
        tiny.oracle.compare(prompt, got, len(got))


def test_by_hand_and_with_an_abort_between_two_steps(tiny):
    prompts = random_prompts(tiny, (6, 9, 4), 2)
    with give_graphs(tiny.llm(num_blocks=64, block_size=4)) as llm:
        groups = llm._submit(prompts, SamplingParams(max_tokens=20, ignore_eos=True), 0, None, "", None, None)
        for _ in range(6):
            record = llm.engine.step()
            assert all(token is not None for token in record.tokens), "a step's tokens are there when it returns"
        assert llm.runner.decodes.sent_ahead is not None
        llm.abort(groups[1][0].request_id)
        newcomer = llm._submit([prompts[1]], SamplingParams(max_tokens=20, ignore_eos=True), 0, None, "", None, None)
        llm.engine.run()
        for prompt, (request,) in zip(prompts, [groups[0], newcomer[0], groups[2]], strict=True):
            tiny.oracle.compare(prompt, request.output_token_ids, 20)


def test_a_scheduler_that_leaves_requests_out_now_and_then(tiny):
    """A plan that is part of what was sent ahead, and then the ones left out come back."""
    prompts = random_prompts(tiny, (6, 9, 4), 3)
    steps = (
        [{"0": 6, "1": 9, "2": 4}] + [{"0": 1, "1": 1, "2": 1}] * 4 + [{"1": 1}, {"0": 1, "2": 1}, {"2": 1, "0": 1, "1": 1}] * 3
    )
    with give_graphs(tiny.llm(scheduler=Scripted(*steps), num_blocks=64, block_size=2)) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=20, ignore_eos=True), request_ids=["0", "1", "2"])
        assert 0 < llm.runner.decodes.num_served < llm.runner.decodes.num_ahead
    for prompt, out in zip(prompts, outs, strict=True):
        tiny.oracle.compare(prompt, out.outputs[0].token_ids, 20)


def test_tables_that_grew_in_steps_without_a_graph_are_sent_anew(tiny):
    """Two requests decode, go on beside the chunks of a third one's prompt over several blocks, and decode again."""
    prompts = random_prompts(tiny, (6, 9, 12), 8)
    alone, beside = {"0": 1, "1": 1}, {"0": 1, "1": 1, "2": 2}
    steps = [{"0": 6, "1": 9}] + [alone] * 3 + [beside] * 5 + [alone] * 3
    with give_graphs(tiny.llm(scheduler=Scripted(*steps), num_blocks=64, block_size=2)) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=20, ignore_eos=True), request_ids=["0", "1", "2"])
    for prompt, out in zip(prompts, outs, strict=True):
        tiny.oracle.compare(prompt, out.outputs[0].token_ids, 20)


def test_ctrl_c_in_a_graphs_step_leaves_an_engine_that_goes_on(tiny, monkeypatch):
    prompts = random_prompts(tiny, (6, 9), 4)
    with give_graphs(tiny.llm(num_blocks=64, block_size=4)) as llm:
        groups = llm._submit(prompts, SamplingParams(max_tokens=20, ignore_eos=True), 0, None, "", None, None)
        seconds, calls = llm.runner.decodes.cuda.seconds, []

        def interrupted(begin, end):
            calls.append(begin)
            if len(calls) in (5, 6, 11):
                raise KeyboardInterrupt
            return seconds(begin, end)

        monkeypatch.setattr(llm.runner.decodes.cuda, "seconds", interrupted)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                llm.engine.run()
        llm.engine.run()
        for prompt, (request,) in zip(prompts, groups, strict=True):
            tiny.oracle.compare(prompt, request.output_token_ids, 20)


def test_buffers_stay_where_they_are(tiny):
    with give_graphs(tiny.llm(num_blocks=64, block_size=4)) as llm:
        decodes = llm.runner.decodes
        buffers = (decodes.numbers, decodes.tables, decodes.last, decodes.hidden, decodes.starts, llm.runner.tensors.cache)
        before = [buffer.data_ptr() for buffer in buffers]
        for number in range(3):
            llm.generate(random_prompts(tiny, (5, 9, 2, 11), number), SamplingParams(max_tokens=12, ignore_eos=True))
        after = (decodes.numbers, decodes.tables, decodes.last, decodes.hidden, decodes.starts, llm.runner.tensors.cache)
        assert before == [buffer.data_ptr() for buffer in after]


def test_what_graphs_do_not_hold_is_computed_without(tiny):
    prompts = random_prompts(tiny, (5, 9), 5)
    with give_graphs(tiny.llm(num_blocks=64, block_size=4), longest=16) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=20, ignore_eos=True))  # longer than any graph's rows
        assert llm.runner.decodes.cuda.replayed
        for prompt, out in zip(prompts, outs, strict=True):
            tiny.oracle.compare(prompt, out.outputs[0].token_ids, 20)
        before = llm.runner.decodes.cuda.replayed
        out = llm.generate([prompts[0]], SamplingParams(max_tokens=5, logprobs=3, ignore_eos=True))[0].outputs[0]
        assert len(out.logprobs) == 5 and llm.runner.decodes.cuda.replayed == before


def test_a_choice_that_depends_on_the_text_so_far_is_not_sent_ahead(tiny):
    """Its tokens are not on the host yet; what depends on the number of tokens alone is sent ahead all the same."""
    prompts = random_prompts(tiny, (5, 9), 8)
    kinds = {
        False: [{"repetition_penalty": 1.5}, {"bad_words": ["the"], "temperature": 1.0, "seed": 2}],
        True: [{"min_tokens": 9, "min_p": 0.1, "temperature": 1.0, "seed": 3}, {"logit_bias": {7: 4.0}}],
    }
    for ahead, asked in kinds.items():
        params = [SamplingParams(max_tokens=16, ignore_eos=True, **one) for one in asked]
        knobs = {"num_blocks": 40, "block_size": 4, "attention": "padded"}
        with tiny.llm(**knobs) as plain, give_graphs(tiny.llm(**knobs)) as llm:
            assert run(llm, prompts, params) == run(plain, prompts, params)
            assert llm.runner.decodes.cuda.replayed and bool(llm.runner.decodes.num_ahead) == ahead


@pytest.mark.parametrize("name", ["qwen3", "qwen2_sliding", "llama_untied_bias"])
def test_other_shapes_of_the_family(shape, name):
    kit = shape(name)
    prompts = random_prompts(kit, (3, 10, 18), 6)
    with give_graphs(kit.llm(num_blocks=40, block_size=4, scheduler="chunked")) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=12, ignore_eos=True))
        assert llm.runner.decodes.num_served
    for prompt, out in zip(prompts, outs, strict=True):
        kit.oracle.compare(prompt, out.outputs[0].token_ids, 12)


def test_tritons_kernels_in_the_runner(shape, monkeypatch):
    """All of the GPU's path but the GPU: Triton's store, attention (cut and joined), norms, rotation and SiLU."""
    pytest.importorskip("triton", reason="triton is not installed (Linux on x86-64 only)")
    from minieng.kernels import triton_attention, triton_ops

    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("the interpreter is switched off")
    monkeypatch.setattr(triton_attention, "SPLIT", 32)
    kit = shape("qwen3")
    prompts = random_prompts(kit, (35, 2), 7)
    knobs = {"num_blocks": 24, "block_size": 4, "max_num_seqs": 2, "max_model_len": 60}
    with give_graphs(kit.llm(**knobs), "triton", cuda=Again()) as llm:
        llm.runner.attention.ops = triton_ops
        outs = llm.generate(prompts, SamplingParams(max_tokens=6, ignore_eos=True))
        assert llm.runner.decodes.num_served
    for prompt, out in zip(prompts, outs, strict=True):
        kit.oracle.compare(prompt, out.outputs[0].token_ids, 6)


def test_the_stand_in_keeps_addresses_only():
    """What makes the tests above worth something: a number that Python computes anew is not seen on replay."""
    buffer, out, number = torch.tensor([1.0, 2.0]), torch.zeros(2), [10.0]

    def work():
        out.copy_(buffer[1:].expand(2) * number[0] + buffer)

    replay = Tape().capture(work)
    buffer[1], number[0] = 5.0, 0.0
    replay()
    assert out.tolist() == [51.0, 55.0]
    with pytest.raises(AssertionError, match="waits for the device"):
        Tape().capture(lambda: out.mul_(float(buffer[0] + 1)))
