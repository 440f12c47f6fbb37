"""Where this project keeps what it fetched, converted or compiled."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_home() -> Path:
    """MINIENG_HOME, else the user's cache directory of this platform
    (XDG_CACHE_HOME is honoured on Linux).
    """
    if home := os.environ.get("MINIENG_HOME"):
        return Path(home).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minieng"
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "minieng"
