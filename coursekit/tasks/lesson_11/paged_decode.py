"""Attention of decodes over a paged cache, as a Triton kernel, run in Triton's interpreter."""

import os
import types
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .paged import GUARD, MISTAKES, UNTOUCHED, attention, close, make, random_shape

RULE = "out holds softmax(q·k * scale)·v of each row and head, over the row's own tokens, to 1e-4"
WRITTEN = "every program writes the DIM numbers of its row and head, and nothing else"
FINITE = "the result is a number, whatever the size of the scores"
EXACT, ALIKE = 1e-4, 1e-3  # how near a result must be, and how near a mistake's numbers are to be recognised


def drive(answer: Any, args: Args) -> Any:
    """[rows][heads][dim] of ``out`` after one launch. Raises what the kernel raises."""
    import numpy as np
    import torch

    made = make(*args)
    heads, kv_heads, dim, size = (made[name] for name in ("heads", "kv_heads", "dim", "size"))
    rows, stride = made["tables"].shape
    q, tables, lengths = (
        torch.tensor(made[name], dtype=kind)
        for name, kind in (("q", torch.float32), ("tables", torch.int32), ("lengths", torch.int32))
    )
    k_cache, v_cache = (torch.from_numpy(made[name])[GUARD:-GUARD].view(-1, size, kv_heads, dim) for name in ("k", "v"))
    out = torch.full((2 * rows + 2, heads, dim), UNTOUCHED)[1 : rows + 1]  # with room on both sides for a wrong address
    launch = kernel_of(answer)[(rows, heads)]
    try:
        with np.errstate(all="ignore"):  # the interpreter computes with numpy, which would warn of what a GPU does in silence
            launch(
                q,
                k_cache,
                v_cache,
                tables,
                lengths,
                out,
                stride,
                made["scale"],
                HEADS=heads,
                KV_HEADS=kv_heads,
                DIM=dim,
                SIZE=size,
            )
    except Exception as problem:
        raise own_error(problem, answer) from None
    return out.tolist()


def kernel_of(answer: Any) -> Any:
    """What can be launched: the learner's function under ``triton.jit``, which may have been put there already."""
    os.environ.setdefault("TRITON_INTERPRET", "1")
    import triton
    import triton.language as tl

    if type(tl.max).__name__ != "InterpretedFunction":
        raise RuntimeError(
            "Triton was loaded without its interpreter: restart the kernel and run the notebook from the top, "
            "so that TRITON_INTERPRET=1 is set first"
        )
    return triton.jit(answer) if isinstance(answer, types.FunctionType) else answer


