"""``minieng bench --base-url`` and ``minieng replay-load`` from the command line, against a server in this process."""

from __future__ import annotations

import json

import pytest
from support.door import Door, ServerProcess, fake_llm
from support.fakes import VOCABULARY

from minieng.cli import main
from minieng.workload import Workload

FEW = ("--workload", "ladder", "--num-prompts", "8", "--rate", "40", "--length-scale", "0.25", "--vocab-size", str(VOCABULARY))


@pytest.fixture(scope="module")
def door():
    with Door(fake_llm(slow=0.004)) as door:
        yield door


def test_a_server_is_measured_and_its_load_replayed(door, tmp_path, capsys):
    seen, told, again = (tmp_path / name for name in ("seen.json", "told.json", "again.json"))
    files = ("--record", str(seen), "--json", str(told), "--goodput", "ttft:60000")
    assert main(["bench", "--base-url", door.url, *FEW, *files]) == 0
    table = capsys.readouterr().out
    assert "TTFT ms" in table and "fake" in table
    assert not {"padding", "seats", "KV", "preempted"} & set(table.split())  # a client knows nothing of these
    found = json.loads(told.read_text())
    (result,) = found["results"]
    assert result["completed"] == 8 and result["request_goodput"] == pytest.approx(result["request_throughput"])
    assert {"mean_ttft_ms", "p99_itl_ms", "mean_tpot_ms", "p90_e2el_ms"} <= result.keys() and "kv_used" not in result
    assert (found["base_url"], found["model"], found["cache"]["num_gpu_blocks"]) == (door.url, "fake", "64")
    assert main(["replay-load", str(seen), "--model", "tiny", "--scheduler", "continuous", "--json", str(again)]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("TTFT", "ITL", "E2EL", "nine in ten within", "door"))
    compared = json.loads(again.read_text())
    assert (
        compared["requests"] == 8 and compared["engine"]["num_blocks"] == 64 and set(compared["ttft"]) == {"mean", "p90", "p99"}
    )


def test_one_timed_trace_drives_server_and_simulator(door, tmp_path, capsys):
    path = tmp_path / "trace.jsonl"
    Workload.preset("ladder", 8, rate=40.0).shortened(0.1).to_timed_trace(path)
    assert (
        main(
            [
                "bench",
                "--base-url",
                door.url,
                "--workload",
                str(path),
                "--vocab-size",
                str(VOCABULARY),
                "--record",
                str(tmp_path / "s.json"),
            ]
        )
        == 0
    )
    assert main(["simulate", "--workload", str(path), "--json", str(tmp_path / "sim.json")]) == 0
    rows = json.loads((tmp_path / "s.json").read_text())["requests"]
    simulated = json.loads((tmp_path / "sim.json").read_text())
    assert sum(row["prompt_tokens"] for row in rows) == simulated["total_input_tokens"]
    assert sum(row["tokens"] for row in rows) == simulated["total_output_tokens"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["arrival_s"] for row in rows] == pytest.approx([line["timestamp"] / 1e3 for line in lines], abs=1e-5)


@pytest.mark.parametrize(
    "words, told",
    [
        (["--scheduler=chunked"], None),  # bench has no such flag
        (["--max-num-seqs", "4"], "--max-num-seqs is an engine's, with --base-url it is the server's"),
        (["--virtual"], "--virtual is an engine's"),
        (["--schedulers", "chunked"], "--schedulers is an engine's"),
        (["--patience", "0"], "--patience 0 must be above 0"),
        (["--goodput", "itl:3"], "choose among ttft, tpot, e2el"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_server_is_refused(words, told, door, capsys):
    assert main(["bench", "--base-url", door.url, *FEW, *words]) == 2
    assert told is None or told in capsys.readouterr().err


def test_errors_are_one_line(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[]")
    for words, code, told in (
        (["bench", "--base-url", "ftp://x"], 2, "write http://HOST:PORT"),
        (["bench", "--base-url", "http://127.0.0.1:1"], 1, "Connection refused: is the server running?"),
        (["bench", "--record", str(tmp_path / "r")], 2, "name one with --base-url"),
        (["replay-load", str(tmp_path / "none.json")], 2, "cannot read the recording"),
        (["replay-load", str(tmp_path / "x.json")], 2, "holds no recording of format 1"),
    ):
        assert main(words) == code
        err = capsys.readouterr().err
        assert told in err and len(err.strip().splitlines()) == 1, err


@pytest.mark.apart
def test_a_server_of_its_own_with_a_real_model(tmp_path, capsys):
    """The whole way, as a reader goes it: counts are exact, the replay's are the same."""
    seen, again = tmp_path / "seen.json", tmp_path / "again.json"
    with ServerProcess(tmp_path / "said", "--scheduler", "chunked", "--max-num-seqs", "4") as server:
        words = [
            "--workload",
            "ladder",
            "--num-prompts",
            "24",
            "--rate",
            "40",
            "--record",
            str(seen),
            "--json",
            str(tmp_path / "t.json"),
        ]
        assert main(["bench", "--base-url", server.url, *words]) == 0
    (result,) = json.loads((tmp_path / "t.json").read_text())["results"]
    workload = Workload.preset("ladder", 24, rate=40.0)
    assert result["total_output_tokens"] == sum(job.output_tokens for job in workload)
    assert result["total_input_tokens"] == sum(job.prompt_tokens for job in workload)
    assert main(["replay-load", str(seen), "--scheduler", "chunked", "--max-num-seqs", "4", "--json", str(again)]) == 0
    assert json.loads(again.read_text())["requests"] == 24
