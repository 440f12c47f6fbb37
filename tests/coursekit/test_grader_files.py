"""Files that are no notebooks, and names that are none: a row with a remark for everybody, and nothing that a terminal obeys."""

import json
import os
import re
import subprocess
import tempfile
import time
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from support.course import put, solved

from coursekit import cells, cli
from coursekit.grade import collect, job, report, run, worker
from coursekit.task import tasks_of

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


def test_a_link_to_anothers_work_is_nobodys_answer(tmp_path):
    put(tmp_path / "ada" / "02.ipynb", solved())
    (tmp_path / "ada" / "copy.ipynb").symlink_to("02.ipynb")
    put(tmp_path / "eve" / "x.txt", "x")
    (tmp_path / "eve" / "02.ipynb").symlink_to("../ada/02.ipynb")
    (tmp_path / "eve" / "work").symlink_to("../ada")
    (tmp_path / "mal.ipynb").symlink_to("ada/02.ipynb")
    found, _ = collect.collect(tmp_path)
    assert {s.student: bool(s.problem) for s in found} == {"ada": False, "ada (2)": False, "eve": True, "mal": True}
    assert all("student's own folder" in s.problem for s in found if s.problem)


def test_folders_in_folders_without_end_cost_their_owner_alone(tmp_path):
    put(tmp_path / "ada.ipynb", solved())
    deep, inside = os.open(tmp_path, os.O_RDONLY), "eve"
    for _ in range(3_000):  # deeper than a path can be long, and than Python calls itself
        os.mkdir(inside, dir_fd=deep)
        deep, above = os.open(inside, os.O_RDONLY, dir_fd=deep), deep
        os.close(above)
        inside = "x" * 9
    os.close(deep)
    try:
        said = {s.student: s.problem for s in collect.collect(tmp_path)[0]}
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "eve")], check=True)  # pytest's own way to clear up would not get through
    assert said["ada"] == "" and "more than 40 folders in one another are not opened" in said["eve"]


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o644])
def test_a_folder_that_cannot_be_entered_costs_its_owner_alone(mode, tmp_path):
    """Unpacked as it was packed. Root enters everything, so it becomes nobody for this."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        put(folder / "ada.ipynb", "{}")
        put(folder / "eve" / "02.ipynb", "{}")
        put(folder / "eve" / "work" / "02.ipynb", "{}")
        (folder / "eve").chmod(mode)
        said = told_by_nobody(lambda: {s.student: s.problem for s in collect.collect(folder)[0]})
        (folder / "eve").chmod(0o755)
    assert said["ada"] == "" and re.search("cannot be opened|no file that can be read", said["eve"]), said


def told_by_nobody(what):
    """What ``what()`` gives in a process that is not root's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            os.write(write, json.dumps(what()).encode())
        except BaseException as problem:
            os.write(write, json.dumps({"raised": repr(problem)}).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as told:
        return json.load(told)


def test_a_flood_of_notebooks_is_graded_up_to_a_number(tmp_path):
    """Each may take its time in every task: one student's must not take the class's."""
    put(tmp_path / "ada.ipynb", "{}")
    with zipfile.ZipFile(tmp_path / "eve.zip", "w") as box:
        for number in range(collect.MAX_NOTEBOOKS + 400):
            box.writestr(f"{number:04}.ipynb", "{}")
    with zipfile.ZipFile(tmp_path / "mal.zip", "w") as box:
        for number in range(collect.MAX_MEMBERS + 1):
            box.writestr(f"{number}.ipynb", "")
    found, _ = collect.collect(tmp_path)
    assert len(found) == 1 + collect.MAX_NOTEBOOKS + 1 + 1
    (beyond, files) = (s for s in found if s.problem)
    assert beyond.problem.startswith("500 notebooks under one name, and 100 are graded") and "0100" in beyond.place
    assert "holds 20,001 files" in files.problem and files.student == "mal"


@pytest.mark.parametrize("name", ["ada.ipynb.txt", "ada.IPYNB.json", "ada.ipynb.csv"])
def test_a_notebook_that_a_browser_renamed_has_a_row(name, tmp_path):
    put(tmp_path / name, "{}")
    put(tmp_path / "notes.txt", "x")
    (submission,), _ = collect.collect(tmp_path)
    assert submission.student == "ada" and f"is it one when it is called {name[:9]}?" in submission.problem
    put(tmp_path / "ada.ipynb", "{}")
    assert [bool(s.problem) for s in collect.collect(tmp_path)[0]] == [False], "it is there under its own name too"


def test_a_zip_from_windows_has_its_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as box:
        for name in ("ada\\02.ipynb", "bob\\__MACOSX\\02.ipynb", "bob\\work\\02.ipynb", "cyd\\answer.pdf"):
            box.writestr(name, "{}")
    found, _ = collect.collect(tmp_path / "all.zip")
    assert [(s.student, bool(s.problem)) for s in found] == [("ada", False), ("bob", False), ("cyd", True)]
    assert found[1].read() == b"{}"


def test_a_notebook_of_endless_cells_is_read_in_time():
    marked = [f"# Task 02.{1 + i % 5}\nx = {i}" for i in range(40_000)]
    book = {"cells": [{"cell_type": "code", "source": source} for source in marked]}
    begun = time.monotonic()
    assert set(cells.answers(book, tasks_of("02"))) == {f"02.{i}" for i in range(1, 6)}
    assert time.monotonic() - begun < 20


def test_a_file_that_says_it_is_huge_is_not_read(tmp_path):
    with open(tmp_path / "ada.ipynb", "wb") as file:
        file.truncate(1 << 40)
    (submission,), _ = collect.collect(tmp_path)
    assert "1099512 MB" in worker.safe_result(JOB, submission, {})["problem"]
    run.key_of(submission)


def test_what_the_grader_writes_into_the_folder_is_nobodys_work(tmp_path):
    put(tmp_path / "ada.ipynb", "{}")
    put(tmp_path / "grades.csv", "x")
    put(tmp_path / "pages" / "ada.html", "x")
    put(tmp_path / "eve" / "grades.csv", "x")
    found, _ = collect.collect(tmp_path, [tmp_path / "grades.csv", tmp_path / "pages"])
    assert [s.student for s in found] == ["ada", "eve"]


def test_no_two_students_share_a_page():
    rows = [
        {"student": name}
        for name in ("x", "X", "x-2", "y" * 90, "y" * 91, "..", "/", "\U0001d4b3" * 90, "\udce9", "\xe9", "e\u0301")
    ]
    names = [unicodedata.normalize("NFC", name).casefold() for name in report.page_names(rows)]
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
