"""`make lint` is red for an error of each kind that it is there for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ("Makefile", "pyproject.toml", ".clang-format", ".github/workflows/ci.yml")
PACKAGES = ("minieng", "coursekit")  # whole: the types of a part could not be told without the rest
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A folder with the gates' configuration and the packages as they stand here."""
    folder = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in CONFIGURATION:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def lint(folder):
    """`make lint` of this project's Makefile, with the tools of this Python and without its set-up."""
    command = ["make", "lint", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=environment)


PLANTED = {
    "style": ("minieng/planted.py", "import os\n", "F401"),
    "format": ("coursekit/planted.py", "x = {  'a':1 }\n", "would be reformatted"),
    "type of a value": ("minieng/planted.py", 'count: int = "many"\n', "[assignment]"),
    "type in a function": ("coursekit/planted.py", 'def planted():\n    return 1 + "1"\n', "[operator]"),
    "C": ("minieng/kernels/native/planted.c", "int  planted( void ){ return 1; }\n", "-Wclang-format-violations"),
    "workflow": (
        ".github/workflows/planted.yml",
        "on: push\njobs:\n  test:\n    runs-on: [ubuntu-latest]\n    step: []\n",
        "step",
    ),
}


def test_the_house_is_green(house):
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_error_turns_it_red(house, kind):
    name, text, said = PLANTED[kind]
    planted = house / name
    planted.write_text(text)
    try:
        done = lint(house)
    finally:
        planted.unlink()
    assert done.returncode != 0
    assert planted.name in done.stdout + done.stderr and said in done.stdout + done.stderr


def test_make_test_begins_with_it():
    done = subprocess.run(
        ["make", "-n", "test", "-o", f"{sys.prefix}/.ready", f"VENV={sys.prefix}"], cwd=ROOT, capture_output=True, text=True
    )
    commands = [line for line in done.stdout.splitlines() if line.startswith(sys.prefix)]
    assert commands[0].endswith("ruff check ."), done.stdout + done.stderr
