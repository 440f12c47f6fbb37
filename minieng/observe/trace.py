"""The record of what an engine did: one plain entry a step, enough to draw, check and repeat it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..draw import player_data, player_page
from ..draw.page import MOST_STEPS
from ..plan import Plan, Reservation, StepResult
from ..request import Request
from . import perfetto, trace_file
from .record import Draft, StepRecord, row_of

__all__ = ["StepRecord", "Trace"]


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

    def draft(self, plan: Plan, now: float, reservation: Reservation) -> Draft:
        """To be called between reservation and execution."""
        return (Draft.of if self.detail else Draft.brief)(plan, now, reservation)

    def add(
        self, draft: Draft, plan: Plan, result: StepResult, finished: list[str], state: dict
    ) -> StepRecord:
        self.dropped += len(self.steps) == self.limit
        reserved = draft.reservation
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
            cached=reserved.cached,
            cached_again=reserved.cached_again,
            preempted=[r.request_id for r in plan.preempt],
            refused=[(r.request_id, reason) for r, reason in plan.refuse],
            finished=finished,
            span=plan.span,
            column=draft.column,
            taken=[(r.request_id, blocks) for r, blocks in reserved.taken] if self.detail else [],
            copied=[(r.request_id, old, new) for r, old, new in reserved.copied] if self.detail else [],
            shared=reserved.shared if self.detail else 0,
            freed=reserved.freed + state["blocks_free"] - reserved.blocks_free if self.detail else 0,
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
        stop = index + 1 if index >= 0 else len(self.steps) + index + 1
        for now in islice(self.every_table(), stop):
            tables = now
        return tables

    def every_table(self) -> Iterator[dict[str, list[int]]]:
        """The block tables of each step, oldest first: one dict, which goes on changing."""
        tables: dict[str, list[int]] = {}
        leavers: list[str] = []
        for record in self.steps:
            for gone in (*leavers, *record.aborted, *record.preempted):
                tables.pop(gone, None)
            for request_id, blocks in record.taken:
                tables.setdefault(request_id, []).extend(blocks)
            for request_id, old, new in record.copied:
                table = tables.get(request_id, [])  # of the last steps of a run: how it began may be dropped
                if old in table and new not in table:
                    table[table.index(old)] = new
            leavers = record.finished
            yield tables

    def save(self, path: str | Path) -> None:
        """Write as JSONL, see ``trace_file``. The file appears whole or not at all."""
        head = {"dropped": self.dropped, "detail": self.detail, "meta": self.meta}
        trace_file.write(path, head, self.requests.values(), self.steps)

    def to_perfetto(self, path: str | Path) -> Path:
        """Write as JSON for ui.perfetto.dev and ``chrome://tracing``, see ``perfetto``; returns the path."""
        return perfetto.write(self, path)

    def rows(self) -> list[dict[str, Any]]:
        """A step each: numbers as they are, lists as their lengths. What ``to_frame`` makes a table of."""
        return [row_of(record) for record in self.steps]

    def to_frame(self) -> Any:
        """The steps as a ``pandas.DataFrame``, a row each; the index is the step.

        Raises ImportError, and says what to do, where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame makes a table of pandas: pip install pandas, or use rows()") from None
        return pandas.DataFrame(self.rows()).set_index("step")

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that ``save`` wrote. Raises TraceError saying what is wrong with any other."""
        head, requests, steps = trace_file.read(path)
        return cls(
            limit=max(len(steps), len(requests), 1), detail=head["detail"], steps=deque(steps),
            dropped=head["dropped"], meta=head["meta"], requests={r.request_id: r for r in requests},
        )  # fmt: skip

    def to_html(
        self, path: str | Path, *, title: str = "", columns: int = 16, last: int = MOST_STEPS
    ) -> Path:
        """Write a page that steps through the trace in any browser, alone and without a kernel.

        columns  blocks in a row of the block map
        last     so many steps are shown at most, the last ones
        Raises ValueError for a trace without steps, or one recorded with ``detail=False``.
        """
        path = Path(path)
        page = player_page(player_data(self, columns=columns, last=last, title=title))
        part = path.with_name(path.name + ".part")
        part.write_text(page, encoding="utf-8")
        return part.replace(path)
