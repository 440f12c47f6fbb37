"""Published results run again: what was expected to come out does, and the rest says that it does not."""

from __future__ import annotations

import os

import pytest

from minieng.sim.papers import PAPERS, Row, Table, rerun
from minieng.sim.papers.table import errors, errors_in_words
from minieng.sim.papers.vllm_watermark import outcome, serve

pytestmark = pytest.mark.slow
WIDE = {
    "sarathi",
    "vllm",
    "orca",
    "vllm-watermark",
}  # the first looks for a rate again and again, the others serve thousands: `make test-wide`


@pytest.fixture(scope="module")
def tables():
    made = {}
    return lambda name: made.setdefault(name, None) or made.update({name: rerun(name)}) or made[name]


def row(table, what: str) -> Row:
    found = [r for r in table.rows if what in r.what]
    assert len(found) == 1, f"{what!r} names {len(found)} rows"
    return found[0]


@pytest.mark.wide
def test_vllm(tables):
    table = tables("vllm")
    for data in ("ShareGPT", "Alpaca"):
        for system in ("Orca (Max)", "Orca (Pow2)", "Orca (Oracle)", "vLLM"):
            assert row(table, f"{data}, {system}").ratio == pytest.approx(1, abs=0.15)
    useful = [r.ours for r in table.rows if r.what.startswith("figure 2")]
    assert useful == sorted(useful), "Max, Pow2, Oracle, paged: each wastes less"


@pytest.mark.wide
def test_orca(tables):
    table = tables("orca")
    assert row(table, "Orca over FasterTransformer, batch 1").ours > 20
    assert row(table, "Orca over FasterTransformer, batch 8").ours > 5


@pytest.mark.wide
def test_sarathi(tables):
    table = tables("sarathi")
    assert 2 <= row(table, "openchat, strict: Sarathi over vLLM").ours <= 4
    assert row(table, "openchat, relaxed: Sarathi over vLLM").why


@pytest.mark.wide
def test_a_watermark_in_the_middle_is_best(tables):
    table = tables("vllm-watermark")
    assert row(table, "fewer preemptions").reproduced and row(table, "most tokens/s").reproduced
    speeds = [r for r in table.rows if "output tokens/s" in r.what]
    assert len(speeds) == 5 and sum(bool(r.reproduced) for r in speeds) >= 3


def test_a_watermark_spares_preemptions_also_at_a_twentieth_of_the_size():
    thrown = [outcome(*serve(watermark, seed=0, scale=0.05)).preemptions for watermark in (0.0, 0.05)]
    assert thrown[1] < thrown[0] / 2


def test_sarathi_pipeline(tables):
    table = tables("sarathi-pp")
    assert 1.3 <= row(table, "8 replicas over pipeline with SARATHI").ours <= 2.2
    assert row(table, "pipeline, Orca over SARATHI").ours > 1.3
    assert row(table, "stages busy, SARATHI").ours > 2 * row(table, "stages busy, Orca").ours


def test_anyscale(tables):
    table = tables("anyscale")
    assert row(table, "order of systems").reproduced
    assert row(table, "paged (vLLM)").ours == pytest.approx(1900, rel=0.20)
    assert not row(table, "15 ms host time").reproduced


def test_what_was_measured_comes_out(tables):
    assert all(row.reproduced and row.counts for row in tables("measured").rows)


def test_errors_are_those_of_absolute_values_and_known_failures_are_named_apart():
    values = [Row(str(i), 100, 100 + i) for i in range(1, 11)]
    others = [Row("off", 100, 300, why="known"), Row("nothing to compare", None, 7), Row("a ratio", 2, 20, counts=False)]
    table = Table("a", "b", {}, [], values + others)
    assert [row.error for row in table.rows[-4:]] == [pytest.approx(0.1), 2.0, None, None]
    told = errors_in_words([table, Table("empty", "", {}, [])])
    assert "values (11): median 6.0%, P90 10.0%, P99 200.0%" in told
    assert "reproduce (10): median 5.0%, P90 9.0%, P99 10.0%" in told and "apart from these: 1 ratios" in told
    assert errors([Table("empty", "", {}, [])]) == {}


def test_a_figure_that_a_constant_was_taken_from_does_not_count(tables):
    assert row(tables("anyscale"), "80 ms").error is None and row(tables("anyscale"), "paged over naive").error is None


def marks(paper: str) -> list[pytest.MarkDecorator]:
    no_traces = pytest.mark.skipif(not os.environ.get("MINIENG_TRACES"), reason="MINIENG_TRACES names no folder")
    return [pytest.mark.wide] * (paper in WIDE) + [no_traces] * (paper == "mooncake")


@pytest.mark.parametrize("paper", [pytest.param(paper, marks=marks(paper)) for paper in PAPERS])
def test_every_table_says_all_that_one_must_know(tables, paper):
    table = tables(paper)
    text = str(table)
    assert all(heading in text for heading in ("set-up:", "published", "ours", "ratio", "assumed", "not modelled:"))
    assert all(len(line) <= 130 for line in text.splitlines()), max(text.splitlines(), key=len)
    for each in table.rows:
        assert each.reproduced is not False or each.why, f"{each.what} does not reproduce and says nothing of why"
    assert len(table.as_plain()["rows"]) == len(table.rows)


def test_unknown_paper():
    with pytest.raises(ValueError, match="paper='bert'.*orca"):
        rerun("bert")
