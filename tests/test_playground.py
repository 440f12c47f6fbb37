"""The playground: every situation shows what its sentence says, a reader's mistakes are named, both fronts say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minieng import Workload
from minieng.playground import SITUATIONS, Choice, Outcome, answer, comparison, run
from minieng.playground.ask import MOST_JOBS, drawn, face, plans, reply, workload_of
from minieng.playground.choice import EXAMPLE, knobs_of
from minieng.playground.situations import situation
from tools import playground as page_tool

ROOT = Path(__file__).parents[1]
PAGE_FILES = ("playground.html", "playground/page.js", "playground/worker.js")
LESSONS = [f"{i:02}" for i in range(15)]


def both(name: str) -> tuple[Outcome, Outcome]:
    chosen = situation(name)
    return run(chosen.workload, chosen.left), run(chosen.workload, chosen.right)


def place(outcome: Outcome, name: str) -> int:
    """Whose first token came how many-th; 1 is the first."""
    return 1 + outcome.first_tokens().index(name)


def ms_a_step(outcome: Outcome) -> float:
    counts = outcome.counts()
    return counts["total_ms"] / counts["steps"]


def answered_a_second(outcome: Outcome) -> float:
    counts = outcome.counts()
    return 1e3 * counts["completed"] / counts["total_ms"]


# What each sentence says, in the words of the table. a, b: the counts on the left and on the right; left, right: all else
CLAIMS = {
    "alone-or-together": lambda a, b, *_: (
        (a["most_running"], b["most_running"]) == (1, 8) and a["computed"] == b["computed"] and 5 * b["steps"] < a["steps"]
    ),
    "company-is-cheap": lambda a, b, *_: 7 * b["total_ms"] < a["total_ms"] and a["computed"] == b["computed"],
    "one-long-row": lambda a, b, *_: (a["padding"], b["padding"]) == (570, 0) and a["padding"] > 2 * (10 * 3 + 200),
    "sorted-rows": lambda a, b, *_: a["padding"] > 0 and b["padding"] == 0,
    "slowest-row": lambda a, b, left, right: (
        a["done_rows"] == 180 and b["done_rows"] == 0 and left.first_token_ms("4") > 1e3 * left.requests[3].token_times[-1]
    ),
    "waiting-for-company": lambda a, b, left, right: (
        left.trace[0].start == 0.21 and right.trace[0].start == 0.05 and 2 * b["mean_ttft_ms"] < a["mean_ttft_ms"]
    ),
    "seat-taken-over": lambda a, b, *_: b["steps"] < a["steps"] and a["done_rows"] > 0 == b["done_rows"],
    "orca-mixes": lambda a, b, *_: (
        a["mixed_steps"] == 0 < b["mixed_steps"] and b["steps"] < a["steps"] and a["computed"] == b["computed"]
    ),
    "reserved-for-the-worst": lambda a, b, *_: a["most_running"] == 2 and b["most_running"] >= 4,
    "large-blocks": lambda a, b, *_: (a["most_running"], b["most_running"]) == (4, 16),
    "thrown-out": lambda a, b, *_: (
        a["preemptions"] == 4 and a["recomputed"] > 0 and b["preemptions"] == 0 and b["most_running"] == 4
    ),
    "swap-or-recompute": lambda a, b, *_: (
        a["preemptions"] == b["preemptions"] > 0 and a["recomputed"] > 0 == b["recomputed"] and b["swapped"] > 0 == a["swapped"]
    ),
    "short-behind-long": lambda a, b, *_: 2 * b["mean_ttft_ms"] < a["mean_ttft_ms"] and a["steps"] == b["steps"],
    "lpm-starves": lambda a, b, left, right: place(left, "1") == 2 and place(right, "1") == len(right.requests),
    "one-user-floods": lambda a, b, left, right: place(left, "10") == 11 and place(right, "10") <= 3,
    "prompt-freezes-all": lambda a, b, *_: 5 * b["longest_gap_ms"] < a["longest_gap_ms"],
    "small-budget": lambda a, b, *_: (
        3 * b["longest_gap_ms"] < a["longest_gap_ms"]
        and b["mixed_steps"] > 3 * a["mixed_steps"]
        and b["mean_ttft_ms"] > 2 * a["mean_ttft_ms"]
    ),
    "computed-once": lambda a, b, *_: b["cached"] == 7 * 512 and 3 * b["computed"] < a["computed"],
    "host-in-the-way": lambda a, b, left, right: (
        left.trace.plans() == right.trace.plans() and ms_a_step(left) - ms_a_step(right) == pytest.approx(15)
    ),
    "bubbles": lambda a, b, *_: (
        a["bubble_percent"] == pytest.approx(75, abs=1) and b["bubble_percent"] < 10 and 2 * b["mean_ttft_ms"] < a["mean_ttft_ms"]
    ),
    "served-not-good": lambda a, b, left, right: (
        answered_a_second(left) < 0.7 * 16
        and answered_a_second(right) > 0.9 * 16
        and a["most_waiting"] > 10
        and 2 * a["late"] > a["completed"]
        and b["late"] == b["most_waiting"] == 0
    ),
    "hidden-queue": lambda a, b, *_: (
        a["longest_gap_ms"] == pytest.approx(b["longest_gap_ms"], rel=0.05)
        and a["mean_ttft_ms"] > 10 * b["mean_ttft_ms"]
        and 2 * a["late"] > a["completed"]
        and b["late"] == 0
    ),
}


@pytest.mark.parametrize("name", [each.name for each in SITUATIONS])
def test_a_situation_shows_what_its_sentence_says(name):
    left, right = both(name)
    assert (left.error, right.error, left.refused, right.refused) == ("", "", [], [])
    a, b = left.counts(), right.counts()
    assert a["completed"] == b["completed"] == len(situation(name).jobs)
    assert CLAIMS[name](a, b, left, right), (a, b)


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_claim_can_fail(name):
    """Said of the choices the wrong way round it is wrong: no claim holds for whatever comes."""
    left, right = both(name)
    assert not CLAIMS[name](right.counts(), left.counts(), right, left)


def test_there_are_22_and_each_lesson_has_its_own():
    names = [each.name for each in SITUATIONS]
    assert len(set(names)) == len(names) == 22 == len(CLAIMS) and {each.lesson for each in SITUATIONS} >= set(LESSONS)
    assert all(re.fullmatch(r"[a-z-]+", each.name) and len(each.look) > 60 for each in SITUATIONS)
    with pytest.raises(ValueError, match="no situation 'x': choose one of alone-or-together, "):
        situation("x")


def test_a_situation_survives_the_text_box():
    for each in SITUATIONS:
        assert workload_of(each.text).jobs == each.workload.jobs
        told = answer({"workload": each.text, "left": vars(each.left), "right": vars(each.right)})
        assert [one["counts"] for one in told["outcomes"]] == [outcome.counts() for outcome in both(each.name)]


# -- schedulers of one's own --------------------------------------------------------------------------------------

WORKLOAD = situation("seat-taken-over").workload
BROKEN = {
    "no more tokens than are left": EXAMPLE.replace("append((r, r.num_remaining_tokens))", "append((r, 9))"),
    "one slice per request": EXAMPLE.replace("append((r, r.num_remaining_tokens))", "extend([(r, 1), (r, 1)])"),
    "never idle without a reason": EXAMPLE.replace("return plan", "return Plan()"),
    "at most max_num_seqs requests run": "class Mine(Scheduler):\n    def plan(self, now):\n"
    "        return Plan(extend=[(r, r.num_remaining_tokens) for r in [*self.running, *self.waiting]])",
    "a slice has at least one token": EXAMPLE.replace("append((r, r.num_remaining_tokens))", "append((r, 0))"),
    "only running requests are preempted": EXAMPLE.replace("return plan", "plan.preempt += list(self.waiting)[:1]; return plan"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named_as_the_engine_names_it(rule):
    outcome = run(WORKLOAD, Choice("own", "", BROKEN[rule]))
    assert outcome.rule == rule and f"rule '{rule}' broken: " in outcome.error
    assert outcome.metrics is None and outcome.counts() == {}
    html = comparison([outcome])
    assert f"<b>Broken rule: {rule}</b>" in html and 'role="alert"' in html
    assert 'role="alert"' not in comparison([run(WORKLOAD, Choice("own", "", EXAMPLE))])


def test_the_example_is_orcas_scheduler():
    own, mixed = run(WORKLOAD, Choice("own", "", EXAMPLE)), run(WORKLOAD, Choice("continuous", "mixed=True"))
    assert own.trace.plans() == mixed.trace.plans() and own.counts() == mixed.counts()


@pytest.mark.parametrize(
    "source, words, line",
    [
        ("class Mine(Scheduler)\n    pass", "SyntaxError", 1),
        (
            "x = 1\n\nclass Mine(Scheduler):\n    def plan(self, now):\n        return self.nobody.plan()",
            "no attribute 'nobody'",
            5,
        ),
        ("x = 1", "defines no class that extends Scheduler", None),
        ("class Mine(Scheduler):\n    pass", "must define plan", None),
        ("import numpy_of_nobody", "No module named", 1),
    ],
)
def test_a_mistake_is_told_with_its_line(source, words, line):
    outcome = run(WORKLOAD, Choice("own", "", source))
    assert words in outcome.error and (outcome.line, outcome.rule) == (line, "")
    if line:
        assert f"Line {line} of your scheduler: " in comparison([outcome])


def test_a_plan_that_waits_in_tiny_steps_comes_to_an_end(monkeypatch):
    monkeypatch.setattr("minieng.playground.outcome.MOST_STEPS", 50)
    outcome = run(Workload.preset("ladder", 40), Choice("continuous"))
    assert "50 steps and not done" in outcome.error and len(outcome.trace) == 50


@pytest.mark.parametrize(
    "choice, words",
    [
        (Choice("fifo"), "scheduler='fifo': choose one of static, dynamic, continuous, chunked, own"),
        (Choice("continuous", "max_num_seqs 4"), "write name=value"),
        (Choice("continuous", "max_num_seqs=4)(g"), "write name=value"),
        (Choice("continuous", "order=open('x')"), "write a number, a word, True or False"),
        (Choice("continuous", "max_num_seqs=0"), "max_num_seqs=0: must be at least 1"),
        (Choice("continuous", "order=fifo"), "order='fifo': choose one of fcfs"),
        (Choice("continuous", "seats=3"), "seats"),
        (Choice("continuous", "gpu=A1"), "gpu='A1': the simulator knows"),
    ],
)
def test_wrong_choices_are_named(choice, words):
    assert words in run(WORKLOAD, choice).error


def test_knobs_are_read_as_python_would():
    assert knobs_of(" order=sjf,\n max_num_seqs=4, watermark=0.5, mixed=True, gpu='A100-80G' ") == {
        "order": "sjf", "max_num_seqs": 4, "watermark": 0.5, "mixed": True, "gpu": "A100-80G",
    }  # fmt: skip
    assert knobs_of("") == {}


def test_who_can_never_fit_is_refused_and_told():
    outcome = run(workload_of("arrival_s,prompt_tokens,output_tokens\n0,1500,5\n0,5,5\n"), Choice("continuous"))
    assert outcome.counts()["refused"] == 1 and "raise num_blocks or lower max_tokens" in outcome.refused[0][1]
    assert "1 refused, the first: " in comparison([outcome])
    long = run(workload_of("arrival_s,prompt_tokens,output_tokens\n0,5000,5\n"), Choice("chunked", "num_blocks=1000"))
    assert "the longest text is 2048" in long.refused[0][1] and long.counts()["steps"] == 0


# -- what a page asks ---------------------------------------------------------------------------------------------


def test_rows_that_are_none_are_named_by_their_line():
    told = answer({"workload": "arrival_s,prompt_tokens,output_tokens\n0,x,5", "left": {"scheduler": "static"}})
    assert told == {"error": "workload: line 2: prompt_tokens='x' is not a whole number"}
    rows = "arrival_s,prompt_tokens,output_tokens\n" + "0,1,1\n" * (MOST_JOBS + 1)
    assert "at most 500 are simulated here" in answer({"workload": rows, "left": {}})["error"]


def test_a_drawn_workload_is_the_presets():
    rows = drawn("bursty", 12, 30.0, seed=3)
    lengths = [(job.prompt_tokens, job.output_tokens) for job in workload_of(rows)]
    assert lengths == [(j.prompt_tokens, j.output_tokens) for j in Workload.preset("bursty", 12, rate=30.0, seed=3)]
    with pytest.raises(ValueError, match="at most 500 are drawn"):
        drawn("bursty", 501, None)


def test_all_that_a_page_gets_is_plain():
    assert json.loads(json.dumps(face())) == face()
    chosen = situation("slowest-row")
    told = answer({"workload": chosen.text, "left": vars(chosen.left), "right": vars(chosen.right)})
    assert json.loads(json.dumps(told)) == told
    kept = json.loads(json.dumps(plans({"workload": chosen.text, "left": vars(chosen.left)})))
    assert len(kept) == told["outcomes"][0]["counts"]["steps"]


class Tags(HTMLParser):
    """Whether tags are closed in order, and which ids there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.used: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.open += [] if tag in ("br", "wbr") else [tag]
        self.ids += [value for name, value in attrs if name == "id"]
        self.used |= {name for key, value in attrs if key != "srcdoc" for name in re.findall(r"url\(#([^)]+)\)", value or "")}

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["slowest-row", "bubbles", "thrown-out"])
def test_the_pictures_are_whole_and_say_what_they_show(name):
    outcomes = both(name)
    html, tags = comparison(outcomes), Tags()
    tags.feed(html)
    assert tags.open == [] and len(set(tags.ids)) == len(tags.ids) and tags.used <= set(tags.ids) and tags.used
    for outcome in outcomes:
        assert f"{len(outcome.requests)} requests on " in html and f" in {len(outcome.trace)} steps." in html
        assert f"{outcome.counts()['total_ms']:,.1f}" in html
        times = [outcome.first_token_ms(name) + 1e3 * outcome.requests[int(name)].arrival_time for name in outcome.first_tokens()]
        assert times == sorted(times) and f"<td>{' '.join(outcome.first_tokens()[:11])}" in html
    evil = comparison([Outcome(Choice("own", "<script>"), error="<img onerror=x>")])
    assert "<script>" not in evil and "<img" not in evil


