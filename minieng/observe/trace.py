"""The record of what an engine did: one plain entry a step, enough to draw, check and repeat it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..plan import Plan, StepResult
from ..request import Request

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step, after it happened. Times in seconds on the engine's clock, sizes in tokens or blocks.

    slices      (request id, tokens computed before, tokens computed in this step), in the plan's order
    kinds       "prompt", "recompute" or "decode" for each slice, by what most of its tokens are
    tokens      the token that each slice emitted, or None
    padding     positions of a padded rectangle that held padding; finished_rows: those of rows already done
    recomputed  tokens computed again after a preemption; cached: tokens found in the prefix cache instead
    span        slots that each row of a new rectangle holds; column: right edge of the rectangle, in slots
    taken       (request id, blocks) that block tables grew by, shared ones included; see ``Trace.tables``
    copied      (request id, old block, new block): a shared block was copied before it was written
    freed       blocks that nobody holds any more since this step
    shared      blocks that newcomers found in the prefix cache or with a sibling
    swapped     blocks moved to the host and back
    aborted     requests that were aborted since the step before
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
    predicted: float | None = None

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
    """What must be noted of a plan between its reservation and its execution, before the requests change.

    free  blocks that will have been free before the step, had the new ones been taken and none given back
    """

    start: float
    cached: int
    mode: str = ""
    slices: list[tuple[str, int, int]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    recomputed: int = 0
    column: int = 0
    taken: list[tuple[str, list[int]]] = field(default_factory=list)
    copied: list[tuple[str, int, int]] = field(default_factory=list)
    shared: int = 0
    free: int = 0

    @classmethod
    def brief(cls, plan: Plan, start: float, cached: int) -> Draft:
        """Numbers only: for simulations of so many steps that the names in them would fill memory."""
        recomputed = sum(
            min(n, r.high_water - r.num_computed_tokens) for r, n in plan.extend if r.high_water > r.num_computed_tokens
        )
        return cls(
            start, cached, plan.mode.value if plan.num_tokens > len(plan.extend) else "decode", recomputed=recomputed
        )

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
        draft = cls(start, cached, mode_of(kinds), slices, kinds, recomputed)
        if plan.rows is not None and plan.extend:  # the right ends of all rows stand in one column
            request, n = plan.extend[0]
            draft.column = request.pad + request.num_computed_tokens + n
        return draft

    def note_blocks(self, plan: Plan, newcomers: Collection[Request], kv: Any, free: int) -> None:
        """Which blocks the tables grew by. ``free``: blocks that were free before the reservation."""
        size, refs, held = kv.block_size, kv.pool.refs, {}
        fresh, swapped = {new: old for old, new in plan.moves.copy}, {new for _, new in plan.moves.swap_in}
        for request, n in plan.extend:
            first, table = request.pad + request.num_computed_tokens, request.block_table
            if n == 1 and first % size and not fresh and request not in newcomers:
                continue  # a decode inside its block
            before = 0 if request in newcomers else -(-max(first, request.span) // size)
            if request in newcomers:
                found = table[: -(-request.num_computed_tokens // size)]
                self.shared += sum(block not in swapped and block not in fresh for block in found)
            if before < len(table):
                self.taken.append((request.request_id, table[before:]))
                for block in table[before:]:
                    held[block] = held.get(block, 0) + 1
            edge = table[first // size]
            if edge in fresh:
                self.copied.append((request.request_id, fresh[edge], edge))
                held[edge] = held.get(edge, 0) + 1
        self.free = free - sum(refs[block] == count for block, count in held.items())  # the others had an owner before


def mode_of(kinds: list[str]) -> str:
    decodes = kinds.count("decode")
    if not kinds:
        return "idle"
    return "decode" if decodes == len(kinds) else "mixed" if decodes else "extend"


@dataclass
class Trace:
    """The steps of an engine, oldest first, and its requests.

    limit    steps, and requests, that are kept: the last ones, so that a long run does not fill memory
    detail   note slices, tokens and blocks by name; without, a record holds numbers only
    meta     what a reader should know of the run: knobs, model, device, date
    """

    limit: int = 100_000
    detail: bool = True
    steps: deque[StepRecord] = field(default_factory=deque)
    dropped: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    aborted: list[str] = field(default_factory=list)  # since the last step

    def __post_init__(self) -> None:
        self.steps = deque(self.steps, maxlen=self.limit)

    def note_request(self, request: Request) -> None:
        if len(self.requests) >= self.limit:
            del self.requests[next(iter(self.requests))]
        self.requests[request.request_id] = request

    def draft(self, plan: Plan, now: float, newcomers: Collection[Request], cached: int, kv: Any, free: int) -> Draft:
        """To be called between reservation and execution."""
        if not self.detail:
            return Draft.brief(plan, now, cached)
        draft = Draft.of(plan, now, cached)
        draft.note_blocks(plan, newcomers, kv, free)
        return draft

    def add(self, draft: Draft, plan: Plan, result: StepResult, finished: list[str], state: dict) -> StepRecord:
        self.dropped += len(self.steps) == self.limit
        record = StepRecord(
            step=self.dropped + len(self.steps),
            start=draft.start,
            duration=result.duration,
            mode=draft.mode,
            slices=draft.slices,
            kinds=draft.kinds,
            tokens=result.tokens if self.detail else [],
            rows=None if plan.rows is None else [r.request_id for r in plan.rows],
            num_tokens=plan.num_tokens,
            padding=plan.num_padding_tokens,
            finished_rows=plan.num_finished_row_tokens,
            recomputed=draft.recomputed,
            cached=draft.cached,
            preempted=[r.request_id for r in plan.preempt],
            refused=[(r.request_id, reason) for r, reason in plan.refuse],
            finished=finished,
            span=plan.span,
            column=draft.column,
            taken=draft.taken,
            copied=draft.copied,
            shared=draft.shared,
            freed=state["blocks_free"] - draft.free if self.detail else 0,
            swapped=(len(plan.moves.swap_out), len(plan.moves.swap_in)),
            aborted=self.aborted,
            **state,
        )
        self.aborted = []
        self.steps.append(record)
        return record

    def clear(self) -> None:
        self.steps.clear()
        self.requests.clear()
        self.dropped, self.aborted = 0, []

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[StepRecord]:
        return iter(self.steps)

    def __getitem__(self, index: int) -> StepRecord:
        return self.steps[index]

    def total(self, name: str) -> int | float:
        """Sum of one of a record's numbers over all steps, such as "padding" or "num_tokens"."""
        return sum(getattr(record, name) for record in self.steps)

    def outputs(self) -> dict[str, list[int]]:
        """The tokens that each request emitted, in the order of the steps."""
        outputs: dict[str, list[int]] = {}
        for record in self.steps:
            for (request_id, _, _), token in zip(record.slices, record.tokens, strict=True):
                if token is not None:
                    outputs.setdefault(request_id, []).append(token)
        return outputs

    def plans(self) -> list[tuple]:
        """What was decided in each step, without times: equal for two runs that made the same plans."""
        return [(r.slices, r.rows, r.span, r.preempted, r.refused, r.finished) for r in self.steps]

    def tables(self, index: int) -> dict[str, list[int]]:
        """The block tables while step ``index`` ran: who held which blocks, in order."""
        tables: dict[str, list[int]] = {}
        leavers: list[str] = []
        for record in list(self.steps)[: index + 1 if index >= 0 else len(self.steps) + index + 1]:
            for gone in (*leavers, *record.aborted, *record.preempted):
                tables.pop(gone, None)
            for request_id, blocks in record.taken:
                tables.setdefault(request_id, []).extend(blocks)
            for request_id, old, new in record.copied:
                if new not in tables[request_id]:
                    tables[request_id][tables[request_id].index(old)] = new
            leavers = record.finished
        return tables

    def save(self, path: str | Path) -> None:
        """Write as JSONL, see ``trace_file``."""
        from .trace_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that ``save`` wrote. Raises TraceError saying what is wrong with any other."""
        from .trace_file import load

        return load(path)
