"""What share of its products' rate the C kernel's attention of prompts reaches, beside torch's.

    OMP_NUM_THREADS=2 python benchmarks/kernel_rates.py [--dtype bfloat16] [--lengths 1500,8000] [--rounds 7] [--json FILE]

All of it in turns, a round of everything after the other, and the shortest time of each counts: on a machine that does
something else as well, one after the other would compare a busy minute with a quiet one. Products are those of one layer of
the default model's sizes; attention is its one layer's, of one prompt whose blocks lie in random order. Only what a token
may see is counted: n (n + 1) / 2 scores of a prompt of n tokens, 4 · head_dim operations each.

Also, of each form of the products: among how many rows a row's answer is another, in its last bits, than alone. Such a form
would let a request's numbers depend on how many others are in its step, however fast it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import minieng  # noqa: F401, I001 (before torch, whose threads are told how to wait when it is loaded)
import torch

from minieng.kernels import linear, native
from minieng.kernels.batch import Batch, LayerKV
from minieng.kernels.torch_attention import attend_by_request
from minieng.save import writable
from peers.host import describe

HIDDEN, INNER, HEADS, KV_HEADS, DIM, BLOCK = 576, 1536, 9, 3, 64, 16  # SmolLM2-135M
SHAPES = ((HIDDEN, (HEADS + 2 * KV_HEADS) * DIM), (HEADS * DIM, HIDDEN), (HIDDEN, 2 * INNER), (INNER, HIDDEN))  # (in, out)


def products(rows: int, dtype: torch.dtype) -> dict[str, tuple[float, Callable[[], object]]]:
    """The products of a layer for so many rows: of each form, operations and a call."""
    weights = [torch.randn(outs, ins).bfloat16().to(dtype) for ins, outs in SHAPES]
    operations = 2.0 * rows * sum(ins * outs for ins, outs in SHAPES)
    found: dict[str, tuple[float, Callable[[], object]]] = {}
    for layers in zip(*(linear.every_form(weight) for weight in weights), strict=True):
        inputs = [torch.randn(rows, ins).to(dtype) for ins, _ in SHAPES]

        def call(layers=layers, inputs=inputs) -> None:
            for layer, x in zip(layers, inputs, strict=True):
                layer(x)

        found[f"products, {rows} rows, {type(layers[0]).__name__}"] = operations, call
    return found


def moved_bits(counts: list[int], dtype: torch.dtype) -> dict[str, list[int]]:
    """Of each form, those numbers of rows among which the first row's answer is not, bit for bit, what it is alone."""
    moved: dict[str, set[int]] = {}
    for ins, outs in SHAPES:
        x = torch.randn(max(counts), ins).to(dtype)
        for layer in linear.every_form(torch.randn(outs, ins).bfloat16().to(dtype)):
            alone = layer(x[:1])
            found = {rows for rows in counts if not torch.equal(layer(x[:rows])[:1], alone)}
            moved.setdefault(type(layer).__name__, set()).update(found)
    return {form: sorted(found) for form, found in moved.items()}


def attention(tokens: int, dtype: torch.dtype) -> dict[str, tuple[float, Callable[[], object]]]:
    """Attention of a prompt: the kernel's and torch's."""
    blocks, nothing = -(-tokens // BLOCK), torch.empty(0, dtype=torch.int64)
    k, v = torch.randn(2, blocks, BLOCK, KV_HEADS, DIM).to(dtype)
    q, layer, tables = torch.randn(tokens, HEADS, DIM).to(dtype), LayerKV(k, v, DIM**-0.5), torch.randperm(blocks)[None]
    batch = Batch(nothing, nothing, nothing, [0, tokens], [0], [tokens], tables.to(torch.int32), nothing)
    operations = 4.0 * DIM * HEADS * tokens * (tokens + 1) / 2
    return {
        f"attention, {tokens} tokens, {name}": (operations, lambda attend=attend: attend(q, layer, batch))
        for name, attend in (("Native", native.native_attention), ("torch", attend_by_request))
    }


def rates(calls: dict[str, tuple[float, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """GFLOP/s of each call in its best round."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds + 1):  # the first one warms up
        for name, (_, call) in calls.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
    return {name: operations / best[name] / 1e9 for name, (operations, _) in calls.items()}


def numbers(text: str) -> list[int]:
    """``1500,8000`` → whole numbers, each at least 1."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="precision (default: float32)")
    p.add_argument("--rows", type=numbers, default=[32, 128, 512, 2048], help="of the products (default: 32,128,512,2048)")
    p.add_argument("--lengths", type=numbers, default=[256, 1500, 3000, 8000], help="of prompts (default: 256,1500,3000,8000)")
    p.add_argument("--rounds", type=int, default=7, help="of which the best counts (default: 7)")
    p.add_argument("--json", type=writable, metavar="FILE", help="where to store the rates (default: nowhere)")
    args = p.parse_args()
    torch.manual_seed(0)
    calls: dict[str, tuple[float, Callable[[], object]]] = {}
    for rows in args.rows:
        calls |= products(rows, getattr(torch, args.dtype))
    for tokens in args.lengths:
        calls |= attention(tokens, getattr(torch, args.dtype))
    found = rates(calls, args.rounds)
    own = max(rate for name, rate in found.items() if name.startswith("products") and name.endswith(("Native", "Widened")))
    for name, rate in found.items():
        print(f"{name:40} {rate:7.1f} GFLOP/s  {rate / own:5.0%} of the own products' best")
    moved = moved_bits(sorted({2, 8, *args.rows}), getattr(torch, args.dtype))
    for form, among in moved.items():
        print(
            f"a row's answer, {form}: "
            + (f"another than alone among {among} rows" if among else "the same among any of these rows")
        )
    if args.json:
        report = {"command": " ".join(["python", *sys.argv]), "date": date.today().isoformat(),
                  "versions": {"torch": version("torch")}, "machine": describe(),
                  "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"), "threads": torch.get_num_threads(),
                  "dtype": args.dtype, "gflops": {name: round(rate, 1) for name, rate in found.items()},
                  "rows_among_which_an_answer_moves": moved}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