# -- without what a page has not ----------------------------------------------------------------------------------

PAGE = """
import sys
for name in ("numpy", "torch", "transformers", "tokenizers", "safetensors", "matplotlib", "tqdm", "ipywidgets", "IPython"):
    sys.modules[name] = None
import json
from minieng.playground import SITUATIONS, answer
from minieng import LLM, Workload
with LLM.simulated() as llm:
    llm.serve_workload(Workload.preset("ladder", 5))
each = SITUATIONS[-1]
print(json.dumps(answer({"workload": each.text, "left": vars(each.left), "right": vars(each.right)})["outcomes"]))
"""


def test_it_runs_where_there_is_nothing_but_python():
    ran = subprocess.run([sys.executable, "-c", PAGE], capture_output=True, text=True, check=True)
    assert [one["counts"] for one in json.loads(ran.stdout)] == [outcome.counts() for outcome in both(SITUATIONS[-1].name)]


# -- in a notebook ------------------------------------------------------------------------------------------------


def test_the_notebooks_fields_do_what_the_page_does():
    from minieng.viz import playground

    shown = playground("slowest-row")
    chosen = situation("slowest-row")
    wanted = answer({"workload": chosen.text, "left": vars(chosen.left), "right": vars(chosen.right)})
    assert shown.result == wanted and shown.shown.value == wanted["html"] and chosen.look in shown.look.value
    for each in SITUATIONS:
        shown.situation.value = each.name
        shown.run()
        assert [one["label"] for one in shown.result["outcomes"]] == [each.left.label(), each.right.label()]
    shown.right.scheduler.value = "(nothing)"
    shown.left.scheduler.value, shown.left.knobs.value = "own", ""
    shown.left.source.value = BROKEN["one slice per request"]
    assert shown.left.source.layout.display is None
    shown.run()
    assert [one["rule"] for one in shown.result["outcomes"]] == ["one slice per request"]
    shown.preset.value, shown.count.value, shown.rate.value = "bursty", 7, 5.0
    shown.draw()
    assert len(workload_of(shown.workload.value)) == 7
    shown.workload.value = "nonsense"
    shown.run()
    assert "the first line that is no comment" in shown.shown.value and "html" not in shown.result
    with pytest.raises(ValueError, match="no situation 'nothing'"):
        playground("nothing")


