"""Fixtures for all tests: models with their oracle, made or loaded once a run, and the count of compared tokens."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict

import pytest
from support import chromium
from support.tally import TALLY, TOKENS_PER_TIE

import minieng  # noqa: F401 (before torch, whose threads are told how to wait when it is loaded)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, and so would what they start


@pytest.fixture(scope="session")
def tiny():
    """The repository's own story model."""
    from support.kit import Kit

    from minieng.model import resolve

    return Kit(resolve("tiny"), "tiny", longest=24)


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M, if it is here or can be fetched."""
    from support.kit import Kit

    from minieng.hub import resolve as loader

    try:
        path = loader.resolve("smollm2-135m")
    except loader.ModelError as problem:
        pytest.skip(f"SmolLM2 cannot be had here: {problem}")
    return Kit(path, "smollm2-135m", longest=16)


@pytest.fixture(scope="session")
def shape(tmp_path_factory):
    """shape("gpt2") → a small random model of that architecture and its oracle."""
    from support.kit import Kit
    from support.models import make_model

    known: dict[str, Kit] = {}

    def get(name: str, longest: int = 12) -> Kit:
        if name not in known:
            known[name] = Kit(make_model(tmp_path_factory.mktemp(name), name), name, longest)
        return known[name]

    return get


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, for tests that `support.chromium.NEEDS` marks."""
    with chromium.launched() as browser:
        yield browser


@pytest.fixture
def page(browser, request):
    """A page on which nothing may go wrong; an indirect parameter holds options of playwright's new_page."""
    with chromium.watched(browser, **getattr(request, "param", {})) as page:
        yield page


def pytest_configure(config: pytest.Config) -> None:
    if "torch" in sys.modules or not config.getoption("--collect-only"):
        import os

        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """A worker of pytest-xdist has ended: count what it compared."""
    TALLY.add(**getattr(node, "workeroutput", {}).get("tally", {"tokens": 0, "ties": 0, "by_model": {}}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The contract's excuse has a limit: at most one tie in 2,000 tokens over the whole run."""
    told = getattr(session.config, "workeroutput", None)  # in a worker: the first process counts and judges
    if told is not None:
        told["tally"] = asdict(TALLY)
    elif TALLY.too_many_ties and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter) -> None:
    if TALLY.tokens:
        terminalreporter.write_line(f"same tokens: {TALLY}")
    if TALLY.too_many_ties:
        terminalreporter.write_line(f"FAILED: more ties than one in {TOKENS_PER_TIE:,} tokens", red=True)
