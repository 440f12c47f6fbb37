"""Players of recorded runs on the site: a page for each stored form, and the frame that shows it."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from minieng.draw import player_page

MIME = "application/vnd.minieng.player"
FIRST_HEIGHT = 640  # pixels, until the player tells its own


def write_player(data: dict[str, Any], name: str, staged: Path) -> str:
    """Write the page; returns its address from the site's root. ``name`` is that of the file."""
    folder = staged / "extra" / "players"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.html").write_text(player_page(data), encoding="utf-8")
    return f"players/{name}.html"


def frame(data: dict[str, Any], address: str) -> str:
    """HTML that shows a player. ``address``: from the page that it stands on."""
    title, steps = escape(data["title"]), len(data["frames"])
    return (
        f'<iframe class="player" src="{address}" title="Step player: {title}" loading="lazy" height="{FIRST_HEIGHT}"></iframe>\n'
        f'<p><a href="{address}#step={data["frames"][0]["step"]}">This player on a page of its own</a> ({steps} steps)</p>'
    )


def load(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("schema") != "minieng.player":
        raise ValueError(f"{path}: not the stored form of a player: its schema is {data.get('schema')!r}")
    return data