# -- from the lessons ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", SITUATIONS, ids=lambda one: one.name)
def test_its_lesson_links_it(one):
    (lesson,) = (ROOT / "notebooks").glob(f"{one.lesson}_*.ipynb")
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert f"](../docs/PLAYGROUND.md#{one.name})" in text
    assert f"\n## {one.name}\n" in (ROOT / "docs" / "PLAYGROUND.md").read_text(encoding="utf-8")


def test_the_page_of_situations_is_what_the_code_says():
    done = subprocess.run([sys.executable, "-m", "tools.situations_page", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- what the web page is made of (tests/browser opens it) ------------------------------------------------------


def test_the_pages_script_finds_its_fields_and_nothing_comes_from_elsewhere():
    html, script, worker = ((page_tool.PAGE / name).read_text(encoding="utf-8") for name in PAGE_FILES)
    there = set(re.findall(r'\bid="([\w-]+)"', html))
    assert set(re.findall(r'by\("([\w-]+)"\)', script)) <= there and len(there) > 10
    assert not re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}/", html + re.sub(r"//.*", "", script + worker))
    asked = set(re.findall(r"do: \"(\w+)\"", script))
    assert asked == {"face", "answer", "draw"}
    for do in asked:
        assert f'{{"do": "{do}"' in (reply.__doc__ or "")
    assert json.loads(reply('{"do": "face"}')) == face()
    assert "no workload 'x'" in json.loads(reply('{"do": "draw", "preset": "x", "n": 3, "rate": 1.0}'))["error"]


def test_pyodide_is_the_one_that_was_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr(page_tool, "CACHE", tmp_path)
    monkeypatch.setattr(page_tool, "from_npm", lambda: b"another package")
    with pytest.raises(RuntimeError, match=r"npm brought another pyodide@0\.29\.5: its sha512 is "):
        page_tool.pyodide()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(page_tool.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="comes from npm, which is not here: install Node.js"):
        page_tool.from_npm()
