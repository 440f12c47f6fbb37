"""Workloads whose prompts begin alike: parts, chats, timed traces. What they say is shared is what the cache finds."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minieng import LLM
from minieng.bench import serve
from minieng.sim.executor import scripted_requests
from minieng.timed_trace import read_timed_trace
from minieng.workload import Job, Workload, fixed, uniform

CHAT = Workload.chats(3, 3, system=40, new=uniform(5, 20), output=uniform(4, 9), think=5.0, rate=1.0)


def common(one, other):
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_prompts_are_alike_as_far_as_their_parts_are():
    jobs = Workload("w", (Job(0, 9, 1, parts=(("a", 4), ("b", 2))), Job(0, 9, 1, parts=(("a", 4), ("c", 2))), Job(0, 9, 1)))
    one, two, three = jobs.prompts(500)
    assert [len(prompt) for prompt in (one, two, three)] == [9, 9, 9]
    assert common(one, two) == 4 and common(one, three) == 0
    assert jobs.prompts(500) == [one, two, three] != jobs.prompts(500, seed=1)


def test_parts_change_nothing_for_jobs_without_them():
    plain = Workload.synthetic(5, uniform(3, 9), fixed(2), rate=1.0)
    mixed = Workload("m", (*plain, Job(99.0, 8, 1, parts=(("a", 3),))))
    assert mixed.prompts(100)[:5] == plain.prompts(100)


def test_a_shared_prefix_has_its_groups_in_a_mixed_up_order():
    workload = Workload.shared_prefix(3, 4, shared=20, own=uniform(1, 5), output=2, rate=2.0)
    names = [job.parts[0][0] for job in workload]
    assert sorted(names) == sorted(["system0", "system1", "system2"] * 4) != names
    assert all(20 < job.prompt_tokens <= 25 and job.output_tokens == 2 for job in workload)
    assert workload == Workload.shared_prefix(3, 4, shared=20, own=uniform(1, 5), output=2, rate=2.0)
    assert workload != Workload.shared_prefix(3, 4, shared=20, own=uniform(1, 5), output=2, rate=2.0, seed=1)


def test_a_turn_of_a_chat_repeats_all_that_was_said_and_answered():
    for chat in range(3):
        turns = [job for job in CHAT if job.answer.startswith(f"chat{chat}.")]
        for before, after in zip(turns, turns[1:], strict=False):
            assert after.parts[: len(before.parts) + 1] == (*before.parts, (before.answer, before.output_tokens))
            assert 3.5 <= after.arrival_s - before.arrival_s <= 6.5
        assert [sum(n for _, n in job.parts) for job in turns] == [job.prompt_tokens for job in turns]


@pytest.mark.parametrize("how", ["scripted", "drawn"])
def test_the_cache_finds_the_turn_before_and_its_answer(how):
    """All but the end of a block that is not full, and the answer's last token, which has no KV."""
    knobs = dict(block_size=1, num_blocks=2000, max_num_seqs=1, scheduler="continuous")
    with LLM.simulated("llama-7b", "A100-80G", **knobs) as llm:
        if how == "scripted":
            done = serve(llm.engine, scripted_requests(CHAT, llm.max_model_len), llm.max_model_len).requests
        else:
            done = llm.serve_workload(CHAT).requests
    found = {job.answer: r.num_cached_tokens for job, r in zip(CHAT, done, strict=True)}
    jobs = {job.answer: job for job in CHAT}
    for name, job in jobs.items():
        chat, turn = name.removesuffix("a").removeprefix("chat").split(".")
        before = jobs.get(f"chat{chat}.{int(turn) - 1}a")
        first = all(other.arrival_s >= job.arrival_s for other in CHAT)
        want = before.prompt_tokens + before.output_tokens - 1 if before else 0 if first else 40
        assert found[name] == want, name


@pytest.mark.parametrize("wrong", [dict(groups=0), dict(each=0), dict(shared=0)])
def test_a_shared_prefix_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Workload.shared_prefix(**dict(groups=1, each=1, shared=1, own=1, output=1) | wrong)


@pytest.mark.parametrize(
    "job, what",
    [
        (Job(0, 5, 1, parts=(("a", 4), ("b", 2))), "more than the 5 tokens"),
        (Job(0, 5, 1, parts=(("a", 0),)), "part 'a' has 0 tokens"),
        (Job(0, 5, 1, parts=(("a b", 1),)), "one word without a colon, not 'a b'"),
        (Job(0, 5, 1, parts=(("a:b", 1),)), "one word without a colon, not 'a:b'"),
        (Job(0, 5, 1, answer="a b"), "one word without a colon"),
    ],
)
def test_parts_that_cannot_be_are_refused(job, what):
    with pytest.raises(ValueError, match=f"job 0 of 'w': .*{what}"):
        Workload("w", (job,))


