"""Finding the submissions in a folder or a zip. Nothing is unpacked to disk and no link is followed."""

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..cells import MAX_BYTES

Place = tuple[str, str, str, str]  # student, place, source, member of a zip

SKIP = {".ipynb_checkpoints", "__MACOSX", "__pycache__"}
MAX_MEMBERS = 20_000


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


def collect(path: str | Path) -> tuple[list[Submission], list[str]]:
    """(submissions, notes): every notebook under ``path``, with a name for its student."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the folder or the zip that holds the notebooks")
    found: list[Place] = []
    notes: list[str] = []
    empty = nothing_found(path)
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*")):
        inside = PurePosixPath(file.name) if path.is_file() else PurePosixPath(file.relative_to(path).as_posix())
        if SKIP & set(inside.parts) or any(part.startswith(".") for part in inside.parts):
            continue
        if file.is_symlink() and leads_away(file, path):
            notes.append(f"{inside}: a link out of the folder was left alone")
        elif file.suffix.lower() == ".ipynb" and file.is_file():
            found.append((student_of(inside), str(inside), str(file), ""))
        elif file.suffix.lower() == ".zip" and file.is_file():
            in_zip(file, inside, path.is_file(), found, notes)
    seen = {place[0].casefold() for place in found}
    lost = [place for place in empty if place[0].casefold() not in seen]
    return with_unique_names(found) + [
        Submission(student, place, "", problem="it holds no notebook (a .ipynb file, or a zip of them): ask for it again")
        for student, place, *_ in lost
    ], notes


def nothing_found(path: Path) -> list[Place]:
    """Everybody with a folder or a file of their own in the collection, whatever is in it: nobody may go unnamed."""
    names: dict[str, Place] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        if file.name.startswith(".") or file.name in SKIP:
            continue
        own = file.is_dir() or file.suffix.lower() in (".zip", ".ipynb", ".pdf", ".py", ".html", ".docx", ".tar", ".gz", ".7z")
        if own:
            student = student_of(PurePosixPath(file.name, "x") if file.is_dir() else PurePosixPath(file.name))
            names.setdefault(student.casefold(), (student, file.name, "", ""))
    return list(names.values())


def leads_away(link: Path, folder: Path) -> bool:
    """Whether a link leads out of the folder, or nowhere (a loop)."""
    try:
        return not link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True


def in_zip(file: Path, inside: PurePosixPath, whole: bool, found: list[Place], notes: list[str]) -> None:
    """The notebooks of a zip: one student's, or (when the zip is the whole collection) everybody's."""
    try:
        with zipfile.ZipFile(file) as box:
            names = [n for n in sorted(box.namelist()[:MAX_MEMBERS]) if n.lower().endswith(".ipynb")]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, EOFError) as problem:
        notes.append(f"{inside}: no zip that can be read ({problem})")
        return
    for name in names:
        member = PurePosixPath(name)
        if SKIP & set(member.parts):
            continue
        student = student_of(member) if whole else student_of(inside.with_suffix(".ipynb"))
        found.append((student, f"{inside}/{name}", str(file), name))


def student_of(inside: PurePosixPath) -> str:
    """The first folder of the path, or the file's own name where there is no folder."""
    name = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return re.sub(r"_\d+_assignsubmission_file_?$", "", name) or "unnamed"


def with_unique_names(found: list[Place]) -> list[Submission]:
    """Equal names (also up to upper and lower case) become ``ada``, ``ada (2)``, in the order of their places."""
    counts: dict[str, int] = {}
    taken, out = {student.casefold() for student, *_ in found}, []
    for student, place, source, member in sorted(found, key=lambda row: (row[0].casefold(), row[1])):
        number = counts.get(student.casefold(), 0) + 1
        name = student if number == 1 else f"{student} ({number})"
        while number > 1 and name.casefold() in taken:
            number += 1
            name = f"{student} ({number})"
        counts[student.casefold()] = number
        taken.add(name.casefold())
        out.append(Submission(name, place, source, member))
    return out


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
