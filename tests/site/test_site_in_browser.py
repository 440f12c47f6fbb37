"""The site in headless Chromium, opened as files and from a server: no errors, search, players, both themes, axe-core."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.chromium import NEEDS, keep, serious, served_from

pytest.importorskip("furo", reason="the site's generator is not installed: make test-site installs it")
pytestmark = [*NEEDS, pytest.mark.site]

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ("index.html", "notebooks/05_continuous_batching.html", "notebooks/06_paged_kv_cache.html", "notebooks/GLOSSARY.html",
          "exercises/05_continuous_batching.html", "docs/API.html", "README.html", "players/ladder-chunked.html",
          "playground.html")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "out"
    for tool in ("tools.site", "tools.playground"):
        subprocess.run([sys.executable, "-m", tool, str(out)], cwd=ROOT, check=True, timeout=300)
    return out


@pytest.fixture(scope="module")
def served(site):
    with served_from(site) as address:
        yield address


@pytest.mark.parametrize("how", ["files", "server"])
def test_every_page_opens_without_an_error(how, site, served, page):
    base = site.as_uri() if how == "files" else served
    pages = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    assert len(pages) > 50
    for path in pages:
        page.goto(f"{base}/{path.as_posix()}")
        assert page.title(), path


@pytest.mark.parametrize("how", ["files", "server"])
def test_search_finds_paged(how, site, served, page):
    page.goto(f"{site.as_uri() if how == 'files' else served}/index.html")
    page.locator("input[name=q]").first.fill("paged")
    page.locator("input[name=q]").first.press("Enter")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").all_inner_texts()
    assert any("Paged KV cache" in title for title in found), found
    page.locator("#search-results li a", has_text="6 · Paged KV cache").first.click()
    page.wait_for_selector("h1:has-text('Paged KV cache')")


def test_a_player_is_driven_by_buttons_keys_slider_and_address(site, page):
    page.goto((site / "players" / "ladder-continuous.html").as_uri() + "#step=7")
    words = page.locator("#words")
    assert words.inner_text().startswith("step 7: ")
    page.get_by_role("button", name="Step on").click()
    assert words.inner_text().startswith("step 8: ") and page.url.endswith("#step=8")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert words.inner_text().startswith("step 6: ") and page.locator("#slider").get_attribute("aria-valuetext") == "step 6 of 18"
    page.keyboard.press("End")
    assert words.inner_text().startswith("step 18: ")
    drawn = page.locator("#blocks rect").count()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    assert page.locator("#blocks rect").count() == drawn, "going back and forth draws the same"
    page.locator("#slider").fill("3")
    assert words.inner_text().startswith("step 3: ")
    page.evaluate("location.hash = '#step=12'")
    page.wait_for_function("document.getElementById('words').textContent.startsWith('step 12: ')")
    page.keyboard.press("Home")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.getElementById('words').textContent.startsWith('step 2: ')")
    page.get_by_role("button", name="Stop").click()
    label = page.locator("#blocks").get_attribute("aria-label")
    assert label.startswith("KV blocks at step 2: ") and "A: " in label


def test_on_a_narrow_screen_the_timeline_follows_the_step(site, page):
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto((site / "players" / "ladder-continuous.html").as_uri())
    for key in ("End", "Home"):
        page.keyboard.press(key)
        cursor = page.locator("#timeline > rect").bounding_box()
        assert 0 <= cursor["x"] and cursor["x"] + cursor["width"] <= 400


def test_a_player_in_a_lesson_has_the_pages_theme_and_its_own_height(site, page):
    page.goto((site / "index.html").as_uri())
    frame = page.locator("iframe.player").first
    frame.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('iframe.player').style.height !== ''")
    inside = page.frames[1]
    high, wide = inside.evaluate("[document.documentElement.scrollHeight, innerHeight]")
    assert high <= wide, "no bar of its own"
    for wide in (400, 1200):
        page.set_viewport_size({"width": wide, "height": 900})
        inside.wait_for_function("Math.abs(innerHeight - document.body.offsetHeight) < 8")  # no bar, and nothing empty
    for theme in ("dark", "light"):
        page.evaluate(f"document.body.dataset.theme = '{theme}'")
        inside.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")


@pytest.mark.parametrize("page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_axe_finds_nothing_serious(width, served, page):
    page.set_viewport_size({"width": width, "height": 900})
    theme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    found = []
    for name in SAMPLE:
        page.goto(f"{served}/{name}")  # it reads the style sheets, which a page opened as a file may not
        page.wait_for_timeout(300)  # frames load
        found += [(name, *where) for where in serious(page)]
        keep(page, f"site-{Path(name).stem}-{width}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width + 1, f"{name} is wider than the window"
    assert not found
