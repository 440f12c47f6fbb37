"""Finding the submissions in a folder or a zip. Nothing is unpacked to disk and no link is followed."""

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..cells import MAX_BYTES

SKIP = {".ipynb_checkpoints", "__MACOSX", "__pycache__"}
TEACHERS = {"", ".txt", ".md", ".csv", ".tsv", ".ods", ".xls", ".xlsx", ".log", ".json"}  # loose files that are nobody's
TOP = PurePosixPath()
MAX_MEMBERS = 20_000  # of one student's zip
MAX_DEPTH = 40  # folders in folders
MAX_NOTEBOOKS = 100  # of one student: each may take its time in every task


class Place(NamedTuple):
    """Where something was handed in: a file, or a member of the zip ``source``; or, with a problem, nothing to grade."""

    student: str
    place: str
    source: str
    member: str = ""
    problem: str = ""
    top: str = ""  # what it lies in, or is, at the top of the collection


@dataclass(frozen=True)
class Submission:
    """One notebook. ``student`` is unique in a run; ``place`` says where it was found."""

    student: str
    place: str
    source: str
    member: str = ""
    problem: str = ""  # why there is nothing to grade: then there is no source

    def read(self) -> bytes:
        """Its bytes; one byte more than the limit at most, so that a zip bomb stays small."""
        if self.member:
            with zipfile.ZipFile(self.source) as box, box.open(self.member) as file:
                return file.read(MAX_BYTES + 1)
        with open(self.source, "rb") as file:
            return file.read(MAX_BYTES + 1)

    def size(self) -> int:
        if self.member:
            with zipfile.ZipFile(self.source) as box:
                return box.getinfo(self.member).file_size
        return Path(self.source).stat().st_size


def collect(path: str | Path, leave: Sequence[Path] = ()) -> tuple[list[Submission], list[str]]:
    """(submissions, notes): every notebook under ``path``, with a name for its student. leave: what is no submission."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the folder or the zip that holds the notebooks")
    search = Search()
    if path.is_dir():
        search.folder(path, {os.path.realpath(place) for place in leave})
    elif path.suffix.lower() == ".zip":
        search.zip(path, PurePosixPath(path.name), whole=True)
    elif path.is_file():
        search.notebook(PurePosixPath(path.name), path)
    return with_unique_names(not_too_many(search.found) + search.empty_handed()), search.notes


class Search:
    """What was found; and who has handed something in, so that nobody goes unnamed whose things hold no notebook."""

    def __init__(self) -> None:
        self.found: list[Place] = []
        self.notes: list[str] = []
        self.tops: dict[str, bool] = {}  # what lies at the top of the collection: whether it is a folder
        self.reasons: dict[str, str] = {}  # top: why something of it is no notebook; the first reason is kept

    def folder(self, path: Path, leave: set[str], inside: PurePosixPath = TOP) -> None:
        """Everything below ``path / inside``. A folder that cannot be entered costs nobody but its owner."""
        try:
            names = sorted(os.listdir(path / inside))
        except OSError as problem:
            if not inside.parts:
                raise
            return self.refuse(inside, f"{inside.name} cannot be opened ({problem.strerror})")
        for here in (inside / name for name in names):
            if hidden(here) or os.path.realpath(path / here) in leave:
                continue
            file = path / here
            is_folder = os.path.isdir(file)
            if not inside.parts:
                self.tops[here.name] = is_folder
            if not is_folder or os.path.islink(file):
                self.look_at(file, here, path)
            elif len(here.parts) < MAX_DEPTH:
                self.folder(path, leave, here)
            else:
                self.refuse(here, f"more than {MAX_DEPTH} folders in one another are not opened")

    def look_at(self, file: Path, inside: PurePosixPath, path: Path) -> None:
        """path: the whole collection's. os.path says False of what may not be looked at, where ``Path`` would raise."""
        if os.path.islink(file) and leads_away(file, path / inside.parts[0]):
            self.refuse(inside, "a link that leads out of the student's own folder, or nowhere, is left alone")
        elif os.path.isdir(file):
            return
        elif file.suffix.lower() not in (".ipynb", ".zip"):
            self.refuse(inside, no_notebook(file.name), tell=False)
        elif not os.path.isfile(file):
            self.refuse(inside, f"{file.name} is no file that can be read")
        elif file.suffix.lower() == ".zip":
            self.zip(file, inside)
        else:
            self.notebook(inside, file)

    def notebook(self, inside: PurePosixPath, file: Path) -> None:
        self.found.append(Place(student_of(inside), str(inside), str(file), top=inside.parts[0]))

    def refuse(self, inside: PurePosixPath, why: str, tell: bool = True) -> None:
        self.reasons.setdefault(inside.parts[0], why)
        if tell:
            self.notes.append(f"{inside}: {why}")

    def zip(self, file: Path, inside: PurePosixPath, whole: bool = False) -> None:
        """The notebooks of a zip: one student's, or (when the zip is the whole collection) everybody's."""
        try:
            with zipfile.ZipFile(file) as box:
                names = sorted(box.namelist())
        except Exception as problem:  # noqa: BLE001 (a strange zip can raise anything)
            return self.refuse(inside, f"{file.name} is no zip that can be read ({str(problem)[:100] or type(problem).__name__})")
        if len(names) > MAX_MEMBERS and not whole:
            return self.refuse(inside, f"{file.name} holds {len(names):,} files; the limit is {MAX_MEMBERS:,}")
        for name in names:
            member = PurePosixPath(name.replace("\\", "/").strip("/") or "unnamed")
            if SKIP & set(member.parts):
                continue
            here = member if whole else inside
            if whole:
                self.tops[member.parts[0]] = self.tops.get(member.parts[0], False) or len(member.parts) > 1 or name.endswith("/")
            if name.lower().endswith(".ipynb"):
                student = student_of(member) if whole else student_of(inside.with_suffix(".ipynb"))
                self.found.append(Place(student, f"{inside}/{name}", str(file), name, top=here.parts[0]))
            elif name.lower().endswith(".zip"):
                self.refuse(here, f"{member.name} is a zip in a zip, which is not opened")
            elif not name.endswith("/"):
                self.refuse(here, no_notebook(member.name), tell=False)

    def empty_handed(self) -> list[Place]:
        """A place with a problem for everybody with a folder or a file of their own in which there is no notebook."""
        names = {place.student.casefold() for place in self.found}
        full = {place.top for place in self.found}
        lost = []
        for top, is_folder in self.tops.items():
            student = student_of(PurePosixPath(top, "x") if is_folder else PurePosixPath(top))
            nobodys = PurePosixPath(top).suffix.lower() in TEACHERS and ".ipynb." not in top.lower()
            named = not is_folder and (student.casefold() in names or nobodys)
            if top not in full and not named:
                names.add(student.casefold())
                why = self.reasons.get(top, "the folder is empty")
                lost.append(Place(student, top, "", "", f"there is no notebook ({why}): ask for a .ipynb file, or a zip of them"))
        return lost


