"""Hostile submissions, graded in one class with honest ones: no unearned point, no harm, nothing left behind.

In each mode all are graded in one run, two at a time; then each is looked at.
"""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import attacks, hostile
from support.course import ROOT, master_of, put, solved
from support.grading import command, environment, grade, nothing_is_left, one_answer, rows_of

from coursekit import cells
from coursekit.grade import report, sandbox
from coursekit.task import find_task, tasks_of

# Minutes of endless loops and memory bombs: `make test-hostile`, not `make test`.
pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(os.name != "posix", reason="the grader needs Linux or macOS"),
]
WORKS, WHY = sandbox.probe() if os.name == "posix" else (False, "")
MODES = ["bwrap", "rlimits"]
WRONG_HONEST = "# Task 02.4\ndef pack(prompts):\n    ids = sum(prompts, [])\n    return ids, list(range(len(ids))), [0]\n"


def an_attack(name, places):
    """(notebook with the attack and one right answer to another task, that task)."""
    attack = hostile.HOSTILE[name]
    source = attack.source
    for word, place in places.items():
        source = source.replace(word, repr(place))
    tasks = tasks_of(attack.task.split(".")[0])
    other = min((t for t in tasks if t.id != attack.task), key=lambda t: (t.drive is not None, t.engine))
    answers = cells.answers(master_of(other.lesson), tasks)
    sources = [source, *(text for _, text in cells.needed(other, answers, tasks))]
    return {"cells": [{"cell_type": "code", "source": text, "metadata": {}} for text in sources], "metadata": {}}, other


