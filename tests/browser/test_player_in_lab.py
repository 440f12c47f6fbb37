"""The player in a real JupyterLab: run a notebook in headless Chromium, drag the slider, compare with the trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.chromium import NEEDS, keep
from support.lab import opened, run_cells, serving

pytestmark = NEEDS

ROOT = Path(__file__).resolve().parents[2]
CELL = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from support.scripted import run
from minieng.viz import player, step_in_words
trace = run(scheduler="chunked", max_num_batched_tokens=8).trace
shown = player(trace)
shown
"""
TOLD = """
slider = shown.widget.children[0].children[1]
print("slider at", slider.value, "shows", step_in_words(trace, slider.value))
print("picture is frame", [i for i in range(len(trace)) if shown.png(i) == shown.widget.children[1].value])
"""


@pytest.fixture
def lab(tmp_path):
    with serving([CELL, TOLD], tmp_path) as address:
        yield address


def test_dragging_the_slider_shows_that_step(lab, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    opened(page, lab)
    run_cells(page, "notebook:run-all-cells")
    page.wait_for_selector(".jupyter-widgets .noUi-handle", timeout=30_000)
    track = page.locator(".jupyter-widgets .noUi-target").first
    handle, bar = track.locator(".noUi-handle").bounding_box(), track.bounding_box()
    height = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, height)
    page.mouse.down()
    page.mouse.move(bar["x"] + 0.6 * bar["width"], height, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1500)
    shown = int(page.locator(".widget-readout").first.inner_text())
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    run_cells(page, "notebook:run-cell")
    page.wait_for_timeout(1000)
    told = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").inner_text()
    keep(page, "player-in-lab")
    page.close()
    assert 2 <= shown, "the drag moved the slider"
    assert re.search(rf"slider at {shown} shows step {shown}: ", told), told
    assert f"picture is frame [{shown}]" in told, told
