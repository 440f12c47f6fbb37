"""Answers to task 11.1, ``paged_decode``: wrong ones with the words of their diagnoses, and right ones.

Most wrong ones are the first right one with a line changed.
"""

import inspect
import linecache
import os
from types import SimpleNamespace

os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported

try:
    import triton
    import triton.language as tl
except ImportError:  # the task is not graded then, and none of these is called
    triton, tl = None, SimpleNamespace(constexpr=int)


def online(
    q, k_cache, v_cache, tables, lengths, out, stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Block by block, with a running maximum."""
    row, head = tl.program_id(0), tl.program_id(1)
    d, s = tl.arange(0, DIM), tl.arange(0, SIZE)
    query = tl.load(q + (row * HEADS + head) * DIM + d)
    length = tl.load(lengths + row)
    top = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    acc = tl.zeros([DIM], tl.float32)
    for i in range(0, (length + SIZE - 1) // SIZE):
        block = tl.load(tables + row * stride + i)
        at = ((block * SIZE + s)[:, None] * KV_HEADS + head // (HEADS // KV_HEADS)) * DIM + d[None]
        here = i * SIZE + s < length
        key = tl.load(k_cache + at, mask=here[:, None], other=0.0)
        value = tl.load(v_cache + at, mask=here[:, None], other=0.0)
        score = tl.where(here, tl.sum(key * query[None], 1) * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 0))
        weight = tl.exp(score - higher)
        shrink = tl.exp(top - higher)
        total = total * shrink + tl.sum(weight, 0)
        acc = acc * shrink + tl.sum(weight[:, None] * value, 0)
        top = higher
    tl.store(out + (row * HEADS + head) * DIM + d, acc / total)


def changed(name, *changes, of=online):
    """The function ``of`` under another name, with some pieces of its source replaced."""
    source = inspect.getsource(of)
    for old, new in ((f"def {of.__name__}(", f"def {name}("), *changes):
        assert source.count(old) >= 1, old
        source = source.replace(old, new)
    label = f"<answer {name}>"
    linecache.cache[label] = (len(source), None, source.splitlines(True), label)
    space = {"tl": tl}
    exec(compile(source, label, "exec"), space)
    return space[name]


MASKED = 'tl.where(here, tl.sum(key * query[None], 1) * scale, float("-inf"))'
HERE = "here = i * SIZE + s < length"
KV_HEAD = "head // (HEADS // KV_HEADS)"
BLOCK = "block = tl.load(tables + row * stride + i)"
STORE = "tl.store(out + (row * HEADS + head) * DIM + d, acc / total)"
BLOCKS = "range(0, (length + SIZE - 1) // SIZE)"
HIGHER = "higher = tl.maximum(top, tl.max(score, 0))"

no_mask = changed("no_mask", (HERE, "here = s >= 0"))
one_too_many = changed("one_too_many", (HERE, "here = i * SIZE + s <= length"), (BLOCKS, "range(0, length // SIZE + 1)"))
full_blocks_only = changed("full_blocks_only", (BLOCKS, "range(0, length // SIZE)"))
zeros_take_part = changed("zeros_take_part", (MASKED, "tl.sum(key * query[None], 1) * scale"))
own_kv_head = changed("own_kv_head", (KV_HEAD, "head"))
dealt_kv_head = changed("dealt_kv_head", (KV_HEAD, "head % KV_HEADS"))
no_scale = changed("no_scale", (" * scale,", ","))
first_table = changed("first_table", (BLOCK, "block = tl.load(tables + i)"))
no_stride = changed("no_stride", (BLOCK, "block = tl.load(tables + row + i)"))
one_head_a_slot = changed("one_head_a_slot", ("[:, None] * KV_HEADS + head", "[:, None] + head"))
table_ignored = changed("table_ignored", (BLOCK, "block = i"))
no_rescale = changed("no_rescale", ("acc = acc * shrink", "acc = acc"), ("total = total * shrink", "total = total"))
result_left = changed("result_left", ("acc = acc * shrink", "acc = acc"))
sum_left = changed("sum_left", ("total = total * shrink", "total = total"))
not_divided = changed("not_divided", ("acc / total", "acc"))
first_query = changed("first_query", ("q + (row * HEADS + head) * DIM", "q + head * DIM"))
from_zero = changed("from_zero", ('top = tl.full([], float("-inf"), tl.float32)', "top = tl.zeros([], tl.float32)"))
no_maximum = changed(
    "no_maximum", (HIGHER, "higher = top"), ('top = tl.full([], float("-inf"), tl.float32)', "top = tl.zeros([], tl.float32)")
)
in_half = changed(
    "in_half", ("tl.sum(weight[:, None] * value, 0)", "tl.sum((weight[:, None] * value).to(tl.float16), 0).to(tl.float32)")
)
nothing_stored = changed("nothing_stored", (STORE, "pass"))
stored_by_row = changed("stored_by_row", (STORE, "tl.store(out + row * HEADS * DIM + d, acc / total)"))
not_aligned = changed("not_aligned", ("key * query[None]", "key * query[:, None]"))


def walk(
    q, k_cache, v_cache, tables, lengths, out, stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Token by token, no tiles."""
    row, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, DIM)
    query = tl.load(q + (row * HEADS + head) * DIM + d) * scale
    top, total, acc = float("-inf"), 0.0, tl.zeros([DIM], tl.float32)
    for t in range(0, tl.load(lengths + row)):
        block = tl.load(tables + row * stride + t // SIZE)
        at = ((block * SIZE + t % SIZE) * KV_HEADS + head * KV_HEADS // HEADS) * DIM + d
        score = tl.sum(tl.load(k_cache + at) * query, 0)
        higher = tl.maximum(top, score)
        old, new = tl.exp(top - higher), tl.exp(score - higher)
        total, acc, top = total * old + new, acc * old + tl.load(v_cache + at) * new, higher
    tl.store(out + (row * HEADS + head) * DIM + d, acc / total)


def two_passes(
    q, k_cache, v_cache, tables, lengths, out, stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The largest score first, then everything else: nothing is rescaled."""
    row, head = tl.program_id(0), tl.program_id(1)
    group: tl.constexpr = HEADS // KV_HEADS
    d, s = tl.arange(0, DIM), tl.arange(0, SIZE)
    query = tl.load(q + (row * HEADS + head) * DIM + d)[None]
    length = tl.load(lengths + row)
    blocks = (length + SIZE - 1) // SIZE
    top = float("-inf")
    for i in range(blocks):
        at = ((tl.load(tables + row * stride + i) * SIZE + s)[:, None] * KV_HEADS + head // group) * DIM + d[None]
        score = tl.sum(tl.load(k_cache + at) * query, 1) * scale
        top = tl.maximum(top, tl.max(tl.where(s < length - i * SIZE, score, float("-inf")), 0))
    total, acc = 0.0, tl.zeros([DIM], tl.float32)
    for i in range(blocks):
        at = ((tl.load(tables + row * stride + i) * SIZE + s)[:, None] * KV_HEADS + head // group) * DIM + d[None]
        score = tl.sum(tl.load(k_cache + at) * query, 1) * scale
        weight = tl.where(s < length - i * SIZE, tl.exp(score - top), 0.0)
        total += tl.sum(weight, 0)
        acc += tl.sum(weight[:, None] * tl.load(v_cache + at), 0)
    tl.store(out + (row * HEADS + head) * DIM + d, acc / total)


def backwards(
    q, k_cache, v_cache, tables, lengths, out, stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """From the last block to the first, powers of two, and the result is a mean that is moved along."""
    row, head = tl.program_id(0), tl.program_id(1)
    d, s = tl.arange(0, DIM), tl.arange(0, SIZE)
    query = tl.load(q + (row * HEADS + head) * DIM + d)
    length = tl.load(lengths + row)
    last = (length - 1) // SIZE
    log_total, mean = float("-inf"), tl.zeros([DIM], tl.float32)
    for back in range(last + 1):
        i = last - back
        block = tl.load(tables + row * stride + i)
        at = (block * SIZE * KV_HEADS + head // (HEADS // KV_HEADS)) * DIM + s[:, None] * (KV_HEADS * DIM) + d[None]
        held = s < length - i * SIZE
        score = tl.sum(tl.load(k_cache + at, mask=held[:, None], other=0.0) * query[None], 1) * scale * 1.4426950408889634
        score = tl.where(held, score, float("-inf"))
        top = tl.maximum(log_total, tl.max(score, 0))
        total = tl.exp2(log_total - top) + tl.sum(tl.exp2(score - top), 0)
        now = top + tl.log2(total)
        value = tl.load(v_cache + at, mask=held[:, None], other=0.0)
        mean = mean * tl.exp2(log_total - now) + tl.sum(tl.exp2(score - now)[:, None] * value, 0)
        log_total = now
    tl.store(out + (row * HEADS + head) * DIM + d, mean)


def in_halves(
    q, k_cache, v_cache, tables, lengths, out, stride, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Two pieces, each by itself, joined at the end, as long rows are split on a GPU."""
    row, head = tl.program_id(0), tl.program_id(1)
    d, s = tl.arange(0, DIM), tl.arange(0, SIZE)
    query = tl.load(q + (row * HEADS + head) * DIM + d)
    length = tl.load(lengths + row)
    blocks = (length + SIZE - 1) // SIZE
    best, weights, result = float("-inf"), 0.0, tl.zeros([DIM], tl.float32)
    for piece in range(2):
        top, total, acc = -1.0e30, 0.0, tl.zeros([DIM], tl.float32)
        for i in range(piece * ((blocks + 1) // 2), blocks if piece else (blocks + 1) // 2):
            at = ((tl.load(tables + row * stride + i) * SIZE + s)[:, None] * KV_HEADS + head // (HEADS // KV_HEADS)) * DIM + d[
                None
            ]
            score = tl.where(i * SIZE + s < length, tl.sum(tl.load(k_cache + at) * query[None], 1) * scale, float("-inf"))
            higher = tl.maximum(top, tl.max(score, 0))
            weight = tl.exp(score - higher)
            total = total * tl.exp(top - higher) + tl.sum(weight, 0)
            acc = acc * tl.exp(top - higher) + tl.sum(weight[:, None] * tl.load(v_cache + at), 0)
            top = higher
        highest = tl.maximum(best, top)
        weights = weights * tl.exp(best - highest) + total * tl.exp(top - highest)
        result = result * tl.exp(best - highest) + acc * tl.exp(top - highest)
        best = highest
    tl.store(out + (row * HEADS + head) * DIM + d, result / weights)


def decorated(*arguments):
    """What ``@triton.jit`` above the function makes."""


if triton is not None:
    decorated = triton.jit(changed("decorated", ("top = higher", "top = higher + 0.0")))

WRONG = [
    (no_mask, "the slots behind the last token take part: the block's"),
    (one_too_many, "one token too many takes part"),
    (full_blocks_only, "the last block is missing"),
    (zeros_take_part, "take part with a score of 0"),
    (own_kv_head, "taken for that of the K/V head"),
    (dealt_kv_head, "dealt out to the query heads in turn"),
    (no_scale, "not multiplied by scale"),
    (first_table, "through the table of row 0"),
    (no_stride, "as if they began one entry apart"),
    (one_head_a_slot, "if every slot held one K/V head"),
    (table_ignored, "the block table is not asked"),
    (no_rescale, "still stands relative to the old maximum"),
    (result_left, "the result so far is not"),
    (sum_left, "the sum of the weights is not"),
    (not_divided, "nobody divides by the sum"),
    (first_query, "the query of row 0"),
    (from_zero, "The running maximum was 0 before"),
    (no_maximum, "with nothing taken off"),
    (in_half, "right to two or three digits only"),
    (nothing_stored, "nothing was written"),
    (stored_by_row, "nobody has written here"),
    (not_aligned, "do not fit together"),
]

RIGHT = [online, walk, two_passes, backwards, in_halves, decorated]
