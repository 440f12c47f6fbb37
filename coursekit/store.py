"""The learner's progress: one JSON file on this machine, and nothing sent anywhere.

A file that is damaged, or written by a newer version, is set aside under another name, never overwritten.
Where no file can be written, progress lives as long as the kernel.
"""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

VERSION = 1
_memory = None


def empty():
    return {"version": VERSION, "tasks": {}, "guesses": {}}


def place():
    """Where the file is; `COURSEKIT_PROGRESS` names another file, or `off` for none."""
    named = os.environ.get("COURSEKIT_PROGRESS", "")
    if named.lower() == "off":
        return None
    return Path(named).expanduser() if named else Path.home() / ".coursekit" / "progress.json"


def load():
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
    return data if why is None else set_aside(path, why)


def understood(text):
    """(data, None), or (None, why not)."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None, "damaged"
    if not isinstance(data, dict) or not isinstance(data.get("version"), int):
        return None, "damaged"
    if data["version"] > VERSION:
        return None, f"newer-v{data['version']}"
    if not all(is_table(data.get(part)) for part in ("tasks", "guesses")):
        return None, "damaged"
    return data, None


def is_table(part):
    return isinstance(part, dict) and all(isinstance(row, dict) for row in part.values())


def set_aside(path, why):
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
def changing():
    """Read, let the caller change, write: under a lock, because two notebooks may be open."""
    global _memory
    with locked(place()):
        data = load()
        yield data
        if not write(data):
            _memory = data


def write(data):
    path = place()
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        fresh.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(fresh, path)
        return True
    except OSError:
        return False


@contextmanager
def locked(path):
    """An exclusive lock beside the file, where the system has one; without it the last writer wins."""
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.with_name(path.name + ".lock"), "w")
    except (ImportError, OSError, AttributeError):
        yield
        return
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def merge(mine, theirs):
    """Two records of one learner: what is done stays done, the earlier guess stays, hints count as opened."""
    out = json.loads(json.dumps(mine))
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


def _count(value):
    return value if type(value) is int and value >= 0 else 0
