"""A model, transformers on the same GPU as its oracle, and engines on it."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from minieng import LLM
from support.oracle import Oracle


class GpuKit:
    """Like the tests' ``Kit``, on a GPU. fp32 is exact there, too: TF32 is off."""

    def __init__(self, path: Path, name: str, longest: int, **knobs) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.path, self.name, self.longest, self.knobs = path, name, longest, knobs
        self.oracle = Oracle(path, name, longest, "cuda")
        self._keep = LLM(str(path), num_blocks=1, device="cuda", dtype="float32", enforce_eager=True).runner.model

    def llm(self, **knobs) -> LLM:
        return LLM(str(self.path), **{"checked": True, "device": "cuda", "dtype": "float32", **knobs, **self.knobs})

    def with_knobs(self, **knobs) -> GpuKit:
        """The same model and oracle, engines with other knobs."""
        other = object.__new__(GpuKit)
        other.__dict__.update(self.__dict__, knobs={**self.knobs, **knobs})
        return other

    def prompts(self, *lengths: int, seed: int = 0) -> list[list[int]]:
        dice = random.Random(seed)
        return [[dice.randrange(1, self.oracle.model.config.vocab_size) for _ in range(n)] for n in lengths]
