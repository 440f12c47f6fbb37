"""Paged attention on a GPU: one kernel that stores, one that attends, one that joins the parts of long rows.

The attention kernel serves prompts, chunks and decodes alike; decodes in a launch of their own, since their
blocks are small. One program handles BLOCK_M query rows of one K/V head. A row is one query token with one of
the head's query heads, so a decode of a model with grouped queries fills the tensor core's 16 rows at least
in part, and each key is read once for all of them:

    rows of a program     token 0: head 0, head 1, (padding) · token 1: head 0, head 1, (padding) · …
    keys                  walked in tiles through the block table, from the first visible slot to the last
    long decode rows      cut every SPLIT slots, or into MAX_PIECES if that is more; ``_join`` puts the pieces
    together

What decides how a row is summed up (block and tile size, where it is cut) is a constant or follows from the
row's own length, so a result never depends on the neighbours in the batch. How many programs share a row's
pieces does depend on them (few rows: one piece each), but each piece is summed by itself, so that changes
nothing but the time it takes. The grid is an upper bound computed from sizes the host knows: nothing waits
for the GPU.

Loads are made float32 before any arithmetic but the matrix products: Triton's interpreter, in which these
kernels are tested without a GPU, is silently wrong on bfloat16.
"""

from __future__ import annotations

import functools
import itertools

import torch
import triton
import triton.language as tl

from .. import gpu
from .batch import Batch, LayerKV, Rows
from .transfer import on_device

# benchmarks/gpu.py --only attention tries others on the GPU at hand
BLOCK_M = 16  # query rows of a program for decodes: the least that tl.dot takes
PROMPT_M = 64  # and for longer rows, where tensor cores multiply: keys are read once for so many
TILE = 64  # keys that are looked at together, where a key has 256 bytes or less
SPLIT = 256  # slots of KV in one piece of a decode row
MAX_PIECES = 32  # a power of two; longer rows have longer pieces
PROGRAMS = 4096  # with fewer, a row's pieces are shared out: some 30 for each processor of a large GPU
WARPS, STAGES = 4, 3


