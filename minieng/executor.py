"""What carries a plan out, as the engine sees it."""

from __future__ import annotations

from typing import Protocol

from .plan import Plan, StepResult


class Executor(Protocol):
    """What carries a plan out: a model runner or a simulator.
    The engine itself asks for nothing but ``execute``.
    """

    @property
    def kv_nbytes_per_token(self) -> float:
        """Bytes of KV that a token takes."""

    @property
    def device_name(self) -> str:
        """What it computes on."""

    def facts(self) -> dict[str, str]:
        """What runs here, in words, for ``explain()``."""

    def execute(self, plan: Plan) -> StepResult:
        """Compute the plan's tokens; emit one for every request whose last token was among them."""

    def close(self) -> None:
        """Give memory back; nothing is executed any more."""
