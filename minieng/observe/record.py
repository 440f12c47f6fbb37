"""What is written down of one step: plain names and numbers, which outlive the requests they tell of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..plan import Plan, Refusal, Reservation
from ..request import Request

NUMBERS = (
    "step", "start", "duration", "predicted", "mode", "num_tokens", "padding", "finished_rows", "recomputed",
    "cached", "cached_again", "blocks_free", "blocks_total", "kv_used", "num_waiting", "num_running", "span",
    "column", "freed", "shared",
)  # fmt: skip
LISTS = ("slices", "preempted", "refused", "finished", "aborted")
KINDS = ("prompt", "recompute", "decode")


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, after it happened. Times in seconds on the engine's clock, sizes in tokens or blocks.

    duration    how long it took; of batches in flight together, what it took beyond the one before
    slices      (request id, tokens computed before, tokens computed in this step), in the plan's order
    kinds       one of KINDS for each slice, by what most of its tokens are
    tokens      the token that each slice emitted, or None
    padding     positions of a padded rectangle that held padding; finished_rows: those of rows already done
    recomputed  tokens computed again after a preemption
    cached      tokens that newcomers did not have to compute: found in the prefix cache, with a sibling, or
                filled by an earlier request of the same step; cached_again: those of newcomers that had been
                preempted
    span        slots that each row of a new rectangle holds; column: right edge of the rectangle, in slots
    taken       (request id, blocks) that block tables grew by, shared ones included; see ``Trace.tables``
    copied      (request id, old block, new block): a shared block was copied before it was written
    freed       blocks that nobody holds any more since this step
    shared      blocks that hold them
    swapped     blocks moved to the host and back
    aborted     requests that were aborted since the step before
    stages      when each stage of a pipeline began and ended its part of the step, on the engine's clock
    predicted   seconds that a step-time model expects, if one was asked (``StepTimeModel.annotate``)
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
    span: int = 0
    column: int = 0
    taken: list[tuple[str, list[int]]] = field(default_factory=list)
    copied: list[tuple[str, int, int]] = field(default_factory=list)
    freed: int = 0
    shared: int = 0
    swapped: tuple[int, int] = (0, 0)
    aborted: list[str] = field(default_factory=list)
    stages: list[tuple[float, float]] = field(default_factory=list)
    predicted: float | None = None
    cached_again: int = 0

    @property
    def num_decodes(self) -> int:
        return self.kinds.count("decode")

    def plan(self, requests: Mapping[str, Request]) -> Plan:
        """The plan again, for requests of these names. A refused request that is not among them is left out.

        Raises KeyError with the name of one that is planned and missing.
        """
        return plan_again(requests, self.slices, self.preempted, self.refused, self.rows, self.span)

    def __str__(self) -> str:
        work = " ".join(f"{request}+{n}" for request, _, n in self.slices)
        extra = (
            f" | padding {self.padding}, finished rows {self.finished_rows}" if self.rows is not None else ""
        )
        extra += f" | preempt {' '.join(self.preempted)}" if self.preempted else ""
        extra += "".join(f" | refuse {request}: {reason}" for request, reason in self.refused)
        extra += f" | done {' '.join(self.finished)}" if self.finished else ""
        when = f"step {self.step} at {self.start:.3f} s, {self.duration * 1e3:.1f} ms"
        return f"{when}, {self.mode} | {work}{extra}"


def row_of(record: StepRecord) -> dict[str, Any]:
    """A record as a row of a table: numbers and words as they are, lists as their lengths under ``num_…``.

    ``num_prompts`` and ``num_decodes`` count slices; ``swapped`` becomes blocks out and in.
    """
    row = {name: getattr(record, name) for name in NUMBERS}
    row |= {f"num_{name}": len(getattr(record, name)) for name in LISTS}
    row |= {"num_prompts": record.kinds.count("prompt"), "num_decodes": record.num_decodes}
    return row | {"blocks_swapped_out": record.swapped[0], "blocks_swapped_in": record.swapped[1]}


def plan_again(
    requests: Mapping[str, Request],
    slices: Iterable[Sequence],
    preempted: Iterable[str],
    refused: Iterable[Sequence[str]],
    rows: Iterable[str] | None,
    span: int,
) -> Plan:
    """A plan put together again from the names in a record; the arguments are a ``StepRecord``'s fields."""
    return Plan(
        extend=[(requests[name], n) for name, _, n in slices],
        preempt=[requests[name] for name in preempted],
        refuse=[Refusal(requests[name], reason) for name, reason in refused if name in requests],
        rows=None if rows is None else [requests[name] for name in rows],
        span=span,
    )


@dataclass
class Draft:
    """What must be noted of a plan between its reservation and its execution, before the requests change."""

    start: float
    reservation: Reservation
    mode: str
    slices: list[tuple[str, int, int]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    recomputed: int = 0
    column: int = 0

    @classmethod
    def brief(cls, plan: Plan, start: float, reservation: Reservation) -> Draft:
        """Numbers only: for simulations of so many steps that the names in them would fill memory."""
        recomputed = sum(
            min(n, r.high_water - r.num_computed_tokens)
            for r, n in plan.extend
            if r.high_water > r.num_computed_tokens
        )
        mode = plan.mode.value if plan.num_tokens > len(plan.extend) else "decode"
        return cls(start, reservation, mode, recomputed=recomputed)

    @classmethod
    def of(cls, plan: Plan, start: float, reservation: Reservation) -> Draft:
        slices, kinds, recomputed = [], [], 0
        for request, n in plan.extend:
            computed = request.num_computed_tokens
            slices.append((request.request_id, computed, n))
            again = min(n, request.high_water - computed)
            if again > 0:
                recomputed += again
            kinds.append("recompute" if 2 * again > n else "decode" if request.is_decode else "prompt")
        draft = cls(start, reservation, mode_of(kinds), slices, kinds, recomputed)
        if plan.rows is not None and plan.extend:  # the right ends of all rows stand in one column
            request, n = plan.extend[0]
            draft.column = request.pad + request.num_computed_tokens + n
        return draft


def mode_of(kinds: list[str]) -> str:
    decodes = kinds.count("decode")
    if not kinds:
        return "idle"
    return "decode" if decodes == len(kinds) else "mixed" if decodes else "extend"
