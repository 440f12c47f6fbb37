"""Write docs/PLAYGROUND.md: how to open the playground, and every situation, from minieng.playground.

python -m tools.situations_page           write it
python -m tools.situations_page --check   exit with 1 if it is not what the code says (tests do this)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minieng.playground import SITUATIONS, Situation

PAGE = Path(__file__).parents[1] / "docs" / "PLAYGROUND.md"
ABOUT = """\
# Playground

Two schedulers side by side on the same requests, simulated: timelines, KV and queue over time, and a table of counts. The
schedulers, block tables and simulator are the engine's own; change a knob, the requests, or write a scheduler in the text box.
If its plan breaks a rule, the rule is named.

In a notebook (JupyterLab, Colab): `from minieng.viz import playground`, then `playground("slowest-row")`, or any other name
below. On the site: `playground.html`, which needs no kernel, and no server.

Written from `minieng/playground/situations.py` by `python -m tools.situations_page`; do not edit.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the page that is there, write nothing")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE}")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not what the code says: run python -m tools.situations_page", file=sys.stderr)
    return 1


def page() -> str:
    return "\n".join([ABOUT, *map(entry, SITUATIONS)])


def entry(one: Situation) -> str:
    left, right = (f"`{choice.label()}`" for choice in (one.left, one.right))
    place = next((Path(__file__).parents[1] / "notebooks").glob(f"{one.lesson}_*.ipynb"))
    return (
        f"## {one.name}\n\n**{one.title}.** {one.look}\n\n{left} beside {right} · "
        f"[lesson {one.lesson}](../notebooks/{place.name}) · `playground.html?{one.name}`\n"
    )


if __name__ == "__main__":
    sys.exit(main())
