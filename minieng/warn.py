"""Warnings that point at the reader's line: at whoever called minieng,
however deep inside the reason was found.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn(text: str) -> None:
    """A UserWarning at the line that called the outermost function of minieng on the stack."""
    level = caller = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
            caller = level + 1
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=caller)
