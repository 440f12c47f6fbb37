"""Files that are no notebooks, and names that are none: a row with a remark for everybody, and nothing that a terminal obeys."""

import os
import zipfile
from pathlib import PurePosixPath

import pytest
from support.course import put, solved

from coursekit import cli
from coursekit.grade import collect, job, report, run, worker

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS")
JOB = job.Job(None, {}, "none", "7", 5.0)


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


def strange_zip(path, change):
    """A zip with 02.ipynb in it, whose bytes ``change`` may alter: data, where the file's head is, where its entry is."""
    with zipfile.ZipFile(path, "w") as box:
        box.writestr("02.ipynb", "{}")
    data = bytearray(path.read_bytes())
    change(data, 0, data.index(b"PK\x01\x02"))
    path.write_bytes(data)


def number_at(data, place, value, size):
    data[place : place + size] = value.to_bytes(size, "little")


def encrypted(data, head, entry):
    data[head + 6] |= 1
    data[entry + 8] |= 1


def other_sum(data, head, entry):
    data[data.index(b"{}")] ^= 1


def smaller_than_said(data, head, entry):
    number_at(data, entry + 24, 1_000, 4)


def larger_than_said(data, head, entry):
    number_at(data, entry + 24, 1, 4)


def huge_it_says(data, head, entry):
    number_at(data, entry + 24, 4_000_000_000, 4)


def of_the_future(data, head, entry):
    number_at(data, entry + 6, 99, 2)


def packed_strangely(data, head, entry):
    number_at(data, head + 8, 99, 2)
    number_at(data, entry + 10, 99, 2)


def name_of_no_encoding(data, head, entry):
    data[entry + 9] |= 8  # says that the name is UTF-8
    data[entry + 46] = 0xFF


def elsewhere(data, head, entry):
    number_at(data, entry + 42, 1_000_000, 4)


def cut(data, head, entry):
    del data[len(data) // 2 :]


@pytest.mark.parametrize(
    "change, said",
    [
        (encrypted, "encrypted"),
        (other_sum, "CRC"),
        (smaller_than_said, "not a notebook"),
        (larger_than_said, "cannot be read"),
        (huge_it_says, "4000 MB"),
        (of_the_future, "no zip that can be read"),
        (packed_strangely, "compression"),
        (name_of_no_encoding, "no zip that can be read"),
        (elsewhere, "cannot be read"),
        (cut, "no zip that can be read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_strange_zip_has_a_row_that_says_what_is_wrong_with_it(change, said, tmp_path):
    strange_zip(tmp_path / "ada.zip", change)
    (submission,), _ = collect.collect(tmp_path)
    result = {"problem": submission.problem} if submission.problem else worker.safe_result(JOB, submission, {})
    assert submission.student == "ada" and said in result["problem"] and "ungraded" not in result, result
    run.key_of(submission)


def test_a_collection_in_one_zip_has_a_row_for_everybody_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as box:
        cyd = "Cyd_1_assignsubmission_file_/work.zip", "Cyd_2_assignsubmission_file_/x.ipynb"
        for name in ("ada/02.ipynb", "bob/answer.pdf", *cyd, "dan/", "eve.pdf", "notes.txt", "__MACOSX/._02.ipynb"):
            box.writestr(name, "{}")
    found, _ = collect.collect(tmp_path / "all.zip")
    said = {s.student: s.problem for s in found}
    assert list(said) == ["ada", "bob", "Cyd", "Cyd (2)", "dan", "eve"]
    assert not said["ada"] and not said["Cyd (2)"] and "zip in a zip" in said["Cyd"]
    assert "answer.pdf is no notebook" in said["bob"] and "empty" in said["dan"] and "eve.pdf" in said["eve"]


def test_what_the_grader_writes_into_the_folder_is_nobodys_work(tmp_path):
    put(tmp_path / "ada.ipynb", "{}")
    put(tmp_path / "grades.csv", "x")
    put(tmp_path / "pages" / "ada.html", "x")
    put(tmp_path / "eve" / "grades.csv", "x")
    found, _ = collect.collect(tmp_path, [tmp_path / "grades.csv", tmp_path / "pages"])
    assert [s.student for s in found] == ["ada", "eve"]


def test_no_two_students_share_a_page():
    rows = [{"student": name} for name in ("x", "X", "x-2", "y" * 90, "y" * 91, "..", "/", "\U0001d4b3" * 90, "\udce9")]
    names = [name.casefold() for name in report.page_names(rows)]
    assert len(set(names)) == len(names) and all(len(name.encode()) < 240 for name in names)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", " =1", "+1", "-1", "@x", "a;=cmd", "a| =cmd"])
def test_no_cell_of_the_table_is_a_formula(name):
    cell = report.plain_cell(name)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert all(not part.lstrip().startswith(("=", "+", "-", "@")) for part in cell.replace("|", ";").split(";"))


def test_what_is_said_can_be_said_on_any_terminal(capsys):
    cli.say("\x1b]0;mine\x07 jos\udce9 \x9b2J")
    said = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(said) and "jos" in said
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="latin-1") as gone:
        cli.say("█", gone)
        cli.say("and on", gone)


def test_a_name_cannot_begin_a_line_of_its_own():
    row = {"student": "eve", "file": "x", "problem": "a\n[9/9] eve: 100 of 100"}
    assert "\n" not in report.in_short(row)
    verdict = {"status": "error", "finding": {"rule": "r", "cause": "c", "slip": "raises A\n[9/9] eve: 100 of 100"}}
    graded = {"student": "eve", "file": "x", "lesson": "02", "verdicts": {"02.1": verdict}}
    assert all("\n" not in what for _, _, what in report.mistakes([graded]))
    assert collect.student_of(PurePosixPath("a\nb.ipynb")) == "a b"
