"""Fixtures for all tests: models with their oracle, made or loaded once a run, and the count of compared tokens."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, and so would what they start


class Kit:
    """A model, its oracle, and engines on it. Weights are loaded once: engines of a process share them."""

    def __init__(self, path: Path, name: str, longest: int) -> None:
        from support.oracle import Oracle

        from minieng import LLM

        self.path, self.oracle = path, Oracle(path, name, longest)
        self._keep = LLM(str(path), num_blocks=1, device="cpu", dtype="float32").runner.model

    def llm(self, **knobs):
        from minieng import LLM

        return LLM(str(self.path), **{"checked": True, "device": "cpu", "dtype": "float32", **knobs})


@pytest.fixture(scope="session")
def tiny() -> Kit:
    """The repository's own story model."""
    from minieng.model import resolve

    return Kit(resolve("tiny"), "tiny", longest=24)


@pytest.fixture(scope="session")
def smollm2() -> Kit:
    """SmolLM2-135M, if it is here or can be fetched."""
    from minieng.hub import resolve as loader

    try:
        path = loader.resolve("smollm2-135m")
    except loader.ModelError as problem:
        pytest.skip(f"SmolLM2 cannot be had here: {problem}")
    return Kit(path, "smollm2-135m", longest=16)


@pytest.fixture(scope="session")
def shape(tmp_path_factory):
    """shape("gpt2") → a small random model of that architecture and its oracle."""
    from support.models import make_model

    known: dict[str, Kit] = {}

    def get(name: str, longest: int = 12) -> Kit:
        if name not in known:
            known[name] = Kit(make_model(tmp_path_factory.mktemp(name), name), name, longest)
        return known[name]

    return get


def pytest_configure(config: pytest.Config) -> None:
    if "torch" in sys.modules or not config.getoption("--collect-only"):
        import os

        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def pytest_terminal_summary(terminalreporter) -> None:
    oracle = sys.modules.get("support.oracle")
    if oracle and oracle.TALLY.tokens:
        terminalreporter.write_line(f"same tokens: {oracle.TALLY}")


@pytest.fixture(scope="session", autouse=True)
def few_ties():
    """The contract's excuse has a limit: at most one tie in 2,000 tokens over the whole run."""
    yield
    oracle = sys.modules.get("support.oracle")
    if oracle:
        allowed = max(1, oracle.TALLY.tokens // oracle.TOKENS_PER_TIE)
        assert oracle.TALLY.ties <= allowed, f"too many ties: {oracle.TALLY}"
