"""The journal of a run: one line a graded submission, so that whatever stops the run, nothing graded is lost.

Each line is sealed with a key that this user alone has: a journal may lie where students put their files.
"""

import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from .report import Row


class CannotGrade(RuntimeError):
    """Grading cannot begin or go on; the message says what to do."""


class Journal:
    """The first line holds the settings that a resumed run must share.

    While a run has it open, no other run can open it: two would write one table. What a killed run held is free.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.lock, self.key = Path(path), threading.Lock(), own_key()
        self.file: TextIO | None = None
        self.problem = ""  # why the last line could not be written

    @contextmanager
    def opened(self, settings: dict[str, Any], fresh: bool = False) -> Iterator[dict[str, Row]]:
        """{key: result} of an earlier run with these settings; fills in the seed of that run when none is asked for."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            old = self.locked()
            lines = [] if fresh else parsed(old.read(), self.key)
            begun = lines[0] if lines else {}
            if settings["seed"] is None:
                settings["seed"] = begun.get("seed") if begun.get("version") == settings["version"] else None
            if settings["seed"] is None:
                settings["seed"] = str(secrets.randbits(40))
            done = {row["key"]: row for row in lines[1:] if "key" in row} if begun == settings else {}
            self.file = self.rewritten([settings, *done.values()])
            old.close()  # only now: the new file is locked, and stands in its place
        except OSError as problem:
            raise CannotGrade(f"{self.path.parent} cannot be written ({problem.strerror}): name another place with -o") from None
        try:
            yield done
        finally:
            with suppress(OSError):  # what could not be written before cannot be written now
                self.file.close()

    def locked(self) -> TextIO:
        """The journal, open and this run's own."""
        while True:
            file = open(self.path, "a+", encoding="utf-8", errors="replace")
            if not lock(file):
                file.close()
                raise CannotGrade(
                    f"another run writes {self.path.name.removeprefix('.').removesuffix('.journal')} at this moment: "
                    "wait for it, or name another file with -o"
                )
            if os.path.exists(self.path) and os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                file.seek(0)
                return file
            file.close()  # another run put a new one in its place between opening and locking

    def rewritten(self, rows: list[Row]) -> TextIO:
        """A new journal in the place of the old, with these rows; whole or not at all."""
        place = self.path.with_suffix(".new")
        file = open(place, "w", encoding="utf-8")
        try:
            lock(file)
            file.write("".join(sealed(row, self.key) for row in rows))
            keep(file)
            os.replace(place, self.path)
        except OSError:
            file.close()
            raise
        return file

    def add(self, row: Row) -> None:
        """Raises CannotGrade when the line cannot be written: to go on would be to grade for nothing."""
        assert self.file is not None, "a line for a journal that is not open"
        with self.lock:
            try:
                self.file.write(sealed(row, self.key))
                keep(self.file)
            except (OSError, ValueError) as problem:  # ValueError: closed, after the line before it failed
                self.problem = self.problem or str(getattr(problem, "strerror", None) or problem)
                raise CannotGrade(f"{self.path} cannot be written ({self.problem}): make room and run the same command") from None


def keep(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def lock(file: TextIO) -> bool:
    """False when another process has it; True too where the file system knows no locks."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def own_key() -> bytes:
    """This user's key, made at the first run; one for this run alone where it cannot be kept."""
    try:
        place = Path.home() / ".coursekit" / "grading.key"
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), open(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        return place.read_bytes() or secrets.token_bytes(32)
    except (OSError, RuntimeError):  # no home, or none that can be written
        return secrets.token_bytes(32)


def sealed(row: Row, key: bytes) -> str:
    """A line: the seal, and the row as JSON."""
    text = json.dumps(row)
    return f"{hmac.digest(key, text.encode(), 'sha256').hex()} {text}\n"


def parsed(text: str, key: bytes) -> list[Row]:
    """The rows of the whole lines with this key's seal; one cut short by a crash is left out, and so is anybody else's."""
    rows = []
    for line in text.splitlines():
        seal, _, row = line.partition(" ")
        if hmac.compare_digest(seal.encode(), hmac.digest(key, row.encode(), "sha256").hex().encode()):
            rows.append(json.loads(row))
    return rows
