"""Headless Chromium for tests: a page on which nothing may go wrong, a folder as a server shows it, axe-core, pictures."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
OURS = ("file:", "http://127.0.0.1", "data:", "blob:")  # addresses that a page may ask for anything
AXE = Path(os.environ.get("MINIENG_AXE", Path(__file__).parents[2] / "build/axe/node_modules/axe-core/axe.min.js"))
NO_PLAYWRIGHT = importlib.util.find_spec("playwright") is None
NEEDS = [
    pytest.mark.browser,
    pytest.mark.skipif(NO_PLAYWRIGHT, reason="playwright is not installed: make test-browser installs it"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@contextmanager
def launched() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, fine: Sequence[str] = (), **options: Any) -> Iterator[Any]:
    """A page; at its end AssertionError for what it said in its console as an error or a warning, and for each request
    that failed or left this machine, but for what holds a word of ``fine``. ``options`` of playwright's new_page.
    """
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 1000}, **options})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("requestfailed", lambda asked: None if asked.failure == "net::ERR_ABORTED" else wrong.append(f"failed: {asked.url}"))
    page.on("request", lambda asked: None if asked.url.startswith(OURS) else wrong.append(f"elsewhere: {asked.url}"))
    yield page
    page.close()
    assert [text for text in wrong if not any(word in text for word in fine)] == []


@contextmanager
def served_from(folder: Path) -> Iterator[str]:
    """The address at which a plain server shows the folder, as `python3 -m http.server` does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def serious(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds serious on the page: its rule, and where."""
    if not AXE.is_file():
        pytest.skip("axe-core is not here: make test-browser fetches it with npm")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run().then(result => result.violations)")
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")]


def keep(page: Any, name: str) -> None:
    """A picture for who wants to look, in the folder that MINIENG_PICTURES names."""
    if folder := os.environ.get("MINIENG_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
