"""Dynamic batching: a static batch that does not wait for ever."""

from __future__ import annotations

from .static import StaticScheduler


class DynamicScheduler(StaticScheduler):
    """Dispatch when ``batch_size`` requests wait, or when the oldest has waited ``wait_window`` seconds;
    never an empty batch, and never later than full. Then run it as a static batch.
    """

    def ready(self, now: float) -> bool:
        return bool(self.waiting) and (super().ready(now) or now >= self.due())

    def wait_until(self, now: float) -> float | None:
        return self.due() if self.waiting else None

    def due(self) -> float:
        """When the oldest waiting request's window ends, in seconds on the engine's clock."""
        return min(r.arrival_time for r in self.waiting) + self.config.wait_window
