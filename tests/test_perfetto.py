"""A trace in the Trace Event Format: valid field by field, complete, small. And as a table."""

from __future__ import annotations

import copy
import json
import sys
import types

import pytest
from support.scripted import run
from support.trace_events import faults

from minieng import LLM, Workload
from minieng.cli import main
from minieng.draw.seats import cells
from minieng.observe import Trace
from minieng.sim import simulated_engine
from minieng.sim.executor import scripted_request

TIGHT = {"A": (8, 12, 0.0), "B": (8, 12, 0.0), "C": (5, 9, 1.0)}


def document(trace: Trace, tmp_path) -> dict:
    return json.loads(trace.to_perfetto(tmp_path / "trace.json").read_text(encoding="utf-8"))


def pipeline() -> Trace:
    engine = simulated_engine("llama-2-70b", "A100-80G", stages=4, depth=4, scheduler="chunked", num_blocks=1000)
    for i in range(12):
        engine.add_request(scripted_request(i, 100 + 31 * i, 9, arrival=0.01 * i))
    return engine.run()


def swapping() -> Trace:
    engine = simulated_engine("llama-7b", "A100-80G", num_blocks=8, preemption="swap", admission="watermark")
    for i in range(3):
        engine.add_request(scripted_request(i, 30, 30))
    return engine.run()


TRACES = {
    **{name: lambda name=name: run(scheduler=name).trace for name in ("static", "dynamic", "continuous", "chunked")},
    "preempting": lambda: run(TIGHT, num_blocks=8, scheduler="continuous").trace,
    "swapping": swapping,
    "pipeline": pipeline,
    "empty": Trace,
}


@pytest.mark.parametrize("name", TRACES)
def test_every_field_of_every_event_is_as_the_format_says(name, tmp_path):
    assert faults(document(TRACES[name](), tmp_path)) == []


