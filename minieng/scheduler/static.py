"""Static batching: batch in, batch out."""

from __future__ import annotations

from itertools import islice

from ..config import EngineConfig
from ..kv.allocator import Ledger
from ..plan import Plan, Refusal
from ..request import Request
from .base import Scheduler


class StaticScheduler(Scheduler):
    """Wait until ``batch_size`` requests are there (or no more can come), run them together as one padded
    rectangle, and let all of them leave when the longest is done.

    The rectangle is real: short prompts are padded on the left, a row that is done keeps computing, and KV is
    held for every position of every row until the end. What that wastes is counted in the trace.
    """

    rectangles = True

    @classmethod
    def largest_step(cls, config: EngineConfig, max_model_len: int) -> int:
        return config.batch_size * max_model_len  # the first step of a rectangle

    def plan(self, now: float) -> Plan:
        if self.running:
            return self.next_rectangle_step()
        if not self.ready(now):
            return Plan(wait_until=self.wait_until(now))
        return self.new_rectangle(now)

    def ready(self, now: float) -> bool:
        return len(self.waiting) >= self.config.batch_size or not self.arrivals_open

    def wait_until(self, now: float) -> float | None:
        """None: until the next arrival."""
        return None

    def next_rectangle_step(self) -> Plan:
        """One more column for every row; rows that are done take part but are given nothing."""
        live = [(r, r.num_remaining_tokens) for r in self.running if not r.is_done]
        return Plan(extend=live, rows=list(self.running))

    def new_rectangle(self, now: float) -> Plan:
        """The first requests of the queue, as many as the cache holds side by side at full length."""
        plan, kv = Plan(), self.kv.ledger()
        wanted = min(self.config.batch_size, self.max_num_seqs)
        batch = list(islice(self.queue(now, kv), wanted))
        while batch and not self.fits(batch, kv):
            why = "the rectangle would not fit into the cache with one more row"
            plan.refuse.append(Refusal(batch.pop(), why))
        plan.extend = [(r, r.num_remaining_tokens) for r in batch]
        plan.rows, plan.span = batch, self.slots_per_row(batch)
        return plan

    def slots_per_row(self, batch: list[Request]) -> int:
        """Longest prompt plus longest output still to come; the last token sampled needs no KV."""
        width = max((r.num_remaining_tokens for r in batch), default=0)
        return width + max((r.max_num_tokens - r.num_tokens for r in batch), default=0) - 1

    def fits(self, batch: list[Request], kv: Ledger) -> bool:
        return len(batch) * kv.need(batch[0], 1, self.slots_per_row(batch)) <= kv.free

    def leavers(self, done: list[Request]) -> list[Request]:
        return list(self.running) if all(r.is_done for r in self.running) else []
