"""Whether a waiting request may start: how much of the future it must be able to pay for.

A rule looks at one request and the ledger and either lets it in or says why not. When nothing runs, a request
is let in whatever the rule says: it fits alone, or the engine would have refused it when it was added.
"""

from __future__ import annotations

import math

from ..config import look_up
from ..kv.allocator import RESERVATIONS, Ledger
from ..plan import Plan
from ..request import Request
from .queues import Queues


class Admission:
    """Let it in if what it asks for now fits: the rule of the reservations,
    which ask for everything at once.
    """

    def __init__(self, queues: Queues) -> None:
        self.queues = queues

    def refuses(self, request: Request, n: int, kv: Ledger, plan: Plan) -> str | None:
        """Why the request may not start with ``n`` tokens in this plan; None if it may."""
        spare = self.spare_blocks(request, kv, plan) if self.queues.running or plan.extend else 0
        need = kv.need(request, self.asks(request, n, kv))
        if need + spare <= kv.free:
            return None
        kept = f" and {spare} must stay free" if spare else ""
        return f"needs {need} blocks{kept}, {kv.free} are free"

    def asks(self, request: Request, n: int, kv: Ledger) -> int:
        """Tokens whose blocks must be free now."""
        return n

    def spare_blocks(self, request: Request, kv: Ledger, plan: Plan) -> int:
        """Blocks that must be left over for those who run already."""
        return 0

    def arrived(self, request: Request) -> None:
        pass

    def after_step(self, plan: Plan) -> None:
        pass

    def after_preemption(self) -> None:
        pass


class Watermark(Admission):
    """What is computed now must fit, and leave a share ``watermark`` of all blocks
    free for others that run to grow into.

    Of a prompt that is cut into chunks only the first must fit: many may start that cannot all get on.
    """

    def spare_blocks(self, request: Request, kv: Ledger, plan: Plan) -> int:
        return int(self.queues.config.watermark * kv.cache.pool.num_blocks)


class FullPrompt(Watermark):
    """The whole prompt must fit beside the watermark, even where only a chunk of it is computed now.

    As vLLM 0.32 does by default (``scheduler_reserve_full_isl``). There as here the watermark is 0 unless
    set, and counts for waiting and preempted requests only, and only when something else runs.
    """

    def asks(self, request: Request, n: int, kv: Ledger) -> int:
        return kv.todo(request)


class NewTokenRatio(FullPrompt):
    """Leave room for the output to come, as SGLang does: all of a newcomer's,
    and a share of that of those who write.

    The share starts at 0.7 and falls with every step of decodes alone, to 14 % of that in 600 steps. It is
    estimated anew when a request is preempted, (tokens made + 20 a request) / (tokens asked for), and is 0.7
    again after a pause. A newcomer is who has no token yet. No request counts for more than 4,096 tokens.

    Source: SGLang's ``PrefillAdder`` and ``NewTokenRatioTracker``, commit 00550cd. Left out: the page that
    SGLang adds for each request, and its own rule for requests with ``ignore_eos`` where there is no prefix
    cache.
    """

    START, FLOOR, STEPS, LOOKAHEAD, LONGEST = 0.7, 0.7 * 0.14, 600, 20, 4096

    def __init__(self, queues: Queues) -> None:
        super().__init__(queues)
        self.ratio = self.START

    def spare_blocks(self, request: Request, kv: Ledger, plan: Plan) -> int:
        new = [r for r, _ in plan.extend if not r.block_table] + [request]
        old = [r for r in self.queues.running if r not in plan.preempt]
        tokens = sum(map(self.to_come, new)) + sum(
            self.to_come(r) * (self.ratio if r.num_output_tokens else 1) for r in old
        )
        return int(tokens // kv.cache.block_size) + 1  # more tokens than that must be free, not as many

    def to_come(self, request: Request) -> int:
        return min(request.max_num_tokens - request.num_tokens, self.LONGEST)

    def arrived(self, request: Request) -> None:
        if len(self.queues.members) == 1:  # nobody was here
            self.ratio = self.START

    def after_step(self, plan: Plan) -> None:
        # a step of decodes alone
        if not plan.preempt and all(n == 1 and r.num_output_tokens > 1 for r, n in plan.extend):
            self.ratio = max(self.FLOOR, self.ratio - (self.START - self.FLOOR) / self.STEPS)

    def after_preemption(self) -> None:
        running = self.queues.running
        made = sum(r.num_output_tokens + self.LOOKAHEAD for r in running)
        asked = sum(r.params.max_tokens or r.max_num_tokens - r.num_prompt_tokens for r in running)
        self.ratio = min(1.0, made / (asked + 1))


class FuturePeak(Admission):
    """Let it in if everybody fits at the moment when most is held, were each to write what is predicted.

    All who run hold a token more at every step, and free everything after their last. So most is held when
    somebody leaves: then those with no less to write are there, each with what it has now and as many tokens
    more. The last block of each counts as full. Without a ``predictor`` each is taken to write all it may:
    then nobody is preempted, where prompts are computed whole. A predictor that says too little leaves the
    rest to preemption.

    Source: LightLLM's router, as in Gong et al., Past-Future Scheduler, ASPLOS 2025 (arXiv 2507.10150).
    """

    def refuses(self, request: Request, n: int, kv: Ledger, plan: Plan) -> str | None:
        planned = dict.fromkeys([*(r for r, _ in plan.extend), request])
        others = [r for r in self.queues.running if r not in plan.preempt and r not in planned]
        # After this step: whoever is planned has a token more by then, and one less to write.
        loads = [(r.num_tokens, self.to_come(r) - 1) for r in planned]
        loads += [(r.num_tokens - 1, self.to_come(r)) for r in others]
        peak, most = self.peak(loads, kv.cache.block_size), kv.cache.pool.num_blocks
        if peak > most and len(loads) > 1:
            return f"{peak} blocks would be held at the peak, there are {most}"
        return super().refuses(request, n, kv, plan)

    @staticmethod
    def peak(loads: list[tuple[int, int]], block_size: int) -> int:
        """Blocks that are held when most are, by requests of (tokens with KV, tokens to come)."""
        held = most = 0
        for count, (tokens, left) in enumerate(sorted(loads, key=lambda load: -load[1]), 1):
            held += tokens + block_size - 1
            most = max(most, held + count * left)
        return -(-most // block_size)

    def to_come(self, request: Request) -> int:
        """Tokens that it has yet to write, as far as anybody knows."""
        predict = self.queues.config.predictor
        if predict is None:
            return request.max_num_tokens - request.num_tokens
        return max(1, math.ceil(predict(request)) - request.num_output_tokens)


ADMISSIONS: dict[str, type[Admission]] = {
    "watermark": Watermark,
    "full_prompt": FullPrompt,
    "new_token_ratio": NewTokenRatio,
    **{name: Admission for name in RESERVATIONS if name != "paged"},
    "future_peak": FuturePeak,
}


def make_admission(admission: str, queues: Queues) -> Admission:
    """An admission rule from its name. Raises ValueError with the names there are."""
    return look_up("admission", admission, ADMISSIONS)(queues)


def reservation_of(admission: str) -> str:
    """How the cache must reserve for an admission rule: the rules that are no reservation page.
    Raises as above.
    """
    look_up("admission", admission, ADMISSIONS)
    return admission if admission in RESERVATIONS else "paged"
