"""Traces on disk, and plans carried out again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support.fakes import ask, fake_engine, finish
from support.sim_cases import RUNGS, on_model, on_simulator, requests, run

from minieng import LLM, SamplingParams
from minieng.observe.trace import Trace
from minieng.observe.trace_file import TraceError
from minieng.replay import replay


def saved(engine, tmp_path) -> Trace:
    engine.trace.save(tmp_path / "run.trace")
    return Trace.load(tmp_path / "run.trace")


@pytest.mark.parametrize("rung", RUNGS)
def test_a_file_holds_the_whole_trace(rung, tmp_path):
    engine = run(on_simulator(scheduler=rung, num_blocks=14), requests(7))
    loaded = saved(engine, tmp_path)
    assert list(loaded) == list(engine.trace)
    assert loaded.meta == engine.trace.meta
    assert loaded.outputs() == engine.trace.outputs()
    for name, request in engine.trace.requests.items():
        again = loaded.requests[name]
        for field in (
            "token_ids",
            "num_prompt_tokens",
            "params",
            "arrival_time",
            "token_times",
            "finish_time",
            "finish_reason",
            "user",
        ):
            assert getattr(again, field) == getattr(request, field)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("make", [on_model, on_simulator])
@pytest.mark.parametrize("knobs", [{}, {"preemption": "swap"}, {"enable_prefix_caching": False}], ids=str)
def test_replay_makes_the_same_plans_and_tokens(rung, make, knobs, tmp_path):
    trace = saved(run(make(scheduler=rung, num_blocks=14, **knobs), requests(8)), tmp_path)
    again = replay(trace, make(scheduler=rung, num_blocks=14, **knobs))
    assert again.plans() == trace.plans()
    assert again.outputs() == trace.outputs()


def test_replay_of_a_model_on_the_simulator_gives_the_models_tokens(tmp_path):
    trace = saved(run(on_model(scheduler="chunked"), requests(9)), tmp_path)
    again = replay(trace, on_simulator(scheduler="continuous"))  # whatever scheduler: it is not asked
    assert (again.plans(), again.outputs()) == (trace.plans(), trace.outputs())


def test_replay_on_a_real_model(shape, tmp_path):
    """Sampled texts, two of one prompt, a stop string; and twice on one engine, whose cache is then warm."""
    knobs = dict(scheduler="chunked", num_blocks=40, block_size=8, max_num_seqs=4, max_num_batched_tokens=24)
    params = [
        SamplingParams(max_tokens=12, temperature=0.9, seed=3, n=2),
        SamplingParams(max_tokens=20, stop="e"),
        SamplingParams(max_tokens=9),
    ]
    with shape("llama").llm(**knobs) as llm:
        llm.generate([[5, 9, 11, 40], [7] * 20, [9, 8, 7]], params)
        trace = saved(llm.engine, tmp_path)
        for _ in range(2):
            assert replay(trace, llm.engine).outputs() == trace.outputs()
        assert llm.engine.trace.plans() == trace.plans(), "the engine has its own trace back"


def test_replay_with_an_abort(tmp_path):
    engine = fake_engine(num_blocks=12)
    for name in "abc":
        ask(engine, name, 9, max_tokens=8)
    for _ in range(4):
        engine.step()
    engine.abort("b")
    finish(engine)
    trace = saved(engine, tmp_path)
    assert [r.aborted for r in trace if r.aborted] == [["b"]]
    again = replay(trace, fake_engine(num_blocks=12))
    assert (again.plans(), again.outputs()) == (trace.plans(), trace.outputs())


def test_replay_says_what_does_not_fit():
    trace = run(on_simulator(scheduler="chunked"), requests(10)).trace
    with pytest.raises(TraceError, match="recorded with 24 blocks, the engine has 8: raise num_blocks"):
        replay(trace, on_simulator(scheduler="chunked", num_blocks=8))
    busy = on_simulator()
    ask(busy, "x", 4)
    with pytest.raises(ValueError, match="still has requests"):
        replay(trace, busy)
    trace.dropped = 1
    with pytest.raises(TraceError, match="does not hold every step"):
        replay(trace, on_simulator(scheduler="chunked"))


def test_replay_notices_another_cache():
    """Recorded with a warm prefix cache: what was found then is not there now."""
    engine = on_simulator(scheduler="continuous")
    run(engine, requests(11))
    warm = [r for r in requests(11)]
    engine.trace.clear()
    for request in warm:
        request.arrival_time = 0.0
    run(engine, warm)
    assert engine.trace.total("cached")
    with pytest.raises(TraceError, match="the cache differs"):
        replay(engine.trace, on_simulator(scheduler="continuous"))


def spoil(tmp_path, change) -> None:
    """Load a trace file that ``change`` has made something of."""
    path = tmp_path / "run.trace"
    run(on_simulator(), requests(12, n=3)).trace.save(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)))
    Trace.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-2], r"run\.trace: truncated: its first line promises \d+ lines, \d+ follow"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], r"line \d+: not JSON .*broken off or damaged"),
        (lambda lines: ["hello"], r"line 1: not JSON .*not a trace file"),
        (lambda lines: [], "not a trace: its first line does not say schema"),
        (lambda lines: ['{"schema": "another"}'], "not a trace: its first line does not say schema"),
        (
            lambda lines: [json.dumps(json.loads(lines[0]) | {"version": 2}), *lines[1:]],
            "a trace of version 2, this program reads version 1",
        ),
        (lambda lines: ['{"schema":"minieng.trace","version":1}'], "the first line lacks detail, dropped, meta"),
        (lambda lines: [lines[0], "[1]", *lines[2:]], "line 2: not a request or step"),
        (lambda lines: [*lines[:-1], '{"step": 3}'], r"line \d+: not a request or step"),
        (lambda lines: [*lines[:-1], "[" * 100_000], r"line \d+: not JSON .*broken off or damaged"),
        (lambda lines: [*lines[:-1], '{"step": ' + "9" * 5000 + "}"], r"line \d+: not JSON .*broken off or damaged"),
        (lambda lines: edited(lines, 0, requests="3"), r"line 1: requests='3': not what it must be"),
        (lambda lines: edited(lines, 0, steps=-1), r"line 1: steps=-1: not what it must be"),
        (lambda lines: edited(lines, 0, meta=[]), "line 1: .*list"),
        (lambda lines: edited(lines, 0, meta={"config": {"max_num_batched_tokens": "x"}}), "line 1: max_num_batched_tokens='x'"),
        (lambda lines: edited(lines, 1, prompt_token_ids=[1, "a"]), r"line 2: .*prompt_token_ids=\[1, 'a'\]: not what it must"),
        (lambda lines: edited(lines, 1, prompt_token_ids=[2**63]), "line 2: .*prompt_token_ids=.*: not what it must be"),
        (lambda lines: edited(lines, 1, prompt_token_ids=[]), "line 2: .*a prompt has at least one token"),
        (lambda lines: edited(lines, 1, params={"warmth": 1}), "line 2: .*warmth"),
        (lambda lines: edited(lines, -1, start=float("nan")), "start=nan: not what it must be"),
        (lambda lines: edited(lines, -1, duration=True), "duration=True: not what it must be"),
        (lambda lines: edited(lines, -1, warmth=1), "'warmth' is unknown here"),
        (lambda lines: edited(lines, -1, kinds=[]), "slices, kinds and tokens differ in number"),
        (lambda lines: edited(lines, -1, slices=[["0", 1, 1]], kinds=["idle"], tokens=[1]), "kinds: 'idle' is none of prompt"),
        (lambda lines: edited(lines, -1, taken=[["0", [24]]]), "a block is none of the 24 there are"),
    ],
)
def test_a_bad_file_is_named(tmp_path, change, message):
    with pytest.raises(TraceError, match=message):
        spoil(tmp_path, change)


def edited(lines: list[str], number: int, **values) -> list[str]:
    """The lines, of which one says something else."""
    lines = list(lines)
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    return lines


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths to all that stands in a value of JSON."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def spoilt(lines: list[str], dice: random.Random) -> tuple[list[str], str]:
    """The lines with one value that is deleted, or another; and what was done."""
    lines, number = list(lines), dice.randrange(len(lines))
    entry = json.loads(lines[number])
    path = dice.choice(list(places(entry)))
    at = entry
    for key in path[:-1]:
        at = at[key]
    value = dice.choice([None, "x", "r0", -1, 0, 1, 10**18, 2**70, float("inf"), 1e300, 3.5, True, [], {}, [[]]])
    if dice.random() < 0.2:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    lines[number] = json.dumps(entry)
    return lines, f"{number}: {path} = {value!r}, or deleted"


@pytest.mark.parametrize("rung", [*RUNGS, "samples"])
def test_whatever_is_changed_in_a_file_a_trace_error_tells_of_it_or_nothing_fails(rung, tmp_path):
    """Wrong types, names that nobody knows and numbers that cannot be: no KeyError, TypeError or OverflowError, whoever reads."""
    dice = random.Random(f"spoilt {rung}")
    if rung == "samples":
        with LLM.simulated(num_blocks=60, block_size=8, scheduler="chunked", checked=True) as llm:
            llm.generate([[1] * 13, [2] * 5, [3] * 21], SamplingParams(max_tokens=6, n=3, ignore_eos=True))
            engine = llm.engine
    else:
        engine = run(on_simulator(scheduler=rung, num_blocks=14), requests(8, n=6))
    engine.trace.save(tmp_path / "whole")
    lines, told = (tmp_path / "whole").read_text().splitlines(), 0
    for _ in range(60):
        changed, what = spoilt(lines, dice)
        (tmp_path / "spoilt").write_text("\n".join(changed))
        try:
            trace = Trace.load(tmp_path / "spoilt")
            with suppress(TraceError):
                replay(trace, engine)
            trace.to_html(tmp_path / "page.html")
            trace.to_perfetto(tmp_path / "perfetto.json")
        except TraceError:
            told += 1
        except Exception as problem:
            raise AssertionError(what) from problem
    assert 20 < told < 60


def test_a_binary_file_is_no_trace(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)))
    with pytest.raises(TraceError, match="not a text file"):
        Trace.load(tmp_path / "x")


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("knobs", [{}, {"preemption": "swap"}, {"admission": "reserve_pow2", "num_blocks": 24}], ids=str)
def test_tables_and_counts_of_blocks_are_the_pools(rung, knobs):
    """What the records say of blocks, against the pool itself, after every step."""
    engine = on_simulator(scheduler=rung, **{"num_blocks": 14, **knobs})
    for request in requests(13):
        engine.add_request(request)

    class Spy:
        def execute(self, plan, inner=engine.executor.execute):
            self.held = {r.request_id: list(r.block_table) for r in engine.scheduler.running if r.block_table}
            return inner(plan)

    engine.executor = spy = Spy()
    free = engine.kv.pool.num_free
    while engine.has_work:
        record = engine.step()
        assert engine.trace.tables(-1) == spy.held
        owned = {b for table in spy.held.values() for b in table}
        assert record.freed >= 0
        assert record.shared * engine.kv.block_size == record.cached + record.cached_again
        assert len(owned) <= engine.kv.pool.num_blocks
        assert record.blocks_free == free - new_blocks(record, engine) + record.freed
        free = record.blocks_free


def new_blocks(record, engine) -> int:
    """Blocks that nobody held before the step and somebody does in it: what the free count must have lost."""
    before = engine.trace.tables(len(engine.trace) - 2) if len(engine.trace) > 1 else {}
    gone = engine.trace[-2].finished if len(engine.trace) > 1 else []
    old = {b for name, table in before.items() if name not in (*gone, *record.preempted) for b in table}
    given_back = {b for name, table in before.items() if name in record.preempted and name not in gone for b in table}
    taken = {b for _, blocks in record.taken for b in blocks} | {new for _, _, new in record.copied}
    return len(taken - old - given_back) + len(taken & given_back - old)


def test_a_file_holds_prompt_ids_and_an_older_file_without_them_is_read(tmp_path):
    """Older files hold no ``prompt_id``, and fields of a request that are no more."""
    with LLM.simulated(num_blocks=40, block_size=8) as llm:
        llm.generate([[1, 2, 3], [4, 5]], SamplingParams(max_tokens=4, n=2, ignore_eos=True), request_ids=["a#1", "b"])
        trace = saved(llm.engine, tmp_path)
        named = [(r.prompt_id, r.sample_index) for r in trace.requests.values()]
        assert named == [("a#1", 0), ("a#1", 1), ("b", 0), ("b", 1)]
        head, *lines = (tmp_path / "run.trace").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        for entry in entries[:4]:
            del entry["prompt_id"]
            entry |= {"stop_at": 3, "text": "x"}
        (tmp_path / "old.trace").write_text("\n".join([head, *map(json.dumps, entries)]) + "\n")
        old = Trace.load(tmp_path / "old.trace")
        assert [r.prompt_id for r in old.requests.values()] == list(old.requests)
        assert [r.sample_index for r in old.requests.values()] == [0, 1, 0, 1] and list(old) == list(trace)
        assert replay(old, llm.engine).outputs() == replay(trace, llm.engine).outputs() == trace.outputs()
