"""Step times and speeds that others measured and published: the formula against them, one by one,
nothing scheduled but once.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from ...config import EngineConfig
from ...observe.latency import e2el, tpot, ttft
from ...workload import Workload
from ..cost_model import HOST_SECONDS, StepTimeModel, decodes
from ..executor import scripted_requests
from .measure import serve
from .table import Row, Table

GRAPHS = HOST_SECONDS["cuda graphs, asynchronous"]  # as the measured programs ran

# gpt-fast's README, bf16, A100-80G: tokens a second of one request, 200 tokens
ONE_REQUEST = {"llama-2-7b": 104.9, "llama-3.1-8b": 93.9}

# AIConfigurator's measured tables (SILICON), Llama-3.1-8B, 512 tokens of context: GPU → batch → ms
SILICON = {
    "A100-80G": {1: 11.82, 8: 12.26, 32: 13.91, 64: 15.18, 128: 20.15},
    "H200": {1: 4.85, 8: 4.98, 32: 5.85, 64: 6.64, 128: 8.22},
}

# LLMServingSim 2.0, docs/validation.md: vLLM 0.19 with Llama-3.1-8B on an RTX 4090, means. The CSV has its
# requests.
SERVED = {"TTFT, s": 65.46, "TPOT, ms": 32.4, "E2EL, s": 86.58}
REQUESTS = Path(__file__).parent / "vllm_rtx4090_llama31_8b.csv"


def run(seed: int) -> Table:
    table = Table(
        "Measured and published, run again",
        "gpt-fast: bf16, A100-80G, one request of 200 tokens. AIConfigurator: Llama-3.1-8B, decode steps "
        "after 512 tokens, with engine and kernels of its own. LLMServingSim 2.0: 300 ShareGPT requests on "
        "vLLM 0.19, chunked, RTX 4090, 2,588 blocks of 16, at most 256 requests and 2,048 tokens a step",
        {
            "host time, gpt-fast and AIConfigurator": "0 (compiled, CUDA graphs)",
            "host time, vLLM 0.19": "1 ms a step",
            "shares of bandwidth and FLOP/s": "of the hardware, from profiles of single operators: "
            "none from a figure here",
        },
        ["overheads that are in the measured tables and in no term of the formula", "HTTP, tokenisation"],
    )
    for model, speed in ONE_REQUEST.items():
        seconds = StepTimeModel.named(model, "A100-80G", host=GRAPHS).seconds(decodes(1, 100))
        table.rows.append(Row(f"gpt-fast, {model}: tokens/s", speed, 1 / seconds, 0.9, 1.1))
    for gpu, steps in SILICON.items():
        times = StepTimeModel.named("llama-3.1-8b", gpu, host=GRAPHS)
        for batch, ms in steps.items():
            row = Row(
                f"AIConfigurator, {gpu}, batch {batch}: ms a step",
                ms,
                times.seconds(decodes(batch, 512)) * 1e3,
            )
            table.rows.append(row)
    ours = on_rtx_4090(Workload.from_csv(REQUESTS))
    table.rows += [
        Row(f"vLLM on an RTX 4090, mean {what}", SERVED[what], ours[what], 0.9, 1.1) for what in SERVED
    ]
    return table


def on_rtx_4090(jobs: Workload) -> dict[str, float]:
    """Means, as vLLM 0.19 ran there."""
    config = EngineConfig(
        scheduler="chunked",
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        num_blocks=2588,
        enable_prefix_caching=False,
    )
    _, done = serve(
        StepTimeModel.named("llama-3.1-8b", "RTX4090", host=1e-3), config, scripted_requests(jobs)
    )
    several = [r for r in done if r.num_output_tokens > 1]
    return {
        "TTFT, s": mean(map(ttft, done)),
        "TPOT, ms": 1e3 * mean(map(tpot, several)),
        "E2EL, s": mean(map(e2el, done)),
    }
