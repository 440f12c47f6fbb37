"""Results as a JSON file, in a place that was tried before the work was done."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any


def writable(text: str) -> Path:
    """A file's path, for argparse's ``type``: an error with the reason if nothing can be written there.

    It is tried by opening it. What lies there is left as it is; a file that was not there is not there
    afterwards.
    """
    path = Path(text)
    try:
        if not path.absolute().parent.is_dir():
            raise NotADirectoryError(0, f"there is no directory {path.absolute().parent}")
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device: opened only once
            if not os.access(path, os.W_OK):
                raise PermissionError(0, "Permission denied")
            return path
        new = not os.path.lexists(path)
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()
    except OSError as problem:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written ({problem.strerror}): name another file"
        ) from None
    return path


def save_json(path: Path, what: Any) -> None:
    path.write_text(json.dumps(what, indent=2) + "\n", encoding="utf-8")
