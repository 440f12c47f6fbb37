"""`coursekit notebooks` and `coursekit badges`, on small notebooks made here."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from coursekit import alone, notebooks
from coursekit.notebook_form import WIDGET_VIEW, NotUsable, cleaned, problems, read, write
from coursekit.setup_cell import SETUP

ROOT = Path(__file__).resolve().parent.parent
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.fixture
def store(tmp_path, monkeypatch):
    """store(cells, name) writes a notebook below an empty folder, which is then the current one."""
    monkeypatch.chdir(tmp_path)

    def make(*cells, name="notebooks/05_x.ipynb", **metadata):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = [c if isinstance(c, dict) else new_code_cell(c) for c in cells]
        book = nbformat.from_dict({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
        path.write_text(nbformat.v4.writes(book) + "\n")  # valid or not
        return path

    return make


def ran(source, count, *outputs, tags=()):
    """A code cell as a run leaves it."""
    metadata = {"tags": list(tags)} if tags else {}
    return new_code_cell(source, execution_count=count, outputs=list(outputs), metadata=metadata)


def fit(store, *cells, **kinds):
    """A stored notebook in clean form with these cells, and the reasons that check finds against it."""
    path = store(*cells, **kinds)
    write(cleaned(read(path), path.stem), path)
    return problems(read(path), path.stem)


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_run_stores_outputs_that_a_second_run_does_not_change(store, capfd):
    figure = "import matplotlib\nimport matplotlib.pyplot as plt\n%matplotlib inline\nplt.plot([1, 3, 2]); plt.show()"
    path = store("print('one')\nprint('two')", new_markdown_cell("text"), "6 * 7", "", figure)
    assert notebooks.run([path]) == 0
    first = path.read_bytes()
    book = read(path)
    assert [c.get("execution_count") for c in book.cells] == [1, None, 2, None, 3]
    assert book.cells[0].outputs == [new_output("stream", name="stdout", text="one\ntwo\n")]
    assert book.cells[2].outputs[0].data == {"text/plain": "42"}
    assert "image/png" in book.cells[4].outputs[-1].data
    assert notebooks.check([path]) == 0
    assert notebooks.run([path]) == 0
    assert path.read_bytes() == first
    said = capfd.readouterr().out
    assert "notebooks/05_x.ipynb ... 3 cells, " in said and "1 of 1 notebooks run in " in said


def test_a_run_uses_this_python_in_the_notebooks_own_folder(store):
    path = store("import os, sys\nprint(sys.executable)\nprint(os.path.basename(os.getcwd()))")
    assert notebooks.run([path]) == 0
    assert read(path).cells[0].outputs[0].text == f"{sys.executable}\nnotebooks\n"


def test_a_failing_cell_is_shown_shortly_and_leaves_the_file_alone(store, capsys):
    path = store("a = 1", "b = 2\nc = a / 0\nd = 3", "print('never')")
    other = store("1", name="notebooks/06_y.ipynb")
    before = path.read_bytes()
    assert notebooks.run([path, other]) == 1
    said = capsys.readouterr().out
    assert "cell 2 failed: ZeroDivisionError: division by zero" in said
    assert "    >   2 c = a / 0" in said and "Traceback" not in said
    assert "1 of 2 notebooks run" in said
    assert path.read_bytes() == before
    assert read(other).cells[0].execution_count == 1


def test_a_cell_over_its_time_and_a_dead_kernel_fail(store, capsys):
    slow = store("import time", "time.sleep(60)")
    dead = store("import os", "os._exit(1)", name="notebooks/06_dead.ipynb")
    assert notebooks.run([slow, dead], timeout=2) == 1
    said = capsys.readouterr().out
    assert "cell 2 failed: CellTimeoutError" in said and "cell 2 failed: DeadKernelError" in said


def test_a_sitting_is_stored_whole_and_undisturbed_or_not_at_all(store, monkeypatch, capsys):
    first, second = store("1 + 1", name="notebooks/01_x.ipynb"), store("2 + 2", name="notebooks/02_x.ipynb")
    before = [path.read_bytes() for path in (first, second)]
    reasons = iter(["", "others used 1.00 cores meanwhile", "", "", *["the machine takes 2.00 times as long"] * 3])
    monkeypatch.setattr(notebooks.Alone, "disturbed", lambda watch: next(reasons))
    assert notebooks.run(["notebooks"], alone=True) == 0, "one try was refused, the next was not"
    assert "02_x.ipynb ... refused, others used 1.00 cores meanwhile ... 1 cells" in capsys.readouterr().out
    stored = [path.read_bytes() for path in (first, second)]
    assert stored[0] != before[0] and stored[1] != before[1]
    first.write_bytes(before[0])
    assert notebooks.run(["notebooks"], alone=True) == 1
    said = capsys.readouterr().out
    assert "disturbed 3 times: end what else runs" in said and "nothing was stored" in said
    assert [path.read_bytes() for path in (first, second)] == [before[0], stored[1]]


def test_others_are_told_from_what_runs_here(tmp_path, monkeypatch):
    """busy cores less this process and its children; a host's theft counts as others, waiting for a disk does not."""
    tick = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(alone, "STAT", tmp_path / "stat")
    alone.STAT.write_text(f"cpu  {2 * tick} {tick} {tick} {90 * tick} {50 * tick} 0 0 {tick} 0 0\ncpu0 1\n")
    monkeypatch.setattr(os, "times", lambda: (1.0, 0.5, 2.0, 0.25, 99.0))
    assert alone.seconds_of_others() == pytest.approx(5 - 3.75)
    watch = alone.Alone()
    watch.start()
    monkeypatch.setattr(alone, "fixed_work", lambda: watch.usual)
    assert watch.disturbed() == ""
    monkeypatch.setattr(alone, "fixed_work", lambda: 2 * watch.usual)
    assert "takes 2.00 times as long" in watch.disturbed()
    alone.STAT.write_text(alone.STAT.read_text().replace(f"cpu  {2 * tick}", f"cpu  {99 * tick}"))
    assert "others used" in watch.disturbed()
    monkeypatch.setattr(alone, "STAT", tmp_path / "none")
    with pytest.raises(OSError, match="run without --alone"):
        alone.Alone()


