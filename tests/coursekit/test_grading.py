"""The teacher's command: who handed in what, what a class looks like afterwards, and going on after a stop."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import pytest
from support.course import ROOT, put, solved

from coursekit.examine import DONE, TODO
from coursekit.grade import collect, job, journal, report, run, sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
WRONG_WASTE = "# Task 02.2\ndef padding_waste(lengths):\n    return 100.0 * sum(lengths)\n"


def command(folder, out, *extra):
    return [
        sys.executable,
        "-m",
        "coursekit",
        "grade",
        str(folder),
        "-o",
        str(out),
        "--seed",
        "3",
        "--timeout",
        "5",
        "--jobs",
        "2",
        "--solutions",
        str(ROOT / "solutions"),
        *extra,
    ]


def grade(folder, out, *extra):
    done = subprocess.run(
        command(folder, out, *extra),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def rows_of(out):
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_points_pages_and_summary(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "grades.csv"
    put(folder / "ada.ipynb", solved())
    put(folder / "bob.ipynb", solved(**{"02.2": WRONG_WASTE}))
    put(folder / "eve <b>.ipynb", json.loads((ROOT / "exercises" / "02_padding_and_masks.ipynb").read_text()))
    put(folder / "=cmd.ipynb", solved(**{"02.1": "# Task 02.1\nfrom helper import left_pad"}))
    said = grade(folder, out, "--feedback", str(tmp_path / "pages"))
    rows = {row["student"]: row for row in rows_of(out)}
    assert [rows[n]["total"] for n in ("ada", "bob", "eve <b>", "'=cmd")] == ["100", "85", "0", "75"]
    assert "[4/4]" in said and "seed 3" in said and "commonest mistakes" in said
    assert rows["bob"]["remarks"] == "02.2: other number" and "ModuleNotFoundError" in rows["'=cmd"]["remarks"]
    page = (tmp_path / "pages" / "bob.html").read_text()
    assert "85 of 100 points" in page and "padding_waste([" in page
    assert all(words in page for words in ("smallest failing call", "<b>expected</b>", "<b>got</b>", "likely cause"))
    assert "<b>.ipynb" not in "".join(p.read_text() for p in (tmp_path / "pages").glob("*.html"))
    summary = (tmp_path / "pages" / "class" / "summary.html").read_text()
    assert "mean 65.0 points" in summary and "other number" in summary


def test_same_seed_same_table_and_another_run_grades_nothing_again(tmp_path):
    folder = tmp_path / "in"
    put(folder / "ada.ipynb", solved())
    put(folder / "bob.ipynb", solved(**{"02.2": WRONG_WASTE}))
    grade(folder, tmp_path / "a.csv")
    grade(folder, tmp_path / "b.csv", "--jobs", "1", "--fresh")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    put(folder / "cyd.ipynb", solved())
    assert grade(folder, tmp_path / "a.csv").count("from the journal") == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way_the_next_run_finishes_with_the_same_table(tmp_path, how):
    folder = tmp_path / "in"
    for i in range(8):
        put(folder / f"s{i}.ipynb", solved(**({"02.2": WRONG_WASTE} if i % 2 else {})))
    grade(folder, tmp_path / "whole.csv")
    out = tmp_path / "grades.csv"
    first = subprocess.Popen(
        command(folder, out, "--jobs", "1"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in first.stdout:
        if line.startswith("[3/8]"):
            break
    first.send_signal(how)
    first.wait(30)
    time.sleep(0.5)
    assert not out.exists()
    said = grade(folder, out)
    assert 3 <= said.count("from the journal") < 8
    assert out.read_text() == (tmp_path / "whole.csv").read_text()


def test_a_helper_function_in_another_cell_is_explained(tmp_path):
    book = solved(**{"02.2": "# Task 02.2\ndef padding_waste(lengths):\n    return my_helper(lengths)"})
    book["cells"].insert(2, {"cell_type": "code", "source": "def my_helper(x):\n    return 0.0", "metadata": {}})
    put(tmp_path / "in" / "ada.ipynb", book)
    grade(tmp_path / "in", tmp_path / "g.csv", "--feedback", str(tmp_path / "pages"))
    assert "helper in another cell" in rows_of(tmp_path / "g.csv")[0]["remarks"]
    assert "is made in another cell" in (tmp_path / "pages" / "ada.html").read_text()


def test_an_answer_may_use_an_earlier_answer_and_magics(tmp_path):
    book = solved(
        **{
            "02.3": "# Task 02.3\n%time 1\ndef bucket_by_length(lengths, batch_size):\n    padding_waste(lengths)\n"
            "    order = sorted(range(len(lengths)), key=lambda i: lengths[i])\n"
            "    return [order[i:i + batch_size] for i in range(0, len(order), batch_size)]"
        }
    )
    put(tmp_path / "in" / "ada.ipynb", book)
    grade(tmp_path / "in", tmp_path / "g.csv")
    assert rows_of(tmp_path / "g.csv")[0]["total"] == "100"


def as_colab_leaves_it(book):
    """New ids, no tags, another order, sources as one text, outputs, cells of the student's own, no metadata of ours."""
    for number, cell in enumerate(book["cells"]):
        cell["source"] = "".join(cell["source"])
        cell["metadata"] = {"id": f"k3Jx{number}", "colab": {"base_uri": "https://localhost:8080/"}}
        cell.pop("id", None)
    scratch = {"cell_type": "code", "source": "!pip install torch\nx = 1 /", "metadata": {"id": "z"}, "outputs": [{"text": "?"}]}
    book["cells"] = [scratch, *reversed(book["cells"]), scratch]
    book["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    book["nbformat_minor"] = 0
    return book


def test_a_notebook_that_went_through_colab_grades_alike(tmp_path):
    lost = solved()
    for cell in lost["cells"]:  # the lines that name the tasks are gone as well
        cell["source"] = "".join(cell["source"]).replace("# Task 02.2: your answer goes in this cell.", "# my answer")
    put(tmp_path / "in" / "ada.ipynb", as_colab_leaves_it(solved()))
    put(tmp_path / "in" / "bob.ipynb", as_colab_leaves_it(solved(**{"02.2": WRONG_WASTE})))
    put(tmp_path / "in" / "cyd.ipynb", as_colab_leaves_it(lost))
    grade(tmp_path / "in", tmp_path / "g.csv")
    assert [row["total"] for row in rows_of(tmp_path / "g.csv")] == ["100", "85", "100"]


# ---------------------------------------------------------------- who handed in what
def test_notebooks_folders_zips_and_equal_names(tmp_path):
    put(tmp_path / "ada.ipynb", "{}")
    put(tmp_path / "Bob_123_assignsubmission_file_" / "02.ipynb", "{}")
    put(tmp_path / "cyd" / "deep" / "02.ipynb", "{}")
    put(tmp_path / "cyd" / ".ipynb_checkpoints" / "02.ipynb", "{}")
    put(tmp_path / "cyd" / "02 (1).ipynb", "{}")
    put(tmp_path / "notes.txt", "no")
    with zipfile.ZipFile(tmp_path / "ADA.zip", "w") as box:
        box.writestr("../../evil.ipynb", "{}")
        box.writestr("__MACOSX/._02.ipynb", "no")
    (tmp_path / "broken.zip").write_text("no zip")
    (tmp_path / "out.ipynb").symlink_to("/etc/passwd")
    found, notes = collect.collect(tmp_path)
    names = sorted(s.student.lower() for s in found)
    assert names == ["ada", "ada (2)", "bob", "broken", "cyd", "cyd (2)", "out"]
    assert len({s.student.casefold() for s in found}) == len(found)
    assert any("broken.zip" in n for n in notes) and any("out.ipynb" in n for n in notes)
    assert all(s.read() == b"{}" for s in found if not s.problem)
    assert {s.student for s in found if s.problem} == {"broken", "out"}


def test_a_zip_of_everybody(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as box:
        for name in ("ada/02.ipynb", "bob/02.ipynb", "cyd.ipynb"):
            box.writestr(name, "{}")
    found, _ = collect.collect(tmp_path / "all.zip")
    assert [s.student for s in found] == ["ada", "bob", "cyd"]


def test_a_zip_bomb_is_read_up_to_the_limit_only(tmp_path):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("02.ipynb", b"0" * 60_000_000)
    (submission,), _ = collect.collect(tmp_path)
    assert submission.size() == 60_000_000 and len(submission.read()) < 21_000_000


@pytest.mark.parametrize(
    "argv, said",
    [
        (["nowhere"], "there is no nowhere"),
        (["."], "no notebooks in ."),
        ([".", "--solutions", "nowhere"], "no master notebooks"),
        (["in", "-o", "in"], "-o in is a folder: name a file in it"),
        (["in", "-o", "in/ada.ipynb/g.csv"], "ada.ipynb cannot be written (File exists)"),
        (["in", "--feedback", "in/ada.ipynb"], "cannot be written (File exists)"),
    ],
)
def test_what_cannot_be_graded_is_said_in_one_line(argv, said, tmp_path):
    extra = [] if "--solutions" in argv else ["--solutions", str(ROOT / "solutions")]
    if "in" in argv:
        put(tmp_path / "in" / "ada.ipynb", solved())
    done = subprocess.run(
        [sys.executable, "-m", "coursekit", "grade", *argv, *extra],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


# ---------------------------------------------------------------- sandboxes
def test_auto_falls_back_with_a_loud_warning(monkeypatch):
    monkeypatch.setattr(sandbox, "probe", lambda: (False, "no such thing"))
    mode, warning = sandbox.choose("auto")
    assert mode == "rlimits" and "WARNING" in warning and "network" in warning and "files" in warning
    with pytest.raises(sandbox.NoSandbox, match="does not run here"):
        sandbox.choose("bwrap")
    assert sandbox.choose("none")[0] == "none" and "WARNING" in sandbox.choose("none")[1]
    monkeypatch.setattr(sandbox, "probe", lambda: (True, ""))
    assert sandbox.choose("auto") == ("bwrap", "")


def test_without_limits_an_honest_class_is_graded_alike(tmp_path):
    put(tmp_path / "in" / "ada.ipynb", solved())
    said = grade(tmp_path / "in", tmp_path / "g.csv", "--sandbox", "none")
    assert "without limits" in said and rows_of(tmp_path / "g.csv")[0]["total"] == "100"


def test_the_parent_never_imports_or_runs_what_students_wrote():
    for path in (ROOT / "coursekit" / "grade").glob("*.py"):
        text = path.read_text()
        if path.name != "child.py":
            assert "exec(" not in text and "eval(" not in text and "pickle" not in text, path.name


# ---------------------------------------------------------------- report and journal
def row(student, status, **more):
    verdicts = {t: {"status": status, **more} for t in ("02.1", "02.2", "02.3", "02.4", "02.5")}
    return {"student": student, "file": f"{student}.ipynb", "lesson": "02", "verdicts": verdicts}


def test_histogram_and_mean():
    rows = [row("a", DONE), row("b", TODO), {"student": "c", "file": "c", "problem": "not a notebook"}]
    bins = dict(report.histogram(rows))
    assert bins["100 %"] == 1 and bins["0-9 %"] == 2 and sum(bins.values()) == 3
    assert round(report.mean_points(rows), 1) == 33.3


def test_a_journal_cut_short_or_of_other_settings_is_not_believed(tmp_path):
    path, settings = tmp_path / ".g.journal", {"seed": "1", "version": "x"}
    kept = journal.Journal(path)
    with kept.opened(dict(settings)) as done:
        assert done == {}
        kept.add({"key": "a", "student": "a"})
    with path.open("a") as file:
        file.write('{"key": "b", "stu')
    for asked, known in ((settings, ["a"]), ({"seed": None, "version": "x"}, ["a"]), ({"seed": "2", "version": "x"}, [])):
        with journal.Journal(path).opened(dict(asked)) as done:
            assert list(done) == known


def test_a_journal_that_a_student_has_put_there_is_not_believed(tmp_path):
    """The table may be written into the folder of a collection, and anybody may have left a file of that name."""
    path, settings = tmp_path / ".g.journal", {"seed": None, "version": "x"}
    forged = [{"seed": "1", "version": "x"}, row("eve", DONE) | {"key": "eve"}]
    for line in (
        lambda r: json.dumps(r) + "\n",
        lambda r: "0" * 64 + " " + json.dumps(r) + "\n",
        lambda r: journal.sealed(r, b"?"),
    ):
        path.write_text("".join(map(line, forged)) + "\ud800".encode("utf-8", "replace").decode())
        with journal.Journal(path).opened(dict(settings)) as done:
            assert done == {}


def test_without_a_home_the_key_is_this_runs_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert journal.own_key() == journal.own_key() and len(journal.own_key()) == 32
    assert (tmp_path / ".coursekit" / "grading.key").stat().st_mode & 0o077 == 0
    put(tmp_path / "file", "")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert journal.own_key() != journal.own_key()


def test_a_job_reaches_the_helper_as_it_was():
    one = job.Job("02", {"02": "/m.ipynb"}, "none", "7", 2.5, hidden=("/a",), packages=("/b", "/c"))
    submission = collect.Submission("ada", "in/ada.ipynb", "/in.zip", "ada.ipynb")
    line = job.to_line(one, submission, "k")
    assert line.count("\n") == 1 and job.from_line(line) == ("k", one, submission)
    with pytest.raises(AttributeError):
        one.seconds = 100


def test_hidden_folders_are_never_python_itself(tmp_path):
    options = SimpleNamespace(submissions=sys.prefix, output=str(tmp_path / "g.csv"))
    hidden = run.hidden_folders(options, {"02": str(ROOT / "solutions" / "x.ipynb")})
    assert str(ROOT / "solutions") in hidden and not any(sandbox.is_inside(sys.prefix, h) for h in hidden)
