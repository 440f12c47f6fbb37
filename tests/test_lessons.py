"""What every lesson in notebooks/ keeps, whoever wrote it: shape, limits, and prose that stands on its outputs.

Running the notebooks and comparing their outputs is nbval's part (`make test`). This file reads the stored notebooks.

Two rules of the house that are written down nowhere else:
- A figure has its text in words, for those who do not see it: the cell that draws it calls `in_words`, whose output is
  folded and starts with "Figure:", before `plt.show()`, its last line. It survives GitHub, Colab, JupyterLab and every
  clean-up of metadata.
- A quantity in the prose (a share, a time, a size, a decimal) stands in an output that is compared on every run, so
  that no sentence depends on a machine or on weights. Quoted claims and the card are free.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from coursekit.setup_cell import cell_metadata

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISES = {f"{number:02}" for number in range(2, 14)}  # the lessons that have one, and any other with a master
EXERCISES |= {path.name[:2] for path in (ROOT / "solutions").glob("*.ipynb")}
SECTIONS = ("The problem", "The same thing in `minieng`", "Measure", "At scale", "Fact-check", "Interview corner", "Recap")
CHECK, IGNORE = "nbval-check-output", "nbval-ignore-output"
TAGS = {CHECK, IGNORE, "nbval-skip", "nbval-raises-exception"}
MAX_CELLS, MAX_WORDS, MAX_LINES, MAX_LINES_ONCE = 60, 2500, 25, 40
TURNS, TURN_CELLS, TURN_WORDS, TURN_LINES = 3, 6, 400, 12  # places to try something: at least, and what they may add
TURN, TURN_TEXT = "# Your turn: ", "**Your turn"
AGREE = 1.15  # how many times one another what two lessons measured of the same thing may be
SCREEN_LINES, SCREEN_COLUMNS = 45, 130
UNIT = r"(?:%|[mµ]?s\b|tok(?:ens)?/s|[KMGT]i?B\b|[GT]FLOP)"
QUANTITY = re.compile(rf"(?<![\w.])\d+(?:\.\d+)?\s?{UNIT}|(?<![\w.])\d+(?:\.\d+)?(?=\s?(?:×|times\b))|(?<![\w.])\d+\.\d+(?!\w)")


class Cell:
    """A stored cell: kind, source, tags, what it printed, and whether it shows a picture."""

    def __init__(self, stored: dict) -> None:
        self.kind, self.source = stored["cell_type"], "".join(stored["source"])
        self.is_turn = self.source.startswith(TURN if self.kind == "code" else TURN_TEXT)
        self.tags = set(stored["metadata"].get("tags", []))
        self.outputs = stored.get("outputs", [])
        self.printed = "".join("".join(o["text"]) for o in self.outputs if o["output_type"] == "stream")
        shown = ["".join(o["data"].get("text/plain", "")) for o in self.outputs if "data" in o]
        self.text = "\n".join([self.printed, *shown])
        told = [o["data"] for o in self.outputs if "data" in o]
        folded = ["image/png" in data or "<details>" in "".join(data.get("text/html", "")) for data in told]
        on_screen = [text for text, hidden in zip(shown, folded, strict=True) if not hidden]
        self.on_screen = "\n".join([self.printed, *on_screen])  # a picture's text stands behind it, or is folded
        self.has_picture = any("image/png" in o.get("data", {}) for o in self.outputs)


class Lesson:
    """A stored notebook. ``prose`` is its markdown without code."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, path.name[:2]
        self.cells = [Cell(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        self.code = [cell for cell in self.cells if cell.kind == "code"]
        self.markdown = "\n\n".join(cell.source for cell in self.cells if cell.kind == "markdown")
        self.prose = without_code(self.markdown)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request) -> Lesson:
    return Lesson(request.param)


def test_there_are_lessons():
    assert LESSONS, "notebooks/ holds no lesson"


# --- size -------------------------------------------------------------------------------------------------------------


def test_fits_a_sitting(lesson):
    """What stands beyond the first limit is there to be changed by the reader."""
    turns = [cell for cell in lesson.cells if cell.is_turn]
    extra = sum(len(cell.source.split()) for cell in turns if cell.kind == "markdown")
    assert len(lesson.cells) <= MAX_CELLS + min(TURN_CELLS, len(turns))
    assert len(lesson.markdown.split()) <= MAX_WORDS + min(TURN_WORDS, extra)


def test_leaves_something_to_do(lesson):
    """A cell to change is short, says what to try in its first line, and runs as it stands."""
    turns = [cell for cell in lesson.code if cell.is_turn]
    assert len(turns) >= TURNS, f"cells that begin with {TURN!r}"
    for cell in turns:
        assert len(cell.source.splitlines()) <= TURN_LINES, cell.source
        assert cell.outputs, f"shows what a change does:\n{cell.source}"


def test_cells_are_short(lesson):
    read = (cell for cell in lesson.code if not cell_metadata(cell.source))  # but for the set-up cell, which is folded
    lengths = sorted((len(cell.source.splitlines()) for cell in read), reverse=True)
    assert lengths[0] <= MAX_LINES_ONCE
    assert lengths[1:] == [] or lengths[1] <= MAX_LINES, "one cell a lesson may be longer, for the class built by hand"


def test_outputs_fit_a_screen(lesson):
    for cell in lesson.code:
        lines = cell.on_screen.splitlines()
        assert len(lines) <= SCREEN_LINES, cell.source
        if cell.tags & {CHECK}:
            assert max(map(len, lines), default=0) <= SCREEN_COLUMNS, cell.source


# --- shape ------------------------------------------------------------------------------------------------------------


def test_opens_with_title_promise_card_and_aims(lesson):
    first = lesson.cells[0]
    assert first.kind == "markdown"
    assert re.match(rf"# {int(lesson.number)} · \S", first.source), "the title is '# <number> · <name>'"
    assert re.search(r"^\*\*[^*]+\.\*\*$", first.source, re.MULTILINE), "the promise is one bold sentence"
    assert "| Minutes | Difficulty | Needs | Before this |" in first.source
    aims = first.source.partition("You will be able to")[2]
    assert len(re.findall(r"^- ", aims, re.MULTILINE)) >= 3


def test_has_the_sections_of_a_lesson(lesson):
    headings = [line.lstrip("# ") for line in lesson.markdown.splitlines() if line.startswith("#")]
    wanted = SECTIONS if lesson.number != "00" else ("Interview corner", "Recap")
    for section in wanted:
        assert section in headings
    assert lesson.markdown.count("**Write down your guess:**") >= 2
    code = "\n".join(cell.source for cell in lesson.code)
    guessed = re.findall(rf'predict\("({lesson.number}\.\w+)", None\)', code)
    assert len(guessed) >= 2 and sorted(guessed) == sorted(re.findall(r'reveal\(\s*"([\w.]+)"', code)), "guesses are revealed"
    assert re.search(r"\*\*Verdict[^*]*: ?(true|true only if|false)", lesson.markdown), "no verdict"


def test_a_guess_has_a_name_of_its_own():
    """Two guesses of one name would overwrite each other, in a lesson and its exercise too."""
    where: dict[str, list[str]] = {}
    for path in sorted([*LESSONS, *(ROOT / "solutions").glob("*.ipynb"), *(ROOT / "docs").glob("*.ipynb")]):
        for name in re.findall(r'predict\("([\w.]+)"', "\n".join(cell.source for cell in Lesson(path).code)):
            where.setdefault(name, []).append(path.parent.name + "/" + path.name)
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_the_first_line_of_a_folded_output_is_no_answer(lesson):
    """JupyterLab shows it beside the three dots: let it be a heading."""
    for start, cell in enumerate(lesson.cells):
        for name in re.findall(r'predict\("([\w.]+)"', cell.source) if cell.kind == "code" else []:
            end = next(i for i in range(start, len(lesson.cells)) if f'reveal("{name}"' in lesson.cells[i].source)
            value = re.search(rf"^{re.escape(name)}: (.+)\. \(You", lesson.cells[end].printed, re.MULTILINE)
            assert value, f"{name} is stored without its value"
            shown = [c.text.splitlines()[0] for c in lesson.cells[start + 1 : end + 1] if c.outputs]
            found = [line for line in shown if re.search(rf"(?<![\w.]){re.escape(value[1])}(?![\w.])", line)]
            assert found == [], f"tells {name}"


def test_no_place_to_try_something_shows_what_is_folded_above_it(lesson):
    """It begins with numbers of its own: the guess is not yet made when the reader's eye falls on it."""
    for cell, following in itertools.pairwise(lesson.cells):
        guessed = re.findall(r"^[\d]{2}\.\w+: ([\d.]+)\. \(You", cell.printed, re.MULTILINE)
        seen = re.findall(r"(?<![\w.])\d+(?:\.\d+)?", following.printed) if following.is_turn else []
        told = {value for value in guessed for number in seen if abs(float(number) - float(value)) < 0.005 * float(value)}
        assert told == set(), f"tells {told}:\n{following.source}"


def test_model_answer_is_closed_and_has_three_sentences(lesson):
    hidden = r"<details>\n<summary>A model answer</summary>\n\n(.+?)\n\n</details>"
    answers = re.findall(hidden, lesson.markdown, re.DOTALL)
    assert answers, "the interview corner hides its answer in a closed <details>"
    for answer in answers:
        assert len(re.findall(r"[.?!](?=\s|$)", without_code(answer))) == 3, answer
    assert "| English | 中文 |" in lesson.markdown


def test_links_resolve(lesson):
    for target in re.findall(r"\]\(([^)\s]+)\)", lesson.prose):
        if not target.startswith(("https://", "#")):
            assert (lesson.path.parent / target.partition("#")[0]).exists(), f"{target} does not exist"
    if lesson.number in EXERCISES:
        assert f"](../exercises/{lesson.path.name})" in lesson.markdown, "a lesson names its exercise"


def test_speaks_to_the_reader_only(lesson):
    words = ("issue", "session", "/work", "../shared", "/tmp/")
    everything = lesson.markdown + "".join(cell.source for cell in lesson.code)
    everything += "".join(cell.text for cell in lesson.code if CHECK in cell.tags)
    assert [word for word in words if word in everything.lower()] == []


# --- the map and the glossary -----------------------------------------------------------------------------------------


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose first line starts with ``header``."""
    lines = text.partition(header)[2].splitlines()[2:]
    taken = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in taken]


def terms(cell: str) -> set[str]:
    """ "batch size, wait window (queue delay)" holds two terms."""
    return {part.strip().casefold() for part in re.sub(r"\([^)]*\)", "", cell).split(",")}


def page(name: str) -> str:
    return (ROOT / "notebooks" / name).read_text(encoding="utf-8")


def test_every_term_is_in_the_glossary(lesson):
    known = set().union(*(terms(row[0]) for row in rows(page("GLOSSARY.md"), "| Term | 中文 |")))
    wanted = set().union(*(terms(row[0]) for row in rows(lesson.markdown, "| English | 中文 |")))
    assert wanted and wanted <= known, f"not in GLOSSARY.md: {sorted(wanted - known)}"


def test_the_glossary_is_whole_and_in_order():
    entries = rows(page("GLOSSARY.md"), "| Term | 中文 |")
    names = [re.sub(r"[^a-z0-9 ]", "", entry[0].casefold()) for entry in entries]
    assert names == sorted(names) and len(names) == len(set(names))
    for term, chinese, meaning, lesson, vllm, sglang in entries:
        assert re.search(r"[\u4e00-\u9fff]", chinese), term
        assert re.findall(r"[.?!](?=\s|$)", meaning) == ["."] and meaning.endswith("."), f"one sentence for {term}"
        assert lesson and vllm and sglang, f"{term}: a dash where there is no name"


def test_the_map_names_every_lesson_as_its_card_does(lesson):
    card = rows(lesson.cells[0].source, "| Minutes | Difficulty |")[0]
    line = next(row for row in rows(page("README.md"), "| Lesson | Minutes |") if f"({lesson.path.name})" in row[0])
    assert line[1:3] == card[:2], "minutes and difficulty"
    assert (line[5] == f"[{lesson.number}](../exercises/{lesson.path.name})") == (lesson.number in EXERCISES)


def test_the_index_has_every_question_and_each_answer_is_there_in_chinese(lesson):
    """A question of an interview corner is found from the map; its second answer is hidden like the first."""
    corner = lesson.markdown.partition("## Interview corner")[2].partition("## Recap")[0]
    question = re.search(r'^\*\*"(.+)"\*\*$', corner, re.MULTILINE)
    index = {row[0]: row for row in rows(page("README.md"), "| Question | 中文 |")}
    assert question and question[1] in index, "not in notebooks/README.md"
    assert f"({lesson.path.name})" in index[question[1]][2]
    chinese = re.search(r"<details>\n<summary>参考回答</summary>\n\n(.+?)\n\n</details>", corner, re.DOTALL)
    assert chinese and len(re.findall("[\u4e00-\u9fff]", chinese[1])) > 40
    assert not re.search("[\u4e00-\u9fff][,;:?!()]|[,;:?!()][\u4e00-\u9fff]", corner), "half-width marks in Chinese"


@pytest.mark.parametrize("name", ["README.md", "GLOSSARY.md"])
def test_links_of_the_pages_resolve(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        assert (ROOT / "notebooks" / target.partition("#")[0]).exists(), f"{target} does not exist"


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_every_output_is_compared_or_known_to_vary(lesson):
    for cell in lesson.code:
        assert cell.tags <= TAGS, cell.source
        if cell.outputs:
            assert len(cell.tags & {CHECK, IGNORE}) == 1, f"tag it {CHECK} or {IGNORE}:\n{cell.source}"


def test_outputs_are_clean(lesson):
    for cell in lesson.code:
        for output in cell.outputs:
            assert output["output_type"] != "error", cell.source
            assert output.get("name") != "stderr", f"{cell.source}\nprints to stderr: {output['text']}"
        assert not re.search(r" at 0x[0-9a-f]+", cell.text), f"shows an address:\n{cell.source}"


def test_last_expressions_suit_nbval(lesson):
    for cell in lesson.code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert not lines[-1].rstrip().endswith(";"), "nbval does not honour a trailing ';'"
        if "plt." in cell.source and "subplots" in cell.source:
            assert lines[-1] == "plt.show()"


def test_figures_are_told_in_words(lesson):
    for cell in lesson.code:
        if cell.has_picture:
            told = re.search(r"^Figure: (.+)", cell.text, re.MULTILINE | re.DOTALL)
            assert told and len(told.group(1).split()) >= 15, f"a figure without words:\n{cell.source}"
            assert "Figure: " not in cell.printed, f"say it with in_words, which folds it:\n{cell.source}"


def test_the_prose_stands_on_compared_outputs(lesson):
    """A quantity that no compared cell prints would be wrong on the next machine."""
    compared = squeezed("\n".join(cell.text for cell in lesson.code if CHECK in cell.tags))
    own_words = "\n\n".join(without_code(cell.source) for cell in lesson.cells[1:] if cell.kind == "markdown")
    own_words = re.sub(r"[\"“][^\"”\n]*[\"”]", "", own_words)  # a claim that is quoted is not ours
    for quantity in QUANTITY.findall(own_words):
        found = re.search(rf"(?<![\w.]){re.escape(squeezed(quantity))}(?!\w)", compared)
        assert found, f"{quantity!r} is printed by no compared cell"


def squeezed(text: str) -> str:
    """Without the space before a unit: "37.5 %" and "37.5%" are the same."""
    return re.sub(rf"(?<=\d)\s(?={UNIT})", "", text)


# --- lessons beside each other ---------------------------------------------------------------------------------------

NUMBER = r"([\d,.]+)"
# Bytes a second are not among them: memory that other guests of a host read too went at 28 to 65 GB/s within one sitting.
MEASURED = {  # what was measured → lesson → where its stored outputs say it (the first group)
    "one token alone, ms": {
        "01": rf"^ +1 +{NUMBER} ms +1\.00",
        "03": rf"^one row, a step of decode: {NUMBER} ms",
        "04": rf"^full batch of 1:.* {NUMBER} ms a step",
    },
    "static 8, mean E2EL in ms": {"03": rf"^static 8 .*E2EL {NUMBER}", "04": rf"^static .*E2EL {NUMBER}"},
    "dynamic, mean E2EL in ms": {"04": rf"^dynamic .*E2EL {NUMBER}", "05": rf"^dynamic .*E2EL {NUMBER}"},
    "continuous, mean E2EL in ms": {"05": rf"^continuous .*E2EL {NUMBER}", "09": rf"^continuous .*E2EL {NUMBER}"},
}


@pytest.mark.parametrize("what", MEASURED)
def test_lessons_agree_on_what_they_measure(what):
    """`make notebooks` runs all of them in one sitting and refuses a disturbed one; else readers meet two truths."""
    found = {}
    for number, pattern in MEASURED[what].items():
        path = next(path for path in LESSONS if path.name.startswith(number))
        cells = [cell for cell in Lesson(path).code if IGNORE in cell.tags]  # what is compared is simulated
        hits = [hit for cell in cells for hit in re.findall(pattern, with_headings(cell.printed), re.MULTILINE)]
        assert hits, f"lesson {number} no longer prints it: {pattern}"
        found[number] = float(hits[0].replace(",", ""))
    assert max(found.values()) <= AGREE * min(found.values()), f"{what}: {found}"


def with_headings(printed: str) -> str:
    """A ladder table's rows with "E2EL 1234" in place of the mean under that heading."""
    lines, at = printed.splitlines(), None
    for i, line in enumerate(lines):
        if "E2EL ms" in line:
            at = line.index("E2EL ms") + len("E2EL ms")
        elif at and len(line) >= at and re.search(r"\d$", line[:at]):
            value = line[:at].split()[-1]
            lines[i] = f"{line[: at - len(value)]}E2EL {value}"
    return "\n".join(lines)


# --- the set-up cell --------------------------------------------------------------------------------------------------


def setup_cell(path: Path) -> str:
    return next(cell.source for cell in Lesson(path).cells if cell.kind == "code")


def test_set_up_is_the_same_everywhere_and_the_model_is_named_only_there(lesson):
    assert setup_cell(lesson.path) == setup_cell(LESSONS[0])
    assert lesson.cells[1].source == setup_cell(lesson.path), "the set-up follows the card"
    for cell in lesson.code[1:]:
        assert "smollm2" not in cell.source.lower(), "use MODEL"


def run_set_up(folder: Path, before: str = "", repo_url: str = "", **env: str) -> subprocess.CompletedProcess:
    """The set-up cell in a Python that knows no installed minieng (-S: no site-packages), then where minieng is."""
    cell = setup_cell(LESSONS[0]).replace('REPO_URL = ""', f"REPO_URL = {repo_url!r}")
    script = f"{textwrap.dedent(before)}\n{cell}\nprint('FOUND', importlib.util.find_spec('minieng').origin)"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=folder, env=clean | env, capture_output=True, text=True, timeout=120
    )