def test_skipped_and_raising_cells_run_as_nbval_runs_them(store):
    skipped = new_code_cell("raise SystemExit('not here')", metadata={"tags": ["nbval-skip"]})
    raising = new_code_cell("{}['key']", metadata={"tags": ["raises-exception"]})
    path = store(skipped, raising, "1 + 1")
    assert notebooks.run([path]) == 0
    book = read(path)
    assert [c.execution_count for c in book.cells] == [None, 1, 2]
    assert book.cells[1].outputs[0].traceback == ["KeyError: 'key'"]  # no frames: they name files of this run
    assert notebooks.check([path]) == 0


def test_what_run_stores_passes_strict_nbval(store):
    path = store("print('same')", "[1, 2]", new_code_cell("{}['key']", metadata={"tags": ["raises-exception"]}))
    assert notebooks.run([path]) == 0
    other = path.with_name("06_other.ipynb")
    other.write_text(path.read_text().replace('"same\\n"', '"else\\n"', 1))
    strict = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run([*strict, "notebooks"], capture_output=True, text=True, check=False)
    assert "1 failed, 5 passed" in done.stdout, done.stdout
    assert "06_other.ipynb::Cell 0" in done.stdout


def test_a_player_leaves_its_poster_in_the_file_and_no_widget(store):
    player = f"""
from IPython.display import display
import ipywidgets
w = ipywidgets.IntSlider()
display({{"{WIDGET_VIEW}": {{"version_major": 2, "version_minor": 0, "model_id": w.model_id}},
          "image/png": "{PNG}", "text/plain": "<player: 1 frame>"}}, raw=True)
"""
    path = store(player)
    assert notebooks.run([path]) == 0
    assert list(read(path).cells[0].outputs[0].data) == ["image/png", "text/plain"]
    assert "widgets" not in read(path).metadata


# --- clean ------------------------------------------------------------------------------------------------------------


def dirty(store):
    slider = {WIDGET_VIEW: {"model_id": "1"}, "image/png": PNG, "text/plain": "<player>"}
    shown = new_output("display_data", data=slider, metadata={"image/png": {"width": 300}, "other": 1})
    cell = ran("f()", 1, shown)
    cell.metadata = {"tags": ["nbval-check-output"] * 2, "collapsed": True, "execution": {"a": "time"}}
    cell.id = "8ef3"
    colab = {"provenance": [], "gpuType": "T4", "toc_visible": True}
    end = new_markdown_cell("## end", metadata={"id": "x"})
    metadata = {
        "accelerator": "GPU",
        "colab": colab,
        "coursekit": {"exercise": "05"},
        "kernelspec": {"name": "my-env", "display_name": "My env"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {}},
    }
    return store(cell, end, name="notebooks/05 café.ipynb", **metadata)