def no_notebook(name: str) -> str:
    """Why a file is none. Browsers save notebooks as .ipynb.txt and .ipynb.json."""
    renamed = name[: name.lower().index(".ipynb.") + 6] if ".ipynb." in name.lower() else ""
    return f"{name} is no notebook" + (f"; is it one when it is called {renamed}?" if renamed else "")


def not_too_many(found: list[Place]) -> list[Place]:
    """The first MAX_NOTEBOOKS of each student, and one place with a problem for those that are beyond."""
    kept: list[Place] = []
    counts: Counter[str] = Counter()
    first: dict[str, Place] = {}
    for place in sorted(found, key=lambda place: place.place):
        who = place.student.casefold()
        counts[who] += 1
        if counts[who] <= MAX_NOTEBOOKS:
            kept.append(place)
        else:
            first.setdefault(who, place)
    for who, place in first.items():
        why = f"{counts[who]} notebooks under one name, and {MAX_NOTEBOOKS} are graded: from here on none. Which one counts?"
        kept.append(Place(place.student, place.place, "", "", why, place.top))
    return kept


def hidden(inside: PurePosixPath) -> bool:
    return bool(SKIP & set(inside.parts)) or any(part.startswith(".") for part in inside.parts)


def leads_away(link: Path, own: Path) -> bool:
    """Whether a link leads out of the student's own folder, or nowhere (a loop). One at the top has no such folder."""
    try:
        return link == own or not link.resolve(strict=True).is_relative_to(own.resolve())
    except (OSError, RuntimeError):
        return True


def student_of(inside: PurePosixPath) -> str:
    """The first folder of the path, or the file's own name where there is no folder."""
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    name = re.sub(
        r"\.ipynb$", "", re.sub(r"\s+", " ", name), flags=re.IGNORECASE
    ).strip()  # a line break in a name would begin a line in the report
    return re.sub(r"_\d+_assignsubmission_file_?$", "", name) or "unnamed"


def with_unique_names(found: list[Place]) -> list[Submission]:
    """Equal names (also up to upper and lower case) become ``ada``, ``ada (2)``, in the order of their places."""
    counts: dict[str, int] = {}
    taken, out = {place.student.casefold() for place in found}, []
    for place in sorted(found, key=lambda place: (place.student.casefold(), place.place)):
        number = counts.get(place.student.casefold(), 0) + 1
        name = place.student if number == 1 else f"{place.student} ({number})"
        while number > 1 and name.casefold() in taken:
            number += 1
            name = f"{place.student} ({number})"
        counts[place.student.casefold()] = number
        taken.add(name.casefold())
        out.append(Submission(name, *place[1:5]))
    return out


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
