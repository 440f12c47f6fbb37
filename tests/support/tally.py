"""The count of compared tokens over a whole run, whichever processes ran it. The excuse of a tie has a limit."""

from __future__ import annotations

from dataclasses import dataclass, field

TIE = 1e-4  # where the oracle's two best logits are nearer than this, rounding decides
TOKENS_PER_TIE = 2_000


@dataclass
class Tally:
    tokens: int = 0
    ties: int = 0
    by_model: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        models = ", ".join(f"{name} {count:,}" for name, count in self.by_model.items())
        return f"{self.tokens:,} greedy tokens equal to transformers' generate ({models}), {self.ties} ties within {TIE}"

    def add(self, tokens: int, ties: int, by_model: dict[str, int]) -> None:
        """Count what was compared, here or in another process."""
        self.tokens += tokens
        self.ties += ties
        for name, count in by_model.items():
            self.by_model[name] = self.by_model.get(name, 0) + count

    @property
    def too_many_ties(self) -> bool:
        return self.ties > max(1, self.tokens // TOKENS_PER_TIE)


TALLY = Tally()
