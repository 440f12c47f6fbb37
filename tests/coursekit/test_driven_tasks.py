"""Answers that are schedulers or pools: run in the notebook's check and through the grader, judged on plain data alone."""

import csv
import importlib
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
from support.course import ROOT

import coursekit
import coursekit.tasks
from coursekit import words
from coursekit.checking import verdict_on
from coursekit.examine import DONE, TODO, caller, examine
from coursekit.judging.runs import idle_seats, last_finish

GIVEN = "from minieng import Plan, Scheduler"
HEAD = "# Task 90.1: your answer goes in this cell.\nclass Mine(Scheduler):\n    def plan(self, now):\n"

RIGHT = """
        plan = Plan()
        self.admit(plan, self.kv.ledger(), now, 1000)
        if not plan.extend:
            kv = self.kv.ledger()
            for r in self.running:
                if self.make_room(plan, kv, r, r.num_remaining_tokens):
                    plan.extend.append((r, r.num_remaining_tokens))
        return plan"""

WRONG = {
    "lazy": ("        return Plan()", "your plan is empty although requests wait", "never idle"),
    "greedy": (
        "        return Plan(extend=[(r, r.num_remaining_tokens) for r in [*self.running, *self.waiting]])",
        "admits more requests than there are seats",
        "max_num_seqs",
    ),
    "one at a time": (
        "        todo = [*self.running, *self.waiting][:1]\n        return Plan([(r, r.num_remaining_tokens) for r in todo])",
        "a seat stays empty",
        "slow",
    ),
    "waits on and on": ("        return Plan(wait_until=now + 1e-6)", "comes to no end", "never ends"),
    "moves": ("        self.running.append(self.waiting.popleft())\n        return Plan()", "It only decides", "a plan changes"),
    "no plan": ("        return None", "must return a Plan on every path", "returns a Plan"),
    "crash": ("        return Plan(extend=self.nothing)", "no attribute 'nothing'", "raises AttributeError"),
    "cheats": (
        """
        for r in [*self.running, *self.waiting]:
            r.finish_reason = "stop" if r.num_computed_tokens else None
        kv = self.kv.ledger()
        todo = [*self.running, *[r for r in self.waiting][:2 - len(self.running)]]
        return Plan(extend=[(r, r.num_remaining_tokens) for r in todo if kv.take(r, r.num_remaining_tokens)])""",
        "",
        "",
    ),
}

FORGED = """# Task 90.1
from minieng import Plan, Scheduler
class Mine(Scheduler):
    def plan(self, now):
        import coursekit.judging.scheduling as s
        real = s.plain_request
        s.plain_request = lambda r, job: {**real(r, job), "first_token": 0.0, "finish": 0.0, "token_times": [0.0]}
        s.plain_step = lambda record: 1 / 0
        s.Bench._run = lambda *a: None
        self.engine_is_done = True
        r = (list(self.running) or list(self.waiting))[0]
        return Plan(extend=[(r, r.num_remaining_tokens)])
"""
POOL = """# Task 90.2
class Pool:
    def __init__(self, slots):
        self.num_free = slots
    def take(self):
        if not self.num_free:
            raise MemoryError("empty")
        self.num_free -= 1
"""
POOL_WRONG = POOL.replace("if not self.num_free", "if self.num_free < 0")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of coursekit with exercise 90 in it, beside the engine."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "coursekit", root / "coursekit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "minieng", root / "minieng", ignore=shutil.ignore_patterns("__pycache__", "tiny", "*.so"))
    (root / "coursekit" / "tasks" / "lesson_90").mkdir()
    shutil.copy(ROOT / "tests" / "support" / "toy_task.py", root / "coursekit" / "tasks" / "lesson_90" / "__init__.py")
    master = {"cells": [cell(GIVEN, "given"), cell(HEAD + RIGHT), cell(POOL)], "metadata": {}}
    (root / "solutions").mkdir()
    (root / "solutions" / "90_toy.ipynb").write_text(json.dumps(master))
    return root


def cell(source, *tags):
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}