def own_error(problem: BaseException, answer: Any) -> BaseException:
    """What went wrong inside of the kernel, as if its own line had raised it: the interpreter wraps it, once a function."""
    while type(problem).__name__ == "InterpreterError" and problem.__cause__ is not None:
        problem = problem.__cause__
    code, trace, line = getattr(getattr(answer, "fn", answer), "__code__", None), problem.__traceback__, None
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            line = types.TracebackType(None, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
        trace = trace.tb_next
    return problem.with_traceback(line)


def judge(args: Args, got: Any) -> Finding | None:
    """Where the first wrong numbers are, and which mistake gives the very same ones."""
    import numpy as np

    made = make(*args)
    out, right = np.array(got, dtype=float), attention(made)
    if out.shape != right.shape:
        raise ValueError("another shape than out has")
    good = close(out, right, EXACT)
    if good.all():
        return None
    blank = (out == UNTOUCHED).any(-1)
    row, head = (int(i) for i in np.argwhere(blank if blank.any() else ~good)[0])
    there = f"row {row} (length {made['lengths'][row]}), head {head}"

    def wrong(cause: str, slip: str, rule: str = RULE) -> Finding:
        return Finding(rule, f"{there}: {cause}", slip, short(right[row, head]), short(out[row, head]))

    if blank.any():
        return wrong(*unwritten(out, row, head), WRITTEN)
    alike = [(cause, slip) for cause, slip, way in MISTAKES if explains(out, right, attempt(made, way))]
    found = likeliest(wrong, alike)
    if found is None and not np.isfinite(out[row, head]).all():
        found = likeliest(lambda cause, slip: wrong(cause, slip, FINITE), not_finite(made["loud"]))
    if found:
        return found
    if close(out, right, 30 * EXACT).all():
        cause = "this is right to two or three digits only, as if some of it had been computed in half precision"
        return wrong(cause, "half precision")
    return wrong(f"{CANNOT_TELL}: these are the numbers of no mistake that I know", "other numbers")


def attempt(made: dict[str, Any], way: dict[str, Any]) -> Any:
    """What a mistake would have given."""
    import numpy as np

    with np.errstate(all="ignore"):
        return attention(made, **way)


def explains(out: Any, right: Any, mistaken: Any) -> bool:
    """Whether these are a mistake's numbers, on a call where it makes a difference."""
    return close(out, mistaken, ALIKE).all() and not close(right, mistaken, ALIKE).all()


def short(numbers: Any) -> list[float]:
    return [round(float(x), 4) for x in numbers]


def unwritten(out: Any, row: int, head: int) -> tuple[str, str]:
    """(cause, slip) where ``out`` holds what it held before."""
    if (out == UNTOUCHED).all():
        return "nothing was written: out holds what it held before the launch", "nothing stored"
    if (out[row, head] == UNTOUCHED).all():
        return "nobody has written here: the program of this row and head has stored elsewhere, or not at all", "stored elsewhere"
    return "only a part of the DIM numbers was written", "stored in part"


def not_finite(loud: int) -> list[tuple[str, str]]:
    """(cause, slip) of a result that is inf or no number, the likeliest first."""
    if loud > 0:
        return [
            (
                f"the scores are about {loud}, and exp of that as it is, with nothing taken off, is more than fp32 holds",
                "no maximum",
            )
        ]
    if loud < 0:
        zero = f"all scores are about {loud}, and exp of that is 0 in fp32, so that 0 is divided by 0"
        return [
            (f"{zero}. The running maximum was 0 before the first score, and so above all of them", "maximum begins at 0"),
            (f"{zero}: nothing was taken off the scores before exp", "no maximum"),
        ]
    return [("the result is inf or no number: is there an inf less an inf, or a division by 0?", "no number")]


def generate(rng: Any, size: int) -> tuple:
    return random_shape(rng, size)


def valid(args: Args) -> bool:
    lengths, shape = args
    powers = all(shape[name] in (2, 4, 8, 16) for name in ("dim", "size"))
    groups = 1 <= shape["kv_heads"] <= shape["heads"] <= 8 and shape["heads"] % shape["kv_heads"] == 0
    small = 1 <= len(lengths) <= 4 and all(1 <= n <= 24 for n in lengths)
    return powers and groups and small and shape["seed"] >= 0 and shape.get("loud", 0) in (0, 120, -120)


def on_error(args: Args, error: str, text: str) -> str | None:
    said = text.partition(": ")[2]
    if error == "RuntimeError" and "TRITON_INTERPRET" in said:
        return said
    if "power of 2" in text:
        return "tl.arange goes from 0 to a power of two that is known when the kernel is compiled: DIM or SIZE"
    if "tensor" in text and "shape" in text or "broadcast" in text or "Cannot make_shape_compatible" in text:
        return f"two blocks of numbers do not fit together: x[:, None] makes a column, x[None] a line. ({said})"
    return None


def scene(args: Args) -> str:
    lengths, shape = args
    loud = shape.get("loud", 0)
    told = f", all scores about {loud}" if loud else ""
    return (
        f"{len(lengths)} row{'s' * (len(lengths) > 1)} of {', '.join(map(str, lengths))} token{'s' * (lengths != [1])}, "
        f"{shape['heads']} heads on {shape['kv_heads']} K/V heads, DIM {shape['dim']}, SIZE {shape['size']}{told} "
        f"(seed {shape['seed']})"
    )


def shape(heads: int, kv_heads: int, dim: int, size: int, loud: int = 0, seed: int = 1) -> dict[str, int]:
    return {"heads": heads, "kv_heads": kv_heads, "dim": dim, "size": size, "seed": seed, "loud": loud}


TASK = Task(
    id="11.1",
    name="paged_decode",
    title="Paged attention as a Triton kernel",
    points=45,
    returns="nothing: each program stores its DIM numbers into out",
    cases=(
        Case(([2], shape(1, 1, 4, 2)), None),
        Case(([1], shape(1, 1, 4, 2)), None),
        Case(([5, 2], shape(1, 1, 4, 2)), None),
        Case(([3], shape(4, 2, 4, 2)), None),
        Case(([5], shape(2, 1, 8, 4, 120)), None),
        Case(([5], shape(2, 1, 8, 4, -120)), None),
        Case(([9, 1], shape(2, 1, 8, 4)), None),
        Case(([5, 3], shape(4, 2, 8, 2)), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    needs=("torch", "triton"),
    memory_mb=6144,
    rounds=5,
    hints=(
        "Take a row of 5 tokens in blocks of 4, and its table [7, 2]. Write down where in k_cache the key of its fifth token "
        "begins, for query head 3 of 4 with 2 K/V heads. How would a program find that number?",
        "There are three things to carry from block to block: the largest score so far, the sum of the weights relative to "
        "it, and the weighted sum of the values relative to it. When the largest score rises, the other two are multiplied by "
        "exp(old - new). Slots from the row's length on get a score of -inf.",
        "the query: DIM numbers from q + (row * HEADS + head) * DIM\n"
        "top, total, result: -inf, 0, DIM zeros\n"
        "for each of the row's blocks (length / SIZE, rounded up):\n"
        "    its number: from tables + row * stride + i\n"
        "    addresses [SIZE, DIM]: ((number * SIZE + slot) * KV_HEADS + K/V head) * DIM + column\n"
        "    score of each slot: the sum over DIM of key * query, times scale; -inf from the row's length on\n"
        "    the new top; weight = exp(score - new top); shrink = exp(old top - new top)\n"
        "    total and result: times shrink, plus the weights, plus the weighted values\n"
        "store result / total at out + (row * HEADS + head) * DIM",
    ),
)
