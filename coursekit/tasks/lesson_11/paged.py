"""The numbers of a paged cache for task 11.1, attention over them in plain numpy, and what each mistake would give.

Everything follows from a few whole numbers, so that a call is short to tell and the same on every machine.
"""

import random
from collections.abc import Callable
from typing import Any

Made = dict[str, Any]  # the arrays and sizes of one call
Soft = Callable[[Any, Made], Any]  # scores of a row's tokens → their weights


GARBAGE = 100.0  # about the size of what lies in slots that nobody owns
GUARD = 4096  # numbers of garbage on both sides of a cache: a wrong address reads these and no foreign memory
UNTOUCHED = -12345.0  # what ``out`` holds before


def make(lengths: list[int], shape: dict[str, int]) -> Made:
    """Arrays for rows of ``lengths`` tokens. shape: heads, kv_heads, dim, size (slots of a block), seed, and loud.

    loud: about the score of every token, 0 for scores around 0. At 120 an exp without the largest score taken off overflows
    in fp32, at -120 it comes to nothing.
    k and v: [guard + blocks * size * kv_heads * dim + guard], flat; the cache begins at ``GUARD``.
    """
    import numpy as np

    draw = np.random.RandomState(shape["seed"])
    heads, kv_heads, dim, size = (shape[name] for name in ("heads", "kv_heads", "dim", "size"))
    blocks = [-(-n // size) for n in lengths]
    names = draw.permutation(sum(blocks) + 2)
    tables: Any = np.full(
        (len(lengths), max(blocks) + 1), names[-1], dtype=np.int32
    )  # behind a row's blocks: one that is nobody's
    k, v = (GARBAGE * draw.randn(2 * GUARD + len(names) * size * kv_heads * dim).astype(np.float32) for _ in range(2))
    made = {"lengths": lengths, "tables": tables, "k": k, "v": v, "scale": dim**-0.5, **shape}
    for row, n in enumerate(lengths):
        tables[row, : blocks[row]] = names[sum(blocks[:row]) : sum(blocks[: row + 1])]
        at = addresses(made, slots(made, row, range(n)), range(kv_heads))
        k[at] = draw.randn(*at.shape)
        k[at[..., 0]] = 1.0
        v[at] = draw.randn(*at.shape)
    made["q"] = draw.randn(len(lengths), heads, dim).astype(np.float32)
    made["q"][..., 0] = shape.get("loud", 0) / made["scale"]
    return made


def slots(made: Made, row: int, positions: Any) -> Any:
    """Slots of some tokens of a row, by its block table."""
    import numpy as np

    positions = np.asarray(positions, dtype=np.int64)
    return made["tables"][row, positions // made["size"]].astype(np.int64) * made["size"] + positions % made["size"]


def addresses(made: Made, where: Any, kv_heads: Any) -> Any:
    """[slots, kv heads, dim] places in the flat caches."""
    import numpy as np

    first = (np.asarray(where)[:, None] * made["kv_heads"] + np.asarray(kv_heads)[None]) * made["dim"]
    return GUARD + first[..., None] + np.arange(made["dim"])


# -- softmax, and softmax gone wrong ---------------------------------------------------------------------------------


def softmax(scores: Any, made: Made) -> Any:
    import numpy as np

    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def undivided(scores: Any, made: Made) -> Any:
    """Nobody divides by the sum of the weights."""
    import numpy as np

    return np.exp(scores - scores.max())


def block_by_block(scores: Any, made: Made) -> Any:
    """A softmax of each block by itself, all added up."""
    import numpy as np

    return np.concatenate([softmax(part, made) for part in parts(scores, made)])


def mean_of_blocks(scores: Any, made: Made) -> Any:
    return block_by_block(scores, made) / len(parts(scores, made))


def with_zeros(scores: Any, made: Made) -> Any:
    """Slots behind the last token take part with a score of 0."""
    import numpy as np

    empty = -len(scores) % made["size"]
    return softmax(np.concatenate([scores, np.zeros(empty)]), made)[: len(scores)]


def online(shrink_sum: bool, shrink_result: bool) -> Soft:
    """Block by block with a running maximum, where the sum or the result so far may be left as it was."""

    def soft(scores: Any, made: Made) -> Any:
        import numpy as np

        top, total, weights = -np.inf, 0.0, np.zeros(0)
        for part in parts(scores, made):
            higher = max(top, part.max())
            shrink, new = np.exp(top - higher), np.exp(part - higher)
            total = total * (shrink if shrink_sum else 1.0) + new.sum()
            weights = np.concatenate([weights * (shrink if shrink_result else 1.0), new])
            top = higher
        return weights / total

    return soft


def parts(scores: Any, made: Made) -> list[Any]:
    return [scores[i : i + made["size"]] for i in range(0, len(scores), made["size"])]


# -- attention ------------------------------------------------------------------------------------------------------


def attention(
    made: Made,
    *,
    soft: Soft = softmax,
    tokens: Callable[[Made, int], int] = lambda made, n: n,
    kv_head: Callable[[Made, int], int] = lambda made, head: head // (made["heads"] // made["kv_heads"]),
    slots_of: Callable[[Made, int, Any], Any] = slots,
    query_of: Callable[[Made, int, int], Any] = lambda made, row, head: made["q"][row, head],
    places: Callable[[Made, Any, Any], Any] = addresses,
    scale: float | None = None,
    values: str = "v",
) -> Any:
    """[rows, heads, dim]: softmax(q·k · scale)·v of each row and head over the row's tokens; each part can be put wrong."""
    import numpy as np

    out = np.zeros(made["q"].shape)
    for row, n in enumerate(made["lengths"]):
        where = slots_of(made, row, range(tokens(made, n)))
        for head in range(made["heads"]):
            at = places(made, where, [kv_head(made, head)])[:, 0]
            scores = made["k"][at].astype(float) @ query_of(made, row, head) * (scale or made["scale"])
            out[row, head] = soft(scores, made) @ made[values][at] if len(at) else np.nan
    return out


def whole_blocks(made: Made, n: int) -> int:
    """All slots of the blocks that hold n tokens."""
    return -(-n // made["size"]) * made["size"]


def table_of_row_0(made: Made, row: int, positions: Any) -> Any:
    return slots(made, 0, positions)


def no_stride(made: Made, row: int, positions: Any) -> Any:
    import numpy as np

    positions = np.asarray(positions, dtype=np.int64)
    return made["tables"].ravel()[row + positions // made["size"]].astype(np.int64) * made["size"] + positions % made["size"]


def one_head_a_slot(made: Made, where: Any, kv_heads: Any) -> Any:
    import numpy as np

    first = np.asarray(where)[:, None] + np.asarray(kv_heads)[None]
    return GUARD + (first * made["dim"])[..., None] + np.arange(made["dim"])


def no_table(made: Made, row: int, positions: Any) -> Any:
    import numpy as np

    return np.asarray(positions, dtype=np.int64)


# (words on the mistake, its name, what differs), the likeliest first where two give the same numbers
MISTAKES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "this is what comes out when the slots behind the last token take part: the block's last owner left keys and values "
        "there",
        "no mask",
        {"tokens": whole_blocks},
    ),
    (
        "one token too many takes part, the one behind the last of this row",
        "one token too many",
        {"tokens": lambda made, n: n + 1},
    ),
    (
        "the last token, the newest, is missing",
        "one token too few",
        {"tokens": lambda made, n: n - 1},
    ),
    (
        "the last block is missing where it is not full",
        "last block left out",
        {"tokens": lambda made, n: n // made["size"] * made["size"]},
    ),
    (
        "only the first block of the row is looked at",
        "first block only",
        {"tokens": lambda made, n: min(n, made["size"])},
    ),
    (
        "slots behind the last token take part with a score of 0, as a masked load leaves them, and exp(0) is not 0",
        "score 0 for empty slots",
        {"soft": with_zeros},
    ),
    (
        "the number of the query head is taken for that of the K/V head, and of those there are fewer",
        "head as K/V head",
        {"kv_head": lambda made, head: head},
    ),
    (
        "K/V heads are dealt out to the query heads in turn, so this one reads another's: it is neighbours that share one",
        "heads dealt out in turn",
        {"kv_head": lambda made, head: head % made["kv_heads"]},
    ),
    (
        "all query heads read K/V head 0",
        "K/V head 0 for all",
        {"kv_head": lambda made, head: 0},
    ),
    (
        "the scores are not multiplied by scale, so the softmax is too sharp",
        "no scale",
        {"scale": 1.0},
    ),
    (
        "every row reads through the table of row 0",
        "table of row 0",
        {"slots_of": table_of_row_0},
    ),
    (
        "the tables of the rows are read as if they began one entry apart, and each is stride entries long",
        "tables without stride",
        {"slots_of": no_stride},
    ),
    (
        "the key of this slot is looked for where it would lie if every slot held one K/V head, and each holds KV_HEADS of them",
        "one head a slot",
        {"places": one_head_a_slot},
    ),
    (
        "the block table is not asked: the cache is read as if block i of a row were block i of the cache",
        "no table",
        {"slots_of": no_table},
    ),
    (
        "a later block has a higher score, and what was summed up before it still stands relative to the old maximum",
        "nothing rescaled",
        {"soft": online(False, False)},
    ),
    (
        "the sum of the weights is rescaled when the maximum rises, the result so far is not",
        "result not rescaled",
        {"soft": online(True, False)},
    ),
    (
        "the result so far is rescaled when the maximum rises, the sum of the weights is not",
        "sum not rescaled",
        {"soft": online(False, True)},
    ),
    (
        "the values are weighted and added, but nobody divides by the sum of the weights",
        "not divided",
        {"soft": undivided},
    ),
    (
        "each block has a softmax of its own, and these are added up",
        "a softmax a block",
        {"soft": block_by_block},
    ),
    (
        "each block has a softmax of its own, and this is their mean: blocks with large scores should count for more",
        "mean of blocks",
        {"soft": mean_of_blocks},
    ),
    (
        "every row uses the query of row 0",
        "query of row 0",
        {"query_of": lambda made, row, head: made["q"][0, head]},
    ),
    (
        "every head uses the query of head 0",
        "query of head 0",
        {"query_of": lambda made, row, head: made["q"][row, 0]},
    ),
    (
        "the keys are added up where the values should be",
        "keys for values",
        {"values": "k"},
    ),
)


def close(got: Any, wanted: Any, tolerance: float) -> Any:
    """[rows, heads]: whether the numbers of a row and head are those that are wanted."""
    import numpy as np

    near = np.abs(got - wanted) <= tolerance * (1 + np.abs(wanted))
    return (near | (np.isnan(got) & np.isnan(wanted))).all(-1)


def random_shape(rng: random.Random, size: int) -> tuple[list[int], dict[str, int]]:
    """A small call: size 1 (tiny) … 8."""
    kv_heads = rng.choice([1, 2])
    shape = {
        "heads": kv_heads * rng.choice([1, 2]),
        "kv_heads": kv_heads,
        "dim": rng.choice([4, 8]),
        "size": rng.choice([2, 4]),
    }
    lengths = [rng.randint(1, min(2 + size, 7)) for _ in range(rng.choice([1, 1, 2]))]
    return lengths, {**shape, "seed": rng.randint(0, 999), "loud": rng.choice([0, 0, 0, 120, -120])}
