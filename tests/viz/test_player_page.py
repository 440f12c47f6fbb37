"""The player's page: all of a run in one small file that asks for nothing, and is right at each step."""

from __future__ import annotations

import json
import random
import re
import runpy
from pathlib import Path

import pytest
from support.scripted import run

from minieng.cli import main
from minieng.draw import moments, player_data
from minieng.draw.blocks import block_shapes, looks
from minieng.draw.page import Sheet, Styles
from minieng.draw.shapes import Label
from minieng.observe import Trace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trace():
    draw = random.Random(1)
    requests = {f"r{i}": (draw.randint(4, 40), draw.randint(4, 60), 2.0 * i) for i in range(30)}
    return run(requests, num_blocks=60, scheduler="chunked", max_num_batched_tokens=24).trace


def stored(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_200_steps_stay_below_300_kb_and_ask_for_nothing(trace, tmp_path):
    path = trace.to_html(tmp_path / "run.html", last=200, title="A run")
    page = path.read_text(encoding="utf-8")
    data = stored(page)
    assert len(data["frames"]) == 200 and data["left_out"] == len(trace) - 200 > 0
    assert path.stat().st_size < 300_000
    addresses = {a for a in re.findall(r"""(?:https?:)?//[\w.-]+""", page) if a != "http://www.w3.org"}  # SVG's namespace
    assert not addresses and not re.findall(r"<link(?! rel=\"icon\" href=\"data:,\")|src=|@import|url\((?!#)", page)
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"


def test_putting_in_and_taking_out_ends_at_each_steps_own_drawing(trace):
    """What the page's script does with the numbers, against the drawing of that step made anew."""
    data, look, shown = player_data(trace, columns=8), looks(trace), set()
    for frame, moment in zip(data["frames"], moments(trace), strict=True):
        assert not set(frame["in"]) & shown and set(frame["out"]) <= shown
        shown = (shown | set(frame["in"])) - set(frame["out"])
        styles = Styles()
        styles.numbers = {tuple(style): i for i, style in enumerate(data["styles"])}
        again = Sheet(4, 6, (data["width"] - 8) / 8, 36, styles)
        again.add(block_shapes(moment.record, moment.tables, 8, look))
        assert {data["blocks"]["shapes"][i] for i in shown} == set(again.shapes())
        assert frame["words"] == moment.words and frame["step"] == moment.record.step
    assert len(data["styles"]) == len(styles.numbers), "no step has a colour that the page does not know"


def test_a_requests_colour_is_the_same_at_all_steps(trace):
    """The box beside each line of a block table, at every step, is the one in the legend."""
    data, seen = player_data(trace), {}
    owners = {name: data["styles"][style][:2] for style, name in data["owners"]}
    for moment in moments(trace):
        shapes = list(block_shapes(moment.record, moment.tables, 16, looks(trace)))
        for box, label in zip(shapes, shapes[1:]):
            if isinstance(label, Label) and label.kind == "table":
                seen.setdefault(label.text.split(":")[0], set()).add((box.face, box.hatch))
    assert len(seen) == 30 and {name: [tuple(owners[name])] for name in seen} == {n: list(s) for n, s in seen.items()}


def test_a_requests_name_cannot_end_the_script(tmp_path):
    name = "</script><script>alert(1)</script>"
    page = run({name: (4, 3, 0.0)}).trace.to_html(tmp_path / "x.html", title="<b>").read_text(encoding="utf-8")
    assert name not in page and "<b>" not in page and stored(page)["owners"][0][1] == name


def test_the_ladders_stored_players_are_what_the_schedulers_do():
    made = runpy.run_path(str(ROOT / "docs" / "ladder.py"))
    for name, knobs in made["RUNGS"].items():
        path = ROOT / "docs" / "ladder" / f"{name.partition(':')[0]}.json"
        again = json.loads(json.dumps(player_data(made["run"](knobs), title=name.capitalize())))
        assert json.loads(path.read_text(encoding="utf-8")) == again, "run python docs/ladder.py"


def test_show_makes_a_page_of_a_recorded_trace(trace, tmp_path, capsys):
    trace.save(tmp_path / "run.jsonl")
    assert main(["show", str(tmp_path / "run.jsonl"), "--last", "9"]) == 0
    path = tmp_path / "run.html"
    assert capsys.readouterr().out.strip() == str(path)
    data = stored(path.read_text(encoding="utf-8"))
    assert data["title"] == "Trace run.jsonl" and [f["step"] for f in data["frames"]] == [r.step for r in list(trace)[-9:]]
    assert main(["show", str(path)]) == 2 and "not a trace file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "made, asked, said",
    [
        (Trace(), {}, "no steps"),
        (None, {"last": 0}, "last=0"),
        (None, {"columns": 0}, "columns=0"),
    ],
)
def test_what_cannot_be_shown_is_refused(made, asked, said, trace, tmp_path):
    with pytest.raises(ValueError, match=said):
        (trace if made is None else made).to_html(tmp_path / "x.html", **asked)


def test_a_trace_without_names_is_refused(trace, tmp_path):
    numbers = Trace(detail=False, steps=trace.steps)
    with pytest.raises(ValueError, match="detail=True"):
        numbers.to_html(tmp_path / "x.html")
