"""The player tells, for each step, what the trace holds; its widget follows the slider."""

from __future__ import annotations

import json

import pytest
from support.scripted import run

from minieng.draw import moments
from minieng.observe.trace import Trace
from minieng.viz import player, step_in_words
from minieng.viz.player import STORED


@pytest.fixture(scope="module")
def pressed():
    """A run with everything in it: refusals, chunks, a preemption."""
    requests = {"A": (4, 9, 0.0), "B": (7, 5, 0.0), "C": (2, 12, 0.0), "D": (5, 6, 0.0), "E": (20, 4, 1.0)}
    engine = run(requests, num_blocks=9, scheduler="chunked", max_num_batched_tokens=12)
    assert engine.trace.total("recomputed") or any(r.preempted for r in engine.trace)
    return engine.trace


def test_words_name_everyone_who_took_part(pressed):
    for index, record in enumerate(pressed):
        words = step_in_words(pressed, index)
        assert words.startswith(f"step {record.step}: ")
        for name, _, _ in record.slices:
            assert name in words
        for name, reason in record.refused:
            assert f"{name} refused: {reason}" in words
        for name in record.preempted:
            assert f"{name} preempted" in words
        for name in record.finished:
            assert f"{name} finished, {len(pressed.tables(index)[name])} block" in words


def test_words_of_a_rectangle_count_its_waste():
    trace = run(scheduler="static").trace
    first = step_in_words(trace, 0)
    assert f"{trace[0].padding} positions of padding" in first
    wasted = next(i for i, record in enumerate(trace) if record.finished_rows)
    assert f"{trace[wasted].finished_rows} position" in step_in_words(trace, wasted)


def test_waiting_are_those_who_arrived_and_hold_nothing(pressed):
    for record, _, waiting, _ in moments(pressed):
        ran = {name for name, _, _ in record.slices}
        assert not ran & set(waiting)
        assert {name for name, _ in record.refused} <= set(waiting)
    assert waiting == [], "the last step leaves nobody"


def test_widget_follows_the_slider(pressed):
    shown = player(pressed)
    controls, image = shown.widget.children
    slider = controls.children[1]
    assert (slider.min, slider.max) == (0, len(pressed) - 1)
    assert image.value == shown.png(0)
    slider.value = 3
    assert image.value == shown.png(3) != shown.png(0)


def test_display_is_a_picture_with_words_beside_the_widget(pressed, monkeypatch):
    import IPython.display

    sent = {}
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: sent.update(bundle))
    player(pressed)._ipython_display_()
    assert set(sent) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain", STORED}
    assert json.loads(sent[STORED])["schema"] == "minieng.player" and "\n" not in sent[STORED]
    assert sent["text/plain"].startswith(f"<player of {len(pressed)} steps> step 0: ")


def test_empty_trace_is_refused():
    with pytest.raises(ValueError, match="no steps"):
        player(Trace())
