"""Put the site's sources together: pages and notebooks of the repository, as Sphinx takes them.

Links between pages stay links. A link to a file that is no page leads to the repository, where its address is
known, and is plain text where it is not.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coursekit.badges import README_LINE
from coursekit.badges import address as colab_address

from .notebook import NotebookPage, raw
from .players import frame, load, write_player

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^(`{3,}).*?^\2`*$)", re.MULTILINE | re.DOTALL)
# caption → pages, in the order of previous and next
CONTENTS: dict[str, tuple[str, ...]] = {
    "The course": ("notebooks/README.md", "notebooks/[0-9]*.ipynb"),
    "Exercises": ("exercises/[0-9]*.ipynb",),
    "Look up": ("notebooks/GLOSSARY.md", "docs/API.md", "docs/FROM_VLLM.md", "docs/MODELS.md", "docs/PLAYGROUND.md",
                "docs/pictures.ipynb"),
    "Run it": ("README.md", "docs/SERVING.md", "docs/PIPELINE.md", "docs/SCALING.md", "docs/FIRST_GPU_RUN.md", "docs/TEACHING.md",
               "benchmarks/README.md"),
    "Carry on": ("docs/ENGINE.md", "docs/AUTHORING.md", "coursekit/tasks/README.md", "minieng/kernels/native/README.md",
                 "docs/decisions/README.md", "docs/decisions/[0-9]*.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
}  # fmt: skip


@dataclass
class Stage:
    """out  the folder that is filled; repo  "OWNER/REPO" on GitHub, empty if it is not known"""

    out: Path
    repo: str = ""

    def fill(self) -> list[Path]:
        """Write all pages; returns them, as paths in the repository."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(SITE / "static", self.out / "_static")
        shutil.copytree(SITE / "extra", self.out / "extra", ignore=shutil.ignore_patterns("README.md"))
        found = {caption: pages_of(patterns) for caption, patterns in CONTENTS.items()}
        pages = [page for group in found.values() for page in group]
        for page in pages:
            self.write(page, self.page(page))
        for page in sorted(SITE.glob("*.md")):
            self.write(Path(page.name), self.own_page(page.read_text(encoding="utf-8"), found))
        return pages

    def write(self, page: Path, text: str) -> None:
        target = (self.out / page).with_suffix(".md")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def page(self, page: Path) -> str:
        if page.suffix == ".md":
            text = README_LINE.sub("", (ROOT / page).read_text(encoding="utf-8"))  # badges come from elsewhere
            if page.name == "PLAYGROUND.md":  # in the repository there is no such page, on the site there is
                text = re.sub(r"`(playground\.html(\?[a-z-]+)?)`", r'<a href="../\1">in the page</a>', text)
            return self.with_links(text, page)
        return self.with_links(NotebookPage(ROOT / page, page, self.out).markdown(self.colab(page)), page)

    def colab(self, page: Path) -> str:
        """The link that opens a lesson or exercise in Colab, if the repository's address is known."""
        if not self.repo or page.parent.name not in ("notebooks", "exercises"):
            return ""
        return raw(f'<p><a href="{colab_address(ROOT / page, self.repo)}">Open in Colab</a></p>')

    def own_page(self, text: str, found: dict[str, list[Path]]) -> str:
        """A page of ``site/``: {player} shows a stored player or links to it, {contents} is the list of all pages."""

        def shown(match: re.Match[str], link: bool) -> str:
            data = load(ROOT / match[1])
            address = write_player(data, "-".join(Path(match[1]).with_suffix("").parts[-2:]), self.out)
            return f'<a href="{address}">{data["title"]}</a>' if link else raw(frame(data, address))

        text = re.sub(r"^```\{player\} (\S+)\n```$", lambda m: shown(m, False), text, flags=re.MULTILINE)
        text = re.sub(r"\{player\}`(\S+?)`", lambda m: shown(m, True), text)
        trees = (f"```{{toctree}}\n:caption: {name}\n:maxdepth: 1\n\n{listed(pages)}\n```" for name, pages in found.items())
        text = text.replace("{contents}", "\n\n".join(trees))
        return self.with_links(text, Path("index.md"))

    def with_links(self, text: str, page: Path) -> str:
        """Links outside of fenced code, each as ``target`` wants it."""
        parts = FENCE.split(text)  # text, fence, its ticks, text, ...
        return "".join(LINK.sub(self.rewrite(page), part) if i % 3 == 0 else part for i, part in enumerate(parts) if i % 3 != 2)

    def rewrite(self, page: Path) -> Callable[[re.Match[str]], str]:
        def one(match: re.Match[str]) -> str:
            sign, words, target = match.groups()
            place, _, anchor = target.partition("#")
            if not place or re.match(r"\w+:", place):
                return match[0]
            file = (ROOT / page.parent / place).resolve()
            if sign:
                copy = self.out / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
                return match[0]
            if file.is_dir() and file / "README.md" in self.known():
                place, file = f"{place.rstrip('/')}/README.md", file / "README.md"
            if file in self.known():
                return f"[{words}]({place.removesuffix('.ipynb').removesuffix('.md')}.md{'#' + anchor if anchor else ''})"
            if not file.exists():
                raise ValueError(f"{page}: a link to {target}, which does not exist")
            kind = "tree" if file.is_dir() else "blob"
            return f"[{words}](https://github.com/{self.repo}/{kind}/main/{file.relative_to(ROOT)})" if self.repo else words

        return one

    def known(self) -> set[Path]:
        return {ROOT / page for patterns in CONTENTS.values() for page in pages_of(patterns)}


def pages_of(patterns: tuple[str, ...]) -> list[Path]:
    """Paths in the repository. Raises ValueError for a pattern that finds nothing."""
    found = []
    for pattern in patterns:
        files = sorted(ROOT.glob(pattern))
        if not files:
            raise ValueError(f"tools/site/stage.py lists {pattern!r}, and there is no such page")
        found += [file.relative_to(ROOT) for file in files]
    return found


def listed(pages: list[Path]) -> str:
    return "\n".join(f"/{page.with_suffix('')}" for page in pages)
