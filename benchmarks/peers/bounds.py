"""What the workload must cost at least: arithmetic and bytes from the model's shapes, against the measured ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

LLAMA_FAMILY = ("llama", "mistral", "qwen2", "qwen3", "smollm3")


@dataclass(frozen=True)
class Shapes:
    """The linears of a Llama-shaped model: [out, in] of one layer's, how many layers, and the head."""

    layers: int
    linears: list[list[int]]
    head: list[int]
    kv_values: int

    @classmethod
    def of(cls, config: dict) -> Shapes | None:
        """From a config.json; None for a model that is shaped otherwise."""
        if config.get("model_type") not in LLAMA_FAMILY:
            return None
        width, heads = config["hidden_size"], config["num_attention_heads"]
        kv_heads = config.get("num_key_value_heads") or heads
        size = config.get("head_dim") or width // heads
        inner = config["intermediate_size"]
        linears = [[(heads + 2 * kv_heads) * size, width], [width, heads * size], [2 * inner, width], [width, inner]]
        layers = config["num_hidden_layers"]
        return cls(layers, linears, [config["vocab_size"], width], 2 * layers * kv_heads * size)

    @property
    def linear_weights(self) -> int:
        return self.layers * sum(outs * ins for outs, ins in self.linears)

    @property
    def head_weights(self) -> int:
        return self.head[0] * self.head[1]


def ideal(shapes: Shapes, requests: list[dict], bytes_per_value: int, ceilings: dict) -> dict:
    """The least arithmetic and the least traffic, and the seconds they take at the measured ceilings.

    Arithmetic: every position but the last output once through the layers, one row of the head for each output.
    Traffic: the weights once a step in the fewest steps there can be (the longest output), and each decode's KV.
    An engine may undercut both a little: minieng keeps weights that were published in bf16 in two bytes, and leaves out
    the last layer's second half where no logits are wanted (two per cent of the arithmetic).
    """
    positions = sum(len(r["prompt"]) + r["max_tokens"] - 1 for r in requests)
    outputs = sum(r["max_tokens"] for r in requests)
    flop = 2 * (shapes.linear_weights * positions + shapes.head_weights * outputs)
    steps = max(r["max_tokens"] for r in requests)
    kv_reads = sum(len(r["prompt"]) + i for r in requests for i in range(1, r["max_tokens"]))
    weights = (shapes.linear_weights + shapes.head_weights) * bytes_per_value
    traffic = steps * weights + kv_reads * shapes.kv_values * bytes_per_value
    gemm_s, memory_s = flop / ceilings["gemm_gflops"] / 1e9, traffic / ceilings["copy_gb_s"] / 1e9
    return {
        "tflop": flop / 1e12,
        "traffic_gb": traffic / 1e9,
        "fewest_steps": steps,
        "gemm_s": gemm_s,
        "memory_s": memory_s,
        "floor_s": max(gemm_s, memory_s),
        "floor_tokens_per_s": outputs / max(gemm_s, memory_s),
    }


def at(table: dict[str, float], rows: float) -> float:
    """A table of milliseconds by rows, read between and beyond its entries along straight lines."""
    points = sorted((int(k), v) for k, v in table.items())
    if rows <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if rows <= x1:
            return y0 + (y1 - y0) * (rows - x0) / (x1 - x0)
    return points[-1][1] * rows / points[-1][0]


def linears_seconds(steps: list[list[int]], ceilings: dict) -> float:
    """How long the linears alone take on this machine for steps of so many (positions, logits), as measured by rows."""
    layers, head = ceilings["linears_ms_by_rows"], ceilings["head_ms_by_rows"]
    return sum(at(layers, rows) + (at(head, logits) if logits else 0.0) for rows, logits in steps if rows) / 1e3


def sentence(bound: dict, ceilings: dict, engine: dict | None) -> str:
    """The line under the table that says what bounds the engine."""
    kind = "arithmetic" if bound["gemm_s"] >= bound["memory_s"] else "memory traffic"
    text = (
        f"Bound: {bound['tflop']:.2f} TFLOP of linears at {ceilings['gemm_gflops']:.0f} GFLOP/s "
        f"= {bound['gemm_s']:.2f} s; "
        f"{bound['traffic_gb']:.0f} GB at {ceilings['copy_gb_s']:.0f} GB/s = {bound['memory_s']:.2f} s. "
        f"So {kind} bounds it, at {bound['floor_s']:.2f} s ({bound['floor_tokens_per_s']:.0f} tok/s)."
    )
    if engine:
        seconds, linears = engine["seconds"], engine["linears_s"]
        text += (
            f" {engine['name']} takes {seconds:.2f} s ({bound['floor_s'] / seconds:.0%} of that rate) "
            f"in {engine['steps']} steps of {engine['mean_rows']:.0f} positions on average. At the measured speed of "
            f"the linears by rows, those steps' linears alone need {linears:.2f} s ({linears / seconds:.0%} of its "
            f"time); the rest is attention, norms, sampling and planning."
        )
    return text