class Class:
    """One run over all attacks of a mode, and what was in their reach."""

    def __init__(self, mode, folder):
        if mode == "bwrap" and not WORKS:
            pytest.skip(f"bubblewrap does not run here: {WHY}")
        self.names = [n for n, attack in hostile.HOSTILE.items() if mode == "bwrap" or not attack.walls]
        self.canary, self.pages = folder / "canary.txt", folder / "pages"
        self.canary.write_text("alive")
        self.port = socket.create_server(("127.0.0.1", 0))
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(folder / "socket"))
        self.socket.listen()
        places = {"SECRET_ROOT": str(ROOT), "CANARY": str(self.canary), "SOCKET": str(folder / "socket")}
        places["PORT"] = self.port.getsockname()[1]
        self.others = {}
        put(folder / "in" / "ada.ipynb", solved())
        put(folder / "in" / "bob.ipynb", solved(**{"02.4": WRONG_HONEST}))
        for name in self.names:
            book, self.others[name] = an_attack(name, places)
            put(folder / "in" / f"{name}.ipynb", book)
        os.environ["COURSEKIT_TEST_SECRET"] = "of the teacher's"
        self.said = grade(
            folder / "in", folder / "out" / "g.csv", folder / "temp", "--sandbox", mode, "--feedback", str(self.pages), timeout=2
        )
        self.rows = rows_of(folder / "out" / "g.csv")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Class of a mode, graded once."""
    known = {}

    def get(mode):
        if mode not in known:
            known[mode] = Class(mode, tmp_path_factory.mktemp(mode))
        return known[mode]

    return get


@pytest.mark.parametrize("mode", MODES)
def test_honest_submissions_beside_them_are_untouched(mode, graded):
    rows = graded(mode).rows
    assert rows["ada"]["total"] == "100", rows["ada"]["remarks"]
    assert rows["bob"]["total"] == "80" and rows["bob"]["02.4"] == "0", rows["bob"]["remarks"]
    assert len(rows) == len(graded(mode).names) + 2 == len(list(graded(mode).pages.glob("*.html")))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_no_point_for_it_and_the_right_answer_beside_it_keeps_its_own(name, mode, graded):
    attack = hostile.HOSTILE[name]
    if mode == "rlimits" and attack.walls:
        pytest.skip("limits alone do not hold this, and say so")
    row, other = graded(mode).rows[name], graded(mode).others[name]
    assert row[attack.task] == "0", row["remarks"]
    assert row[other.id] == str(other.points) == row["total"], row["remarks"]
    assert re.search(attack.said, row["remarks"]), row["remarks"]
    (page_name,) = report.page_names([{"student": name}])
    page = (graded(mode).pages / page_name).read_text()
    assert "Traceback" not in page and "\x1b" not in page and "<script" not in page


def test_nothing_outside_the_box_was_touched(graded):
    outside = graded("bwrap")
    assert outside.canary.read_text() == "alive" and not outside.canary.with_suffix(".txt.new").exists()
    assert not any(Path(place).exists() for place in ("/usr/evil", "/evil", "/hoard-0", "/var/tmp/hoard-0"))
    for listener in (outside.port, outside.socket):
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("name", hostile.UNREADABLE)
def test_files_that_are_no_notebooks(name, tmp_path):
    text, said = hostile.UNREADABLE[name]
    put(tmp_path / "in" / "ada.ipynb", one_answer())
    put(tmp_path / "in" / "mallory.ipynb", text)
    grade(tmp_path / "in", tmp_path / "g.csv", tmp_path / "temp", "--feedback", str(tmp_path / "pages"))
    rows = rows_of(tmp_path / "g.csv")
    assert rows["ada"]["total"] == "15"
    assert rows["mallory"]["total"] == "0" and said in rows["mallory"]["remarks"]
    assert said in re.sub(r"<[^>]+>", " ", (tmp_path / "pages" / "mallory.html").read_text())


# ---------------------------------------------------------------- bubblewrap in another folder of PATH
def test_bubblewrap_in_another_folder_of_the_path_holds_as_well(tmp_path):
    if not WORKS:
        pytest.skip(f"bubblewrap does not run here: {WHY}")
    elsewhere = tmp_path / "some where" / "bin"
    elsewhere.mkdir(parents=True)
    shutil.copy(sandbox.bwrap(), elsewhere / "bwrap")
    without = [folder for folder in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(folder, "bwrap"))]
    path = os.pathsep.join([str(elsewhere), *without])
    nothing = shutil.which("true")  # of a folder that may be left out of the path
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", nothing], env={"PATH": path}, capture_output=True)
    if tried.returncode:
        pytest.skip(f"a copy of bubblewrap does not run here: {tried.stderr.decode()[:200]}")
    put(tmp_path / "in" / "ada.ipynb", one_answer())
    put(tmp_path / "in" / "mallory.ipynb", one_answer(hostile.HOSTILE["files everywhere"].source))
    out, temp = tmp_path / "g.csv", tmp_path / "temp"
    line = command(tmp_path / "in", out, "--sandbox", "bwrap")
    done = subprocess.run(line, env=environment(temp, PATH=path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(out)
    assert rows["ada"]["total"] == "15" and rows["mallory"]["total"] == "0"
    nothing_is_left(temp)


# ---------------------------------------------------------------- a hundred and twenty of all kinds
ODD_NAMES = [
    "ada",
    "Ada",
    "jos\udce9",
    "=cmd",
    "a;=b",
    "Zoë",
    "\u202eeve",
    "x" * 120,
    "a..",
    "a\nb",
    "\x1b[31m",
    "CON",
    "bo b",
    "'q'",
]
SOURCES = {  # what is in the answer cell of 02.2, and its points
    "right": (None, "15"),
    "wrong": ("def padding_waste(lengths):\n    return 0.5", "0"),
    "open": ("def padding_waste(lengths):\n    raise NotImplementedError", "0"),
    "broken": ("def padding_waste(lengths:\n    return", "0"),
    "loop": (hostile.answer("while True:\n    pass"), "0"),
    "swarm": (hostile.answer(attacks.SWARM), "0"),
    "daemon": (hostile.answer(attacks.DAEMON + "return 0.5"), "0"),
    "exit": (hostile.answer("import os\nos._exit(0)"), "0"),
    "memory": (hostile.answer("x = []\nwhile True:\n    x.append(bytearray(10**7))"), "0"),
    "magic": ("%time x = 1\n" + hostile.answer(hostile.RIGHT), "15"),
}
PACKED = ["file", "folder", "zip", "Moodle's folder", "zip in a folder", "Colab's file"]
NO_WORK = ["PDF", "empty folder", "text", "broken zip", "zip in a zip", "pipe", "loop of links", "JSON", "no exercise"]


def hand_in(folder, number, rng):
    """One student's hand-in, of a kind, a name and a content drawn by ``rng``; how many points its row must have."""
    name = f"{rng.choice(ODD_NAMES)} {number}"
    if rng.random() < 0.3:
        return without_work(folder / name, rng.choice(NO_WORK))
    source, points = SOURCES[rng.choice([*SOURCES, *["right", "wrong", "open"] * 3])]
    book = json.dumps(one_answer(source) if source else one_answer())
    packed = rng.choice(PACKED)
    if packed == "file":
        put(Path(f"{folder / name}.ipynb"), book)
    elif packed == "folder":
        put(folder / name / "deep" / "02 (1).ipynb", book)
    elif packed == "Moodle's folder":
        put(folder / f"{name}_{number}_assignsubmission_file_" / "02.ipynb", book)
    elif packed == "Colab's file":
        put(Path(f"{folder / name}.ipynb"), book.replace('"metadata": {}', '"metadata": {"id": "k3J"}, "outputs": [{"x": 1}]'))
    else:
        place = Path(f"{folder / name}.zip") if packed == "zip" else folder / name / "work.zip"
        place.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(place, "w") as box:
            box.writestr("02.ipynb", book)
            box.writestr("__MACOSX/._02.ipynb", "no")
    return points


