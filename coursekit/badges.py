"""``coursekit badges OWNER/REPO``: the "Open in Colab" badge under each title, the address in each set-up cell,
and the state of tests, site and release under the README's title.

The notebooks do not know where their repository lives; a teacher who publishes a copy writes it in with this.
"""

import copy
import re
from pathlib import Path
from typing import Any

from .setup_cell import REPO_FIELD

BADGE = "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
BADGE_LINE = re.compile(r"\n*^\[!\[Open In Colab\]\([^)]*\)\]\([^)]*\)$", re.MULTILINE)
REPO_NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")


def with_badge(book: Any, target: str | None, url: str | None) -> Any:
    """The notebook with a badge under its title and the address in its set-up cell; without both if target is None."""
    book = copy.deepcopy(book)
    first = next((cell for cell in book.cells if cell.cell_type == "markdown"), None)
    if first is not None:
        title, _, rest = BADGE_LINE.sub("", first.source, count=1).partition("\n")
        badge = f"\n\n{BADGE}({target})" if target else ""
        first.source = f"{title}{badge}\n{rest}" if rest else f"{title}{badge}"
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.source = REPO_FIELD.sub(f'REPO_URL = "{url or ""}"', cell.source)
    return book


README_LINE = re.compile(r"\n*^\[!\[tests\]\(.*$", re.MULTILINE)
WORKFLOWS = {"tests": "ci.yml", "site": "pages.yml", "release": "release.yml"}


def readme_with_badges(text: str, repo: str | None) -> str:
    """A README with a line under its title: what the tests, the site and the last release say; without it if repo is None.

    The site's badge leads to where GitHub Pages puts it.
    """
    title, _, rest = README_LINE.sub("", text, count=1).partition("\n")
    if repo is None:
        return f"{title}\n{rest}"
    owner, _, name = repo.partition("/")
    where = {
        "tests": f"https://github.com/{repo}/actions/workflows/ci.yml",
        "site": f"https://{owner.lower()}.github.io/{name}/",
        "release": f"https://github.com/{repo}/releases",
    }
    shown = (
        f"[![{what}](https://github.com/{repo}/actions/workflows/{file}/badge.svg)]({where[what]})"
        for what, file in WORKFLOWS.items()
    )
    return f"{title}\n\n{' '.join(shown)}\n{rest}"


def address(path: Path, repo: str, branch: str = "main") -> str:
    """Where Colab finds the notebook. The master of an exercise names the exercise: ``coursekit build`` copies that."""
    folder = "exercises" if path.parent.name == "solutions" else path.resolve().parent.name
    return f"https://colab.research.google.com/github/{repo}/blob/{branch}/{folder}/{path.name}"
