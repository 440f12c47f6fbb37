"""What transformers' own ``generate`` answers to a prompt alone, and how an engine's answer is held against it.

The contract: greedy tokens are equal. The one excuse: where they part, the oracle's two best logits lie within 1e-4
of each other (a tie, which rounding decides). Ties are counted and printed (``tally``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from support.tally import TALLY, TIE


class Oracle:
    """transformers on one model, one prompt at a time; fp32 on a CPU unless asked otherwise. Answers are kept."""

    def __init__(self, path: Path, name: str, longest: int = 24, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        from transformers import AutoModelForCausalLM

        self.name, self.longest = name, longest
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to(device).eval()
        self.model.generation_config.eos_token_id = None  # where a text ends is decided below
        self.model.generation_config.pad_token_id = 0
        self._known: dict[tuple[int, ...], tuple[list[int], list[float]]] = {}

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int]) -> tuple[list[int], list[float]]:
        """The next ``longest`` tokens, and at each the gap between the two best logits."""
        key = tuple(prompt)
        if key not in self._known:
            ids = torch.tensor([key], device=self.model.device)
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=self.longest,
                return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
            best = torch.stack(out.logits)[:, 0].float().topk(2).values
            self._known[key] = out.sequences[0, len(key) :].tolist(), (best[:, 0] - best[:, 1]).tolist()
        return self._known[key]

    def tokens(self, prompt: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
        """The answer cut after ``count`` tokens or the first of ``ends``."""
        found = self.answer(prompt)[0][:count]
        stops = [i for i, token in enumerate(found) if token in ends]
        return found[: stops[0] + 1] if stops else found

    def compare(
        self, prompt: Sequence[int], got: Sequence[int], count: int, ends: Sequence[int] = (), whole: bool = True
    ) -> None:
        """Fail unless ``got`` is the answer; with ``whole=False`` the first part of it will do (an aborted request)."""
        assert count <= self.longest, f"this oracle looks {self.longest} tokens ahead"
        want, gaps = self.tokens(prompt, count, ends), self.answer(prompt)[1]
        same = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), min(len(got), len(want)))
        TALLY.add(same, 0, {self.name: same})
        if same == len(got) and (same == len(want) or not whole):
            return
        assert same < min(len(got), len(want)), (
            f"{len(got)} tokens for a prompt of {len(prompt)}, {len(want)} expected: {list(got)}, {want}"
        )
        assert gaps[same] < TIE, (
            f"token {same} of a prompt of {len(prompt)} is {got[same]}, transformers' is {want[same]} by {gaps[same]:.2g}"
        )
        TALLY.add(0, 1, {})