def make_package(folder: Path) -> Path:
    (folder / "minieng").mkdir(parents=True)
    (folder / "minieng" / "__init__.py").write_text("__version__ = '0'\n")
    return folder


def make_wheel(folder: Path) -> Path:
    wheel, info = folder / "minieng-0.0.1-py3-none-any.whl", "minieng-0.0.1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("minieng/__init__.py", "__version__ = '0'\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, lines in {
            "METADATA": ("Metadata-Version: 2.1", "Name: minieng", "Version: 0.0.1", "Requires-Dist: not-there"),
            "WHEEL": ("Wheel-Version: 1.0", "Generator: test", "Root-Is-Purelib: true", "Tag: py3-none-any"),
        }.items():
            archive.writestr(f"{info}/{name}", "\n".join(lines) + "\n")
    return wheel


def installed_into(folder: Path) -> dict[str, str]:
    """Makes pip install there and Python look there: the tests' own environment is left alone."""
    folder.mkdir()
    return {"PIP_TARGET": str(folder), "PYTHONPATH": str(folder), "PIP_NO_INDEX": "1"}


def test_set_up_uses_what_is_installed(tmp_path):
    make_package(tmp_path / "installed")
    (make_package(tmp_path / "around") / "notebooks").mkdir()
    done = run_set_up(tmp_path / "around" / "notebooks", PYTHONPATH=str(tmp_path / "installed"))
    assert "FOUND " + str(tmp_path / "installed") in done.stdout, done.stderr


