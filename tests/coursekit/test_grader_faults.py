"""What goes wrong in grading and is no student's fault, and files that are none: a row for everybody, a word for each."""

import contextlib
import json
import os
import zipfile
from types import SimpleNamespace

import pytest
from support.course import ROOT, answer_to, put, solved

from coursekit import cli, words
from coursekit.examine import DONE, caller, examine
from coursekit.grade import collect, job, judge, report, run, sandbox, worker
from coursekit.grade.session import NotGraded, Session
from coursekit.task import find_task

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
JOB = job.Job(None, {"02": str(next((ROOT / "solutions").glob("02_*.ipynb")))}, "none", "7", 5.0)


def test_the_boxes_use_the_bwrap_that_was_probed(tmp_path, monkeypatch):
    own = put(tmp_path / "elsewhere" / "bwrap", "#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own.parent}{os.pathsep}{os.environ['PATH']}")
    assert sandbox.command("bwrap")[0] == str(own)


def test_a_sandbox_that_does_not_start_is_not_the_students_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "command", lambda *a: ["/bin/sh", "-c", "echo no room >&2; exit 1"])
    with Session(find_task("02.2"), [], JOB) as session, pytest.raises(NotGraded, match="did not start"):
        session.start()
    place = put(tmp_path / "ada.ipynb", solved())
    result = worker.safe_result(JOB, collect.Submission("ada", "ada.ipynb", str(place)), {})
    assert result["ungraded"] and "did not start" in result["problem"]


def test_a_crash_of_the_grader_is_told_and_never_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "lesson_in", lambda *a: 1 / 0)
    place = put(tmp_path / "ada.ipynb", solved())
    row = {"student": "ada", "file": "ada.ipynb"}
    row |= worker.safe_result(JOB, collect.Submission("ada", "ada.ipynb", str(place)), {})
    assert report.in_short(row).startswith("not graded: ZeroDivisionError")
    assert "not graded" in report.csv_text([row]) and "Not graded." in report.page(row)
    assert report.csv_text([row]).splitlines()[1].startswith("ada,ada.ipynb,,,"), "no zero in the table"
    assert report.mean_points([row, {"student": "b", "file": "b", "problem": "not a notebook"}]) == 0.0
    monkeypatch.setattr(run, "grade_folder", lambda *a, **k: [row])
    assert cli.run_grade(SimpleNamespace(exercise=None)) == 1 and "not graded, by no fault" in capsys.readouterr().out


def test_only_the_line_with_the_key_of_the_job_is_an_answer(tmp_path, monkeypatch):
    forged = json.dumps({"key": "guessed", "result": {"lesson": "02", "verdicts": {}}})
    helper = run.Helper(str(tmp_path))
    monkeypatch.setattr(run.sys, "executable", str(put(tmp_path / "fake", f"#!/bin/sh\nread x; echo '{forged}'\n")))
    (tmp_path / "fake").chmod(0o755)
    assert helper.ask(JOB, collect.Submission("ada", "a", "a"), 5) is None


def test_everybody_in_the_folder_has_a_row(tmp_path):
    put(tmp_path / "ada.ipynb", solved())
    put(tmp_path / "fay" / "answer.pdf", "x")
    (tmp_path / "gus").mkdir()
    (tmp_path / "loop.ipynb").symlink_to("loop.ipynb")
    os.mkfifo(tmp_path / "pipe.ipynb")
    put(tmp_path / "hal.zip", "no zip")
    with zipfile.ZipFile(tmp_path / "eve.zip", "w") as box:
        box.writestr("inner.zip", b"PK")
    open(os.fsencode(tmp_path) + b"/jos\xe9.ipynb", "w").write("{}")
    found, _ = collect.collect(tmp_path)
    names = {s.student: bool(s.problem) for s in found}
    strange = os.fsdecode(b"jos\xe9")
    assert names == {**dict.fromkeys(("eve", "fay", "gus", "hal", "loop", "pipe"), True), "ada": False, strange: False}
    rows = [{"student": s.student, "file": s.place, "problem": s.problem or "?"} for s in found]
    report.write_all(rows, tmp_path / "g.csv", str(tmp_path / "pages"), {"seed": "1"}, lambda text: None)
    assert len((tmp_path / "g.csv").read_text().splitlines()) == 9 and len(list((tmp_path / "pages").glob("*.html"))) == 8


def test_a_file_that_cannot_be_read_is_named_and_is_not_the_graders_fault(tmp_path):
    for number, name in enumerate(("02.ipynb", "03.ipynb")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as box:
            box.writestr(name, "{}")
    data = bytearray((tmp_path / "0.zip").read_bytes())
    data[6] |= 1  # says that it is encrypted
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "0.zip").write_bytes(data)
    data = bytearray((tmp_path / "1.zip").read_bytes())
    data[data.index(b"{}")] ^= 1  # another content than the checksum says
    (tmp_path / "1.zip").write_bytes(data)
    for submission in collect.collect(tmp_path)[0]:
        result = worker.safe_result(JOB, submission, {})
        assert "cannot be read" in result["problem"] and "ungraded" not in result


def test_no_two_students_share_a_page():
    rows = [{"student": name} for name in ("x", "X", "x-2", "y" * 90, "y" * 91, "..", "/")]
    names = [name.casefold() for name in report.page_names(rows)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", " =1", "+1", "-1", "@x", "a;=cmd", "a| =cmd"])
def test_no_cell_of_the_table_is_a_formula(name):
    cell = report.plain_cell(name)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert all(not part.lstrip().startswith(("=", "+", "-", "@")) for part in cell.replace("|", ";").split(";"))


def test_what_is_said_can_be_said_on_any_terminal(capsys, monkeypatch):
    cli.say("\x1b]0;mine\x07 jos\udce9")
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x07" not in said and "jos" in said
    read, write = os.pipe()
    os.close(read)
    with contextlib.suppress(OSError), os.fdopen(write, "w", encoding="latin-1") as gone:  # closing it fails once more
        monkeypatch.setattr("sys.stdout", gone)
        cli.say("█")
        cli.say("and on")
        assert cli.sys.stdout is not gone
        monkeypatch.undo()


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
        gaps = next(
            c.cell_contents for c in gap.__closure__ if isinstance(c.cell_contents, list) and len(c.cell_contents) == most
        )
        return sum(g <= limit for g in gaps)

    task = find_task("09.2")
    assert "was never asked for" in examine(task, caller(reads, task.drive)).finding.cause


# ---------------------------------------------------------------- cells as the notebook runs them
BODY = "def padding_waste(lengths):\n    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0\n"


@pytest.mark.parametrize(
    "extra",
    [
        "files = !ls",
        "%time x = 1\nassert x == 1",
        "padding_waste?",
        "??padding_waste",
        "!echo a \\\n  b",
        'check("02.2", globals())',
        "import asyncio\nawait asyncio.sleep(0)",
    ],
)
def test_what_a_notebook_runs_the_grader_runs(extra):
    task = find_task("02.2")
    with Session(task, [("02.2", f"# Task 02.2\n{BODY}{extra}\n")], JOB) as session:
        session.start()
        assert session.call([[1, 2]]) == 0.25
        session.finish()


def test_code_that_ran_to_its_end_did_not_stop_with_an_error():
    task = find_task("02.2")
    said = words.as_text(task, examine(task, caller(lambda lengths: {1})))
    assert "not right yet" in said and "stopped with an error" not in said
