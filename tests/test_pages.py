"""The pages for those who carry on say what the code says: names exist, the map is whole, sizes are those of the house test."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test_house as house

from tools import api_page

ROOT = Path(__file__).parents[1]
TO_COME = {"server/replicas.py", "parallel/pipeline.py"}  # have a room, and are not there yet
ENGINE, CONTRIBUTING = ROOT / "docs" / "ENGINE.md", ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "coursekit" / "tasks" / "README.md"]


def names_in(file: Path) -> set[str]:
    """What a file defines at its top and in its classes: functions, classes, methods and assigned names."""
    found = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    collect(ast.parse(file.read_text(encoding="utf-8")).body, "")
    return found


def section(page: Path, heading: str) -> str:
    """What stands under a heading, up to the next one of its kind or above."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no heading {heading!r}"
    return found[2]


# -- docs/ENGINE.md ---------------------------------------------------------------------------------------------


def test_each_function_that_the_engine_page_names_is_where_it_says():
    text = ENGINE.read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", text)
    assert len(named) > 50
    gone = {f"{file}: {name}" for file, name in named if name not in names_in(ROOT / "minieng" / file)}
    assert not gone
    files = set(re.findall(r"`([\w/]+\.py)(?:`|:)", text))
    assert not {f for f in files if not (ROOT / "minieng" / f).exists() and not (ROOT / f).exists()} - TO_COME


