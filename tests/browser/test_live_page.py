"""The live page in headless Chromium, under load: what it shows is what the trace says, in both themes, without an error."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.door import Door, fake_llm

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]


@pytest.fixture(scope="module")
def browser():
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    """A page on which nothing may go wrong."""
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1200, "height": 1000})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.theme = request.param
    yield page
    page.close()
    assert [text for text in wrong if "401" not in text] == []


def load(door: Door, count: int, tokens: int) -> threading.Thread:
    prompts = [[i % 90] * (8 + 3 * i) for i in range(count)]
    thread = threading.Thread(target=door.complete, args=(prompts,), kwargs={"max_tokens": tokens})
    thread.start()
    return thread


def keep(page, name: str) -> None:
    """A picture for who wants to look: in the folder that MINIENG_PICTURES names."""
    if folder := os.environ.get("MINIENG_PICTURES"):
        page.screenshot(path=Path(folder) / f"live-{name}-{page.theme}.png", full_page=True)


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for it. (Playwright's own way evaluates text in the page, which its policy forbids.)"""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def number(page, name: str) -> int:
    return int(page.inner_text(f"#{name}"))


def test_rows_come_and_go_as_the_trace_says(page):
    llm = fake_llm(slow=0.02, max_num_seqs=5, num_blocks=96)
    with Door(llm) as door:
        page.goto(door.url)
        until(lambda: page.inner_text("#state") == "live")
        until(lambda: page.inner_text("#more") == "Nobody is here.")
        asking = load(door, 12, 40)
        until(lambda: page.locator("#rows tr").count() == 12)
        until(lambda: number(page, "running") == 5)
        assert number(page, "waiting") == 7 and number(page, "used") > 0
        words = page.locator("#rows tr td:nth-child(3)").all_inner_texts()
        assert words == ["runs"] * 5 + ["waits"] * 7
        seats = page.locator("#rows tr td:nth-child(1)").all_inner_texts()[:5]
        assert sorted(seat.strip() for seat in seats) == list("01234")
        until(lambda: number(page, "step") > 60)
        assert "5 seats" in page.get_attribute("#timeline", "aria-label")
        keep(page, "load")
        asking.join()
        until(lambda: page.locator("#rows tr").count() == 0)
        last = llm.trace.steps[-1]
        until(lambda: number(page, "step") == last.step)
        kinds = [kind for record in list(llm.trace)[-200:] for kind in record.kinds]
        told = page.get_attribute("#timeline", "aria-label")
        assert f"{kinds.count('prompt')} prompt" in told and f"{kinds.count('decode')} decode" in told
        assert number(page, "running") == number(page, "waiting") == number(page, "used") == 0
        keep(page, "after")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (page.theme == "light")


def test_a_key_is_asked_for_and_the_end_is_told(page):
    with Door(fake_llm(), api_key="secret") as door:
        page.goto(door.url)
        page.wait_for_selector("#ask:not([hidden])")
        assert page.inner_text("#state") == "a key is needed" and page.is_hidden("#shown")
        page.fill("#key", "wrong")
        page.click("#ask button")
        until(lambda: page.inner_text("#state") == "the key is wrong")
        page.fill("#key", "secret")
        page.click("#ask button")
        until(lambda: page.inner_text("#state") == "live")
        assert page.is_hidden("#ask") and page.is_visible("#shown")
        door.service.stop_asked = True
        until(lambda: page.inner_text("#state").startswith("the server has stopped"))
        keep(page, "stopped")
        page.goto("about:blank")
