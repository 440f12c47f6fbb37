"""Put the playground's page together: page, scripts, Pyodide and the project's wheel, in a folder.

python -m tools.playground OUT     OUT/playground.html and OUT/playground/; `make site` runs it after the pages

The page works from a server, and opened as a file: what a worker would fetch there is once more in one script, packed.js.

Pyodide comes from npm, at the version and with the checksum below, and is kept in ``.cache``: afterwards no network is needed.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from .wheel import LEFT_OUT, ROOT
from .wheel import build as build_wheel

PAGE = ROOT / "site" / "extra"  # which holds the page and its scripts
CACHE = ROOT / ".cache" / "pyodide"
PYODIDE = "0.29.5"  # Python 3.13
INTEGRITY = "TkYrUv9m8QmfImADKRmpwZulL48E0uUaBSO+dvRQKyAJc0qh9gu7jn8btyHPh3NZm1r2IH2YrJhIr7Q2B9urAw=="  # sha512, as npm writes it
FILES = ("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
FOR_NODE = ("pyodide.mjs", "package.json")  # tests run it without a browser
LICENCE = "Pyodide {version}, MPL-2.0, and in it CPython, PSF-2.0: https://github.com/pyodide/pyodide\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    try:
        print(f"open {build(out)}")
    except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
        print(f"no playground: {problem}", file=sys.stderr)
        return 1
    return 0


def build(out: Path) -> Path:
    """Everything the page needs, nothing from elsewhere. Returns the page's path."""
    folder = out / "playground"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("playground.html", "playground/page.js", "playground/worker.js"):
        shutil.copyfile(PAGE / name, out / name)
    with tempfile.TemporaryDirectory() as place:
        shutil.copyfile(wheel(Path(place)), folder / "minieng.whl")
    copy_pyodide(folder / "pyodide")
    (folder / "packed.js").write_text(packed(folder), encoding="utf-8")
    return out / "playground.html"


def packed(folder: Path) -> str:
    """A script that says in WORKER what the worker runs, with all that it loads in it: gzip in base64."""
    names = ["minieng.whl", *(f"pyodide/{name}" for name in FILES)]
    held = {name: base64.b64encode(gzip.compress((folder / name).read_bytes(), mtime=0)).decode() for name in names}
    program = f"self.PACKED = {json.dumps(held)};\n{(folder / 'worker.js').read_text(encoding='utf-8')}"
    return f"self.WORKER = {json.dumps(program)};\n"


def copy_pyodide(folder: Path) -> None:
    kept = pyodide()
    folder.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(kept / name, folder / name)
    (folder / "LICENCE.txt").write_text(LICENCE.format(version=PYODIDE), encoding="utf-8")


def pyodide() -> Path:
    """The folder with Pyodide's files, fetched once. Raises RuntimeError where npm is missing or brings something else."""
    folder = CACHE / PYODIDE
    if not folder.exists():
        data = from_npm()
        found = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != INTEGRITY:
            raise RuntimeError(f"npm brought another pyodide@{PYODIDE}: its sha512 is {found}, not {INTEGRITY}")
        part = folder.with_name(f"{PYODIDE}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for name in (*FILES, *FOR_NODE):
                member = archive.extractfile(f"package/{name}")
                assert member is not None
                (part / name).write_bytes(member.read())
        part.rename(folder)
    return folder


def from_npm() -> bytes:
    """The package as npm has it."""
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"pyodide@{PYODIDE} comes from npm, which is not here: install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", f"pyodide@{PYODIDE}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"npm could not fetch pyodide@{PYODIDE}: {done.stderr.strip() or done.stdout.strip()}")
        (file,) = Path(folder).glob("*.tgz")
        return file.read_bytes()


def wheel(folder: Path) -> Path:
    """The project's wheel, made in a folder from a copy of the tree, so that nothing is left in the tree."""
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    build_wheel(folder / "source", folder)
    (made,) = folder.glob("*.whl")
    return made


if __name__ == "__main__":
    sys.exit(main())
