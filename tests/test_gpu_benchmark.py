"""The GPU's benchmark, proven on a CPU with a small shape: every section runs, and merges into one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SCRIPT = REPO / "benchmarks" / "gpu.py"


def run(*args: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, args)], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two runs into one file: (what the second printed, the file's content, its path)."""
    folder = tmp_path_factory.mktemp("gpu")
    common = ("--device", "cpu", "--small", "--json", folder / "it.json", "--weights-dir", folder / "weights")
    for sections in (
        ["ceilings", "attention", "decode", "traces"],
        ["nano", "nano-transformers", "nano-padded", "nano-others", "mixed"],
    ):
        done = run(*common, "--only", *sections)
        assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads((folder / "it.json").read_text()), folder


def test_all_sections_are_in_one_file_and_say_what_they_are(kept):
    printed, stored, _ = kept
    from gpu_parts.sections import SECTIONS

    assert set(stored["sections"]) == set(SECTIONS)
    for name, section in stored["sections"].items():
        assert section["small"] and section["device"]["kind"] == "cpu" and "random weights" in section["weights"], name
        assert section["versions"]["torch"] and section["date"] and "gpu.py" in section["command"] and "error" not in section
        assert f"{name}: " in printed
    assert printed.count("measures nothing") == len(SECTIONS)


def test_engines_made_what_was_asked(kept):
    sections = kept[1]["sections"]
    made = {run["output_tokens"] for run in (*[sections["nano"][n] for n in ("continuous", "chunked")], sections["nano-padded"])}
    assert made == {sections["nano-transformers"]["output_tokens"]}
    assert all("skipped" in sections["nano-others"][name] for name in ("nano-vllm", "vllm"))


def test_a_recorded_trace_can_be_read_again(kept):
    from minieng.observe.trace import Trace

    for entry in (entry for entry in kept[1]["sections"]["traces"].values() if isinstance(entry, dict) and "file" in entry):
        trace = Trace.load(kept[2] / "it" / entry["file"])
        assert len(trace) == entry["steps"] and trace.meta["lesson"] and "random weights" in trace.meta["weights"]


def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run("--json", tmp_path / "none.json")
    assert done.returncode == 2 and "no CUDA device" in done.stderr and not (tmp_path / "none.json").exists()
    done = run("--device", "cpu", "--json", tmp_path / "none.json")
    assert done.returncode == 2 and "--small" in done.stderr


def test_the_workload_is_nano_vllms_to_the_token():
    from gpu_parts.runs import nano_workload

    jobs = nano_workload(256, 100, 1024, 10_000)
    assert (len(jobs), sum(job.max_tokens for job in jobs), sum(len(job.prompt) for job in jobs)) == (256, 133_966, 142_827)


def test_what_does_not_fit_is_skipped_with_a_line_and_the_rest_is_measured():
    """Qwen3-0.6B's KV, 112 KiB a token: of a T4's 15 GiB, 10 may be claimed."""
    from gpu_parts.runs import Skipped
    from gpu_parts.sections import that_fit

    pairs = [(512, 32), (512, 256), (2048, 32), (2048, 256)]
    fit, skipped = that_fit(pairs, 64, 112 << 10, 10 * 2.0**30)
    assert fit == [(512, 32), (2048, 32)] and len(skipped) == 2
    assert skipped[1] == "batch 256, context 2048: skipped, its KV takes 57.8 GiB, 10.0 GiB may be claimed"
    with pytest.raises(Skipped, match="batch 256, context 2048"):
        that_fit(pairs, 64, 112 << 10, 0.0)


def test_what_is_skipped_or_comes_from_the_gpus_own_cache_is_told_so():
    from gpu_parts.report import table

    about = {"device": {"name": "T4"}, "dtype": "float16", "date": "2026-12-01", "weights": "random", "small": False}
    cached = {"rows": 1, "context": 512, "in_cache": True, "triton": {"seconds": 1e-5, "of_copy": 1.7}}
    large = {"rows": 256, "context": 2048, "skipped": "skipped: one layer's KV takes 20.0 GiB, 10.0 GiB may be claimed"}
    shown = table({"attention": {**about, "rows": [cached, large]}, "decode": {**about, "skipped": "skipped: too large"}})
    assert "10 us, from the GPU's own cache" in shown and "170%" not in shown
    assert "context  2048:  skipped: one layer's KV" in shown and "FAILED" not in shown and "skipped: too large" in shown


def test_both_ways_of_the_padded_peer_are_in_the_file(kept):
    padded = kept[1]["sections"]["nano-padded"]
    assert set(padded["both"]) == {"with cuDNN", "without cuDNN"}
    assert padded["output_tokens_per_s"] == padded["both"][padded["attention_by"]] == max(padded["both"].values())
