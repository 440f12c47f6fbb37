"""Chunked prefill: every step computes at most a fixed number of tokens, whoever they belong to."""

from __future__ import annotations

from ..config import EngineConfig
from ..plan import Plan
from .base import Scheduler


class ChunkedScheduler(Scheduler):
    """Fill ``max_num_batched_tokens`` in this order: running decodes, unfinished prompts, new prompts.

    A prompt that is longer than what is left of the budget gets a chunk now and the rest in later steps, so
    nobody's next token waits for somebody else's long prompt (Sarathi-Serve, SplitFuse, vLLM V1). With
    ``long_prefill_token_threshold`` no prompt gets more than that in a step, so that short ones come in
    beside long ones.
    """

    @property
    def token_budget(self) -> int:  # type: ignore[override]  # a value in others, here the configuration's
        return self.max_num_batched_tokens

    @classmethod
    def largest_step(cls, config: EngineConfig, max_model_len: int) -> int:
        return config.max_num_batched_tokens

    def plan(self, now: float) -> Plan:
        plan, kv, budget = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        for request in sorted(self.running, key=lambda r: not r.is_decode):  # stable: decodes first
            n = min(request.num_remaining_tokens, budget, self.longest_chunk)
            if n and self.make_room(plan, kv, request, n):
                plan.extend.append((request, n))
                budget -= n
            if plan.preempt:  # a victim may have been planned already: its tokens are free again
                budget = self.max_num_batched_tokens - plan.num_tokens
        if not plan.preempt:
            self.admit(plan, kv, now, budget, whole=False)
        return plan
