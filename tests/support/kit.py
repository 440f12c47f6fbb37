"""A model with its oracle and its engines, on a CPU. (``gpu_kit`` is the same on a GPU.)"""

from __future__ import annotations

from pathlib import Path

from minieng import LLM
from support.oracle import Oracle


class Kit:
    """A model, its oracle, and engines on it. Weights are loaded once: engines of a process share them."""

    def __init__(self, path: Path, name: str, longest: int) -> None:
        self.path, self.oracle = path, Oracle(path, name, longest)
        self._keep = LLM(str(path), num_blocks=1, device="cpu", dtype="float32").runner.model

    def llm(self, **knobs):
        return LLM(str(self.path), **{"checked": True, "device": "cpu", "dtype": "float32", **knobs})