def test_clean_leaves_content_and_tags_only(store, capsys):
    path = dirty(store)
    assert notebooks.clean([path]) == 0
    assert f"cleaned {path}" in capsys.readouterr().out
    book = read(path)
    nbformat.validate(book)
    assert book.metadata == {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                             "language_info": {"name": "python"}, "accelerator": "GPU", "colab": {"gpuType": "T4"},
                             "coursekit": {"exercise": "05"}}  # fmt: skip
    assert [c.id for c in book.cells] == ["05-caf--001", "05-caf--002"]
    assert [c.metadata for c in book.cells] == [{"tags": ["nbval-check-output"]}, {}]
    assert book.cells[0].outputs[0].data == {"image/png": PNG, "text/plain": "<player>"}
    assert book.cells[0].outputs[0].metadata == {"image/png": {"width": 300}}
    assert [c.source for c in book.cells] == ["f()", "## end"]


def test_clean_twice_is_clean_once(store, capsys):
    path = dirty(store)
    notebooks.clean([path])
    once, when = path.read_bytes(), path.stat().st_mtime_ns
    capsys.readouterr()
    notebooks.clean([path])
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (once, when)
    assert capsys.readouterr().out == "0 of 1 notebooks cleaned, the others were clean\n"


def test_only_the_set_up_cell_is_folded_and_with_any_address(store, capsys):
    """A title hides it on Colab, its metadata in JupyterLab; a cell that hides its source elsewhere is opened again."""
    published = SETUP.replace('REPO_URL = ""', 'REPO_URL = "https://example.org/course"')
    hiding = {"jupyter": {"source_hidden": True}, "tags": ["nbval-ignore-output"]}
    path = store(SETUP, published, new_code_cell("1", metadata=hiding), name="exercises/05_x.ipynb")
    assert SETUP.splitlines()[0].startswith("# @title ") and SETUP.splitlines()[0].endswith('{ display-mode: "form" }')
    assert notebooks.check([path]) == 1
    said = capsys.readouterr().out
    assert all(f"cell {number}: metadata not in clean form: jupyter" in said for number in (1, 2, 3))
    notebooks.clean([path])
    folded = {"jupyter": {"source_hidden": True}}
    assert [c.metadata for c in read(path).cells] == [folded, folded, {"tags": ["nbval-ignore-output"]}]
    assert notebooks.check([path]) == 0 and notebooks.run([path]) == 0
    assert [c.metadata for c in read(path).cells][:2] == [folded, folded]


def test_what_answers_a_guess_is_folded(store, capsys):
    """From behind ``predict`` to its ``reveal``, where there is an output; not the guess itself."""
    out = new_output("stream", name="stdout", text="7\n")
    cells = [ran('predict("05.a", None)', 1, out), new_markdown_cell("so"), ran("print(7)", 2, out), ran("x = 7", 3),
             ran('reveal("05.a", 7)', 4, out), ran("print(7)", 5, out), ran('predict("05.b", None)', 6, out)]  # fmt: skip
    path = store(*cells)
    assert notebooks.check([path]) == 1
    assert "cell 3: metadata not in clean form: collapsed, jupyter" in capsys.readouterr().out
    notebooks.clean([path])
    fold = {"jupyter": {"outputs_hidden": True}, "collapsed": True}
    assert [c.metadata for c in read(path).cells] == [{}, {}, fold, {}, fold, {}, {}]
    assert notebooks.check([path]) == 0


def test_a_figure_right_behind_the_reveal_is_folded(store):
    """It draws the answer; a picture further down, or of a cell that guesses nothing, stays open."""
    picture, text = new_output("display_data", data={"image/png": "aGk="}), new_output("stream", name="stdout", text="7\n")
    guess, told = ran('predict("05.a", None)', 1, text), ran('reveal("05.a", 7)', 2, text)
    path = store(guess, told, ran("draw(7)", 3, picture), ran("draw(8)", 4, picture))
    notebooks.clean([path])
    assert [bool(c.metadata) for c in read(path).cells] == [False, True, True, False]
    path = store(guess, told, new_markdown_cell("and so"), ran("draw(7)", 3, picture))
    notebooks.clean([path])
    assert [bool(c.metadata) for c in read(path).cells] == [False, True, False, False]


