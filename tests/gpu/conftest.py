"""What needs a GPU. Without one every test here is skipped with the reason; run by itself: ``pytest tests/gpu``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def reason() -> str | None:
    """Why these tests cannot run, or None."""
    import torch

    if not torch.cuda.is_available():
        return "no CUDA device on this machine"
    if os.environ.get("TRITON_INTERPRET") == "1":  # tests/kernels set it for the whole process
        return "Triton's interpreter is switched on in this process: run `python -m pytest tests/gpu` by itself"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = reason()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def gpu_tiny():
    """The repository's story model and transformers on it, both on the GPU in fp32."""
    from support.gpu_kit import GpuKit

    from minieng.model import resolve

    return GpuKit(resolve("tiny"), "tiny on the GPU", longest=24)


@pytest.fixture(scope="session")
def gpu_shape(tmp_path_factory):
    """gpu_shape("qwen3") → a small random model of that shape with its oracle, both on the GPU."""
    from support.gpu_kit import GpuKit
    from support.models import make_model

    known: dict = {}

    def get(name: str, **settings):
        key = name + str(settings)
        if key not in known:
            known[key] = GpuKit(make_model(tmp_path_factory.mktemp(name), name, **settings), f"{name} on the GPU", 16)
        return known[key]

    return get
