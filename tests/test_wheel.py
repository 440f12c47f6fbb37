"""The wheel: everything is in it, and an exercise that somebody copied works from it alone."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from coursekit.setup_cell import SETUP

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
EXERCISE = "02_padding_and_masks.ipynb"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as `pip wheel --no-deps .` makes it, from a copy so that nothing is left in the tree."""
    copy, out = tmp_path_factory.mktemp("source") / "minieng", tmp_path_factory.mktemp("dist")
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "*.so", "benchmarks")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "-w",
        str(out),
        str(copy),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode and "setuptools" in done.stderr and ("No matching" in done.stderr or "connection" in done.stderr.lower()):
        pytest.skip("pip cannot fetch setuptools, which builds the wheel")
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """The Python of a new environment with the wheel, beside the packages that are installed here."""
    python = environment(tmp_path_factory.mktemp("fresh"))
    subprocess.run(
        [python, "-I", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, timeout=120
    )
    return python


def environment(folder):
    """The Python of a new environment beside the packages that are installed here, but for minieng."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    own = subprocess.run(
        [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    (Path(own.stdout.strip()) / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python, code, cwd, **environment):
    done = subprocess.run(
        [python, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_set_up_cell_installs_the_wheel_and_nothing_else(wheel, tmp_path):
    """As on Colab: what the wheel needs is there, the wheel lies beside the notebook, and pip changes nothing but minieng."""
    python = environment(tmp_path / "colab")
    book = tmp_path / "book"
    book.mkdir()
    shutil.copy(wheel, book)
    before = freeze(python)
    said = run(python, SETUP + "\nimport minieng\nprint(minieng.__file__)", book)
    assert str(tmp_path / "colab") in said and "minieng was installed from minieng-" in said and "model smollm2-135m" in said
    after = freeze(python)
    assert after != before and not [line for line in after ^ before if "minieng" not in line]


def freeze(python):
    done = subprocess.run(
        [python, "-I", "-m", "pip", "freeze", "--local"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines())


def test_everything_that_git_knows_of_the_packages_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    known = subprocess.run(["git", "ls-files", "minieng", "coursekit"], cwd=ROOT, capture_output=True, text=True, check=False)
    wanted = [n for n in known.stdout.split() if (ROOT / n).exists() and Path(n).name not in ("README.md", "ruff.toml")]
    assert not [name for name in wanted if name not in names]
    assert {
        "minieng/py.typed",
        "coursekit/py.typed",
        "minieng/kernels/native/products.h",
        "minieng/hub/tiny/model.safetensors",
        "coursekit/tasks/lesson_02/left_pad.py",
    } <= names
    assert not [name for name in names if name.startswith(("tests", "solutions", "notebooks"))]


def cells_of(path):
    return ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", sorted((ROOT / "exercises").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_exercise_runs_from_the_wheel_alone(path, fresh, tmp_path):
    """All its cells, one after the other in a folder of its own: unsolved, without a model."""
    said = run(fresh, "\n".join(cells_of(path)), tmp_path, HF_HUB_OFFLINE="1")
    assert "not done yet" in said and "✓" not in said


def test_a_copied_exercise_checks_and_hints(fresh, tmp_path):
    """Exercise 02, then a hint, a right answer and a wrong one."""
    cells = cells_of(ROOT / "exercises" / EXERCISE)
    cells += [
        "hint('02.2')",
        "def padding_waste(n):\n    return 1 - sum(n) / (len(n) * max(n)) if n else 0.0\ncheck('02.2', globals())",
        "def padding_waste(n):\n    return sum(n)\ncheck('02.2', globals())",
    ]
    said = run(fresh, "\n".join(cells), tmp_path)
    assert said.count("not done yet") == 5 and "A nudge for 02.2" in said
    assert "✓ 02.2" in said and "smallest failing call" in said
    where = run(fresh, "import coursekit, minieng; print(coursekit.__file__, minieng.__file__)", tmp_path)
    assert where.count(str(fresh.parent.parent)) == 2


def test_the_commands_and_the_tiny_model_work(fresh, tmp_path):
    for command in ("coursekit", "minieng"):
        done = subprocess.run([fresh.parent / command, "--help"], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0 and "usage" in done.stdout, done.stderr
    code = "from minieng import LLM\nprint(len(LLM('tiny').generate('Once', None)[0].outputs[0].token_ids))"
    assert int(run(fresh, code, tmp_path, MINIENG_CACHE=str(tmp_path)).split()[-1]) > 3


def test_schedulers_run_from_the_wheel(fresh, tmp_path):
    code = (
        "from coursekit.judging.scheduling import Bench\n"
        "run = Bench(max_num_seqs=2).reference(([[0.0, 4, 3], [0.0, 2, 1]],), 'continuous')\n"
        "print(len(run['steps']), run['broken'])"
    )
    assert run(fresh, code, tmp_path).split() == ["3", "None"]
