"""docs/SERVING.md and its board for Grafana say what the server does: flags, endpoints and metrics exist, and none is missing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from support.door import fake_llm

from minieng.cli import make_parser
from minieng.config import EngineConfig
from minieng.server.http import make_app
from minieng.server.protocol import REFUSED, SAMPLING
from minieng.server.settings import ENGINE_DEFAULTS, ServerConfig

DOCS = Path(__file__).parents[2] / "docs"
WHOLE = (DOCS / "SERVING.md").read_text(encoding="utf-8")
MEASURING = re.search(r"^## Measure it\n(.*?)^## ", WHOLE, re.MULTILINE | re.DOTALL)[1]  # other commands' flags
PAGE = WHOLE.replace(MEASURING, "")


@pytest.fixture(scope="module")
def app():
    return make_app(fake_llm())


@pytest.fixture(scope="module")
def exported(app) -> set[str]:
    """Names in /metrics, as Prometheus keeps them."""
    metrics = next(route.endpoint.__self__ for route in app.routes if route.path == "/metrics").metrics
    return set(re.findall(r"^(vllm:\w+)", metrics.text().decode(), re.MULTILINE))


def test_each_endpoint_is_on_the_page(app):
    told = set(re.findall(r"`(?:POST |GET )?(/[\w/]*)`", PAGE))
    paths = {route.path.replace("/{name:path}", "") for route in app.routes if route.path.count("{") <= 1}
    assert paths <= told and told - paths == set()


def test_each_flag_on_the_page_exists_and_each_of_the_servers_limits_is_there():
    told = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]+)", PAGE)} - {"model"}
    own = {field.name for field in dataclasses.fields(ServerConfig)}
    assert told <= own | {field.name for field in dataclasses.fields(EngineConfig)} | {"help"}
    assert {name for name in own if name.endswith(("_seconds", "_mb", "_kb", "_connections"))} <= told
    for name, value in re.findall(r"`--([a-z-]+)` ([\d,]+)", PAGE):
        known = {**ENGINE_DEFAULTS, **dataclasses.asdict(ServerConfig())}
        assert known[name.replace("-", "_")] == float(value.replace(",", "")), name


def test_each_flag_for_measuring_exists():
    flags = {option for words in (["bench"], ["replay-load"], ["simulate"]) for option in options_of(words)}
    vllms = set(re.findall(r"--[a-z-]+", MEASURING.partition("`vllm bench serve\n")[2].partition("`")[0]))
    told = set(re.findall(r"--[a-z][a-z-]+", MEASURING))
    assert vllms == {"--dataset-name", "--dataset-path", "--timed-trace-chunk-hash-size", "--timed-trace-sec-multiplier"}
    assert told - vllms <= flags and {"--base-url", "--record", "--fit-to"} <= told


def options_of(words: list[str]) -> set[str]:
    (sub,) = (action for action in make_parser(words)._actions if hasattr(action, "choices") and action.choices)
    return {option for action in sub.choices[words[0]]._actions for option in action.option_strings}


def test_parameters_that_are_named_are_taken_and_those_refused_are_refused():
    vllms = re.search(r"takes vLLM's (.*?); `user`", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", vllms)) <= {*SAMPLING, "priority", "return_token_ids"}
    refused = re.search(r"a 400 that names it: (.*?), images", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", refused)) <= set(REFUSED)


def test_metrics_that_are_named_are_exported(exported):
    told = set(re.findall(r"`(vllm:\w+)", PAGE))
    assert len(told) >= 8
    assert {name for name in told if name not in exported and f"{name}_bucket" not in exported} == set()


def test_the_board_asks_for_what_is_exported(exported):
    board = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"vllm:\w+", expression)}
    assert len(board["panels"]) >= 10 and len(names) >= 12
    assert names <= exported
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
