"""The learner's progress: one JSON file on this machine, and nothing sent anywhere.

A file that is damaged, or written by a newer version, is set aside under another name, never overwritten.
Where no file can be written, progress lives as long as the kernel.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps, loads
from pathlib import Path
from typing import Any

Progress = dict[str, Any]  # {"version", "tasks": {id: row}, "guesses": {name: row}}

VERSION = 1
_memory: Progress | None = None


def empty() -> Progress:
    return {"version": VERSION, "tasks": {}, "guesses": {}}


def place() -> Path | None:
    """Where the file is; ``COURSEKIT_PROGRESS`` names another file, or ``off`` for none."""
    named = os.environ.get("COURSEKIT_PROGRESS", "")
    if named.lower() == "off":
        return None
    return Path(named).expanduser() if named else Path.home() / ".coursekit" / "progress.json"


def load() -> Progress:
    """The stored progress; a file that cannot be used is set aside and an empty one begun."""
    path = place()
    if path is None or _memory is not None:
        return _memory or empty()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return empty()
    except (OSError, UnicodeDecodeError):
        return set_aside(path, "damaged")
    data, why = understood(text)
    return set_aside(path, str(why)) if data is None else data


def understood(text: str) -> tuple[Progress | None, str | None]:
    """(data, None), or (None, why not)."""
    try:
        data = loads(text)
    except (ValueError, RecursionError):
        return None, "damaged"
    if not isinstance(data, dict) or not isinstance(data.get("version"), int):
        return None, "damaged"
    if data["version"] > VERSION:
        return None, f"newer-v{data['version']}"
    if not all(is_table(data.get(part)) for part in ("tasks", "guesses")):
        return None, "damaged"
    return data, None


def is_table(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(row, dict) for row in part.values())


def set_aside(path: Path, why: str) -> Progress:
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 0
    while True:
        other = path.with_name(f"{path.stem}.{why}-{stamp}{f'-{number}' if number else ''}{path.suffix}")
        if not other.exists():
            break
        number += 1
    try:
        os.replace(path, other)
        print(f"Your progress file could not be used ({why}). It is kept as {other}; a new one begins here.")
    except OSError as problem:
        print(
            f"Your progress file {path} could not be used ({why}) and not be moved ({problem}). It stays as it is; "
            "progress is kept in memory until the kernel stops."
        )
        global _memory
        _memory = empty()
    return empty()


@contextmanager
def changing() -> Iterator[Progress]:
    """Read, let the caller change, write: under a lock, because two notebooks may be open."""
    global _memory
    with locked(place()):
        data = load()
        yield data
        if not write(data):
            _memory = data


def write(data: Progress) -> bool:
    path = place()
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        fresh.write_text(dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(fresh, path)
        return True
    except OSError:
        return False


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """An exclusive lock beside the file, where the system has one; without it the last writer wins."""
    if path is None:
        yield
        return
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.with_name(path.name + ".lock"), "w")
    except (ImportError, OSError):
        yield
        return
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def merge(mine: Progress, theirs: Progress) -> Progress:
    """Two records of one learner: what is done stays done, the earlier guess stays, hints count as opened."""
    out = loads(dumps(mine))
    for name, row in theirs["tasks"].items():
        old = out["tasks"].setdefault(name, {})
        old["done"] = bool(old.get("done") or row.get("done"))
        for count in ("hints", "tries"):
            old[count] = max(_count(old.get(count)), _count(row.get(count)))
    for name, row in theirs["guesses"].items():
        old = out["guesses"].get(name)
        if old is None or ("value" not in old and "value" in row):
            out["guesses"][name] = row
    return out


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
