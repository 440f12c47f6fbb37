"""Exercise and solution in a real kernel, top to bottom; COURSEKIT_TEST_KERNEL names another one."""

import os

import pytest
from support.course import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
KERNEL = os.environ.get("COURSEKIT_TEST_KERNEL", "python3")
LOOP = "def padding_waste(n):\n    while 1:\n        try:\n            n\n        except BaseException:\n            n"
STEMS = sorted(p.stem for p in (ROOT / "exercises").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def run_all(book):
    nbclient.NotebookClient(
        book, timeout=120, kernel_name=KERNEL, resources={"metadata": {"path": str(ROOT / "exercises")}}
    ).execute()
    return "\n".join(text_of(out) for cell in book.cells if cell.cell_type == "code" for out in cell.outputs)


def text_of(out):
    return out.get("text", "") or out.get("data", {}).get("text/plain", "")


def read(folder, stem):
    return nbformat.read(ROOT / folder / f"{stem}.ipynb", 4)


@pytest.mark.parametrize("stem", STEMS)
def test_run_all_on_an_unsolved_exercise_completes(stem):
    text = run_all(read("exercises", stem))
    assert "not done yet" in text and "✓" not in text and "Traceback" not in text


# `make test` runs every solution strictly as a notebook anyway; here one of them, and all of them in `make test-wide`
@pytest.mark.parametrize("stem", [STEMS[0], *(pytest.param(stem, marks=pytest.mark.wide) for stem in STEMS[1:])])
def test_run_all_on_a_solution_is_right_everywhere(stem, monkeypatch):
    monkeypatch.setenv("COURSEKIT_STRICT", "1")
    text = run_all(read("solutions", stem))
    assert "✗" not in text and "○" not in text


def test_an_endless_loop_and_a_question_leave_the_kernel_alive():
    book = read("exercises", "02_padding_and_masks")
    for cell in book.cells:
        if cell.source.startswith("# Task 02.2"):
            cell.source = LOOP
        if cell.source.startswith("# Task 02.5"):
            cell.source = "def packed_mask(cu):\n    return [[k <= q for k in range(cu[-1])] for q in range(cu[-1])]"
        if cell.source.startswith("# Task 02.3"):
            cell.source = "def bucket_by_length(lengths, batch_size):\n    return input('how many? ')"
    text = run_all(book)
    assert "it did not finish in 10 s" in text and "the packing leaks" in text and "your function asks for input()" in text


def test_a_notebook_shows_tables_and_a_terminal_shows_text():
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "import sys; sys.path.insert(0, '..')\nfrom coursekit import check\n"
                "def packed_mask(cu):\n    return [[True] * cu[-1]] * cu[-1]\n"
                "check('02.5', globals())"
            )
        ]
    )
    run_all(book)
    data = book.cells[0].outputs[0].data
    assert "<table" in data["text/html"] and "every token sees every token" in data["text/plain"] and "■" in data["text/plain"]
