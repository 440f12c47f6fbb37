"""What an ``LLM`` is put together from: a model, the engine around it,
and what is known of its vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from .config import EngineConfig
from .engine import Engine
from .kernels.backend import check_name
from .kv.allocator import KVCache
from .parallel.pipeline import pipelined
from .scheduler import check_names, make_scheduler
from .scheduler.admission import reservation_of


@dataclass(frozen=True)
class Parts:
    """What an ``LLM`` is put together from, whether the model is here or simulated."""

    engine: Engine
    name: str
    tokenizer: Any
    max_model_len: int
    vocab_size: int
    eos_token_ids: list[int]
    path: Path | None = None


def loaded_parts(model: str, checked: bool, knobs: dict[str, Any]) -> Parts:
    """A model that computes."""
    config = EngineConfig(**knobs)
    check_names(config)  # a wrong name is told before a model is loaded
    check_name(config.attention)
    make: Any = Engine
    if config.stages == 1:
        from .model.load import load  # torch comes with it
    else:
        # A part of it here, the others elsewhere.
        from .parallel.stages import load_stages as load  # type: ignore[assignment]

        make = pipelined(config.stages)
    scheduler = make_scheduler(config.scheduler)
    loaded = load(model, config, scheduler.largest_step, scheduler.rectangles)
    tensors, reservation = loaded.runner.tensors, reservation_of(config.admission)
    kv = KVCache(
        tensors.num_blocks, config.block_size, config.enable_prefix_caching, reservation, len(tensors.host)
    )
    engine = make(loaded.runner, kv, config, checked=checked)
    engine.trace.meta |= {
        "model": model,
        "device": loaded.runner.device_name,
        "date": date.today().isoformat(),
    }
    return Parts(
        engine, model, loaded.tokenizer, loaded.max_model_len, loaded.vocab_size, loaded.eos_token_ids,
        loaded.path,
    )  # fmt: skip
