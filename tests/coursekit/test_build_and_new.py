"""Exercises are what their masters say; nothing of a solution gets out; a new exercise begins whole."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support.course import ROOT, master_of, put

from coursekit import cells
from coursekit.build import CannotBuild, build, exercise_of, stub
from coursekit.cells import source_of
from coursekit.new import CannotBegin, begin
from coursekit.new_lesson import MAP_HEADER, begin_lesson
from coursekit.setup_cell import REPO_FIELD, SETUP
from coursekit.task import tasks_of

STEM = "02_padding_and_masks"
BOOKS = [p for folder in ("notebooks", "exercises", "solutions") for p in sorted((ROOT / folder).glob("[0-9]*.ipynb"))]


@pytest.fixture
def course(tmp_path):
    """A copy of the course's exercise folders, to be spoilt."""
    for folder in ("solutions", "exercises"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / f"{STEM}.ipynb", tmp_path / folder)
    return tmp_path


def said(root, **options):
    lines = []
    return build(root, say=lines.append, **options), "\n".join(lines)


def test_the_exercises_in_the_repo_are_as_their_masters_say():
    wrong, text = said(ROOT, check=True)
    assert not wrong, text


def test_drift_is_shown_as_a_readable_difference(course):
    path = course / "exercises" / f"{STEM}.ipynb"
    path.write_text(path.read_text().replace("def pack(prompts):", "def pack(requests):"))
    wrong, text = said(course, check=True)
    assert wrong == 1 and "-def pack(requests):" in text and "+def pack(prompts):" in text and "coursekit build" in text
    assert said(course)[0] == 0 and said(course, check=True)[0] == 0


def test_an_exercise_without_a_master_is_named(course):
    (course / "exercises" / "09_lost.ipynb").write_text("{}")
    assert "09_lost.ipynb has no master" in said(course, check=True)[1]


def test_no_solution_reaches_the_exercise():
    book = exercise_of(master_of("02"), STEM)
    text = "\n".join(map(source_of, book["cells"]))
    assert "BEGIN SOLUTION" not in text and text.count("raise NotImplementedError") == 5
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in book["cells"] if c["cell_type"] == "code")
    for task in tasks_of("02"):
        assert f"def {task.name}(" in text and f'check("{task.id}"' in text


@pytest.mark.parametrize(
    "leak, found",
    [
        ("ids.append([pad_id] * gap + list(prompt))", "the line"),
        ("a line\n    order = sorted(range(len(lengths)), key=lambda i: lengths[i])", "the line"),
    ],
)
def test_a_solution_line_in_the_prose_stops_the_build(course, leak, found):
    book = master_of("02")
    book["cells"][2]["source"] = [*book["cells"][2]["source"], "\n", leak]
    put(course / "solutions" / f"{STEM}.ipynb", book)
    wrong, text = said(course)
    assert wrong and "give away" in text and found in text


def test_a_name_that_only_a_solution_uses_stops_the_build():
    book = master_of("02")
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = source_of(cell).replace("gap", "own_gap")
    exercise_of(book, STEM)
    book["cells"][0]["source"] = "Think of own_gap."
    with pytest.raises(CannotBuild, match="own_gap"):
        exercise_of(book, STEM)


def test_a_stub_keeps_signature_docstring_and_helpers_stay_out():
    source = (
        "# Task 02.1\n### BEGIN SOLUTION\nimport math\n### END SOLUTION\n"
        'def f(x):\n    """Doc."""\n    ### BEGIN SOLUTION\n'
        "    return 1\n    ### END SOLUTION"
    )
    assert (
        stub(source) == '# Task 02.1\ndef f(x):\n    """Doc."""\n'
        '    raise NotImplementedError("02.1: write your answer above this line")'
    )


@pytest.mark.parametrize(
    "source",
    [
        "### BEGIN SOLUTION\nx\n### END SOLUTION",
        "# Task 02.1\n### BEGIN SOLUTION\nx",
        "# Task 02.1\n### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
    ],
)
def test_broken_masters_are_refused(source):
    with pytest.raises(CannotBuild):
        stub(source)


def test_colab_may_change_ids_tags_order_and_sources():
    book = json.loads((ROOT / "solutions" / f"{STEM}.ipynb").read_text())
    before = cells.answers(book, tasks_of("02"))
    for i, cell in enumerate(book["cells"]):
        cell["id"], cell["metadata"], cell["source"] = f"colab{i}", {"colab": {}}, source_of(cell)
    book["cells"].reverse()
    book["metadata"] = {"colab": {"provenance": []}}
    assert cells.answers(book, tasks_of("02")) == before and cells.lesson_of(book, ["02"]) == "02"


def test_a_lost_mark_and_a_second_try_still_find_the_answer():
    task = tasks_of("02")[1]
    lost = {"cells": [{"cell_type": "code", "source": "def padding_waste(lengths):\n    return 0"}]}
    assert "return 0" in cells.answers(lost, [task])["02.2"]
    twice = {
        "cells": [{"cell_type": "code", "source": f"# Task 02.2\ndef padding_waste(lengths):\n    return {i}"} for i in (1, 2)]
    }
    assert "return 2" in cells.answers(twice, [task])["02.2"]


