"""pyproject.toml, requirements-lock.txt and environment.yml say the same, and nothing that Colab cannot follow."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import coursekit
import minieng

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
COURSE = {"jupyterlab", "torch", "transformers", "matplotlib", "ipywidgets", "nbval"}
PYTHONS = ("3.11", "3.12", "3.13")

# Colab's GPU image of August 2026 (googlecolab/backend-info). A floor above one of these would make pip replace what
# the running kernel has loaded, and ipywidgets 8 does not work there at all.
COLAB = {
    "python": "3.13.15", "torch": "2.11.0", "triton": "3.6.0", "transformers": "5.15.0", "tokenizers": "0.22.2",
    "huggingface-hub": "1.27.0", "safetensors": "0.8.0", "accelerate": "1.14.0", "numpy": "2.1.3",
    "matplotlib": "3.10.0", "ipywidgets": "7.7.1", "ipykernel": "6.17.1", "ipython": "7.34.0",
    "jupyter-client": "7.4.9", "traitlets": "5.7.1",
    "pytest": "8.4.2", "nbclient": "0.10.4", "nbformat": "5.11.1",
    "fastapi": "0.136.3", "uvicorn": "0.48.0", "prometheus-client": "0.25.0",
}  # fmt: skip


def requirements(lines):
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def pins(name):
    """{package: version} of a file of exact pins; anything else in it is an error."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = {}
    for package, requirement in requirements(filter(None, lines)).items():
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"{name}: {requirement} is no exact pin"
        found[package] = pin.version
    return found


CORE = requirements(PROJECT["dependencies"])
EXTRA = requirements([line for extra in ("course", "serve") for line in PROJECT["optional-dependencies"][extra]])
FLOORS = {**CORE, **EXTRA}
LOCK = pins("requirements-lock.txt")
COLAB_LIKE = pins("requirements-colab-like.txt")
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def test_the_six_packages_of_the_course_are_named_and_locked():
    assert COURSE <= set(FLOORS)
    assert COURSE <= set(LOCK)
    comment = " ".join(line for line in (ROOT / "environment.yml").read_text().splitlines() if line.startswith("#"))
    assert set(re.findall(r"\w+", comment)) >= COURSE


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_each_requirement_is_a_floor_that_the_lock_satisfies(name):
    (floor,) = FLOORS[name].specifier
    assert floor.operator == ">=", f"{FLOORS[name]}: floors only; exact versions belong in the lock"
    assert Version(LOCK[name]) in FLOORS[name].specifier


@pytest.mark.parametrize("name", sorted(set(FLOORS) & set(COLAB)))
def test_no_floor_is_above_what_colab_has(name):
    assert Version(COLAB[name]) in FLOORS[name].specifier


def test_the_lock_works_on_any_machine():
    assert not [name for name in LOCK if name.startswith(("nvidia-", "cuda-"))], "each build of torch pins its own"
    assert not [name for name, version in LOCK.items() if Version(version).local], "a +cpu suffix exists on one index"
    assert not {"minieng", "pip", "setuptools"} & set(LOCK)
    assert "`make lock`" in (ROOT / "requirements-lock.txt").read_text().splitlines()[1]


def test_pre_commit_runs_the_locked_versions():
    """Each repository's name, less what its owner adds to it, is the package that `make lint` runs."""
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    names = {repo["repo"].rsplit("/", 1)[1].removeprefix("mirrors-").removesuffix("-pre-commit"): repo["rev"] for repo in repos}
    gates = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    assert set(re.findall(r"\$\(BIN\)/(\S+)", gates)) == set(names)
    assert {name: rev.removeprefix("v") for name, rev in names.items()} == {name: LOCK[name] for name in names}


def test_the_version_is_written_once():
    version = re.search(r'^__version__ = "(.+)"$', (ROOT / "minieng/__init__.py").read_text(), re.MULTILINE).group(1)
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    assert SETUPTOOLS["dynamic"] == {"version": {"attr": "minieng.__version__"}}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert minieng.__version__ == coursekit.__version__ == version


def test_the_lock_is_what_make_lock_pins():
    makefile = (ROOT / "Makefile").read_text()
    for name in ("torch", "triton"):
        assert re.search(rf"^{name.upper()}_VERSION := (.+)$", makefile, re.MULTILINE).group(1) == LOCK[name]


def test_python_is_the_same_everywhere():
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [v for v in ("3.10", *PYTHONS, "3.14") if Version(v) in supported] == list(PYTHONS)
    assert Version(COLAB["python"]) in supported
    said = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if c.startswith("Programming Language :: Python :: 3.")]
    assert tuple(said) == PYTHONS
    (conda,) = [d for d in CONDA["dependencies"] if isinstance(d, str) and d.startswith("python")]
    assert conda.removeprefix("python=") in PYTHONS
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


def test_conda_adds_nothing_to_python_and_pip():
    assert CONDA["name"] == PROJECT["name"]
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]
    python, pip, pip_lines = CONDA["dependencies"]
    assert pip == "pip"  # conda warns when a pip section has no pip beside it
    assert pip_lines == {"pip": ["-c requirements-lock.txt", "-e .[course,serve]"]}


def test_the_colab_like_kernel_has_colabs_versions_and_the_locked_torch():
    for name, version in COLAB_LIKE.items():
        if name in ("torch", "triton", "nbval"):
            assert version == LOCK[name]
        else:
            assert version == COLAB[name]
        assert name not in FLOORS or Version(version) in FLOORS[name].specifier
    assert {"ipykernel", "ipython", "ipywidgets", "jupyter-client", "traitlets", "torch"} <= set(COLAB_LIKE)


def test_the_console_scripts_are_there():
    assert PROJECT["scripts"] == {"minieng": "minieng.cli:main", "coursekit": "coursekit.cli:main"}
