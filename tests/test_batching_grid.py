"""The grid benchmark: arguments, a whole run on the tiny model, and the recorded result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("psutil")
import batching_grid  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.apart  # cells that others disturb are measured again

FIGURES = {"mean_ms", "p95_ms", "requests_per_s", "tokens_per_s", "busy", "seats"}


def check_shape(report: dict) -> None:
    assert {"date", "command", "device", "versions", "OMP_NUM_THREADS", "model", "settings", "fit", "full_batches"} <= set(report)
    assert [(c["batch_size"], c["window_ms"]) for c in report["cells"]] == [(b, w) for b in (1, 4, 8) for w in (0, 10, 50)]
    for cell in report["cells"]:
        assert all(set(cell[part]) == FIGURES for part in ("measured", "expected", "expected_many"))
        assert 0 <= cell["others_cpu_share"] <= 1 and cell["disturbed"] == (
            cell["others_cpu_share"] > report["settings"]["max_foreign"]
        )
        assert 0 < cell["measured"]["busy"] <= 1 and 0 < cell["measured"]["seats"] <= 1


@pytest.mark.parametrize(
    "argv", [["--rate", "0"], ["--sizes", "0,4"], ["--windows", "-1"], ["--requests", "0"], ["--max-foreign", "nan"]]
)
def test_wrong_arguments_are_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        batching_grid.parse(argv)
    assert stop.value.code == 2
    assert argv[0].strip("-").split("-")[0] in capsys.readouterr().err


def test_an_unknown_model_is_told(capsys):
    assert batching_grid.main(["--model", "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_quick_runs_the_whole_grid_and_leaves_the_recorded_result_alone(tmp_path, capsys):
    assert "results" not in batching_grid.parse(["--quick"]).json.parts
    file = tmp_path / "grid.json"
    assert batching_grid.main(["--quick", "--json", str(file)]) in (0, 1)
    report = json.loads(file.read_text())
    check_shape(report)
    assert report["model"] == "tiny" and report["settings"]["rate"] == 10.0
    assert report["complete"]
    before = report["cells"][0] | {"disturbed": False, "others_cpu_share": 0.0, "date": "kept"}
    file.write_text(json.dumps(report | {"cells": [before]}))
    batching_grid.main(["--quick", "--resume", "--json", str(file)])
    again = json.loads(file.read_text())
    check_shape(again)
    assert [cell["date"] == "kept" for cell in again["cells"]] == [True] + 8 * [False]
    alone = [c["expected"] for c in report["cells"] if c["batch_size"] == 1]
    assert alone[0] == alone[1] == alone[2], "one request is a full batch: no window changes anything"
    assert "expected" in capsys.readouterr().out


def test_the_recorded_result_is_whole():
    report = json.loads(batching_grid.RESULTS.read_text())
    check_shape(report)
    assert (
        report["complete"]
        and report["model"] == "smollm2-135m"
        and report["command"].startswith("python benchmarks/batching_grid.py")
    )