def test_a_lone_widget_view_stays(store):
    lone = new_output("display_data", data={WIDGET_VIEW: {"model_id": "1"}})
    path = store(ran("w", 1, lone))
    notebooks.clean([path])
    assert read(path).cells[0].outputs[0].data == {WIDGET_VIEW: {"model_id": "1"}}


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_names_each_departure_from_clean_form_and_writes_nothing(store, capsys):
    path = dirty(store)
    before = path.read_bytes()
    assert notebooks.check([path]) == 1
    said = capsys.readouterr().out
    assert "notebook metadata not in clean form: colab, kernelspec, language_info, widgets" in said
    assert "cell 1: id '8ef3', not '05-caf--001', and 1 more" in said
    assert "cell 1: metadata not in clean form: collapsed, execution, tags" in said
    assert f"cell 1: outputs not in clean form (holds {WIDGET_VIEW})" in said
    assert "coursekit notebooks clean" in said
    assert path.read_bytes() == before
    notebooks.clean([path])
    assert notebooks.check([path]) == 0


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([ran("1", 1), ran("2", 3)], "cell 2: execution count 3, expected 2: not run top to bottom"),
        ([ran("1", 2), ran("2", 1)], "cell 1: execution count 2, expected 1: not run top to bottom"),
        ([ran("1", 1), ran("2", None), ran("3", 2)], "cell 2: has not been run"),
        ([ran("1", None)], "has not been run"),
        ([ran("1", 1, new_output("error", ename="OSError", evalue="gone", traceback=["OSError: gone"]))],
         "cell 1: stored with an error, OSError: gone"),
        ([ran("1", 1, tags=["nbval-raises-exception"])],
         "cell 1: tag 'raises-exception' instead of 'nbval-raises-exception': nbval and nbclient both know it"),
        ([ran("1", 1, new_output("stream", text=f"{sys.prefix}/lib/x.py"))],
         f"cell 1: its output names a folder of this machine, {sys.prefix}/"),
    ],
)  # fmt: skip
def test_check_finds(store, cells, reason):
    assert reason in fit(store, *cells)


def test_check_lets_good_notebooks_pass(store):
    text = new_markdown_cell("text")
    skipped = ran("skipped", None, tags=["nbval-skip"])
    raising = ran("1/0", 2, new_output("error", ename="E", evalue="e", traceback=["E: e"]), tags=["raises-exception"])
    assert fit(store, text, ran("1", 1), skipped, ran("", None), raising) == []
    assert fit(store, text) == []


def test_an_unrun_notebook_passes_only_as_an_exercise_or_when_that_is_asked_for(store):
    lesson, exercise = store("1", "2"), store("1", "2", name="exercises/05_x.ipynb")
    notebooks.clean([lesson, exercise])
    assert notebooks.check([lesson]) == 1 and notebooks.check([exercise]) == 0
    assert notebooks.check([lesson], unrun_ok=True) == 0
    assert notebooks.default_paths("check") == ["notebooks", "exercises"] and notebooks.default_paths("run") == ["notebooks"]


def test_check_reports_what_is_no_notebook_and_goes_on(store, capsys):
    store(ran("1", 1))
    Path("notebooks/06_bad.ipynb").write_text('{"cells": ')
    Path("notebooks/07_list.ipynb").write_text("[]")
    Path("notebooks/08_old.ipynb").write_text('{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}')
    notebooks.clean(["notebooks/05_x.ipynb"])
    assert notebooks.check(["notebooks"]) == 1
    said = capsys.readouterr().out
    assert "1 of 4 notebooks are fit" in said
    assert all(f"{name}.ipynb:\n    not a notebook (" in said for name in ("06_bad", "07_list", "08_old"))


# --- which notebooks --------------------------------------------------------------------------------------------------


def test_folders_are_searched_but_not_their_hidden_ones(store, monkeypatch):
    a, b = store("1", name="notebooks/b.ipynb"), store("1", name="notebooks/a.ipynb")
    store("1", name="notebooks/.ipynb_checkpoints/a.ipynb")
    assert notebooks.find(["notebooks", "notebooks/a.ipynb"]) == [b, a]
    monkeypatch.chdir("notebooks")
    assert [p.name for p in notebooks.find([".."])] == ["a.ipynb", "b.ipynb"]
    with pytest.raises(NotUsable, match="no such file or folder"):
        notebooks.find(["nowhere"])


