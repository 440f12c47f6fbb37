"""What this processor can do at best: matrix products and memory copies, and the model's own linears by rows.

A run answers with numbers instead of tokens. Rates are bests over many short repeats, so they are ceilings.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from minieng.kernels.linear import every_form
from peers.protocol import Peer, serve

ROWS = (1, 4, 8, 16, 24, 32, 48, 64, 128, 256, 512)
COPY_BYTES = 256 * 2**20
MOST_BYTES = 2**30


def load(job: dict) -> Peer:
    """Random weights in the model's shapes, every layer apart, so that they come from memory as they do in a model."""
    torch.set_num_threads(job["threads"])
    dtype = getattr(torch, job["dtype"])
    small = job.get("small", False)
    patience = 0.02 if small else 0.4
    rows = ROWS[:4] if small else ROWS

    def generate(_requests: list[dict]) -> dict:
        return {
            "gemm_gflops": max(gemm_rates(job["shapes"], dtype, 256 if small else 2048, patience)),
            "copy_gb_s": copy_rate(COPY_BYTES, patience),
            "linears_ms_by_rows": linears_by_rows(job["shapes"], job["layers"], dtype, rows, patience),
            "head_ms_by_rows": linears_by_rows(job["head"], 1, dtype, rows[:7], patience),
        }

    return Peer(generate, {"variants": [layer.title for layer in every_form(torch.randn(64, 64).to(dtype))]})


def fastest(call: Callable[[], object], seconds: float) -> float:
    """The best time of a call repeated for a while, after one call to warm up."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


@torch.inference_mode()
def gemm_rates(shapes: list[list[int]], dtype: torch.dtype, side: int, patience: float) -> list[float]:
    """GFLOP/s of large products: the model's layers at 512 rows, and a square one."""
    rates = []
    for outs, ins in [*shapes, [side, side]]:
        x, weight = torch.randn(side if outs == ins == side else 512, ins).to(dtype), torch.randn(outs, ins).to(dtype)
        for way in every_form(weight):
            best = fastest(lambda way=way, x=x: way(x), patience)
            rates.append(2 * len(x) * ins * outs / best / 1e9)
    return rates


def copy_rate(size: int, patience: float) -> float:
    """GB/s of a copy in memory, reading and writing both counted."""
    source = torch.zeros(size, dtype=torch.uint8)
    target = torch.ones_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), patience) / 1e9


@torch.inference_mode()
def linears_by_rows(
    shapes: list[list[int]], layers: int, dtype: torch.dtype, rows: tuple[int, ...], patience: float
) -> dict[str, float]:
    """Milliseconds of all linears of all layers for a step of so many rows, by the fastest form."""
    size = sum(outs * ins for outs, ins in shapes) * dtype.itemsize
    made_layers = max(1, min(layers, MOST_BYTES // size))
    weights = [torch.randn(outs, ins).to(dtype) for _ in range(made_layers) for outs, ins in shapes]
    made = [every_form(weight) for weight in weights]
    inputs = {ins: torch.randn(max(rows), ins).to(dtype) for _, ins in shapes}
    answer = {}
    for n in rows:

        def all_of(kind: int, n: int = n) -> None:
            for weight, ways in zip(weights, made, strict=True):
                ways[kind](inputs[weight.shape[1]][:n])

        best = min(fastest(lambda k=k: all_of(k), patience) for k in range(len(made[0])))
        answer[str(n)] = best * 1e3 * layers / made_layers
    return answer


if __name__ == "__main__":
    serve(load)