@pytest.fixture(scope="module")
def toy():
    """The toy task in this process."""
    spec = importlib.util.spec_from_file_location("coursekit.tasks.toy", ROOT / "tests" / "support" / "toy_task.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(body, name="Mine"):
    space = {}
    exec(GIVEN, space)
    exec(compile(HEAD + body if name == "Mine" else body, "<answer>", "exec"), space)
    return space[name]


# ---------------------------------------------------------------- in the notebook
def test_a_right_scheduler_passes_and_a_stub_is_open(toy):
    task = toy.SCHEDULER
    assert examine(task, caller(answer(RIGHT), task.drive)).status == DONE
    stub = '        raise NotImplementedError("90.1")'
    assert examine(task, caller(answer(stub), task.drive)).status == TODO


@pytest.mark.parametrize("name", [n for n in WRONG if n != "cheats"])
def test_a_wrong_scheduler_is_told_why(toy, name):
    body, said, slip = WRONG[name]
    task = toy.SCHEDULER
    verdict, _ = verdict_on(task, {"Mine": answer(body)})
    assert said in verdict.finding.cause and slip in verdict.finding.slip, verdict
    text = words.as_text(task, verdict)
    assert "Traceback" not in text and "r0 at 0 s, prompt " in text
    assert words.as_html(task, verdict)


def test_a_request_that_leaves_early_is_a_broken_rule(toy):
    verdict, _ = verdict_on(toy.SCHEDULER, {"Mine": answer(WRONG["cheats"][0])})
    assert verdict.status == "wrong" and "engine's rule" in verdict.finding.rule


def test_times_that_were_made_up_are_not_believed(toy):
    bench, args = toy.BENCH, (toy.JOBS,)
    got = bench.drive(answer(RIGHT), args)
    forged = json.loads(json.dumps(got))
    for step in forged["steps"]:
        step["duration"] = 0.0
    for request in forged["requests"].values():
        request.update(finish=0.0, token_times=[0.0])
    assert bench.replayed(args, forged) == got
    del forged["steps"][-1]
    assert bench.replayed(args, forged)["broken"]


def test_a_record_that_was_tampered_with_never_breaks_the_judge(toy):
    """Values of a record replaced at random: the judge finds a fault, or the true run is as good as it looks."""
    bench, args, rng = toy.BENCH, (toy.JOBS,), random.Random(5)
    true = bench.drive(answer(RIGHT), args)
    odd = [None, -1, 0, 1, 10**6, 0.5, float("nan"), float("inf"), "r0", "r9", [], {}, ["r0"], [["r0", 0, 1]], True]
    for _ in range(300):
        forged = json.loads(json.dumps(true))
        for _ in range(rng.randint(1, 3)):
            step = rng.choice(forged["steps"])
            key = rng.choice(list(step))
            if isinstance(step[key], list) and step[key] and rng.random() < 0.5:
                step[key][rng.randrange(len(step[key]))] = rng.choice(odd)
            else:
                step[key] = rng.choice(odd)
        verdict = toy.SCHEDULER.judge(args, forged)
        assert verdict or last_finish(bench.replayed(args, forged)) >= last_finish(true) - 1e-9


def test_no_scheduler_at_all(toy):
    verdict, _ = verdict_on(toy.SCHEDULER, {"Mine": lambda: 3})
    assert "this is no scheduler" in verdict.finding.cause or "no scheduler" in verdict.note


def test_a_pool_driven_by_operations(toy):
    task = toy.POOL
    assert examine(task, caller(answer(POOL, "Pool"), task.drive)).status == DONE
    verdict = examine(task, caller(answer(POOL_WRONG, "Pool"), task.drive))
    assert "one block more" in verdict.finding.cause and "p.take()" in words.as_text(task, verdict)


def test_solved_follows_the_last_check_in_this_kernel(monkeypatch, tmp_path, capsys):
    from course_answers.lesson_02 import left_pad

    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "p.json"))
    monkeypatch.setattr("coursekit.checking._right", {})
    assert coursekit.solved("02.1") is False
    coursekit.check("02.1", {"left_pad": left_pad.padded})
    assert coursekit.solved("02.1") is True and coursekit.solved("02.2") is False
    coursekit.check("02.1", {"left_pad": left_pad.pad_right})
    assert coursekit.solved("02.1") is False
    for unknown in ("02.9", "77.1", "what"):
        with pytest.raises(LookupError, match="there (is no task|are no exercises)"):
            coursekit.solved(unknown)


# ---------------------------------------------------------------- through the grader
def grade(course, folder, out, *extra):
    command = [sys.executable, "-m", "coursekit", "grade", str(folder), "-o", str(out), "--seed", "3", "--jobs", "2"]
    env = {**os.environ, "PYTHONPATH": str(course)}
    done = subprocess.run(
        [*command, "--feedback", str(out.parent / "pages"), *extra],
        env=env, cwd=course, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    with out.open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
@pytest.mark.parametrize("mode", ["auto", "rlimits"])
def test_schedulers_are_driven_in_the_child_and_judged_in_the_parent(course, tmp_path, mode):
    folder = tmp_path / "in"
    folder.mkdir()
    bodies = {"right": HEAD + RIGHT, "forger": FORGED, **{name: HEAD + body for name, (body, _, _) in WRONG.items()}}
    for name, source in bodies.items():
        pool = POOL_WRONG if name == "lazy" else POOL
        book = {"cells": [cell(GIVEN), cell(source), cell(pool)], "metadata": {}}
        (folder / f"{name}.ipynb").write_text(json.dumps(book))
    rows = grade(course, folder, tmp_path / "g.csv", "--sandbox", mode)
    assert (rows["right"]["90.1"], rows["right"]["90.2"]) == ("50", "50"), rows["right"]["remarks"]
    for name, row in rows.items():
        if name != "right":
            assert row["90.1"] == "0" and row["remarks"], name
            assert row["90.2"] == ("0" if name == "lazy" else "50")
    for name, (_, said, slip) in WRONG.items():
        assert slip in rows[name]["remarks"], rows[name]["remarks"]
        assert said in (tmp_path / "pages" / f"{name}.html").read_text().replace("&#x27;", "'"), name


def test_idle_seats_are_those_that_no_slice_has():
    run = {"steps": [{"slices": [["a", 0, 4], ["b", 0, 2]]}, {"slices": [["a", 4, 1]]}, {"slices": []}]}
    assert idle_seats(run, 3) == 1 + 2 + 3
