"""The record of what an engine did: one plain entry a step, enough to draw, check and repeat it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..plan import Plan, StepResult


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, after it happened. Times in seconds on the engine's clock, sizes in tokens or blocks.

    slices      (request id, tokens computed before, tokens computed in this step), in the plan's order
    kinds       "prompt", "recompute" or "decode" for each slice, by what most of its tokens are
    tokens      the token that each slice emitted, or None
    padding     positions of a padded rectangle that held padding; finished_rows: those of rows already done
    recomputed  tokens computed again after a preemption; cached: tokens found in the prefix cache instead
    """

    step: int
    start: float
    duration: float
    mode: str
    slices: list[tuple[str, int, int]]
    kinds: list[str]
    tokens: list[int | None]
    rows: list[str] | None
    num_tokens: int
    padding: int
    finished_rows: int
    recomputed: int
    cached: int
    preempted: list[str]
    refused: list[tuple[str, str]]
    finished: list[str]
    blocks_free: int
    blocks_total: int
    kv_used: int
    num_waiting: int
    num_running: int

    @property
    def num_decodes(self) -> int:
        return self.kinds.count("decode")

    def __str__(self) -> str:
        work = " ".join(f"{request}+{n}" for request, _, n in self.slices)
        extra = f" | padding {self.padding}, finished rows {self.finished_rows}" if self.rows is not None else ""
        extra += f" | preempt {' '.join(self.preempted)}" if self.preempted else ""
        extra += "".join(f" | refuse {request}: {reason}" for request, reason in self.refused)
        extra += f" | done {' '.join(self.finished)}" if self.finished else ""
        return f"step {self.step} at {self.start:.3f} s, {self.duration * 1e3:.1f} ms, {self.mode} | {work}{extra}"


@dataclass
class Draft:
    """What must be noted of a plan before the step changes the requests."""

    start: float
    mode: str
    slices: list[tuple[str, int, int]]
    kinds: list[str]
    recomputed: int
    cached: int

    @classmethod
    def of(cls, plan: Plan, start: float, cached: int) -> Draft:
        slices, kinds, recomputed = [], [], 0
        for request, n in plan.extend:
            computed = request.num_computed_tokens
            slices.append((request.request_id, computed, n))
            again = min(n, request.high_water - computed)
            if again > 0:
                recomputed += again
            kinds.append("recompute" if 2 * again > n else "decode" if request.is_decode else "prompt")
        return cls(start, mode_of(kinds), slices, kinds, recomputed, cached)


def mode_of(kinds: list[str]) -> str:
    decodes = kinds.count("decode")
    if not kinds:
        return "idle"
    return "decode" if decodes == len(kinds) else "mixed" if decodes else "extend"


@dataclass
class Trace:
    """The steps of an engine, oldest first. Keeps the last ``limit`` so that a long run does not fill memory."""

    limit: int = 100_000
    steps: deque[StepRecord] = field(default_factory=deque)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.steps = deque(self.steps, maxlen=self.limit)

    def add(self, draft: Draft, plan: Plan, result: StepResult, finished: list[str], state: dict) -> StepRecord:
        self.dropped += len(self.steps) == self.limit
        record = StepRecord(
            step=self.dropped + len(self.steps),
            start=draft.start,
            duration=result.duration,
            mode=draft.mode,
            slices=draft.slices,
            kinds=draft.kinds,
            tokens=result.tokens,
            rows=None if plan.rows is None else [r.request_id for r in plan.rows],
            num_tokens=plan.num_tokens,
            padding=plan.num_padding_tokens,
            finished_rows=plan.num_finished_row_tokens,
            recomputed=draft.recomputed,
            cached=draft.cached,
            preempted=[r.request_id for r in plan.preempt],
            refused=[(r.request_id, reason) for r, reason in plan.refuse],
            finished=finished,
            **state,
        )
        self.steps.append(record)
        return record

    def clear(self) -> None:
        self.steps.clear()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[StepRecord]:
        return iter(self.steps)

    def __getitem__(self, index: int) -> StepRecord:
        return self.steps[index]

    def total(self, name: str) -> int | float:
        """Sum of one of a record's numbers over all steps, such as "padding" or "num_tokens"."""
        return sum(getattr(record, name) for record in self.steps)
