"""The traces of Mooncake through the engine's own block pool: the curve of hits against the size of the cache."""

from __future__ import annotations

import os

import pytest

from minieng.cli import main
from minieng.sim.papers import rerun
from minieng.sim.papers.mooncake import FILES, chunk_names, share_found, trace
from minieng.workload_file import MissingTrace

HERE = bool(os.environ.get("MINIENG_TRACES"))
needs_traces = pytest.mark.skipif(not HERE, reason="MINIENG_TRACES names no folder with the traces")
# Share of blocks found, by a plain least-recently-used list written apart from this project (tails evicted first)
CURVES = {
    "conversation": {1_000: 0.0445, 3_000: 0.065, 10_000: 0.212, 30_000: 0.326},
    "synthetic": {1_000: 0.084, 3_000: 0.191, 10_000: 0.424, 30_000: 0.624},
}


def names(*prompts: str) -> list[list[bytes]]:
    return [[letter.encode() for letter in prompt] for prompt in prompts]


@pytest.mark.parametrize(
    "prompts, blocks, found",
    [
        (["ab", "ab"], 2, 2),
        (["ab", "cd", "ab"], 2, 0),
        (["ab", "cd", "ab"], 4, 2),
        (["ab", "c", "ab"], 2, 1),  # room for c: the tail b goes, and a is found
        (["a", "b", "a", "c", "a"], 2, 2),  # b was unused longest when c came
        (["abc", "abc"], 2, 2),  # longer than the cache: its head is kept
        (["ab", "xb"], 4, 0),  # behind a name that is not known nothing is found
    ],
)
def test_hits_by_hand(prompts, blocks, found):
    chained = [[b"".join(prompt[: i + 1]) for i in range(len(prompt))] for prompt in names(*prompts)]
    assert share_found(chained, blocks) == found / sum(map(len, prompts))


@needs_traces
@pytest.mark.parametrize("name", FILES)
def test_the_curve_is_the_one_that_was_counted_apart(name):
    prompts = chunk_names(trace(name))
    shares = {size: share_found(prompts, size) for size in CURVES[name]}
    assert shares == pytest.approx(CURVES[name], abs=0.02)
    assert list(shares.values()) == sorted(shares.values())


@needs_traces
def test_the_papers_figures_stand_beside_ours():
    rows = {row.what: row for row in rerun("mooncake").rows}
    for name, published in (("conversation", 41), ("synthetic", 46)):
        row = rows[f"{name}, 3M tokens: % of what any size finds"]
        assert row.published == published and row.reproduced


def test_without_the_traces_one_is_told_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIENG_TRACES", str(tmp_path))
    with pytest.raises(MissingTrace, match="has no mooncake_conversation.jsonl or .*Download both.*Apache-2.0"):
        rerun("mooncake")
    monkeypatch.delenv("MINIENG_TRACES")
    with pytest.raises(MissingTrace, match="MINIENG_TRACES names no folder"):
        rerun("mooncake")


def test_all_papers_run_without_the_traces_and_say_what_is_left_out(monkeypatch, capsys):
    monkeypatch.delenv("MINIENG_TRACES", raising=False)
    monkeypatch.setattr("minieng.sim.cli.PAPERS", {"mooncake": "", "measured": ""})
    assert main(["simulate", "--paper", "all"]) == 0
    out, err = capsys.readouterr()
    assert "left out: mooncake" in err and "Mooncake" not in out and "how far off" in out
    assert main(["simulate", "--paper", "mooncake"]) != 0