def test_changed_is_what_git_says(store, capsys):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    names = ["notebooks/same.ipynb", "notebooks/edited.ipynb", "notebooks/staged é.ipynb"]
    paths = [store("1", name=name) for name in names]
    git("init")
    assert notebooks.find(["notebooks"], changed=True) == sorted(paths)  # no commit yet
    git("add", "--all")
    assert notebooks.find(["notebooks"], changed=True) == sorted(paths)
    git("commit", "-m", "first")
    assert notebooks.find(["notebooks"], changed=True) == []
    store("2", name=names[1])
    store("2", name=names[2])
    git("add", names[2])
    new = store("1", name="notebooks/new.ipynb")
    store("1", name="elsewhere/new.ipynb")
    assert notebooks.find(["notebooks"], changed=True) == sorted([paths[1], paths[2], new])
    assert notebooks.clean(["notebooks"], changed=True) == 0
    assert "same.ipynb" not in capsys.readouterr().out


# --- command line -----------------------------------------------------------------------------------------------------


def test_the_command_line_in_both_its_forms(store, capsys):
    path = store("print(1)")
    top = argparse.ArgumentParser()
    notebooks.add_parser(top.add_subparsers(required=True))
    expected = {"clean": 0, "check": 1, "check --unrun-ok notebooks": 0, "run gone": 2}
    for line, code in expected.items():
        words = line.split()
        args = top.parse_args(["notebooks", *words])
        assert args.run(args) == code, words
        assert notebooks.main(words) == code, words
    assert "coursekit: gone: no such file or folder" in capsys.readouterr().err
    words = [sys.executable, "-m", "coursekit.notebooks", "run", "--timeout", "30", str(path)]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0 and read(path).cells[0].execution_count == 1


def test_without_folders_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert notebooks.main(["check"]) == 2
    assert "no folder notebooks or solutions here" in capsys.readouterr().err


# --- badges -----------------------------------------------------------------------------------------------------------


def test_badges_come_change_and_go(store, capsys):
    setup = 'REPO_URL = ""  # @param {type:"string"}\nprint(1)'
    title = new_markdown_cell("# Lesson 05\n\nA promise.")
    lesson = store(title, setup, new_markdown_cell("more"))
    master = store(new_markdown_cell("# Exercise 05"), name="solutions/05_x.ipynb")
    readme = Path("README.md")
    readme.write_text("# A course\n\nWhat it is.\n")
    before = [lesson.read_bytes(), master.read_bytes(), readme.read_bytes()]
    assert notebooks.main(["badges", "ann/course"]) == 0
    title, _, line, *rest = readme.read_text().split("\n")
    assert (title, rest) == ("# A course", ["", "What it is.", ""])
    assert (
        "(https://github.com/ann/course/actions/workflows/ci.yml/badge.svg)" in line and "(https://ann.github.io/course/)" in line
    )
    link = "https://colab.research.google.com/github/ann/course/blob/main/notebooks/05_x.ipynb"
    image = "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    assert read(lesson).cells[0].source == f"# Lesson 05\n\n{image}({link})\n\nA promise."
    assert read(lesson).cells[1].source.startswith('REPO_URL = "https://github.com/ann/course"  # @param')
    assert read(master).cells[0].source.endswith("/ann/course/blob/main/exercises/05_x.ipynb)")
    once = lesson.read_bytes()
    assert notebooks.main(["badges", "ann/course", "--paths", "notebooks"]) == 0
    assert lesson.read_bytes() == once
    assert notebooks.main(["badges", "bob/x.y", "--branch", "dev"]) == 0
    assert read(lesson).cells[0].source.count("colab-badge") == 1
    assert "github/bob/x.y/blob/dev/notebooks" in read(lesson).cells[0].source
    assert notebooks.main(["badges", "--remove"]) == 0
    assert [lesson.read_bytes(), master.read_bytes(), readme.read_bytes()] == before
    assert notebooks.main(["badges", "not a repo"]) == 2
    assert "is not OWNER/REPO" in capsys.readouterr().err


# --- this repository's own notebooks ----------------------------------------------------------------------------------

OWN = sorted(p for folder in ("notebooks", "solutions", "exercises") for p in (ROOT / folder).glob("*.ipynb"))


@pytest.mark.parametrize("path", [p.relative_to(ROOT).as_posix() for p in OWN])
def test_own_notebooks_are_fit_to_be_stored(path):
    path = ROOT / path
    assert problems(read(path), path.stem, unrun_ok=path.parent.name != "notebooks") == []
