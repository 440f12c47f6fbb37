"""The set-up cell, the same in all lessons and exercises: ``coursekit new`` writes it, and tests hold the others to it.

It is folded, so that what a reader sees first is the lesson: on Colab by the title's ``display-mode``, in JupyterLab by
``source_hidden`` in its metadata. No other cell may hide its source; what answers a guess hides its output only.
"""

import re
from collections.abc import Sequence
from typing import Any

SETUP = """\
# @title Set-up: finds the course, installs nothing that is already here { display-mode: "form" }
REPO_URL = ""  # @param {type:"string"}
import importlib.util, os, pathlib, subprocess, sys  # noqa: E401

here, find, how = pathlib.Path.cwd(), importlib.util.find_spec, "was installed here already: nothing is installed"
around = [f for f in (here, *here.parents, here / "course") if (f / "minieng" / "__init__.py").exists()]
wheels = sorted(here.glob("minieng-*.whl"))
if find("minieng") is None and around:  # a checkout around this notebook
    sys.path.insert(0, str(around[0]))
    how = "is in the checkout around this notebook: nothing is installed"
elif find("minieng") is None:
    if not wheels and REPO_URL:
        subprocess.run(["git", "clone", "-q", "--depth", "1", REPO_URL, "course"], check=True)
        sys.path.insert(0, str(here / "course"))
        how = f"was fetched from {REPO_URL}: nothing is installed"
    elif not wheels and "google.colab" in sys.modules:  # Colab asks for the wheel
        from google.colab import files

        wheels = list(files.upload())
    if wheels:  # its dependencies are there already
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", str(wheels[-1])], check=True)
        how = f"was installed from {pathlib.Path(wheels[-1]).name}, alone: what it needs is here"
    importlib.invalidate_caches()
    if find("minieng") is None:
        raise ImportError("minieng is not here: set REPO_URL, or put minieng-*.whl beside this notebook; run again")
MODEL = os.environ.get("MINIENG_MODEL", "smollm2-135m")
print(f"minieng {how}; model {MODEL}, Python {sys.version.split()[0]}")"""
IMPORTS = "from coursekit import check, hint, predict, progress, reveal, solved  # noqa: F401"
REPO_FIELD = re.compile(r'^REPO_URL = "[^"\n]*"', re.MULTILINE)  # the one line of it that a published copy changes


def cell_metadata(source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
    """The metadata with which a cell is stored: its tags, each once; and the fold, if it is the set-up cell."""
    folded = REPO_FIELD.sub('REPO_URL = ""', source) == SETUP
    kept = list(dict.fromkeys(tags))
    return {**({"jupyter": {"source_hidden": True}} if folded else {}), **({"tags": kept} if kept else {})}
