"""Work in another Python, which takes its memory, its imports and its output with it,
and never outlives its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys

# What the child does besides: it ends with its parent, which holds the other end of its stdin. Whatever ends
# the parent, kill -9 too, closes that end.
WATCH = """\
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
"""


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with ``sys.argv[1:]`` = arguments and this process's modules in reach;
    its outputs are kept.

    It keeps its docstrings even if this Python strips them: transformers cannot be imported without.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONOPTIMIZE": ""}
    watched, held = os.pipe()
    try:
        command = [sys.executable, "-c", WATCH + code, *arguments]
        return subprocess.run(command, env=environment, stdin=watched, capture_output=True, text=True)
    finally:
        os.close(watched)
        os.close(held)
