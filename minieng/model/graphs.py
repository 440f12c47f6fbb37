"""Decode steps on a GPU: captured once as CUDA graphs, and sent off before the engine asks for them.

A decode step is some hundred small kernels, and launching them one by one takes longer than they do. So the
layers are captured at start-up, for a few numbers of rows ("buckets"), and replayed. A graph reads and writes
fixed buffers:

    numbers [5, rows]  token, position, slot, first and last column of each row   one copy a step, from pinned
    memory
    tables  [rows, …]  block ids; each step writes the block of its own slot, so a table grows without any
    copy
    last    [rows]     the tokens sampled last; "token" −1−i in ``numbers`` means number i of these

    numbers ──► graph: look up tokens, layers ──► logits, sampling ──► last ──► host
                          ▲                                             │
                          └──────── tokens stay on the device ──────────┘

Rows that fill a bucket up have slot −1 and see nothing.

**One step ahead.** The engine stays plan → execute → commit, one step at a time; but while it commits and
plans, a GPU would idle. So before ``execute`` waits for a step's tokens, it sends off the step that most
likely comes next: the same requests, one token on, without those that reach their longest. If the next plan
is that step or a part of it, its tokens are under way already. If not (somebody arrived, a stop, a
preemption), it is dropped and the plan is carried out as it stands, so plans, tokens and trace are what they
would be without. A dropped step does no harm. Blocks are named by the engine alone: KV went behind the last
token of each request, into a block that the request held and filled itself, where nobody reads before it is
written again; or, where the request would need a new block, into a spare one, whose one slot is copied to the
real block once that has a name. Steps are sent ahead from the second decode step in a row on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import gpu
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention
from ..kernels.torch_attention import torch_settle
from ..kernels.transfer import on_device, pinned, to_host
from ..kv.tensors import KVTensors
from ..plan import Plan, StepResult
from ..request import Request
from .decoder import Decoder
from .sampler import choose, refuse_nan

# Where a backend gathers: graphs whose keys and values of a layer would take more are not made.
GATHER_BYTES = 256 << 20
SPARE_TOKENS = 4096  # of KV, in spare blocks


class Cuda:
    """All that needs a GPU here; a test on a CPU puts a stand-in in its place."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.pool = (
            device,
            torch.cuda.Stream(device),
            torch.cuda.graph_pool_handle(),
        )

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Do the work once, so that kernels are compiled and libraries have their space; then record it."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            work()
        current.wait_stream(self.stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                work()
        except BaseException:
            self.give_up(current)
            raise
        return graph.replay

    def give_up(self, current: torch.cuda.Stream) -> None:
        """Leave a capture that broke: torch would stay on its stream,
        and its allocator would go on serving the graph.
        """
        torch.cuda.set_stream(current)
        with contextlib.suppress(RuntimeError):  # it is over already
            torch._C._cuda_endAllocateToPool(self.device.index, self.pool)

    def stamp(self) -> Any:
        """This point of the stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """Wait until the stream has come to ``end``; the time since it came to ``begin``."""
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


def row_buckets(most: int) -> list[int]:
    """1, 2, 4, 8, then steps of 16, and the largest as it is; largest first,
    so that smaller ones reuse its memory.
    """
    return sorted({most, *(n for n in (1, 2, 4, 8, *range(16, most, 16)) if n < most)}, reverse=True)


def width_buckets(blocks: int, block_size: int, gathers: bool) -> list[int]:
    """Blocks that a row of a graph may have. A backend that gathers all needs several graphs for it."""
    widths = [blocks]
    while gathers and widths[-1] * block_size > 512:
        widths.append(-(-widths[-1] // 4))
    return widths


def num_spare_blocks(max_rows: int, block_size: int) -> int:
    return min(max_rows, max(1, SPARE_TOKENS // block_size))


@dataclass
class SentStep:
    """A step that has been sent off."""

    index: dict[Request, int]  # request → its row
    columns: list[int]  # the slot that each row writes, counted from the row's beginning
    tables: list[list[int]]  # the requests' block tables, the lists themselves
    spare: dict[Request, int]  # request → spare block that holds its new slot
    tokens: torch.Tensor  # where they arrive on the host
    stamps: tuple[Any, Any]  # begin and end
    ahead: bool  # sent before it was planned

    def serves(self, plan: Plan) -> bool:
        """Whether every slice of the plan was computed by this step just as the plan has it."""
        if plan.rows is not None or any(plan.moves):
            return False
        for request, _ in plan.extend:
            row = self.index.get(request)
            if (
                row is None
                or self.columns[row] != request.num_computed_tokens
                or self.tables[row] is not request.block_table
            ):
                return False
        return True


class Decodes:
    """Carries out plans that are decodes only, of up to ``max_rows`` rows of up to ``longest`` slots.

    cuda  what captures and tells the time: ``Cuda``, or a stand-in
    """

    def __init__(
        self, model: Decoder, tensors: KVTensors, kv: list[LayerKV], attention: Attention, max_rows: int,
        longest: int, cuda: Any,
    ) -> None:  # fmt: skip
        self.model, self.tensors, self.kv, self.attention, self.cuda = model, tensors, kv, attention, cuda
        self.max_rows, self.size, self.blocks = (
            max_rows,
            tensors.block_size,
            -(-longest // tensors.block_size),
        )
        device, width = model.device, model.config.hidden_size
        self.discard_slot = -1  # where padding rows store: nowhere, or at the end of a spare block
        if not attention.backend.skips_slots:
            self.discard_slot = (tensors.num_blocks + 1) * self.size - 1
        self.numbers = torch.zeros((5, max_rows), dtype=torch.int64, device=device)
        self.numbers[2] = self.discard_slot
        self.tables = torch.zeros((max_rows, self.blocks), dtype=torch.int32, device=device)
        self.starts = torch.arange(max_rows + 1, dtype=torch.int32, device=device)
        self.last = torch.zeros(max_rows, dtype=torch.int64, device=device)
        self.hidden = torch.zeros((max_rows, width), dtype=model.dtype, device=device)
        # Whose tables lie in which rows of ``tables``.
        self.tables_on_device: dict[Request, tuple[int, list[int]]] = {}
        self.sent_ahead: SentStep | None = None
        self.after_decode = False  # the step before was a decode step, too
        self.num_ahead = self.num_served = 0
        begin = time.perf_counter()
        with gpu.no_collection():
            self.replays = {
                shape: cuda.capture(lambda shape=shape: self.work(*shape)) for shape in self.shapes()
            }
        if tensors.num_spare_blocks:
            self.settle([(tensors.num_blocks, tensors.num_blocks)])  # compiled now; it changes nothing
        self.seconds = time.perf_counter() - begin

    def __str__(self) -> str:
        rows, widths = (sorted(set(numbers)) for numbers in zip(*self.replays, strict=True))
        some = ", ".join(map(str, rows if len(rows) < 7 else [*rows[:5], "…", rows[-1]]))
        lengths = f" and {len(widths)} lengths" if len(widths) > 1 else ""
        return (
            f"decodes of {some} rows{lengths} captured in {self.seconds:.1f} s, the next step is sent ahead"
        )

    def shapes(self) -> Iterator[tuple[int, int]]:
        """Rows and blocks of the graphs to make, largest first."""
        gathers, shape = self.attention.backend.gathers, self.tensors.shape
        for rows in row_buckets(self.max_rows):
            for blocks in width_buckets(self.blocks, self.size, gathers):
                layer_nbytes = rows * blocks * self.size * shape.bytes_per_token // shape.num_layers
                if not gathers or layer_nbytes <= GATHER_BYTES:
                    yield rows, blocks

    # -- what is captured -------------------------------------------------------------------------------

    @torch.inference_mode()
    def work(self, rows: int, blocks: int) -> None:
        """One decode step of all layers, from the buffers to ``hidden``;
        no number here may come from the host.
        """
        token, position, slot, start, end = self.numbers[:, :rows]
        token = torch.where(token < 0, self.last[(-1 - token).clamp(min=0)], token)
        tables = self.tables[:rows]
        block = torch.div(slot.clamp(min=0), self.size, rounding_mode="floor").to(torch.int32)
        column = torch.div((end - 1).clamp(min=0), self.size, rounding_mode="floor")
        tables.scatter_(1, column[:, None], block[:, None])
        nothing = [0] * rows
        batch = Batch(
            token, position, slot, list(range(rows + 1)), nothing, nothing, tables[:, :blocks], self.starts
        )
        batch.decode_rows = self.starts[: rows + 1], start.to(torch.int32), end.to(torch.int32)
        self.hidden[:rows] = self.model.hidden(batch, self.kv, self.attention)

    # -- a step -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def execute(self, plan: Plan, begin: float) -> StepResult | None:
        """Tokens of a plan of decodes only, else None. begin: the step's, by ``time.perf_counter``."""
        sent, self.sent_ahead = self.sent_ahead, None
        after_decode, self.after_decode = self.after_decode, False
        rows, columns = self.layout(plan)
        if not rows or self.bucket(len(rows), max(columns)) is None:
            self.tables_on_device = {}  # their tables may grow unseen
            return None
        if sent is not None and sent.serves(plan):
            self.num_served += 1
            self.place_spares(sent, plan)
        else:
            if any(plan.moves):
                self.tensors.apply(plan.moves)
                self.tables_on_device = {}
            sent = self.send(rows, columns)
        if after_decode and plan.rows is None:
            self.sent_ahead = self.send_ahead(sent, rows)
        self.after_decode = True
        seconds = self.cuda.seconds(*sent.stamps)  # here, and only here, the host waits
        tokens = sent.tokens.tolist()
        refuse_nan(tokens, self.model.dtype)
        taken = time.perf_counter() - begin
        emitted: list[int | None] = [tokens[sent.index[request]] for request, _ in plan.extend]
        return StepResult(emitted, max(taken, seconds) if sent.ahead else taken)

    def layout(self, plan: Plan) -> tuple[list[Request], list[int]]:
        """The rows of the step and the column that each writes; no rows if the plan is not one for graphs.

        A rectangle's rows all end in one column, those that are done, too: they compute on.
        """
        for request, n in plan.extend:
            if (
                n != 1
                or request.num_computed_tokens + 1 != len(request.token_ids)
                or request.params.logprobs is not None
            ):
                return [], []
        if plan.rows is None or not plan.extend:
            rows = [request for request, _ in plan.extend]
            return rows, [request.num_computed_tokens for request in rows]
        live = plan.extend[0][0]
        return plan.rows, [live.pad + live.num_computed_tokens] * len(plan.rows)

    def bucket(self, rows: int, column: int) -> tuple[int, int] | None:
        """The smallest graph that holds so many rows up to that column."""
        need = column // self.size + 1
        return min((key for key in self.replays if key[0] >= rows and key[1] >= need), default=None)

    def place_spares(self, sent: SentStep, plan: Plan) -> None:
        """New slots in spare blocks go where the plan wants them: the first slot of a new block."""
        pairs = [
            (sent.spare[r], r.block_table[r.num_computed_tokens // self.size])
            for r, _ in plan.extend
            if r in sent.spare
        ]
        if pairs:
            self.settle(pairs)

    def settle(self, pairs: list[tuple[int, int]]) -> None:
        """Copy the first slot of one block to another, in all layers. pairs: (from, to)."""
        settle = self.attention.backend.kernels.settle or torch_settle
        settle(self.tensors.cache, on_device(list(zip(*pairs, strict=True)), torch.int64, self.model.device))

    def send_ahead(self, sent: SentStep, rows: list[Request]) -> SentStep | None:
        """The step after ``sent``, if it can be told: everybody goes on but who reaches its longest. It
        cannot where a choice depends on tokens that are not on the host yet.
        """
        going = [r for r in rows if len(r.token_ids) + 1 < r.max_num_tokens]
        columns = [r.num_computed_tokens + 1 for r in going]
        new = sum(c // self.size >= len(r.block_table) for r, c in zip(going, columns, strict=True))
        if any(r.params.follows_text for r in going):
            return None
        if (
            not going
            or self.size == 1
            or new > self.tensors.num_spare_blocks
            or not self.bucket(len(going), max(columns))
        ):
            return None
        self.num_ahead += 1
        return self.send(going, columns, sent)

    def send(self, rows: Sequence[Request], columns: list[int], before: SentStep | None = None) -> SentStep:
        """Send one step off; nothing is waited for.

        before  the step that makes this one's tokens, which are not on the host yet (None: all tokens are
        known)
        """
        count, size = len(rows), self.size
        spare: dict[Request, int] = {}
        self.place_tables(rows)
        slots = []
        for request, column in zip(rows, columns, strict=True):
            table, block = request.block_table, column // size
            if block < len(table):
                slots.append(table[block] * size + column % size)
            else:
                spare[request] = self.tensors.num_blocks + len(spare)
                slots.append(spare[request] * size)
        numbers: np.ndarray = np.zeros((5, self.max_rows), np.int64)
        numbers[2] = self.discard_slot
        numbers[0, :count] = (
            [r.token_ids[-1] for r in rows] if before is None else [-1 - before.index[r] for r in rows]
        )
        numbers[1, :count] = [
            min(max(0, c - r.pad), r.max_num_tokens - 1) for r, c in zip(rows, columns, strict=True)
        ]
        numbers[2, :count] = slots
        numbers[3, :count] = [r.pad for r in rows]
        numbers[4, :count] = np.asarray(columns) + 1
        host = pinned(numbers, self.model.device)
        bucket = self.bucket(count, max(columns))
        assert bucket is not None  # whoever sends a step has asked for it
        # Just before the launch: what the host did until now is no time of the device.
        stamp = self.cuda.stamp()
        self.numbers.copy_(host, non_blocking=True)
        self.replays[bucket]()
        tokens = choose(
            self.model.logits(self.hidden[:count], self.attention), list(rows), ahead=before is not None
        )
        # NONE would be no row of the embedding, if a step is on its way already.
        self.last[:count] = tokens.clamp(min=0)
        index, tables = (
            {request: row for row, request in enumerate(rows)},
            [request.block_table for request in rows],
        )
        return SentStep(
            index, columns, tables, spare, to_host(tokens), (stamp, self.cuda.stamp()),
            ahead=before is not None,
        )  # fmt: skip

    def place_tables(self, rows: Sequence[Request]) -> None:
        """See to it that row i of ``tables`` is that of ``rows[i]``: moved on the device if all are there."""
        before, self.tables_on_device, device = self.tables_on_device, {}, self.model.device
        found = [before.get(request) for request in rows]
        if all(
            at is not None and at[1] is request.block_table for at, request in zip(found, rows, strict=True)
        ):
            keep = [at[0] for at in found if at is not None]
            if keep != list(range(len(keep))):
                self.tables[: len(keep)] = self.tables.index_select(0, on_device(keep, torch.int64, device))
        else:
            width = min(self.blocks, max(len(request.block_table) for request in rows))
            tables: np.ndarray = np.zeros((len(rows), width), np.int32)
            for row, request in enumerate(rows):
                table = request.block_table[:width]
                tables[row, : len(table)] = table
            self.tables[: len(rows), :width] = on_device(tables, torch.int32, device)
        self.tables_on_device = {request: (row, request.block_table) for row, request in enumerate(rows)}