def test_set_up_finds_the_checkout_around_the_notebook(tmp_path):
    (make_package(tmp_path) / "notebooks").mkdir()
    done = run_set_up(tmp_path / "notebooks")
    assert "FOUND " + str(tmp_path / "minieng") in done.stdout, done.stderr


def test_set_up_installs_a_wheel_beside_it_without_dependencies(tmp_path):
    env = installed_into(tmp_path / "target")
    (tmp_path / "here").mkdir()
    make_wheel(tmp_path / "here")
    done = run_set_up(tmp_path / "here", **env)
    assert "FOUND " + env["PIP_TARGET"] in done.stdout, done.stderr


def test_set_up_clones_the_repository_it_is_told(tmp_path):
    origin, here = make_package(tmp_path / "origin"), tmp_path / "here"
    here.mkdir()
    commit = ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all"]
    for command in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", *command], cwd=origin, check=True, capture_output=True)
    for _ in range(2):  # the second run of the cell finds the clone
        done = run_set_up(here, repo_url=origin.as_uri())
        assert "FOUND " + str(here / "course") in done.stdout, done.stderr


def test_set_up_asks_for_the_wheel_on_colab(tmp_path):
    env = installed_into(tmp_path / "target")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    wheel = make_wheel(tmp_path / "elsewhere")
    colab = f"""
        import pathlib, sys, types
        sys.modules["google"] = types.ModuleType("google")
        colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
        def upload():
            data = pathlib.Path({str(wheel)!r}).read_bytes()
            pathlib.Path({wheel.name!r}).write_bytes(data)
            return {{{wheel.name!r}: data}}
        colab.files = types.SimpleNamespace(upload=upload)
    """
    done = run_set_up(tmp_path / "here", before=colab, **env)
    assert "FOUND " + env["PIP_TARGET"] in done.stdout, done.stderr


def test_set_up_says_what_to_do_when_there_is_nothing(tmp_path):
    done = run_set_up(tmp_path)
    assert done.returncode and "ImportError: minieng is not here: set REPO_URL" in done.stderr