def test_shortened_keeps_what_is_shared():
    short = CHAT.shortened(0.3)
    for job in short:
        assert sum(n for _, n in job.parts) <= job.prompt_tokens
    tokens = dict(zip([job.answer for job in short], short.prompts(500), strict=True))
    assert common(tokens["chat0.0a"], tokens["chat0.1a"]) == len(tokens["chat0.0a"])


def test_a_csv_holds_parts_and_answers(tmp_path):
    CHAT.to_csv(tmp_path / "w.csv")
    assert Workload.from_csv(tmp_path / "w.csv").jobs == CHAT.jobs
    assert "parts,answer" in (tmp_path / "w.csv").read_text()
    plain = Workload("p", (Job(0, 3, 1),))
    plain.to_csv(tmp_path / "p.csv")
    assert "parts" not in (tmp_path / "p.csv").read_text()


@pytest.mark.parametrize("cell", ["a:x", "a", "a:1.5"])
def test_a_bad_part_in_a_csv_names_its_line(tmp_path, cell):
    (tmp_path / "w.csv").write_text(f"arrival_s,prompt_tokens,output_tokens,parts\n0,5,1,{cell}\n")
    with pytest.raises(ValueError, match="line 2: parts=.* is not a row of name:tokens"):
        Workload.from_csv(tmp_path / "w.csv")


# -- timed traces -------------------------------------------------------------------------------------------------


def line(**changes):
    row = {"timestamp": 500, "input_length": 1100, "output_length": 7, "hash_ids": [3, 4, 9]} | changes
    return json.dumps({key: value for key, value in row.items() if value is not None})


def test_a_timed_trace_is_read(tmp_path):
    path = tmp_path / "mooncake.jsonl"
    path.write_text(line() + "\n\n" + line(timestamp=0, input_length=512, hash_ids=[3]) + "\n")
    first, second = Workload.from_timed_trace(path)
    assert first == Job(0.0, 512, 7, parts=(("3", 512),))
    assert second == Job(0.5, 1100, 7, parts=(("3", 512), ("4", 512), ("9", 76)))
    assert Workload.named(str(path)).jobs == (first, second) and Workload.named(str(path), 1).jobs == (first,)
    assert [len(prompt) for prompt in Workload.named(str(path)).prompts(300)] == [512, 1100]
    in_seconds = Workload.from_timed_trace(path, seconds=1.0)
    assert [job.arrival_s for job in in_seconds] == [0.0, 500.0]


@pytest.mark.parametrize(
    "text, what",
    [
        ("no json", "line 1 is no JSON"),
        ("[1]", "line 1 must be an object with timestamp, input_length, output_length, hash_ids"),
        (line(hash_ids=None), "line 1 must be an object with"),
        (line(hash_ids=[3, 4]), "line 1 has 2 hash_ids, and 1100 tokens in chunks of 512 are 3: is the chunk right"),
        (line(hash_ids=["3", 4, 5]), "line 1: hash_ids must be a list of whole numbers"),
        (line(input_length=1.5), "line 1: input_length=1.5 is not a whole number"),
        (line(output_length="7"), "line 1: output_length='7' is not a whole number"),
        (line(timestamp="now"), "line 1: timestamp='now' is not a number"),
        (line(timestamp=10**400), "line 1: timestamp=1000.* is not a number"),
        ("[" * 100_000, "line 1 is no JSON"),
        ('{"timestamp": ' + "9" * 5000 + "}", "line 1 is no JSON"),
        (line(output_length=0), "line 1: output_tokens=0 must be at least 1"),
        (line(timestamp=-1), "line 1: arrival_s=-0.001 must be a time"),
        ("", "no rows"),
        ("\n".join([line()] + ["x"] * 7), "line 2 is no JSON.*line 6 is no JSON.*and 2 more"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, text, what):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=what):
        read_timed_trace(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ValueError, match="cannot read the trace .*No such file"):
        read_timed_trace(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        read_timed_trace(tmp_path / "b.jsonl")
    with pytest.raises(ValueError, match="chunk=0"):
        read_timed_trace(tmp_path / "b.jsonl", chunk=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 5))
def test_what_is_written_is_shared_as_before(chunk, seed):
    """Two prompts of the written trace begin alike for as many whole chunks as they did."""
    import tempfile
    from pathlib import Path

    workload = Workload.chats(2, 3, system=25, new=uniform(1, 20), output=uniform(1, 9), think=3.0, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        workload.to_timed_trace(path, chunk=chunk)
        again = Workload.from_timed_trace(path, chunk=chunk)
    assert [(j.prompt_tokens, j.output_tokens) for j in again] == [(j.prompt_tokens, j.output_tokens) for j in workload]
    assert [j.arrival_s for j in again] == pytest.approx([j.arrival_s for j in workload])
    before, after = workload.prompts(5000), [[name for name, _ in job.parts] for job in again]
    for i in range(len(before)):
        for k in range(i):
            both = min(len(before[i]), len(before[k])) // chunk
            assert min(common(after[i], after[k]), both) == min(common(before[i], before[k]) // chunk, both)
