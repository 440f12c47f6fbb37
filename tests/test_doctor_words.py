"""What `minieng doctor` says of machines that are not here: a T4, a newer GPU, a Mac without Xcode's tools, a slim container."""

from __future__ import annotations

import subprocess

import pytest

from minieng.doctor import t4_line, without_compiler
from minieng.kernels import native


@pytest.mark.parametrize(
    "name, capability, begins, says",
    [
        (None, None, "no: no GPU here", "T4 GPU"),
        ("Tesla T4", (7, 5), "yes: ", "float16"),
        ("NVIDIA A100-SXM4-40GB", (8, 0), "no, NVIDIA A100-SXM4-40GB: ", "Triton"),
        ("Tesla V100-SXM2-16GB", (7, 0), "no, Tesla V100", "'padded'"),
    ],
)
def test_one_line_says_whether_this_is_a_t4_and_what_runs(name, capability, begins, says):
    line = t4_line(name, capability)
    assert line.startswith(begins) and says in line and "\n" not in line
    assert ("bfloat16, attention by Triton" in line) == (capability is not None and capability >= (8, 0))


def test_without_a_compiler_each_system_hears_what_it_gets_and_how_to_change_it():
    assert "xcode-select --install" in without_compiler("darwin", None) and "plain torch" in without_compiler("darwin", None)
    assert "gcc or clang, or the wheel" in without_compiler("linux", None)
    line = without_compiler("linux", "native-avx2-0123.so")
    assert "none is needed" in line and "native-avx2-0123.so" in line and "torch" not in line


def test_a_mac_without_xcodes_tools_has_no_compiler(monkeypatch):
    """Its /usr/bin/cc is there, and opens a window instead of compiling: it is not called."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(native.shutil, "which", lambda name: "/usr/bin/cc")
    for code, expected in ((2, None), (0, "/usr/bin/cc")):
        native.xcode_tools.cache_clear()
        monkeypatch.setattr(native.subprocess, "run", lambda *_, code=code, **__: subprocess.CompletedProcess([], code))
        assert native.find_compiler() == expected
    native.xcode_tools.cache_clear()
    monkeypatch.setenv("CC", "/opt/cc")
    assert native.find_compiler() == "/opt/cc"
