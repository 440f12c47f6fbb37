"""Make the site.

python -m tools.site build/site                        into this folder
python -m tools.site build/site --repo OWNER/REPO      with links into the repository on GitHub, and into Colab
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .stage import SITE, Stage

# What the theme leaves out, and a reader's voice misses: how deep a heading is, what a part of the page is called
MISSING = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Site">',
    '<aside class="toc-drawer': '<aside aria-label="This page" class="toc-drawer',
}


def finish(out: Path) -> None:
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for found, better in MISSING.items():
            text = text.replace(found, better)
        page.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repo", default=os.environ.get("GITHUB_REPOSITORY", ""), metavar="OWNER/REPO")
    args = parser.parse_args()
    if args.repo and not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repo):
        parser.error(f"--repo {args.repo!r}: write OWNER/REPO, as in the address on GitHub")
    if args.out.exists() and not (args.out / "objects.inv").exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} holds something that is no site: name another folder")
    shutil.rmtree(args.out, ignore_errors=True)
    staged = args.out.with_name(args.out.name + "-source")
    pages = Stage(staged, args.repo).fill()
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-j",
        "auto",
        "-c",
        str(SITE),
        str(staged),
        str(args.out),
    ]
    done = subprocess.run(command, env=os.environ | {"SITE_REPO": args.repo, "SITE_STAGED": str(staged.absolute())})
    if done.returncode == 0:
        finish(args.out)
        print(f"{len(pages) + 1} pages: open {args.out / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
