"""An engine on a GPU that is not here: the real scheduler and block tables, a formula for the time."""

from __future__ import annotations

from typing import Any

from ..clock import VirtualClock
from ..config import EngineConfig
from ..engine import Engine
from ..kernels.backend import check_name
from ..kv.allocator import KVCache
from ..observe.trace import Trace
from ..parallel.pipeline import pipelined
from ..scheduler.admission import reservation_of
from .cost_model import HOST_SECONDS, HostTime, StepTimeModel
from .executor import PipelineExecutor, SimExecutor
from .hardware import GPU, ModelSpec


def simulated_engine(
    model: str | ModelSpec = "llama-7b",
    gpu: str | GPU = "A100-80G",
    *,
    tensor: int = 1,
    stages: int = 1,
    host: HostTime = HOST_SECONDS["vllm 2025"],
    trace: Trace | None = None,
    checked: bool = False,
    depth: int = 1,
    **knobs: Any,
) -> Engine:
    """An engine in virtual time. ``knobs`` are those of ``EngineConfig``; model and gpu are names or specs.

    ``host``: seconds of each step on the host, or (of each step, of each request in it).

    With ``stages`` > 1 a batch passes all stages before the next one starts, unless ``depth`` batches are in
    flight at once.
    """
    times = StepTimeModel.named(model, gpu, tensor=tensor, stages=stages, host=host)
    return engine_of(times, EngineConfig(stages=stages, **knobs), trace, checked, depth=depth)


def engine_of(
    times: StepTimeModel, config: EngineConfig, trace: Trace | None = None, checked: bool = False,
    depth: int = 1,
) -> Engine:  # fmt: skip
    """An engine for a step-time model; its cache is sized from the GPU's memory unless the config says.

    depth  batches in flight, one in each stage of a pipeline if there are as many
    """
    check_name(config.attention)  # it computes nothing, but a script is to run on a real GPU as it is
    blocks = config.num_blocks or times.num_blocks(config.block_size, config.memory_fraction)
    executor = (PipelineExecutor if times.stages > 1 else SimExecutor)(times, config.block_size)
    host_blocks = (
        int(config.swap_space_gb * 2**30 // executor.block_nbytes) if config.preemption == "swap" else 0
    )
    kv = KVCache(
        blocks, config.block_size, config.enable_prefix_caching, reservation_of(config.admission), host_blocks
    )
    make = pipelined(depth) if depth > 1 else Engine
    engine = make(executor, kv, config, VirtualClock(), checked=checked, trace=trace)
    engine.trace.meta |= {"device": executor.device_name, "model": times.model.name, "virtual": True}
    if isinstance(executor, PipelineExecutor):
        executor.now = lambda: engine.clock.now()  # whichever clock it has then
    return engine
