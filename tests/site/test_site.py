"""The site holds every page, its links lead somewhere, its figures have words, and it asks nobody else for anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tools.site.notebook import NotebookPage, fenced
from tools.site.stage import CONTENTS, Stage, pages_of

pytest.importorskip("furo", reason="the site's generator is not installed: make test-site installs it")
pytestmark = pytest.mark.site

ROOT = Path(__file__).resolve().parents[2]
REPO = "somebody/course"


class Page(HTMLParser):
    """What a page links to, loads and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.images: list[dict] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        have = dict(attributes)
        self.ids |= {have[name] for name in ("id", "name") if have.get(name)}
        if tag == "a" and "href" in have:
            self.links.append(have["href"])
        elif tag == "link" and have.get("rel") != "canonical":
            self.loads.append(have["href"])
        elif tag in ("script", "img", "iframe") and have.get("src"):
            self.loads.append(have["src"])
        if tag == "img":
            self.images.append(have)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "out"
    command = [sys.executable, "-m", "tools.site", str(out), "--repo", REPO]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@cache
def parsed(path: Path) -> Page:
    return Page(path)


def test_every_page_of_the_repository_that_a_reader_wants_is_there(site):
    known = subprocess.run(["git", "ls-files", "notebooks", "exercises", "docs"], cwd=ROOT, capture_output=True, text=True)
    wanted = {Path(name) for name in known.stdout.split() if name.endswith((".md", ".ipynb"))}
    assert len(wanted) > 40 or not known.stdout, "git is there, and knows them"
    listed = {page for patterns in CONTENTS.values() for page in pages_of(patterns)}
    assert wanted <= listed, f"list in tools/site/stage.py: {sorted(map(str, wanted - listed))}"
    assert not {page for page in listed if not (site / page.with_suffix(".html")).is_file()}
    assert (site / "index.html").is_file() and (site / "search.html").is_file()


def test_no_link_is_broken_and_nothing_comes_from_elsewhere(site):
    broken, outside = [], []
    for path in site.rglob("*.html"):
        page = parsed(path)
        outside += [(path.name, load) for load in page.loads if re.match(r"(\w+:)?//", load)]
        for link in (*page.links, *page.loads):
            if re.match(r"\w+:|//", link):
                continue
            place, _, anchor = unquote(link).partition("#")
            target = path.parent / place.partition("?")[0] if place else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or anchor and not anchor.startswith("step=") and anchor not in parsed(target).ids:
                broken.append((str(path.relative_to(site)), link))
    assert not broken and not outside


def test_links_into_the_repository_and_colab_follow_its_address(site):
    links = parsed(site / "notebooks" / "05_continuous_batching.html").links
    assert f"https://colab.research.google.com/github/{REPO}/blob/main/notebooks/05_continuous_batching.ipynb" in links
    inside = [link for link in parsed(site / "README.html").links if link.startswith(f"https://github.com/{REPO}/")]
    assert len(inside) > 5
    for link in inside:
        assert (ROOT / re.sub(rf"https://github.com/{REPO}/(blob|tree)/main/", "", link)).exists(), link
    assert not [link for page in site.glob("docs/*.html") for link in parsed(page).links if "colab.research" in link]


def test_every_figure_has_words(site):
    shown = [(path.name, image) for path in site.rglob("*.html") for image in parsed(path).images]
    assert len(shown) > 40
    assert not [name for name, image in shown if len((image.get("alt") or "").strip()) < 10]


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_a_lessons_stored_outputs_are_on_its_page(path, site):
    words = " ".join("".join(parsed(site / "notebooks" / f"{path.stem}.html").words).split())
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    streams = ["".join(o["text"]) for o in outputs if o["output_type"] == "stream"]
    assert len(streams) > 5
    assert not [text for text in streams if " ".join(text.split()) not in words]
    figures = sum("image/png" in output.get("data", ()) for output in outputs)
    page = parsed(site / "notebooks" / f"{path.stem}.html")
    assert len([i for i in page.images if "figures/" in i["src"]]) + sum("players/" in x for x in page.loads) == figures


def test_each_player_is_whole(site):
    players = sorted((site / "players").glob("*.html"))
    assert len(players) >= 4
    for path in players:
        text = path.read_text(encoding="utf-8")
        data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
        assert data["schema"] == "minieng.player" and len(data["frames"]) > 2 and path.stat().st_size < 300_000
        assert "{{" not in text


def test_search_knows_the_words_of_the_lessons(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    terms = json.loads(index[len("Search.setIndex(") : -1])
    found: set[str] = set()
    for kind in ("terms", "titleterms"):  # "paged" is kept by its stem; a word is in one of the two for a page
        places = terms[kind].get("page", [])
        found |= {terms["docnames"][i] for i in (places if isinstance(places, list) else [places])}
    assert "notebooks/06_paged_kv_cache" in found


# -- putting it together ----------------------------------------------------------------------------------------


def test_without_an_address_a_link_to_a_file_is_plain_text(tmp_path):
    text = "[map](notebooks/README.md#lessons), [heart](minieng/engine.py), [away](https://example.org)\n```\n[x](gone.md)\n```\n"
    told = Stage(tmp_path).with_links(text, Path("README.md"))
    assert told == text.replace("[heart](minieng/engine.py)", "heart")
    told = Stage(tmp_path, REPO).with_links(text, Path("README.md"))
    assert f"[heart](https://github.com/{REPO}/blob/main/minieng/engine.py)" in told


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match="README.md: a link to gone.md"):
        Stage(tmp_path).with_links("[x](gone.md)", Path("README.md"))


def test_a_figure_without_words_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no words"):
        NotebookPage(tmp_path, Path("notebooks/x.ipynb"), tmp_path).figure(b"", "")


def test_a_fence_is_longer_than_those_in_the_text():
    assert fenced("code-block", "text", "a ```` b") == "`````{code-block} text\na ```` b\n`````"


def test_a_folder_that_is_no_site_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("keep")
    done = subprocess.run([sys.executable, "-m", "tools.site", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no site" in done.stderr and (tmp_path / "letters.txt").exists()
