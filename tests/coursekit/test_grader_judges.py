"""What the judge goes by: what it asked for, cells as the notebook runs them, and work that is the learner's own."""

import os
import sys
import time
from dataclasses import replace

import pytest
from support.course import ROOT, answer_to, put

from coursekit import cells, words
from coursekit.checking import verdict_on
from coursekit.examine import DONE, Failed, caller, examine
from coursekit.grade import job, sandbox
from coursekit.grade.session import Session
from coursekit.task import find_task

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
JOB = job.Job(None, {}, "none", "7", 5.0)


# ---------------------------------------------------------------- what the judge asked for, not what came back
@pytest.mark.parametrize("name", ["06.2", "06.3"])
def test_a_record_without_the_operations_that_were_asked_for_earns_nothing(name):
    task = find_task(name)
    right = caller(answer_to(task), task.drive)
    assert examine(task, right).status == DONE
    assert examine(task, lambda args: right(args)[:1], shrink_seconds=0.1).status != DONE
    easy = task.cases[0].args
    assert examine(task, lambda args: right(easy), shrink_seconds=0.1).status != DONE


def test_a_budget_that_was_read_and_not_asked_for_earns_nothing():
    def reads(gap, limit, most):
        gaps = next(c.cell_contents for c in gap.__closure__ if type(c.cell_contents) is list and c.cell_contents)[0]
        return sum(g <= limit for g in gaps)

    task = find_task("09.2")
    assert "was never asked for" in examine(task, caller(reads, task.drive)).finding.cause


SEARCH = """# Task 09.2
def largest_budget(gap, limit, most):
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if gap(middle) <= limit:
            good = middle
        else:
            bad = middle
    return good
"""


def test_in_grading_the_questions_are_those_that_came_to_the_judge():
    task, gaps = find_task("09.2"), [5, 6, 8, 11]
    with Session(task, [("09.2", SEARCH)], JOB) as session:
        session.start()
        assert session.call((gaps, 8)) == {"value": 3, "asked": [2, 3, 4]}
        session.finish()
    forged = SEARCH.replace("return good", "return {'value': good, 'asked': [3, 4]}").replace("gap(middle)", "middle")
    with Session(task, [("09.2", forged)], JOB) as session:
        session.start()
        got = session.call((gaps, 8))
        assert got["asked"] == [] and task.judge((gaps, 8), got) is not None
    with Session(task, [("09.2", "def largest_budget(gap, limit, most):\n    return gap(most + 1)")], JOB) as session:
        session.start()
        with pytest.raises(Failed, match="a budget is a whole number from 1 to most"):
            session.call((gaps, 8))


# ---------------------------------------------------------------- cells as the notebook runs them
BODY = "def padding_waste(lengths):\n    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0\n"


@pytest.mark.parametrize(
    "extra",
    [
        "files = !ls",
        "files = !ls\nassert files.n == '' and list(files) == []",
        "%time x = 1\nassert x == 1",
        "y = %time 1 + 1\nassert y == 2",
        "%matplotlib inline",
        "%%time\nx = 1",
        "padding_waste?",
        "??padding_waste",
        "!echo a \\\n  b",
        "%time x = [1, \\\n  2]\nassert x == [1, 2]",
        "!ls\nx = (7\n  % 4)\nassert x == 3",
        "!ls\ntext = \"\"\"\n%time\n!ls\nwhat?\n\"\"\"\nassert text.split() == ['%time', '!ls', 'what?']",
        "def shell():\n    names = !ls\n    return names",
        "!!ls\nn = len('it''s')\nif n:\n    !ls 'it\n    x = '''\n% 3\n'''",
        "sum?;",
        "get_ipython().run_line_magic('time', 'z = 3')\nassert z == 3",
        "display(1)",
        'check("02.2", globals())',
        'from coursekit import check, hint\ncheck("02.2", globals())\nhint("02.2")',
        "import asyncio\nawait asyncio.sleep(0)",
        "import __main__\nassert __main__.padding_waste is padding_waste",
        "import pickle\nclass Kept:\n    pass\nassert type(pickle.loads(pickle.dumps(Kept()))) is Kept",
        "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    x: 'int' = 3\nassert Kept().x == 3",
        "import typing\nclass Kept(typing.NamedTuple):\n    x: 'int'\nassert typing.get_type_hints(Kept) == {'x': int}",
        "import torch\nassert float(torch.tensor([1.0, 2.0]).mean()) == 1.5",
        "import numpy as np\nassert np.ones((500, 500)).sum() == 250_000",
    ],
)
def test_what_a_notebook_runs_the_grader_runs(extra):
    task = find_task("02.2")
    with Session(task, [("02.2", f"# Task 02.2\n{BODY}{extra}\n")], JOB) as session:
        session.start()
        assert session.call([[1, 2]]) == 0.25
        session.finish()


def test_a_large_library_takes_none_of_an_answers_time_and_memory():
    """A notebook has it by then. With CUDA, torch alone maps more than an answer may have."""
    source = "import torch\ndef padding_waste(lengths):\n    return (1 - torch.tensor(lengths) / max(lengths)).mean()\n"
    task, quick = replace(find_task("02.2"), memory_mb=400), job.Job(None, {}, "rlimits", "7", 0.5)
    with Session(task, [("02.2", source)], quick) as session:
        session.start()
        assert session.call([[1, 2]]) == 0.25
        session.finish()