def test_new_writes_a_skeleton_that_builds(tmp_path):
    (tmp_path / "coursekit").mkdir()
    begin(tmp_path, "77_some_lesson", say=lambda text: None)
    shutil.copytree(ROOT / "coursekit", tmp_path / "coursekit", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-m", "coursekit", "build"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "exercises" / "77_some_lesson.ipynb").exists()
    assert (tmp_path / "tests" / "coursekit" / "course_answers" / "lesson_77" / "double.py").exists()
    code = "from coursekit.task import find_task; print(find_task('77.1').name)"
    asked = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.stdout.strip() == "double", asked.stderr
    with pytest.raises(CannotBegin, match="already there"):
        begin(tmp_path, "77_some_lesson")
    with pytest.raises(CannotBegin, match="no lesson name"):
        begin(tmp_path, "Some Lesson")


@pytest.fixture
def house(tmp_path):
    """A scratch copy of what a new lesson touches, and a function that runs a Python module in it."""
    for folder in ("coursekit", "notebooks", "solutions", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    env = os.environ | {"MINIENG_MODEL": "tiny", "PYTHONPATH": str(tmp_path)}

    def run(*words, refused=False):
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert bool(done.returncode) == refused, done.stdout + done.stderr
        return done.stdout + done.stderr

    return tmp_path, run


@pytest.mark.slow
def test_a_new_lesson_and_its_exercise_run_and_keep_what_is_asked_of_them(house):
    """The exercise first, then the lesson that links it; then run, stored clean, and held to the tests of both."""
    root, run = house
    page = (root / "notebooks" / "README.md").read_text()
    run("coursekit", "new", "77_some_lesson")
    run("coursekit", "build")
    run("coursekit", "new", "--lesson", "77_some_lesson")
    row = "| [77 · Some lesson](77_some_lesson.ipynb) | 45 | 3 of 5 | "
    added = [line for line in (root / "notebooks" / "README.md").read_text().splitlines() if line not in page.splitlines()]
    assert len(added) == 2 and added[0].startswith(row) and added[0].endswith("[77](../exercises/77_some_lesson.ipynb) |")
    assert added[1].startswith("| A question") and added[1].endswith("| [77](77_some_lesson.ipynb) |")
    run("coursekit", "notebooks", "run", "notebooks/77_some_lesson.ipynb")
    run("coursekit", "notebooks", "check", "notebooks", "exercises")
    quick = ("pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers")
    about_both = ("tests/test_lessons.py", "tests/coursekit/test_checks_are_tested.py", "tests/coursekit/test_lesson_77.py")
    tests = run(*quick, *about_both, "-k", "77")
    assert int(re.search(r"(\d+) passed", tests)[1]) > 50 and "skipped" not in tests
    sources = [source_of(c) for c in cells.read(root / "notebooks" / "77_some_lesson.ipynb")["cells"]]
    assert sum(source.startswith("# Your turn:") for source in sources) == 3
    assert "already there" in run("coursekit", "new", "--lesson", "77_other_words", refused=True)


def test_a_new_lesson_takes_the_row_that_was_to_come(tmp_path):
    """In the order of the numbers; what stands around the table stays."""
    (tmp_path / "notebooks").mkdir()
    page, before = tmp_path / "notebooks" / "README.md", tmp_path / "notebooks" / "05_fair_shares.ipynb"
    before.write_text("{}")
    coming, later = "| 07 · Old words | | | 06 | *to come:* share | |", "| 09 · Later | | | 07 | *to come:* more | |"
    text = f"# Map\n\n{MAP_HEADER}\n| --- | --- | --- | --- | --- | --- |\n{{}}\n{later}\n\nMinutes are for reading.\n"
    page.write_text(text.format(coming))
    begin_lesson(tmp_path, "07_new_words", say=lambda line: None)
    row = "| [07 · New words](07_new_words.ipynb) | 45 | 3 of 5 | 06 | share | – |"
    assert page.read_text() == text.format(row)
    begin_lesson(tmp_path, "08_between", say=lambda line: None)
    between = "| [08 · Between](08_between.ipynb) | 45 | 3 of 5 | 07 | do what the lesson promises | – |"
    assert page.read_text() == text.format(f"{row}\n{between}")
    lesson = "".join(source_of(c) for c in cells.read(tmp_path / "notebooks" / "07_new_words.ipynb")["cells"])
    assert "[Fair shares](05_fair_shares.ipynb)" in lesson and "exercises/" not in lesson
    with pytest.raises(CannotBegin, match="no lesson name"):
        begin_lesson(tmp_path, "ten")
    page.write_text("# Map\n")
    with pytest.raises(CannotBegin, match="has no table"):
        begin_lesson(tmp_path, "10_other")
    assert not list(page.parent.glob("10_*"))


def test_a_bug_hunt_gives_the_broken_code_out_in_place_of_the_solution():
    source = (
        "# Task 02.1\ndef f(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION\n"
        "    ### BEGIN BROKEN\n    # if x:\n    #\n    #     return x  # why?\n    ### END BROKEN"
    )
    assert stub(source) == "# Task 02.1\ndef f(x):\n    if x:\n\n        return x  # why?"
    with pytest.raises(CannotBuild):
        stub(source.replace("    ### END BROKEN", ""))


@pytest.mark.parametrize("path", BOOKS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_notebook_has_the_one_set_up_cell(path):
    first, *others = [c for c in cells.read(path)["cells"] if c["cell_type"] == "code"]
    assert REPO_FIELD.sub('REPO_URL = ""', source_of(first)) == SETUP, f"{path.name}: copy it from coursekit/setup_cell.py"
    assert first["metadata"]["jupyter"] == {"source_hidden": True}
    assert not any("source_hidden" in c["metadata"].get("jupyter", {}) for c in others), "no other source is hidden"