def test_each_name_alone_on_the_engine_page_is_some_name_of_the_engine():
    """``Scheduler.bind``, ``grow``, ``num_computed_tokens``: a word in code that no file knows is a word of the past."""
    text = re.sub(r"^```.*?^```", "", ENGINE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    known = set().union(*(set(re.findall(r"\w+", file.read_text(encoding="utf-8"))) for file in house.FILES))
    alone = [span for span in re.findall(r"`([^`]+)`", text) if re.fullmatch(r"[A-Za-z_]\w*(\.[a-z_]\w*)*(\(\))?", span)]
    assert len(alone) > 40
    assert not {span for span in alone if not set(re.findall(r"\w+", span)) <= known}


def test_a_request_lives_through_plan_reserve_execute_commit():
    """The four parts of a step, and the calls that the page draws them by, in the engine's own order."""
    steps = re.findall(r"^\| \d+ \| (.*?) \|", section(ENGINE, "A request's life"), re.MULTILINE)
    assert 12 <= len(steps) <= 14
    bold = [word for step in steps for word in re.findall(r"\*\*(\w+)\.\*\*", step)]
    assert bold == ["Plan", "Reserve", "Execute", "Commit"]
    source = (ROOT / "minieng" / "engine.py").read_text(encoding="utf-8")
    body = source[source.index("def carry_out") : source.index("def run(")]
    places = [body.index(call) for call in ("scheduler.reserve(", "executor.execute(", "scheduler.commit(")]
    assert places == sorted(places)


def test_the_slot_worked_out_by_hand_is_the_runners():
    from minieng.model.runner import slot_range
    from minieng.request import Request

    told = re.search(r"Blocks hold (\d+) tokens, .*? is `\[([\d, ]+)\]`, and its token (\d+) .*? slot is .*? = (\d+)\.",
                     ENGINE.read_text(encoding="utf-8"), re.DOTALL)  # fmt: skip
    size, table, token, slot = int(told[1]), [int(b) for b in told[2].split(",")], int(told[3]), int(told[4])
    request = Request("r", list(range(token + 1)))
    request.block_table = table
    assert slot_range(request, token, token + 1, size) == [slot]


# -- CONTRIBUTING.md --------------------------------------------------------------------------------------------


def house_map() -> list[tuple[str, list[str]]]:
    """(room, names of its files) or (file, []), from top to bottom, as the map in CONTRIBUTING.md has them."""
    inner = section(CONTRIBUTING, "The map of the house").split("```")[3]
    rows: list[tuple[str, list[str]]] = []
    for line in inner.strip("\n").splitlines():
        words = re.sub(r"\([^)]*\)", "", line).replace("·", " ").split()
        if line.startswith(" "):
            rows[-1][1].extend(words)
        elif words[0].endswith("/"):
            rows.append((words[0].rstrip("/"), words[1:]))
        else:
            rows += [(word, []) for word in itertools.takewhile(lambda word: word.endswith(".py"), words)]
    return rows


def test_every_file_of_the_engine_is_on_the_map_and_no_other():
    mapped = dict(house_map())
    package = ROOT / "minieng"
    rooms = {p.parent.name for p in package.glob("*/__init__.py")}
    assert {room for room in mapped if not room.endswith(".py")} == rooms
    assert {name for name in mapped if name.endswith(".py")} == {p.name for p in package.glob("*.py") if p.name[:2] != "__"}
    for room in rooms:
        inside = {p.stem for p in (package / room).glob("*.py") if p.name[:2] != "__"}
        inside |= {f"{p.name}/" for p in (package / room).iterdir() if p.is_dir() and p.name[:2] != "__"}
        assert set(mapped[room]) == inside, room


def test_nothing_on_the_map_knows_what_stands_above_it():
    parts = [house.part_of(f"minieng.{name.removesuffix('.py')}") for name, _ in house_map()]
    height = {part: -parts.index(part) for part in parts}
    assert set(house.KNOWS) == set(height)
    upwards = {(part, known) for part, all_known in house.KNOWS.items() for known in all_known if height[known] > height[part]}
    assert not upwards


def test_sizes_are_those_that_the_house_test_holds():
    told = [
        int(n.replace(",", ""))
        for n in re.findall(r"\| ([\d,]+) \|$", section(CONTRIBUTING, "How large it may get"), re.MULTILINE)
    ]
    budgets = {name: most for name, _, most in house.ROOMS}
    held = [house.MOST_IN_HEART, budgets["orders and admission rules"], budgets["what a reader types and what computes it"],
            budgets["models of others"], budgets["kernels in Python"], house.MOST_IN_C,
            budgets["finding models"], budgets["what is known of models"], budgets["the door"],
            house.MOST_IN_RUNG]  # fmt: skip
    assert told == held and len(budgets) == 7
    text = section(CONTRIBUTING, "How large it may get")
    for most in (house.MOST_IN_FILE, house.MOST_IN_FUNCTION, house.MOST_IN_TRITON, 12):
        assert str(most) in text.rpartition("|")[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_the_pages_resolve(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


# -- docs/API.md ------------------------------------------------------------------------------------------------

ROOMS = ["minieng", *(f"minieng.{'.'.join(p.relative_to(ROOT / 'minieng').parent.parts)}"
                      for p in sorted((ROOT / "minieng").glob("*/**/__init__.py")))]  # fmt: skip
WIDE = {"minieng": 10, "minieng.viz": 13}  # what a learner types; one call a picture, and one for its words
HEAVY = {"torch", "transformers", "safetensors"}
NO_PICTURES = {"matplotlib", "ipywidgets", "numpy"}


@pytest.mark.parametrize("package", ROOMS)
def test_each_room_has_a_face_of_a_few_names_that_is_light(package):
    """Nothing heavy is imported to see a package, and each name of its face is there."""
    heavy = HEAVY if package == "minieng.viz" else HEAVY | NO_PICTURES
    code = f"import sys, {package} as room; print(len(room.__all__), sorted({heavy} & set(sys.modules)))"
    code += "; [getattr(room, name) for name in room.__all__]; assert len(set(room.__all__)) == len(room.__all__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, _, loaded = done.stdout.strip().partition(" ")
    assert loaded == "[]" and 4 <= int(count) <= WIDE.get(package, 8)


def test_the_api_page_is_what_the_code_says():
    done = subprocess.run([sys.executable, "-m", "tools.api_page", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_api_page_shows_defaults_as_every_python_writes_them():
    """Addresses, factories and classes differ from run to run or between versions: a sign stands for them."""

    def asked(a, b=1.5, *c, d=(1, "x"), e=object(), f=len, **g):  # noqa: B008
        """First sentence. Second one."""

    def keyword(*, a=None):
        """One."""

    assert api_page.signature(asked) == "(a, b=1.5, *c, d=(1, 'x'), e=…, f=…, **g)"
    assert api_page.signature(keyword) == "(*, a=None)" and api_page.first_sentence(asked) == "First sentence."
    text = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    assert not re.findall(r" at 0x|<class|<factory|<function|=<", text)
