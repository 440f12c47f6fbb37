"""Pictures show what the trace says, describe themselves, and are the same bytes for the same input."""

from __future__ import annotations

import pytest
from support.scripted import run

from minieng.observe.latency import Latency, samples
from minieng.sim import simulated_engine
from minieng.sim.executor import scripted_request
from minieng.viz import (
    block_map,
    compare,
    kv_use,
    latency_cdf,
    over_time,
    padding_rectangle,
    roofline,
    timeline,
    tradeoff,
)
from minieng.viz.stages import stages
from minieng.viz.style import InWords
from minieng.viz.timeline import cells

SCHEDULERS = ("static", "dynamic", "continuous", "chunked")


def pipeline_trace(depth: int):
    engine = simulated_engine("llama-2-70b", "A100-80G", stages=2, depth=depth, scheduler="chunked", num_blocks=1000)
    for i in range(4):
        engine.add_request(scripted_request(i, 100, 3))
    return engine.run()


def every_picture():
    traces = {name: run(scheduler=name).trace for name in ("static", "chunked")}
    requests = {name: trace.requests.values() for name, trace in traces.items()}
    limits = [4.0] * len(traces["static"])
    yield "timeline", lambda: timeline(traces["chunked"], title="chunked")
    yield "timeline by time", lambda: timeline(traces["static"], by="time")
    yield "compare", lambda: compare(traces)
    yield "block_map", lambda: block_map(traces["chunked"], 3)
    yield "kv_use", lambda: kv_use(traces, 4)
    yield "latency_cdf", lambda: latency_cdf(requests, "e2el")
    yield "tradeoff", lambda: tradeoff({"a": [(1, 2), (2, 3)], "b": [(1, 4), (3, 9)]}, "tokens/s", "P95 (ms)")
    yield "roofline", lambda: roofline({"decode": (1.0, 4e10)}, 5e10, 5e11, "a machine")
    yield "stages", lambda: stages(pipeline_trace(2), "two in flight")
    yield "over_time", lambda: over_time(traces["static"], "num_waiting", "kv_held", more={"limit (requests)": limits})
    yield "padding_rectangle", lambda: padding_rectangle([1, 4, 4, 1], 5)


@pytest.mark.parametrize("name, draw", [pytest.param(n, d, id=n) for n, d in every_picture()])
def test_same_input_same_bytes_and_a_description(name, draw):
    first, second = draw(), draw()
    assert first.png() == second.png()
    assert first.png().startswith(b"\x89PNG") and len(first.png()) > 5000
    assert first.alt_text() == second.alt_text() and len(first.alt_text()) > 40
    assert first.alt_text().encode("latin-1", "ignore")[:30] in first.png(), "the description travels in the file"
    bundle = first._repr_mimebundle_()
    assert bundle["text/plain"].split() == first.alt_text().split() and bundle["image/png"] == first.png()
    assert max(map(len, bundle["text/plain"].splitlines())) <= 110


@pytest.mark.parametrize("name, draw", [pytest.param(n, d, id=n) for n, d in every_picture()])
def test_axes_have_labels(name, draw):
    for ax in draw().figure.axes:
        if ax.get_yticks().size and name != "block_map":
            assert ax.get_ylabel(), name
    labelled = [ax.get_xlabel() for ax in draw().figure.axes]
    assert name == "block_map" or any(labelled)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cells_cover_every_slice_once_and_never_overlap(scheduler):
    trace = run(scheduler=scheduler).trace
    found = cells(list(trace))
    assert len({(c.seat, c.step) for c in found}) == len(found)
    slices = [(step, name) for step, record in enumerate(trace) for name, _, _ in record.slices]
    drawn = [(c.step, c.request) for c in found if c.kind != "finished"]
    assert sorted(slices) == sorted(drawn)
    finished_rows = sum(1 for c in found if c.kind == "finished")
    assert finished_rows == sum(len(r.rows) - len(r.slices) for r in trace if r.rows is not None)
    padding = sum(round(c.tokens / c.share) - c.tokens for c in found if c.tokens)
    assert padding == trace.total("padding")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_request_keeps_its_seat(scheduler):
    found = cells(list(run(scheduler=scheduler).trace))
    for name in "ABCDEF":
        assert len({c.seat for c in found if c.request == name}) == 1


def test_preempted_request_may_come_back_elsewhere_and_is_drawn_as_recomputed():
    trace = run({"A": (8, 12, 0.0), "B": (8, 12, 0.0)}, num_blocks=8, scheduler="continuous").trace
    assert trace.total("recomputed") > 0
    assert "recompute" in {c.kind for c in cells(list(trace))}
    assert "recomputed" in timeline(trace).alt_text()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("num_blocks", [64, 12])
def test_the_free_blocks_that_are_told_are_those_that_are_drawn_empty(scheduler, num_blocks):
    """Also at a step in which somebody is done: the blocks are given back when it is over."""
    trace = run(num_blocks=num_blocks, scheduler=scheduler).trace
    leaving = 0
    for index, record in enumerate(trace):
        empty = num_blocks - len({block for table in trace.tables(index).values() for block in table})
        picture = block_map(trace, index)
        assert f"At step {record.step} {empty} of {num_blocks} blocks are free" in picture.alt_text()
        assert picture.figure.axes[0].get_title("left") == f"KV blocks at step {record.step}: {empty} of {num_blocks} free"
        leaving += record.blocks_free != empty
    assert leaving


