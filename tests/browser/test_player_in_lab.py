"""The player in a real JupyterLab: run a notebook in headless Chromium, drag the slider, compare with the trace."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

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
    """A JupyterLab on loopback with a home of its own; yields the notebook's address."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell(TOLD)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "player.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab"
    for name, value in {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"autoStartDefaultKernel": True, "windowingMode": "none"},
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    homes = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "ws")}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", "--allow-root", f"--ServerApp.root_dir={tmp_path}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with open(tmp_path / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=os.environ | homes)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api/status?token={token}", tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}/doc/tree/player.ipynb?token={token}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(15)


def wait_for_server(address: str, log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail("JupyterLab did not come up: " + log.read_text()[-2000:])


def run_cells(page, command: str) -> None:
    """Run, and wait for the kernel's last word; the command itself is not awaited, a dialog would hang it."""
    page.evaluate(
        f"() => {{ window.__done = null; window.jupyterapp.commands.execute('{command}')"
        ".then(() => window.__done = true, e => window.__done = String(e)); }"
    )
    page.wait_for_function("() => window.__done !== null", timeout=90_000)


def test_dragging_the_slider_shows_that_step(lab):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        idle = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        page.wait_for_function(idle, timeout=60_000)
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
        if os.environ.get("MINIENG_SCREENSHOT"):
            page.screenshot(path=os.environ["MINIENG_SCREENSHOT"])
        browser.close()
    assert 2 <= shown, "the drag moved the slider"
    assert re.search(rf"slider at {shown} shows step {shown}: ", told), told
    assert f"picture is frame [{shown}]" in told, told
