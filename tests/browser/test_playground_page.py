"""The playground in a page and in JupyterLab: every situation, schedulers of one's own, no error; in Pyodide the same plans."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from support.chromium import NEEDS, keep, serious, served_from
from support.lab import opened, run_cells, serving

from minieng.playground import SITUATIONS
from minieng.playground.ask import reply
from minieng.playground.choice import EXAMPLE
from minieng.scheduler import ADMISSIONS, ORDERS, SCHEDULERS
from tools import playground as page_tool

pytestmark = [*NEEDS, pytest.mark.site]

ROOT = Path(__file__).resolve().parents[2]
BROKEN = EXAMPLE.replace("append((r, r.num_remaining_tokens))", "append((r, 9))")
RULE = "no more tokens than are left"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page with Pyodide and the wheel, as `make site` puts it beside the pages."""
    if not (page_tool.CACHE / page_tool.PYODIDE).exists() and shutil.which("npm") is None:
        pytest.skip("Pyodide comes from npm, which is not here")
    out = tmp_path_factory.mktemp("page")
    page_tool.build(out)
    return out


@pytest.fixture(scope="module")
def served(made):
    with served_from(made) as address:
        yield f"{address}/playground.html"


def told(page) -> list[dict]:
    """What the last run came to; waits for it."""
    page.wait_for_function("() => document.getElementById('shown').dataset.outcomes", timeout=120_000)
    return json.loads(page.evaluate("() => document.getElementById('shown').dataset.outcomes"))


def press_run(page) -> list[dict]:
    page.evaluate("() => { delete document.getElementById('shown').dataset.outcomes; }")
    page.click("#run")
    return told(page)


def expected(one) -> list[dict]:
    asked = {"do": "answer", "workload": one.text, "left": vars(one.left), "right": vars(one.right)}
    return json.loads(reply(json.dumps(asked)))["outcomes"]


def same(one: list[dict], other: list[dict]) -> bool:
    """Counts and words; a time may differ in its last digits, as two systems' square roots do."""
    return len(one) == len(other) and all(
        {name: a[name] for name in a if name != "counts"} == {name: b[name] for name in b if name != "counts"}
        and a["counts"] == pytest.approx(b["counts"], rel=1e-9)
        for a, b in zip(one, other, strict=True)
    )


def test_every_situation_in_the_page_comes_to_what_it_comes_to_here(page, served):
    page.goto(f"{served}?{SITUATIONS[0].name}")
    assert same(told(page), expected(SITUATIONS[0]))
    for one in SITUATIONS[1:]:
        page.evaluate("() => { delete document.getElementById('shown').dataset.outcomes; }")
        page.select_option("#situation", one.name)
        assert same(told(page), expected(one))
        assert page.locator("#shown svg[role=img]").count() == 6 and one.look in page.inner_text("#look")
        assert page.url.endswith(f"?{one.name}")
        keep(page, one.name)


def test_an_edited_scheduler_breaks_a_rule_by_name_and_another_works(page, served):
    page.goto(f"{served}?seat-taken-over")
    told(page)
    assert not page.is_visible("#left-source")
    page.select_option("#left-scheduler", "own")
    page.fill("#left-source", BROKEN)
    page.fill("#left-knobs", "")
    assert [one["rule"] for one in press_run(page)] == [RULE, ""]
    assert f"Broken rule: {RULE}" in page.inner_text("#shown")
    keep(page, "broken-rule")
    page.fill("#left-source", EXAMPLE)
    page.fill("#right-knobs", "mixed=True")
    own, mixed = press_run(page)
    assert own["rule"] == own["error"] == "" and own["counts"] == mixed["counts"]
    page.fill("#left-source", "class Mine(Scheduler)\n    pass")
    assert press_run(page)[0]["line"] == 1 and "Line 1 of your scheduler" in page.inner_text("#shown")
    page.fill("#workload", "nonsense")
    assert press_run(page) is None and "the first line that is no comment" in page.inner_text("#shown")
    page.select_option("#preset", "bursty")
    page.click("#draw")
    page.wait_for_function("() => document.getElementById('workload').value.startsWith('arrival_s')")
    page.select_option("#left-scheduler", "chunked")
    assert [one["counts"]["completed"] for one in press_run(page)] == [24, 24]


