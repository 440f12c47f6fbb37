"""`coursekit doctor`: one line a thing, a remedy for what is missing, and an exit code."""

import pytest

from coursekit import doctor
from coursekit.cli import main


def lines(capsys):
    code = main(["doctor"])
    return code, capsys.readouterr().out.splitlines()


def test_a_machine_that_runs_the_course(capsys):
    pytest.importorskip("torch")
    code, said = lines(capsys)
    assert code == 0 and said[-1].startswith("Ready")
    for thing in ("Python 3", "minieng in", "torch ", "ipywidgets ", "kernel python3", "progress is kept in", "grading"):
        assert any(thing in line for line in said), thing


def test_what_is_missing_or_old_comes_with_its_remedy(capsys, monkeypatch):
    versions = {"torch": "2.1.0", "transformers": "5.15.0"}

    def version(name):
        if name not in versions:
            raise doctor.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    code, said = lines(capsys)
    assert code == 1 and "marked ✗" in said[-1]
    assert "✗ torch 2.1.0 is older than 2.10: pip install -U 'torch>=2.10'" in said
    assert "✗ ipywidgets is missing: pip install 'ipywidgets>=7.7.1'" in said
    assert any(line.startswith("✗ minieng is missing") for line in said) and "✓ transformers 5.15.0" in said
    assert any(line.startswith("! nbval is missing") for line in said), "what only authors need is no failure"


def test_colab_is_known_and_the_advice_is_given(capsys, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert any("this is Colab" in line and "export_progress()" in line for line in lines(capsys)[1])


@pytest.mark.parametrize("here, good", [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_the_versions_of_python_that_are_tested(here, good, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (*here, 0))
    assert doctor.python_line()[0] is good
