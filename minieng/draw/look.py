"""How what is drawn looks: colours that colour-blind readers can tell apart, each with its own hatching.

Colours are those of Okabe and Ito (2008). The ground is opaque and light, so that drawings read the same on a
light and on a dark page.
"""

from __future__ import annotations

from typing import NamedTuple

INK, GRID, GROUND = "#222222", "#d9d9d9", "#ffffff"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Fill(NamedTuple):
    """Colour, hatching (matplotlib's signs) and the word for it in a legend."""

    face: str
    hatch: str
    label: str


FILLS = {
    "prompt": Fill("#0072B2", "", "prompt"),
    "decode": Fill("#009E73", "..", "decode"),
    "recompute": Fill("#CC79A7", "xx", "recomputed"),
    "padding": Fill("#E8E8E8", "///", "padding"),
    "finished": Fill("#F5C26B", "\\\\\\", "row already done"),
    "idle": Fill("#FFFFFF", "", "empty or paused"),
}
# For requests, whose blocks stand beside the kinds of work above: none of those colours
OWNERS = ("#56B4E9", "#F0E442", "#D55E00", "#999933", "#882255", "#BBBBBB")
HATCHES = ("", "///", "..", "\\\\\\", "xx", "--", "++")  # one more than colours: 42 requests look different