@pytest.mark.parametrize("page", [{}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"])
def test_it_fits_a_telephone(page, served):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(f"{served}?prompt-freezes-all")
    told(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    keep(page, f"telephone-{page.evaluate('() => matchMedia(`(prefers-color-scheme: dark)`).matches')}")


def test_axe_finds_nothing_serious(page, served):
    page.goto(f"{served}?slowest-row")
    told(page)
    assert serious(page) == []


def test_opened_as_a_file_it_does_the_same(page, made):
    page.goto(f"{(made / 'playground.html').as_uri()}?{SITUATIONS[0].name}")
    assert same(told(page), expected(SITUATIONS[0]))
    page.evaluate("() => { delete document.getElementById('shown').dataset.outcomes; }")
    page.select_option("#situation", SITUATIONS[-1].name)
    assert same(told(page), expected(SITUATIONS[-1]))


@pytest.mark.parametrize("how", ["files", "server"])
def test_without_python_beside_it_the_page_says_so(how, browser, made, tmp_path):
    (tmp_path / "playground").mkdir()
    for name in ("playground.html", "playground/page.js"):
        shutil.copy(made / name, tmp_path / name)
    page = browser.new_page()
    with served_from(tmp_path) as address:
        page.goto(f"{tmp_path.as_uri() if how == 'files' else address}/playground.html")
        page.wait_for_selector("#shown [role=alert]")
    said = page.inner_text("#shown")
    assert "make site puts it there" in said and ("http.server" in said) == (how == "files")
    page.close()


# -- the same plans -----------------------------------------------------------------------------------------------


def random_question(rng: random.Random) -> str:
    """Some requests and a scheduler with its knobs, for which any plan may come."""
    rows = ["arrival_s,prompt_tokens,output_tokens,user,priority"]
    for _ in range(rng.randint(1, 24)):
        arrival, user = rng.choice([0.0, round(rng.random(), 3)]), rng.choice("ab")
        rows.append(f"{arrival},{rng.randint(1, 200)},{rng.randint(1, 60)},{user},{rng.randint(0, 3)}")
    knobs = {
        "max_num_seqs": rng.randint(1, 8), "num_blocks": rng.randint(24, 48), "order": rng.choice(list(ORDERS)),
        "admission": rng.choice(list(ADMISSIONS)), "preemption": rng.choice(["recompute", "swap"]), "mixed": rng.random() < 0.5,
        "max_num_batched_tokens": rng.randint(8, 256), "batch_size": rng.randint(1, 6), "wait_window": 0.05,
        "enable_prefix_caching": rng.random() < 0.5, "block_size": rng.choice([8, 16]),
    }  # fmt: skip
    words = ", ".join(f"{name}={value}" for name, value in knobs.items())
    choice = {"scheduler": rng.choice(list(SCHEDULERS)), "knobs": words, "source": ""}
    return json.dumps({"do": "plans", "workload": "\n".join(rows), "left": choice})


def test_in_pyodide_the_same_plans_for_fifty_workloads(made):
    if shutil.which("node") is None:
        pytest.skip("Node is not here")
    rng = random.Random("playground")
    asked = [random_question(rng) for _ in range(50)]
    script, kept = ROOT / "tests" / "support" / "pyodide_replies.mjs", page_tool.pyodide()
    command = ["node", str(script), str(kept), str(made / "playground" / "minieng.whl")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    there, here = json.loads(done.stdout), [reply(text) for text in asked]
    assert there == here
    steps = [len(json.loads(text)) for text in here]
    assert sum(map(bool, steps)) > 40 and sum(steps) > 2_000, "most of them ran, and for long"
    preempted = [any(step[3] for step in json.loads(text)) for text in here]
    assert sum(preempted) >= 5, "and some of them under pressure"


# -- in a notebook ------------------------------------------------------------------------------------------------

SHOWN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from minieng.viz import playground
shown = playground("slowest-row")
shown
"""
TOLD = "print([(one['label'], one['rule']) for one in shown.result['outcomes']])"


def test_in_jupyterlab_the_fields_do_what_they_say(browser, tmp_path):
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def last() -> str:
        page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
        run_cells(page, "notebook:run-cell")
        page.wait_for_timeout(700)
        return page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").inner_text()

    with serving([SHOWN, TOLD], tmp_path) as address:
        opened(page, address)
        run_cells(page, "notebook:run-all-cells")
        box = page.locator(".jp-CodeCell").first.locator(".jp-OutputArea-output")
        box.locator(".mp-two svg[role=img]").first.wait_for(timeout=60_000)
        names = box.locator("select").first
        for one in SITUATIONS:
            names.select_option(label=f"{one.lesson} · {one.title}")
            box.get_by_text(one.look, exact=False).first.wait_for(timeout=10_000)
            box.get_by_role("button", name="Run").click()
            box.locator(".mp-two h3", has_text=one.right.label()).nth(-1).wait_for(timeout=20_000)
            assert box.locator(".mp-two svg[role=img]").count() == 6
        keep(page, "lab")
        box.locator("select").nth(2).select_option(label="own")
        box.locator("textarea:visible").nth(1).fill(BROKEN)
        box.locator("textarea:visible").nth(1).blur()
        box.get_by_role("button", name="Run").click()
        box.get_by_text(f"Broken rule: {RULE}").wait_for(timeout=20_000)
        keep(page, "lab-broken")
        assert RULE in last()
        box.locator("textarea:visible").nth(1).fill(EXAMPLE)
        box.locator("textarea:visible").nth(1).blur()
        box.get_by_role("button", name="Run").click()
        box.get_by_text(f"Broken rule: {RULE}").wait_for(state="detached", timeout=20_000)
        assert RULE not in last()
    page.close()
    assert wrong == []