@triton.jit
def _store(k, v, k_cache, v_cache, slots, k_stride, v_stride, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Copy one token's keys and values, WIDTH numbers each, to its slot, but for slot −1 (padding)."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token).to(tl.int64)
    if slot < 0:
        return
    column = tl.arange(0, PADDED)
    inside = column < WIDTH
    tl.store(
        k_cache + slot * WIDTH + column, tl.load(k + token * k_stride + column, mask=inside), mask=inside
    )
    tl.store(
        v_cache + slot * WIDTH + column, tl.load(v + token * v_stride + column, mask=inside), mask=inside
    )


@triton.jit(do_not_specialize=["num_pairs"])
def _settle(
    cache, pairs, num_pairs, plane_stride, WIDTH: tl.constexpr, BLOCK_SIZE: tl.constexpr, PADDED: tl.constexpr
):
    """Copy slot 0 of block pairs[0, i] to block pairs[1, i] in one plane: keys or values of one layer."""
    pair, plane = tl.program_id(0), tl.program_id(1).to(tl.int64)
    source, target = tl.load(pairs + pair).to(tl.int64), tl.load(pairs + num_pairs + pair).to(tl.int64)
    column = tl.arange(0, PADDED)
    inside = column < WIDTH
    at = cache + plane * plane_stride + column
    tl.store(
        at + target * (BLOCK_SIZE * WIDTH),
        tl.load(at + source * (BLOCK_SIZE * WIDTH), mask=inside),
        mask=inside,
    )


@triton.jit
def _row_of(starts, block, num_rows, BLOCK_Q: tl.constexpr):
    """The request whose query block this is:
    the last row r with starts[r] // BLOCK_Q + r <= block (binary search).
    """
    low, high = 0, num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(starts + middle) // BLOCK_Q + middle <= block:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def _pieces(kv_end, length, SPLIT: tl.constexpr, MAX_PIECES: tl.constexpr, TILE: tl.constexpr):
    """Slots in a piece of this row, whole tiles, and how many pieces: one for anything but a decode."""
    split = tl.maximum(SPLIT, (kv_end + MAX_PIECES * TILE - 1) // (MAX_PIECES * TILE) * TILE)
    return split, tl.where(length == 1, tl.maximum((kv_end + split - 1) // split, 1), 1)


@triton.jit
def _product(a, b, EXACT: tl.constexpr):
    """a·b in fp32; EXACT: also multiplied in fp32, where tensor cores would round to TF32."""
    if EXACT:
        result = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        result = tl.dot(a, b).to(tl.float32)
    return result


@triton.jit
def _capped(scores, softcap):
    """softcap · tanh(scores / softcap), written so that nothing overflows."""
    scaled = tl.exp(-2.0 * tl.abs(scores / softcap))
    return softcap * tl.where(scores < 0, -1.0, 1.0) * (1.0 - scaled) / (1.0 + scaled)


@triton.jit(do_not_specialize=["num_rows", "table_stride", "max_pieces"])
def _attend(
    q, k_cache, v_cache, out, part, part_max, part_sum, tables, starts, kv_starts, kv_ends, num_rows,
    q_stride, table_stride, max_pieces, scale, softcap,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, GROUP_PADDED: tl.constexpr,
    DIM: tl.constexpr, DIM_PADDED: tl.constexpr, BLOCK_SIZE: tl.constexpr, BLOCK_M: tl.constexpr,
    TILE: tl.constexpr, SPLIT: tl.constexpr, MAX_PIECES: tl.constexpr, EXACT: tl.constexpr,
    DECODES: tl.constexpr, CAPPED: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    """softmax(q·kᵀ)·v for one block of query rows, over all visible keys or piece by piece.

    q, out [T, HEADS, DIM]; caches [blocks, BLOCK_SIZE, KV_HEADS, DIM]; tables [rows, table_stride]; starts
    [rows + 1]. part [rows, HEADS, max_pieces, DIM], part_max and part_sum [rows, HEADS, max_pieces]: where
    pieces of long rows go.
    DECODES: a program for each row, and only those of one token are computed; else only the longer ones.
    """
    block, head = tl.program_id(0), tl.program_id(1)
    BLOCK_Q: tl.constexpr = BLOCK_M // GROUP_PADDED
    row = block
    if not DECODES:
        row = _row_of(starts, block, num_rows, BLOCK_Q)
    first = tl.load(starts + row)
    length = tl.load(starts + row + 1) - first
    begin = 0  # first query token of this block within its row
    if not DECODES:
        begin = (block - first // BLOCK_Q - row) * BLOCK_Q
    if (begin >= length) | ((length == 1) != DECODES):
        return
    kv_end, kv_start = tl.load(kv_ends + row), tl.load(kv_starts + row)
    split, pieces = _pieces(kv_end, length, SPLIT, MAX_PIECES, TILE)
    if tl.program_id(2) >= pieces:
        return

    line = tl.arange(0, BLOCK_M)
    token, group = begin + line // GROUP_PADDED, line % GROUP_PADDED
    real = (token < length) & (group < GROUP)
    position = kv_end - length + token  # slot of the query itself
    column = tl.arange(0, DIM_PADDED)
    inside = column < DIM
    q_at = (first + token).to(tl.int64) * q_stride + (head * GROUP + group) * DIM
    query = tl.load(q + q_at[:, None] + column[None], mask=real[:, None] & inside[None], other=0.0)

    start, end = kv_start, tl.minimum(kv_end, kv_end - length + begin + BLOCK_Q)
    if WINDOW > 0:
        start = tl.maximum(start, kv_end - length + begin - WINDOW + 1)
    where_to = head * GROUP + group
    for piece in range(tl.program_id(2), pieces, tl.num_programs(2)):
        low, high = start, end
        if pieces > 1:
            low, high = tl.maximum(start, piece * split), tl.minimum(end, (piece + 1) * split)
        top = tl.full([BLOCK_M], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_M], tl.float32)
        result = tl.zeros([BLOCK_M, DIM_PADDED], tl.float32)
        for tile in range(low // TILE * TILE, high, TILE):
            slot = tile + tl.arange(0, TILE)
            held = (slot >= low) & (slot < high)
            page = tl.load(tables + row * table_stride + slot // BLOCK_SIZE, mask=held, other=0).to(tl.int64)
            at = (page * BLOCK_SIZE + slot % BLOCK_SIZE) * (KV_HEADS * DIM) + head * DIM
            key = tl.load(k_cache + at[None] + column[:, None], mask=held[None] & inside[:, None], other=0.0)
            scores = _product(query, key, EXACT) * scale
            if CAPPED:
                scores = _capped(scores, softcap)
            seen = held[None] & (slot[None] <= position[:, None]) & real[:, None]
            if WINDOW > 0:
                seen = seen & (slot[None] > position[:, None] - WINDOW)
            scores = tl.where(seen, scores, float("-inf"))
            higher = tl.maximum(top, tl.max(scores, 1))
            safe = tl.where(higher == float("-inf"), 0.0, higher)  # a row that has seen nothing yet
            weight = tl.exp(scores - safe[:, None])
            shrink = tl.exp(top - safe)
            value = tl.load(
                v_cache + at[:, None] + column[None], mask=held[:, None] & inside[None], other=0.0
            )
            gained = _product(weight.to(value.dtype), value, EXACT)
            result = result * shrink[:, None] + gained
            total = total * shrink + tl.sum(weight, 1)
            top = higher

        if pieces == 1:
            result = result / tl.where(total == 0, 1.0, total)[:, None]
            at = (first + token).to(tl.int64) * (HEADS * DIM) + where_to * DIM
            tl.store(
                out + at[:, None] + column[None],
                result.to(out.dtype.element_ty),
                mask=real[:, None] & inside[None],
            )
        else:
            at = (row.to(tl.int64) * HEADS + where_to) * max_pieces + piece
            tl.store(part + at[:, None] * DIM + column[None], result, mask=real[:, None] & inside[None])
            tl.store(part_max + at, top, mask=real)
            tl.store(part_sum + at, total, mask=real)


@triton.jit(do_not_specialize=["max_pieces"])
def _join(
    out, part, part_max, part_sum, starts, kv_ends, max_pieces, HEADS: tl.constexpr, DIM: tl.constexpr,
    DIM_PADDED: tl.constexpr, SPLIT: tl.constexpr, MAX_PIECES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Put the pieces of one long decode row and head together; rows in one piece are written already."""
    row, head = tl.program_id(0), tl.program_id(1)
    first = tl.load(starts + row)
    length = tl.load(starts + row + 1) - first
    _, pieces = _pieces(tl.load(kv_ends + row), length, SPLIT, MAX_PIECES, TILE)
    if pieces <= 1:
        return
    piece, column = tl.arange(0, MAX_PIECES), tl.arange(0, DIM_PADDED)
    there, inside = piece < pieces, column < DIM
    at = (row.to(tl.int64) * HEADS + head) * max_pieces + piece
    top = tl.load(part_max + at, mask=there, other=float("-inf"))
    share = tl.exp(top - tl.max(top, 0))  # 0 for a piece that lies wholly outside the window
    total = tl.sum(share * tl.load(part_sum + at, mask=there, other=0.0), 0)
    values = tl.load(part + at[:, None] * DIM + column[None], mask=there[:, None] & inside[None], other=0.0)
    result = tl.sum(values * share[:, None], 0) / total
    tl.store(
        out + (first.to(tl.int64) * HEADS + head) * DIM + column, result.to(out.dtype.element_ty), mask=inside
    )


def triton_store(k: torch.Tensor, v: torch.Tensor, layer: LayerKV, batch: Batch) -> None:
    """Write the step's keys and values [T, kv_heads, dim] into their slots; slot −1 is skipped."""
    if k.is_cuda and triton.knobs.runtime.interpret:
        raise RuntimeError(
            "TRITON_INTERPRET=1 is set in this process, so Triton computes on the host: unset it"
        )
    width = k.shape[1] * k.shape[2]
    k, v = (x if x[0].is_contiguous() else x.contiguous() for x in (k, v))
    if len(k):
        _store[(len(k),)](
            k,
            v,
            layer.k,
            layer.v,
            batch.slots,
            k.stride(0),
            v.stride(0),
            WIDTH=width,
            PADDED=triton.next_power_of_2(width),
        )


def triton_settle(cache: torch.Tensor, pairs: torch.Tensor) -> None:
    """``torch_settle`` in one launch: torch's own takes one for each 2 GiB of a large cache, twice."""
    layers, _, _, size, kv_heads, dim = cache.shape
    width = kv_heads * dim
    _settle[(pairs.shape[1], 2 * layers)](
        cache,
        pairs,
        pairs.shape[1],
        cache.stride(1),
        WIDTH=width,
        BLOCK_SIZE=size,
        PADDED=triton.next_power_of_2(width),
    )


def triton_attend(q: torch.Tensor, layer: LayerKV, batch: Batch) -> torch.Tensor:
    """Backend "triton". q [T, heads, dim]; the step's keys and values are stored already. Returns [T,
    heads, dim].

    Launches with tensors only where ``batch.decode_rows`` has them already, so that a CUDA graph can hold it.
    """
    starts, kv_starts, kv_ends = row_numbers(batch, q.device)
    q = q if q[0].is_contiguous() else q.contiguous()
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    tokens, heads, dim = q.shape
    rows = batch.num_rows
    block_size, kv_heads = layer.k.shape[1:3]
    group_padded, exact = triton.next_power_of_2(heads // kv_heads), q.dtype == torch.float32
    prompt_m = PROMPT_M if not exact and tensor_cores(q.device) else BLOCK_M
    pieces = min(MAX_PIECES, -(-batch.tables.shape[1] * block_size // SPLIT))  # at most, of any row
    part, part_max, part_sum = parts(batch, (rows, heads, pieces), dim, q.device)
    padded = max(16, triton.next_power_of_2(dim))
    tile = max(16, TILE * 256 // max(256, padded * q.element_size()))
    dims = {"DIM": dim, "DIM_PADDED": padded, "SPLIT": SPLIT, "MAX_PIECES": MAX_PIECES, "TILE": tile}
    for decodes in kinds(batch, tokens):
        block_m = max(BLOCK_M if decodes else prompt_m, group_padded)
        blocks = rows if decodes else tokens // (block_m // group_padded) + rows
        shared = min(pieces, max(1, PROGRAMS // (blocks * kv_heads))) if decodes else 1
        _attend[(blocks, kv_heads, shared)](
            q, layer.k, layer.v, out, part, part_max, part_sum, batch.tables, starts, kv_starts, kv_ends,
            rows, q.stride(0), batch.tables.stride(0), pieces, layer.scale, layer.softcap or 0.0,
            HEADS=heads, KV_HEADS=kv_heads, GROUP=heads // kv_heads, GROUP_PADDED=group_padded,
            BLOCK_SIZE=block_size, BLOCK_M=block_m, EXACT=exact, DECODES=decodes,
            CAPPED=layer.softcap is not None, WINDOW=layer.window or 0, **dims,
            num_warps=WARPS if block_m * padded <= 64 * 128 else 2 * WARPS, num_stages=STAGES,
        )  # fmt: skip
    if pieces > 1 and decodes:
        _join[(rows, heads)](out, part, part_max, part_sum, starts, kv_ends, pieces, HEADS=heads, **dims)
    return out


@functools.cache
def tensor_cores(device: torch.device) -> bool:
    """Whether Triton multiplies half precision on the tensor cores: not before sm_80.
    The interpreter does as later GPUs do.
    """
    return not gpu.is_gpu(device) or torch.cuda.get_device_capability(device) >= (8, 0)


def kinds(batch: Batch, tokens: int) -> tuple[bool, ...]:
    """The launches that the step needs, in their order: for rows longer than one token (False),
    for the others (True).
    """
    if batch.kinds is None:
        ones = tokens == batch.num_rows or any(b - a == 1 for a, b in itertools.pairwise(batch.q_starts))
        batch.kinds = (*(() if tokens == batch.num_rows else (False,)), *((True,) if ones else ()))
    return batch.kinds


def row_numbers(batch: Batch, device: torch.device) -> Rows:
    """The rows' starts, first and last slots as int32 tensors, moved to the device once a step."""
    if batch.decode_rows is not None:
        return batch.decode_rows
    if batch.rows is None:
        starts, kv_starts, kv_ends = (
            on_device(x, torch.int32, device) for x in (batch.q_starts, batch.kv_starts, batch.kv_ends)
        )
        batch.rows = starts, kv_starts, kv_ends
    return batch.rows


def parts(
    batch: Batch, size: tuple[int, int, int], dim: int, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Where pieces of long rows are put down: sums, largest scores, weights.
    All layers of a step use the same.
    """
    if batch.parts is None:
        batch.parts = tuple(
            torch.empty(shape, dtype=torch.float32, device=device) for shape in ((*size, dim), size, size)
        )
    return batch.parts
