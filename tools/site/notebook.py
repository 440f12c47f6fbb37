"""A notebook as a page of MyST Markdown, with its stored outputs: text, HTML, figures with their words, players."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from coursekit.badges import BADGE_LINE

from .players import MIME, frame, write_player


@dataclass
class NotebookPage:
    """source  the notebook; name  its place in the repository; staged  where the site is put together"""

    source: Path
    name: Path
    staged: Path
    figures: int = 0
    parts: list[str] = field(default_factory=list)

    @property
    def up(self) -> str:
        """From the page to the site's root."""
        return "../" * (len(self.name.parts) - 1)

    def markdown(self, under_title: str = "") -> str:
        """The page. ``under_title``: what stands below its title, such as a link to Colab."""
        cells = json.loads(self.source.read_text(encoding="utf-8"))["cells"]
        for i, cell in enumerate(cells):
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                title, _, rest = BADGE_LINE.sub("", text).partition("\n")
                self.parts.append(f"{title}\n\n{under_title}\n\n{rest}" if i == 0 else text)
            elif text.strip():
                self.code(text, folded=cell["metadata"].get("jupyter", {}).get("source_hidden", False))
                self.outputs(cell["outputs"])
        return "\n\n".join(self.parts) + "\n"

    def code(self, text: str, folded: bool) -> None:
        magic = re.match(r"%%\w+|[%!]", text)
        block = fenced("code-block", "text" if magic else "python", text)
        if folded:
            block = f"{raw('<details><summary>Set-up (needed to run the cells, not to read them)</summary>')}\n\n{block}\n\n"
            block += raw("</details>")
        self.parts.append(block)

    def outputs(self, outputs: list[dict[str, Any]]) -> None:
        """Streams that follow each other are one text, as a notebook shows them."""
        stream, told = "", ""
        for output in outputs:
            if output["output_type"] == "stream":
                stream += "".join(output["text"])
                continue
            self.text(stream)
            stream = ""
            data = {mime: "".join(value) for mime, value in output["data"].items()}
            told = self.shown(data, told)
        self.text(stream)

    def shown(self, data: dict[str, Any], told: str) -> str:
        """One output. Returns its words if they are those of a figure that follows (``viz.in_words``)."""
        plain = " ".join(data.get("text/plain", "").split())
        if MIME in data:
            stored = json.loads(data[MIME])
            address = write_player(stored, f"{self.name.stem}-{self.number()}", self.staged)
            self.parts.append(raw(frame(stored, self.up + address)))
        elif "image/png" in data:
            words = re.sub(r"^<player of \d+ steps> |^<Figure .*", "", plain) or told
            self.parts.append(raw(self.figure(base64.b64decode(data["image/png"]), words)))
        elif "text/html" in data:
            self.parts.append(raw(data["text/html"]))
        else:
            self.text(data.get("text/plain", ""))
        return plain.removeprefix("Figure: ") if plain.startswith("Figure: ") else ""

    def figure(self, png: bytes, words: str) -> str:
        if not words:
            raise ValueError(f"{self.name}: a figure has no words: show a Picture, or call in_words before it")
        file = self.staged / "_static" / "figures" / f"{self.name.stem}-{self.number()}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)
        width, height = struct.unpack(">II", png[16:24])  # of the header chunk
        place = f'{self.up}_static/figures/{file.name}" width="{width}" height="{height}'
        return f'<p><img class="figure-of-cell" src="{place}" alt="{escape(words)}"></p>'

    def number(self) -> int:
        self.figures += 1
        return self.figures

    def text(self, text: str) -> None:
        if text.strip():
            self.parts.append(fenced("code-block", "text", text.rstrip("\n"), ":class: output"))


def fenced(directive: str, argument: str, text: str, option: str = "") -> str:
    """A directive whose fence is longer than any in the text."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{ticks}{{{directive}}} {argument}\n" + (f"{option}\n\n" if option else "") + f"{text}\n{ticks}"


def raw(html: str) -> str:
    return fenced("raw", "html", html)
