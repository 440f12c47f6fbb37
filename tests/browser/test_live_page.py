"""The live page in headless Chromium, under load: what it shows is what the trace says, in both themes, without an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from support.chromium import NEEDS, keep, watched
from support.door import Door, fake_llm

pytestmark = NEEDS


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    """In both themes; a key that is refused is an error in the console, and no fault."""
    with watched(browser, fine=["401"], color_scheme=request.param) as page:
        page.theme = request.param
        yield page


def load(door: Door, count: int, tokens: int) -> threading.Thread:
    prompts = [[i % 90] * (8 + 3 * i) for i in range(count)]
    thread = threading.Thread(target=door.complete, args=(prompts,), kwargs={"max_tokens": tokens})
    thread.start()
    return thread


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
        keep(page, f"live-load-{page.theme}")
        asking.join()
        until(lambda: page.locator("#rows tr").count() == 0)
        last = llm.trace.steps[-1]
        until(lambda: number(page, "step") == last.step)
        kinds = [kind for record in list(llm.trace)[-200:] for kind in record.kinds]
        told = page.get_attribute("#timeline", "aria-label")
        assert f"{kinds.count('prompt')} prompt" in told and f"{kinds.count('decode')} decode" in told
        assert number(page, "running") == number(page, "waiting") == number(page, "used") == 0
        keep(page, f"live-after-{page.theme}")
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
        keep(page, f"live-stopped-{page.theme}")
        page.goto("about:blank")