def test_packages_of_this_user_or_of_another_environment_are_there(tmp_path, monkeypatch):
    """pip install --user: what a notebook imports, the box finds too, and no other folder of the path."""
    put(tmp_path / "lib" / "site-packages" / "own_package.py", "x = 0.25")
    put(tmp_path / "project" / "secret.py", "x = 0.25")
    monkeypatch.setattr(sandbox.sys, "path", [*sys.path, str(tmp_path / "project"), str(tmp_path / "lib" / "site-packages")])
    source = "import own_package\ndef padding_waste(lengths):\n    import secret\n    return own_package.x\n"
    with Session(find_task("02.2"), [("02.2", source)], JOB) as session:
        session.start()
        with pytest.raises(Failed, match="No module named 'secret'"):
            session.call([[1, 2]])
    line = sandbox.bwrap_command(())
    assert str(tmp_path / "lib" / "site-packages") in line and str(tmp_path / "project") not in line


def test_two_answers_in_one_cell_and_an_answer_in_anothers_cell():
    merged = f"# Task 02.1\ndef left_pad(prompts):\n    return padding_waste([1])\n# Task 02.2\n{BODY}"
    tasks = [find_task("02.1"), find_task("02.2")]
    for source in (merged, merged.replace("# Task 02.2\n", "")):
        found = cells.answers({"cells": [{"cell_type": "code", "source": source}]}, tasks)
        assert found == {"02.1": source, "02.2": source}
        assert cells.needed(tasks[0], found, tasks) == [("02.1", source)], "it runs once"
    stub = "# Task 02.2\ndef padding_waste(lengths):\n    raise NotImplementedError"
    both = {"cells": [{"cell_type": "code", "source": merged}, {"cell_type": "code", "source": stub}]}
    assert cells.answers(both, tasks)["02.2"] == stub, "what ran last in the notebook"


# ---------------------------------------------------------------- somebody else's work
ENGINES = "from minieng.scheduler.chunked import ChunkedScheduler"
JUDGES = "from coursekit.tasks.lesson_04.best_window import choose, rank95\n" + (
    "def best_window(runs, limit):\n    return choose(runs, lambda run: rank95(run[1]) <= limit)"
)
FORMULAS = """from minieng.sim import facts
def true_times(lengths, seats):
    steps = [facts.steps_static(lengths, seats), facts.steps_continuous(lengths, seats)] if lengths else [0, 0]
    return *steps, max([0, *lengths, -(-sum(lengths) // seats)])"""
BORROWED = [
    ("09.1", ENGINES),
    ("09.1", f"{ENGINES} as Engines\nclass ChunkedScheduler(Engines):\n    pass"),
    ("09.1", "import minieng.scheduler.chunked as c\nfrom minieng import Scheduler\nclass ChunkedScheduler(Scheduler):\n"
             "    def plan(self, now):\n        return c.ChunkedScheduler.plan(self, now)"),
    ("04.1", "from minieng.scheduler.dynamic import DynamicScheduler"),
    ("05.1", FORMULAS),
    ("05.1", FORMULAS.partition("\n")[2].replace("    st", "    import minieng.sim.facts as facts\n    st")),
    ("05.1", FORMULAS.replace("true_times", "mine") + "\nimport functools\ntrue_times = functools.partial(mine)"),
    ("04.3", JUDGES),
]  # fmt: skip


@pytest.mark.parametrize("name, source", BORROWED)
def test_somebody_elses_work_is_right_in_the_notebook_with_a_remark_and_earns_nothing_in_grading(name, source):
    task, space = find_task(name), {"__name__": "__main__"}
    exec(source, space)
    verdict, _ = verdict_on(task, space)
    assert (
        verdict.status == DONE
        and "not your own work" in words.as_text(task, verdict)
        and "remark" in words.as_html(task, verdict)
    )
    with Session(task, [(name, f"# Task {name}\n{source}")], JOB) as session:
        with pytest.raises(Failed) as failed:
            session.start()
            session.call(task.cases[0].args)
    assert failed.value.error in ("borrowed", "ModuleNotFoundError")


def test_what_the_exercise_hands_out_may_be_built_on():
    task = find_task("04.1")
    verdict, _ = verdict_on(task, {task.name: answer_to(task)})
    assert verdict.status == DONE and not verdict.note
    book = cells.read(next((ROOT / "solutions").glob("04_*.ipynb")))
    own = [*(("given", source) for source in cells.given(book)), ("04.1", cells.answers(book, [task])["04.1"])]
    with Session(task, own, JOB) as session:
        session.start()
        assert examine(task, session.call, shrink_seconds=0.1).status == DONE


def test_code_that_ran_to_its_end_did_not_stop_with_an_error():
    task = find_task("02.2")
    said = words.as_text(task, examine(task, caller(lambda lengths: {1})))
    assert "not right yet" in said and "stopped with an error" not in said


def test_an_answer_that_comes_too_late_is_no_word_to_the_grader():
    slow = "import time\ndef padding_waste(lengths):\n    time.sleep(1.5 if len(lengths) > 1 else 0)\n    return 0.5\n"
    with Session(find_task("02.2"), [("02.2", slow)], job.Job(None, {}, "none", "7", 0.3)) as session:
        session.start()
        assert session.call([[1]]) == 0.5
        for _ in range(2):
            with pytest.raises(Failed, match="did not finish"):
                session.call([[1, 2]])
            time.sleep(1.2)
        session.finish()
        assert not session.rule
