"""The compiled kernels of a platform wheel: chosen by what the processor can do, right, and never of another source."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from minieng.kernels import native, prebuilt
from minieng.kernels.backend import BACKENDS
from minieng.kernels.choose import self_test
from tools.wheel import compile_all, glibc_of

pytestmark = pytest.mark.skipif(
    not shutil.which("cc") or os.uname().machine != "x86_64" or os.uname().sysname != "Linux",
    reason="platform wheels are for Linux on x86-64, and made with a C compiler",
)
AVX2 = {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    return compile_all(tmp_path_factory.mktemp("prebuilt"))


@pytest.fixture
def no_compiler(monkeypatch, libraries):
    """A machine with the libraries and without a compiler; returns a function that says what its processor can do."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    monkeypatch.setattr(prebuilt, "FOLDER", libraries[0].parent)
    native.library.cache_clear()
    yield lambda *flags: monkeypatch.setattr(prebuilt, "processor_flags", lambda: frozenset(flags))
    native.library.cache_clear()


def found(dtype=torch.float32):
    return prebuilt.find(native.flags_of(dtype), [file.read_bytes() for file in native.SOURCES])


def test_the_best_level_that_the_processor_has_is_taken(no_compiler):
    for flags, level in ((AVX512, "avx512"), (AVX2, "avx2"), (AVX512 - {"avx512vl"}, "avx2")):
        no_compiler(*flags)
        assert found().name.startswith(f"native-{level}-")
        assert found(torch.bfloat16).name != found().name
    no_compiler("sse4_2", "avx")
    assert found() is None


def test_a_library_of_another_source_or_other_flags_is_not_loaded(no_compiler, monkeypatch):
    no_compiler(*AVX512)
    texts = [file.read_bytes() for file in native.SOURCES]
    assert prebuilt.find(native.flags_of(torch.float32), [*texts[:-1], texts[-1] + b"\n"]) is None
    assert prebuilt.find([*native.flags_of(torch.float32), "-g"], texts) is None
    monkeypatch.setattr(prebuilt.platform, "machine", lambda: "aarch64")
    assert found() is None


@pytest.mark.parametrize("level", prebuilt.LEVELS)
def test_each_is_right_on_this_processor(level, no_compiler):
    _, needed = prebuilt.LEVELS[level]
    if not needed <= prebuilt.processor_flags():
        pytest.skip(f"this processor has no {level}")
    no_compiler(*needed)
    assert native.library(torch.float32)._name.rsplit("/", 1)[1].startswith(f"native-{level}-")
    assert native.library(torch.float32).native_panel_width() == {"avx512": 48, "avx2": 16}[level]
    shape = {"heads": 6, "kv_heads": 2, "head_dim": 64, "block_size": 16}
    for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        assert self_test(BACKENDS["native"], torch.device("cpu"), dtype, *shape.values()) < limit


def test_a_library_that_cannot_be_loaded_is_no_kernel(no_compiler, monkeypatch, tmp_path):
    no_compiler(*AVX512)
    (tmp_path / found().name).write_bytes(b"not a library")
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        native.library(torch.float32)


def test_the_wheels_tag_names_a_glibc_that_is_new_enough(libraries, tmp_path):
    assert [int(part) for part in glibc_of(libraries).split(".")] >= [2, 17]
    newer = tmp_path / "x.so"
    newer.write_bytes(b"\0GLIBC_2.5\0GLIBC_2.34\0GLIBC_2.4\0")
    assert glibc_of([*libraries, newer]) == "2.34"
