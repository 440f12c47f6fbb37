"""Continuous batching: the batch is made anew at every step."""

from __future__ import annotations

from ..config import EngineConfig
from ..kv.allocator import Ledger
from ..plan import Plan
from .base import Scheduler


class ContinuousScheduler(Scheduler):
    """Whoever is done leaves at once; whoever waits and fits gets in at the next step, with its whole prompt.

    ``mixed=False`` (vLLM V0, SGLang): a step is prompts only whenever one fits, else decodes only.
    ``mixed=True`` (Orca): prompts and decodes share a step; attention is per request, the rest is batched.
    """

    @classmethod
    def largest_step(cls, config: EngineConfig, max_model_len: int) -> int:
        decodes = config.max_num_seqs if config.mixed else 0
        return super().largest_step(config, max_model_len) + decodes

    def plan(self, now: float) -> Plan:
        if self.config.mixed:
            plan, kv = Plan(), self.kv.ledger()
            self.decode(plan, kv)
            if not plan.preempt:
                self.admit(plan, kv, now, self.config.max_prefill_tokens)
            return plan
        plan = Plan()
        self.admit(plan, self.kv.ledger(), now, self.config.max_prefill_tokens)
        if not plan.extend:
            self.decode(plan, self.kv.ledger())
        return plan

    def decode(self, plan: Plan, kv: Ledger) -> None:
        """All running requests go on by what they lack: one token, after their prompt."""
        for request in self.running:
            n = request.num_remaining_tokens
            if self.make_room(plan, kv, request, n):
                plan.extend.append((request, n))
