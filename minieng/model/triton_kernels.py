"""Paged attention on a GPU: one kernel that stores, one that attends, one that joins the parts of long rows.

The attention kernel serves prompts, chunks and decodes alike. One program handles BLOCK_M query rows of one K/V
head. A row is one query token with one of the head's query heads, so a decode of a model with grouped queries
fills the tensor core's 16 rows at least in part, and each key is read once for all of them:

    rows of a program     token 0: head 0, head 1, (padding) · token 1: head 0, head 1, (padding) · …
    keys                  walked in tiles through the block table, from the first visible slot to the last
    long decode rows      cut every SPLIT slots; each piece is a program of its own, ``_join`` puts them together

Everything that decides how a row is summed up (tile size, SPLIT) is a constant, so a result never depends on the
neighbours in the batch. The grid is an upper bound computed from sizes the host knows: nothing waits for the GPU.

Loads are made float32 before any arithmetic but the matrix products: Triton's interpreter, in which these kernels
are tested without a GPU, is silently wrong on bfloat16.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .attention import Batch, LayerKV

BLOCK_M = 16  # query rows of a program: the least that tl.dot takes
TILE = 32  # keys that are looked at together
SPLIT = 512  # slots of KV in one piece of a decode row


@triton.jit
def _store(k, v, k_cache, v_cache, slots, k_stride, v_stride, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Copy one token's keys and values, WIDTH numbers each, to its slot. Slot −1 (a padding row of a graph) is skipped."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token).to(tl.int64)
    if slot < 0:
        return
    column = tl.arange(0, PADDED)
    inside = column < WIDTH
    tl.store(k_cache + slot * WIDTH + column, tl.load(k + token * k_stride + column, mask=inside), mask=inside)
    tl.store(v_cache + slot * WIDTH + column, tl.load(v + token * v_stride + column, mask=inside), mask=inside)


@triton.jit
def _row_of(starts, block, num_rows, BLOCK_Q: tl.constexpr):
    """The request whose query block this is: the last row r with starts[r] // BLOCK_Q + r <= block (binary search)."""
    low, high = 0, num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(starts + middle) // BLOCK_Q + middle <= block:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def _attend(
    q, k_cache, v_cache, out, part, part_max, part_sum, tables, starts, kv_starts, kv_ends, num_rows, q_stride, table_stride,
    scale, softcap, window,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, GROUP_PADDED: tl.constexpr, DIM: tl.constexpr,
    DIM_PADDED: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_M: tl.constexpr, TILE: tl.constexpr, SPLIT: tl.constexpr,
    PIECES: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """softmax(q·kᵀ)·v for one block of query rows, over all visible keys or over one piece of them.

    q, out [T, HEADS, DIM]; caches [blocks, BLOCK_SIZE, KV_HEADS, DIM]; tables [rows, table_stride]; starts [rows + 1].
    part [rows, HEADS, PIECES, DIM] with part_max and part_sum [rows, HEADS, PIECES]: where pieces of long rows go.
    """
    block, head, piece = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    BLOCK_Q: tl.constexpr = BLOCK_M // GROUP_PADDED
    row = _row_of(starts, block, num_rows, BLOCK_Q)
    first = tl.load(starts + row)
    length = tl.load(starts + row + 1) - first
    begin = (block - first // BLOCK_Q - row) * BLOCK_Q  # first query token of this block within its row
    if begin >= length:
        return
    kv_end, kv_start = tl.load(kv_ends + row), tl.load(kv_starts + row)
    pieces = tl.where(length == 1, tl.minimum((kv_end + SPLIT - 1) // SPLIT, PIECES), 1)
    if piece >= pieces:
        return

    line = tl.arange(0, BLOCK_M)
    token, group = begin + line // GROUP_PADDED, line % GROUP_PADDED
    real = (token < length) & (group < GROUP)
    position = kv_end - length + token  # slot of the query itself
    column = tl.arange(0, DIM_PADDED)
    inside = column < DIM
    q_at = (first + token).to(tl.int64) * q_stride + (head * GROUP + group) * DIM
    query = tl.load(q + q_at[:, None] + column[None], mask=real[:, None] & inside[None], other=0.0)

    low, high = kv_start, tl.minimum(kv_end, kv_end - length + begin + BLOCK_Q)
    if window > 0:
        low = tl.maximum(low, kv_end - length + begin - window + 1)
    if pieces > 1:
        low, high = tl.maximum(low, piece * SPLIT), tl.minimum(high, (piece + 1) * SPLIT)

    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    result = tl.zeros([BLOCK_M, DIM_PADDED], tl.float32)
    for tile in range(low // TILE * TILE, high, TILE):
        slot = tile + tl.arange(0, TILE)
        held = (slot >= low) & (slot < high)
        page = tl.load(tables + row * table_stride + slot // BLOCK_SIZE, mask=held, other=0).to(tl.int64)
        at = (page * BLOCK_SIZE + slot % BLOCK_SIZE) * (KV_HEADS * DIM) + head * DIM
        key = tl.load(k_cache + at[None] + column[:, None], mask=held[None] & inside[:, None], other=0.0)
        if EXACT:
            scores = tl.dot(query.to(tl.float32), key.to(tl.float32), input_precision="ieee") * scale
        else:
            scores = tl.dot(query, key).to(tl.float32) * scale
        if softcap > 0:
            scaled = tl.exp(-2.0 * tl.abs(scores / softcap))  # tanh, written so that nothing overflows
            scores = softcap * tl.where(scores < 0, -1.0, 1.0) * (1.0 - scaled) / (1.0 + scaled)
        seen = held[None] & (slot[None] <= position[:, None]) & real[:, None]
        if window > 0:
            seen = seen & (slot[None] > position[:, None] - window)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)  # a row that has seen nothing yet
        weight = tl.exp(scores - safe[:, None])
        shrink = tl.exp(top - safe)
        value = tl.load(v_cache + at[:, None] + column[None], mask=held[:, None] & inside[None], other=0.0)
        if EXACT:
            gained = tl.dot(weight, value.to(tl.float32), input_precision="ieee")
        else:
            gained = tl.dot(weight.to(value.dtype), value).to(tl.float32)
        result = result * shrink[:, None] + gained
        total = total * shrink + tl.sum(weight, 1)
        top = higher

    where_to = head * GROUP + group
    if pieces == 1:
        result = result / tl.where(total == 0, 1.0, total)[:, None]
        at = (first + token).to(tl.int64) * (HEADS * DIM) + where_to * DIM
        tl.store(out + at[:, None] + column[None], result.to(out.dtype.element_ty), mask=real[:, None] & inside[None])
    else:
        at = (row.to(tl.int64) * HEADS + where_to) * PIECES + piece
        tl.store(part + at[:, None] * DIM + column[None], result, mask=real[:, None] & inside[None])
        tl.store(part_max + at, top, mask=real)
        tl.store(part_sum + at, total, mask=real)


@triton.jit
def _join(
    out, part, part_max, part_sum, starts, kv_ends, HEADS: tl.constexpr, DIM: tl.constexpr, DIM_PADDED: tl.constexpr,
    SPLIT: tl.constexpr, PIECES: tl.constexpr, PIECES_PADDED: tl.constexpr,
):  # fmt: skip
    """Put the pieces of one long decode row and head together; rows in one piece are written already."""
    row, head = tl.program_id(0), tl.program_id(1)
    first = tl.load(starts + row)
    length = tl.load(starts + row + 1) - first
    pieces = tl.minimum((tl.load(kv_ends + row) + SPLIT - 1) // SPLIT, PIECES)
    if (length != 1) | (pieces <= 1):
        return
    piece, column = tl.arange(0, PIECES_PADDED), tl.arange(0, DIM_PADDED)
    there, inside = piece < pieces, column < DIM
    at = (row.to(tl.int64) * HEADS + head) * PIECES + piece
    top = tl.load(part_max + at, mask=there, other=float("-inf"))
    share = tl.exp(top - tl.max(top, 0))  # 0 for a piece that lies wholly outside the window
    total = tl.sum(share * tl.load(part_sum + at, mask=there, other=0.0), 0)
    values = tl.load(part + at[:, None] * DIM + column[None], mask=there[:, None] & inside[None], other=0.0)
    result = tl.sum(values * share[:, None], 0) / total
    tl.store(out + (first.to(tl.int64) * HEADS + head) * DIM + column, result.to(out.dtype.element_ty), mask=inside)


def store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, slots: torch.Tensor) -> None:
    """Write keys and values [T, kv_heads, dim] into their slots [T]; slot −1 is skipped."""
    width = k.shape[1] * k.shape[2]
    k, v = (x if x[0].is_contiguous() else x.contiguous() for x in (k, v))
    if len(k):
        _store[(len(k),)](
            k, v, layer.k, layer.v, slots, k.stride(0), v.stride(0), WIDTH=width, PADDED=triton.next_power_of_2(width)
        )


def attend(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "triton". q [T, heads, dim]; the step's keys and values are stored already. Returns [T, heads, dim]."""
    starts, kv_starts, kv_ends = row_numbers(batch, q.device)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    longest = batch.tables.shape[1] * layer.k.shape[1]
    launch(q, out, layer, batch.tables, starts, kv_starts, kv_ends, longest, {})
    return out


def row_numbers(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows' starts, first and last slots as int32 tensors, moved to the device once a step."""
    if "rows" not in batch.scratch:
        lists = (batch.q_starts, batch.kv_starts, batch.kv_ends)
        batch.scratch["rows"] = tuple(torch.tensor(x, dtype=torch.int32, device=device) for x in lists)
    return batch.scratch["rows"]


def launch(
    q: torch.Tensor, out: torch.Tensor, layer: LayerKV, tables: torch.Tensor, starts: torch.Tensor, kv_starts: torch.Tensor,
    kv_ends: torch.Tensor, longest: int, scratch: dict,
) -> None:  # fmt: skip
    """Launch with tensors only, so that a CUDA graph can hold it.

    longest  slots that a row may have at most (fixes the number of pieces)
    scratch  keeps the partial results' memory between launches of the same size
    """
    tokens, heads, dim = q.shape
    rows, kv_heads = len(kv_ends), layer.k.shape[2]
    group = heads // kv_heads
    group_padded = triton.next_power_of_2(group)
    block_m = max(BLOCK_M, group_padded)
    pieces = -(-longest // SPLIT)
    size = (rows, heads, pieces)
    if size not in scratch:
        scratch[size] = tuple(
            torch.empty(shape, dtype=torch.float32, device=q.device) for shape in ((*size, dim), size, size)
        )
    part, part_max, part_sum = scratch[size]
    dims = {"DIM": dim, "DIM_PADDED": max(16, triton.next_power_of_2(dim)), "SPLIT": SPLIT, "PIECES": pieces}
    if not q[0].is_contiguous():
        q = q.contiguous()
    _attend[(tokens // (block_m // group_padded) + rows, kv_heads, pieces)](
        q, layer.k, layer.v, out, part, part_max, part_sum, tables, starts, kv_starts, kv_ends, rows, q.stride(0),
        tables.stride(0), layer.scale, layer.softcap or 0.0, layer.window or 0,
        HEADS=heads, KV_HEADS=kv_heads, GROUP=group, GROUP_PADDED=group_padded, BLOCK_SIZE=layer.k.shape[1],
        BLOCK_M=block_m, TILE=TILE, EXACT=q.dtype == torch.float32, **dims,
    )  # fmt: skip
    if pieces > 1:
        _join[(rows, heads)](
            out, part, part_max, part_sum, starts, kv_ends, HEADS=heads, PIECES_PADDED=triton.next_power_of_2(pieces), **dims
        )