def test_a_place_in_the_batch_is_a_seat_and_its_older_name_still_works():
    trace = run(scheduler="static").trace
    picture = timeline(trace, seats=6)
    assert picture.figure.axes[0].get_ylabel() == "seat" and "on 6 seats in" in picture.alt_text()
    assert timeline(trace, slots=6).png() == picture.png()
    assert compare({"": trace}, slots=6).alt_text() == compare({"": trace}, seats=6).alt_text() == picture.alt_text()


@pytest.mark.parametrize("which", ["ttft", "itl", "e2el"])
def test_a_curve_shows_the_latencies_that_the_metrics_have(which):
    done = list(run(scheduler="continuous").trace.requests.values())
    want = Latency.of(samples(done, which))
    words = latency_cdf({"run": done}, which).alt_text()
    assert f"P50 {want.p50:.1f} ms, P95 {want.p95:.1f} ms, P99 {want.p99:.1f} ms" in words


def test_shares_are_of_what_is_drawn_steps_or_seconds():
    """A step with a prompt takes longer than others, so its share of the seconds is the larger one."""
    engine = simulated_engine("llama-7b", "A100-80G", scheduler="continuous", num_blocks=1000)
    for i in range(4):
        engine.add_request(scripted_request(i, 500, 9))
    trace = engine.run()
    seconds = trace[-1].start + trace[-1].duration - trace[0].start
    prompts = [record for record in trace if record.kinds.count("prompt") == 4]
    shares = {"steps": len(prompts) / len(trace), "seconds": sum(r.duration for r in prompts) / seconds}
    assert shares["seconds"] > 2 * shares["steps"]
    for (what, share), by in zip(shares.items(), ("step", "time")):
        assert f"of all seats and {what} prompt {100 * share:.0f} %" in timeline(trace, by=by).alt_text()
    assert f"4 requests on 4 seats in {len(trace)} steps and {seconds:.3g} seconds;" in timeline(trace, by="time").alt_text()


def test_a_folded_figure_shows_no_tags_in_jupyterlab():
    """It shows the first line that is not empty of an output that is folded; the words themselves keep what they say."""
    words = InWords("a < b")
    first, *rest = words._repr_html_().splitlines()
    assert first == " " and "<details>" in rest[0] and "a &lt; b" in rest[1] and repr(words) == "Figure: a < b"


def test_numbers_in_descriptions_are_the_data():
    assert "10 of 20 positions hold tokens, 10 (50.0 %)" in padding_rectangle([1, 4, 4, 1], 5).alt_text()
    assert "16 positions hold tokens, 6 (37.5 %)" in padding_rectangle([1, 4, 4, 1]).alt_text()
    trace = run(scheduler="static").trace
    assert f"{trace.total('padding')} positions of padding" in timeline(trace).alt_text()
    assert "80 % of the roof" in roofline({"x": (1.0, 4e10)}, 5e10, 5e11).alt_text()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: padding_rectangle([]), "empty"),
        (lambda: padding_rectangle([3, 9], 5), "9 tokens"),
        (lambda: padding_rectangle([3], side="middle"), "'left' or 'right'"),
        (lambda: timeline([], by="week"), "'step' or 'time'"),
        (lambda: latency_cdf({"nobody": []}), "no finished request"),
        (lambda: latency_cdf({"x": run().trace.requests.values()}, "ttlt"), "'ttft', 'itl' or 'e2el'"),
    ],
)
def test_wrong_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_stages_tell_the_bubble_and_how_many_batches_are_in_flight():
    from minieng.observe.waste import bubble

    one, two = pipeline_trace(1), pipeline_trace(2)
    assert bubble(one) == pytest.approx(0.5, abs=0.02) and bubble(two) < 0.25
    assert "up to 1 in flight" in stages(one).alt_text() and "up to 2 in flight" in stages(two).alt_text()
    assert bubble(run(scheduler="chunked").trace) is None
    with pytest.raises(ValueError, match="no step of this trace passed through stages: record it with stages=2"):
        stages(run(scheduler="chunked").trace)


def test_over_time_puts_what_has_one_unit_into_one_panel_and_says_what_it_shows():
    trace = run(scheduler="continuous").trace
    own = {"target (requests)": [3] * len(trace), "ratio": [0.5] * len(trace)}
    picture = over_time(trace, "num_running", "recomputed", more=own, by="step", title="a run")
    assert [ax.get_ylabel() for ax in picture.figure.axes] == ["requests", "tokens", "ratio"]
    drawn = [[line.get_label() for line in ax.get_lines()] for ax in picture.figure.axes]
    assert drawn == [["running", "target"], ["of these, again"], ["ratio"]]
    values = [record.num_running for record in trace]
    assert list(picture.figure.axes[0].get_lines()[0].get_ydata()) == values
    told = f"running: {values[0]} requests at first, {min(values)} to {max(values)}, {values[-1]} at the end."
    assert picture.alt_text().startswith(f"a run: over {len(trace)} steps.") and told in picture.alt_text()


@pytest.mark.parametrize(
    "names, more, by, said",
    [
        (("waiting",), None, "time", "'waiting' is no quantity of a step: choose num_waiting"),
        ((), {"ratio": [1.0]}, "time", "'ratio' has 1 values, the trace"),
        ((), None, "time", "0 quantities of"),
        (("num_waiting",), None, "hour", "by='hour': choose 'time' or 'step'"),
    ],
)
def test_over_time_refuses_what_it_cannot_draw(names, more, by, said):
    with pytest.raises(ValueError, match=said):
        over_time(run(scheduler="static").trace, *names, more=more, by=by)