def without_work(place, kind):
    """Something handed in that holds no notebook."""
    if kind == "empty folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(f"{place}.ipynb")
    elif kind == "loop of links":
        Path(f"{place}.ipynb").symlink_to(f"{place}.ipynb")
    elif kind == "zip in a zip":
        with zipfile.ZipFile(f"{place}.zip", "w") as box:
            box.writestr("inner.zip", b"PK")
    else:
        text = {"PDF": "%PDF-1.7", "JSON": "[1]", "no exercise": '{"cells": []}'}.get(kind, "no zip")
        ending = {"PDF": ".pdf", "text": ".docx", "broken zip": ".zip"}.get(kind, ".ipynb")
        put(Path(f"{place}{ending}"), text)
    return "0"


def everything_in(folder):
    return sorted(os.fsencode(place) for place in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["auto", "rlimits"])
def test_a_hundred_and_twenty_hand_ins_of_all_kinds(mode, tmp_path):
    rng = random.Random(f"hand-ins/{mode}")
    folder = tmp_path / "in"
    folder.mkdir()
    expected = [hand_in(folder, number, rng) for number in range(120)]
    out, pages, before = tmp_path / "g.csv", tmp_path / "pages", everything_in(folder)
    grade(folder, out, tmp_path / "temp", "--sandbox", mode, "--feedback", str(pages), timeout=2)
    rows = rows_of(out)
    assert everything_in(folder) == before, "zips are read in place"
    numbered = {int(re.search(r"(\d+)$", name)[1]): row for name, row in rows.items()}
    assert len(rows) == 120 == len(list(pages.glob("*.html"))) and sorted(numbered) == list(range(120))
    wrong = {number: row for number, row in numbered.items() if row["total"] != expected[number]}
    assert not wrong, wrong
    assert all(row["remarks"] for row in rows.values() if row["out_of"] == "")


def test_every_master_earns_every_point(tmp_path):
    """Nothing that keeps an answer from borrowing keeps an honest one from working, in any lesson."""
    for master in sorted((ROOT / "solutions").glob("[0-9]*.ipynb")):
        shutil.copy(master, put(tmp_path / "in" / master.name, "x"))
    grade(tmp_path / "in", tmp_path / "g.csv", tmp_path / "temp", timeout=20)
    rows = rows_of(tmp_path / "g.csv")
    assert len(rows) >= 6 and {row["total"] for row in rows.values()} == {"100"}, rows


def test_the_suite_has_sixty_attacks_of_different_kinds():
    assert len(hostile.HOSTILE) >= 60 and all(find_task(attack.task) for attack in hostile.HOSTILE.values())
    assert sys.platform != "linux" or sum(not attack.walls for attack in hostile.HOSTILE.values()) >= 60