@pytest.mark.parametrize("name", TRACES)
def test_all_that_the_trace_holds_is_in_it(name, tmp_path):
    trace = TRACES[name]()
    events = document(trace, tmp_path)["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in slices if (e["pid"], e["tid"]) == (1, 0)] == [f"step {r.step}" for r in trace]
    on_seats = [e for e in slices if e["pid"] == 2]
    assert sum(e["args"]["tokens"] for e in on_seats) == trace.total("num_tokens")
    steps_of = [e["args"]["last step"] - e["args"]["first step"] + 1 for e in on_seats]
    assert sum(steps_of) == len(cells(list(trace)))
    assert sum(e["pid"] == 3 for e in slices) == sum(len(r.stages) for r in trace)
    assert {e["name"] for e in events if e.get("cat") == "arrival"} == {f"{name} arrives" for name in trace.requests}
    assert sum(e.get("cat") == "refusal" for e in events) == sum(len(r.refused) for r in trace)


@pytest.mark.parametrize("name", ["preempting", "swapping"])
def test_an_arrow_leads_from_each_preemption_to_the_return(name, tmp_path):
    trace = TRACES[name]()
    events = document(trace, tmp_path)["traceEvents"]
    gone = sum(len(record.preempted) for record in trace)
    assert gone and [sum(e["ph"] == ph for e in events) for ph in "sf"] == [gone, gone]
    ends = {e["id"]: e["ts"] for e in events if e["ph"] == "s"}
    starts = {round(record.start * 1e6, 3) for record in trace}
    assert all(e["ts"] in starts and e["ts"] > ends[e["id"]] for e in events if e["ph"] == "f")


def test_counters_say_what_the_records_say(tmp_path):
    trace = run(TIGHT, num_blocks=8, scheduler="chunked", max_num_batched_tokens=8).trace
    held: dict[str, dict] = {}
    counters = [e for e in document(trace, tmp_path)["traceEvents"] if e["ph"] == "C"]
    for record in trace:
        held |= {e["name"]: e["args"] for e in counters if e["ts"] == round(record.start * 1e6, 3)}
        assert held["requests"] == {"waiting": record.num_waiting, "running": record.num_running}
        free = record.blocks_free
        assert held["KV blocks"] == {"held": record.blocks_total - free, "free": free}
        assert held["KV tokens"] == {"used": record.kv_used}
        assert held["tokens of the step"] == {"computed": record.num_tokens, "padding": record.padding}
        assert held["budget"] == {"left": 8 - record.num_tokens, "whole": 8}
    others = document(run(scheduler="static").trace, tmp_path)["traceEvents"]
    assert "budget" not in {e["name"] for e in others}, "the other schedulers have none"


def test_slices_keep_the_times_of_the_steps(tmp_path):
    trace = run(scheduler="continuous").trace  # each step lasts a second
    slices = [e for e in document(trace, tmp_path)["traceEvents"] if e["ph"] == "X"]
    steps = [(e["ts"], e["dur"]) for e in slices if e["pid"] == 1]
    assert steps == [(record.start * 1e6, 1e6) for record in trace]
    for each in slices:
        first, last = each["args"].get("first step"), each["args"].get("last step")
        if first is not None:
            assert (each["ts"], each["dur"]) == (steps[first][0], (last - first + 1) * 1e6)


def test_two_thousand_steps_are_less_than_ten_megabytes(tmp_path):
    with LLM.simulated("llama-7b", "A100-80G", scheduler="chunked", max_num_seqs=256, num_blocks=2000) as llm:
        trace = llm.serve_workload(Workload.preset("sharegpt", 330, rate=50.0)).trace
    assert len(trace) > 2000 and max(record.num_running for record in trace) > 60
    path = trace.to_perfetto(tmp_path / "long.json")
    assert path.stat().st_size < 10e6 * len(trace) / 2000
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == []


def test_a_run_without_detail_has_steps_and_counters_and_no_seats(tmp_path):
    engine = simulated_engine(trace=Trace(detail=False))
    engine.add_request(scripted_request(0, 10, 5))
    made = document(engine.run(), tmp_path)
    assert faults(made) == [] and {e["pid"] for e in made["traceEvents"]} == {1}


# -- the checker --------------------------------------------------------------------------------------------------


def planted(kind: str, events: list[dict]) -> None:
    first = {ph: next(e for e in events if e["ph"] == ph) for ph in "XCisfM"}
    changes = {
        "a field lacks": lambda: first["X"].pop("dur"),
        "a field too many": lambda: first["C"].update(dur=1),
        "a time before the start": lambda: first["X"].update(ts=-1.0),
        "no number": lambda: first["C"]["args"].update(waiting="3"),
        "an unknown phase": lambda: first["X"].update(ph="Y"),
        "a scope that is none": lambda: first["i"].update(s="x"),
        "a track by name": lambda: first["X"].update(tid="seat 0"),
        "metadata of no name": lambda: first["M"].update(name="thread_nam"),
        "a truth value": lambda: first["s"].update(id=True),
        "a binding that is none": lambda: first["f"].update(bp="x"),
        "slices overlap": lambda: first["X"].update(dur=1e12),
        "an arrow has no end": lambda: events.remove(first["f"]),
        "an arrow from nowhere": lambda: first["s"].update(tid=99),
        "an arrow runs backwards": lambda: first["f"].update(ts=0.0),
        "a track has no name": lambda: events.remove(first["M"]),
    }
    changes[kind]()


@pytest.mark.parametrize("kind", [
    "a field lacks", "a field too many", "a time before the start", "no number", "an unknown phase", "a scope that is none",
    "a track by name", "metadata of no name", "a truth value", "a binding that is none", "slices overlap",
    "an arrow has no end", "an arrow from nowhere", "an arrow runs backwards", "a track has no name",
])  # fmt: skip
def test_the_checker_finds_a_planted_fault(kind, tmp_path):
    good = document(TRACES["preempting"](), tmp_path)
    bad = copy.deepcopy(good)
    planted(kind, bad["traceEvents"])
    assert faults(good) == [] and faults(bad) != []
    assert faults([]) and faults({"traceEvents": [], "displayTimeUnit": "s"})


# -- as a command, as a table -------------------------------------------------------------------------------------


def test_simulate_saves_what_perfetto_opens(tmp_path, capsys):
    file, words = tmp_path / "t.json", ["simulate", "--workload", "ladder", "--num-prompts", "20"]
    assert main([*words, "--scheduler", "chunked", "--perfetto", str(file)]) == 0
    made = json.loads(file.read_text())
    assert faults(made) == [] and sum(e.get("cat") == "arrival" for e in made["traceEvents"]) == 20
    assert main([*words, "--stages", "2", "--perfetto", str(file)]) == 0
    assert faults(json.loads(file.read_text())) == []
    trace = TRACES["preempting"]()
    trace.save(tmp_path / "run.jsonl")
    assert main(["show", str(tmp_path / "run.jsonl"), "--perfetto", str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"{file}\n") and json.loads(file.read_text()) == document(trace, tmp_path)
    assert main([*words, "--replicas", "2", "--perfetto", str(file)]) == 2
    assert "leave --replicas out" in capsys.readouterr().err


def test_a_frame_has_a_row_for_each_step(monkeypatch):
    trace = run(TIGHT, num_blocks=8, scheduler="continuous").trace
    rows = trace.rows()
    assert [row["num_tokens"] for row in rows] == [record.num_tokens for record in trace]
    assert [row["num_preempted"] for row in rows] == [len(record.preempted) for record in trace]
    assert sum(row["num_decodes"] for row in rows) == sum(record.num_decodes for record in trace)
    assert all(value is None or isinstance(value, (int, float, str)) for row in rows for value in row.values())
    seen = []
    fake = types.SimpleNamespace(DataFrame=lambda rows: types.SimpleNamespace(set_index=lambda name: seen.append((rows, name))))
    monkeypatch.setitem(sys.modules, "pandas", fake)
    trace.to_frame()
    assert seen == [(rows, "step")]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas, or use rows"):
        trace.to_frame()


def test_pandas_takes_it():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    trace = run(scheduler="chunked").trace
    frame = trace.to_frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame.index) == [record.step for record in trace]
    assert frame["num_tokens"].sum() == trace.total("num_tokens") and frame["duration"].iloc[0] == 1.0
