"""A JupyterLab on loopback with a home of its own, and a notebook in it, for tests in a browser."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"autoStartDefaultKernel": True, "windowingMode": "none"},
}
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@contextmanager
def serving(cells: Sequence[str], folder: Path) -> Iterator[str]:
    """Serve a notebook of these code cells; yields its address."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "test.ipynb")
    for name, value in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    homes = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", "--allow-root", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=os.environ | homes)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api/status?token={token}", folder / "server.log")
        yield f"http://127.0.0.1:{port}/doc/tree/test.ipynb?token={token}"
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


def opened(page: Any, address: str) -> None:
    """Open the notebook, and wait for its kernel."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(IDLE, timeout=60_000)


def run_cells(page: Any, command: str) -> None:
    """Run, and wait for the kernel's last word; the command itself is not awaited, a dialog would hang it."""
    page.evaluate(
        f"() => {{ window.__done = null; window.jupyterapp.commands.execute('{command}')"
        ".then(() => window.__done = true, e => window.__done = String(e)); }"
    )
    page.wait_for_function("() => window.__done !== null", timeout=90_000)
