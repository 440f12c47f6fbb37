"""What lay idle in a run: seats of the batch, slots of the cache, stages of a pipeline,
and positions that were padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..config import EngineConfig
from .record import StepRecord


def waste(steps: list[StepRecord], seconds: float, config: EngineConfig) -> dict[str, Any]:
    """What the trace says of padding, seats and cache. Seats: batch_size of a padded scheduler,
    else max_num_seqs.
    """
    padding, finished = sum(s.padding for s in steps), sum(s.finished_rows for s in steps)
    positions = sum(s.num_tokens for s in steps) + padding + finished
    padded = any(s.rows is not None for s in steps)
    seats = min(config.batch_size, config.max_num_seqs) if padded else config.max_num_seqs
    busy = sum(s.duration for s in steps) or math.inf  # no steps, no shares
    capacity = sum(s.blocks_total * config.block_size * s.duration for s in steps) or math.inf
    used = sum(s.kv_used * s.duration for s in steps)
    reserved = sum((s.blocks_total - s.blocks_free) * config.block_size * s.duration for s in steps)
    return {
        "steps": len(steps),
        "padding_waste": padding / positions if positions else 0.0,
        "done_rows": finished / positions if positions else 0.0,
        "padding_tokens": padding,
        "finished_row_tokens": finished,
        "idle_seats": 1 - sum(live_rows(s) for s in steps) / (seats * len(steps)) if steps else 0.0,
        "busy_seats": sum(live_rows(s) * s.duration for s in steps) / (seats * max(seconds, busy)),
        "recomputed_tokens": sum(s.recomputed for s in steps),
        "cache_hit_tokens": sum(s.cached for s in steps),
        "cache_hit_tokens_again": sum(s.cached_again for s in steps),
        "preemptions": sum(len(s.preempted) for s in steps),
        "kv_used": used / capacity,
        "kv_reserved": reserved / capacity,
        # A shared block is used more than once.
        "kv_wasted": max(0.0, 1 - used / reserved) if reserved else 0.0,
        "bubble": bubble(steps),
    }


def bubble(steps: Iterable[StepRecord]) -> float | None:
    """Share of the time from the first batch to the last in which the stages of a pipeline did nothing,
    mean over stages.

    None if no step notes what its stages did: there is one process, or the stages are on hosts whose clocks
    differ.
    """
    noted = [step.stages for step in steps if step.stages]
    spans = [span for stages in noted for span in stages]
    if not spans:
        return None
    whole = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return 1 - sum(end - begin for begin, end in spans) / (len(noted[0]) * whole)


def live_rows(step: StepRecord) -> int:
    """Rows that computed something for a request that is not done. A trace without detail knows it of
    rectangles only, and counts everybody who ran for packed steps.
    """
    if step.slices:
        return len(step.slices)
    if step.rows is not None:
        live = step.num_tokens + step.padding
        return round(len(step.rows) * live / max(1, live + step.finished_rows))
    return step.num_running + len(step.finished)
