"""Write the set-up cell of ``coursekit/setup_cell.py`` into all lessons and solutions, after it has changed.

python -m tools.set_up_cells     then `coursekit build`, which makes the exercises

What a cell printed stays until the notebook is run again. An address that `coursekit badges` wrote stays.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from coursekit.setup_cell import REPO_FIELD, SETUP

ROOT = Path(__file__).parents[1]


def main() -> int:
    for path in sorted((*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("solutions/*.ipynb"))):
        text = path.read_text(encoding="utf-8")
        old = next(("".join(cell["source"]) for cell in json.loads(text)["cells"] if is_set_up("".join(cell["source"]))), None)
        if old is None:
            continue
        address = REPO_FIELD.search(old)
        new = SETUP if address is None else REPO_FIELD.sub(lambda _, kept=address[0]: kept, SETUP)
        wide = lines_of(old)
        if new != old and text.count(wide) == 1:
            path.write_text(text.replace(wide, lines_of(new)), encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


def is_set_up(source: str) -> bool:
    return re.match(r"# @title Set-up\b", source) is not None


def lines_of(source: str) -> str:
    """The list of lines as a notebook's file holds it."""
    return ",\n".join(f"    {json.dumps(line, ensure_ascii=False)}" for line in source.splitlines(keepends=True))


if __name__ == "__main__":
    sys.exit(main())
