"""From a model's name to a runner: weights, tokenizer, limits, cache and attention, each chosen for this machine."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import EngineConfig
from ..kv.tensors import KVShape, KVTensors, choose_num_blocks
from .adapter import Adapter
from .attention import choose_attention
from .decoder import Decoder, supports
from .loader import load_config, load_tokenizer, resolve
from .native import keep_freed_memory
from .runner import ModelRunner

_loaded: weakref.WeakValueDictionary[tuple, Decoder | Adapter] = weakref.WeakValueDictionary()
_lock = threading.Lock()


@dataclass
class Loaded:
    """All that ``LLM`` needs of a model."""

    path: Path
    tokenizer: Any
    runner: ModelRunner
    max_model_len: int
    vocab_size: int
    eos_token_ids: list[int]


def load(name: str, config: EngineConfig) -> Loaded:
    """Load a model for an engine. Raises ValueError (ModelError) naming what is wrong and what to do."""
    path = resolve(name)
    hf_config = load_config(path)
    text = hf_config.get_text_config()
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device, text)
    limit = getattr(text, "max_position_embeddings", None) or 2048
    if config.max_model_len is not None and config.max_model_len > limit:
        raise ValueError(f"max_model_len={config.max_model_len}: {name} was made for at most {limit} tokens")
    max_model_len = config.max_model_len or limit
    model = shared_model(path, hf_config, dtype, device)
    if device.type == "cpu":
        keep_freed_memory()  # of the steps to come; what loading freed has gone back to the system
    shape = KVShape(model.num_layers, model.kv_heads, model.head_dim, dtype)
    longest = config.max_num_seqs * max_model_len
    blocks = choose_num_blocks(shape, config.block_size, device, longest, config.memory_fraction, config.num_blocks)
    tensors = KVTensors(shape, blocks, config.block_size, device, host_blocks(config, shape, blocks))
    attention = choose_attention(
        config.attention, device, dtype, model.heads, model.kv_heads, model.head_dim, config.block_size
    )
    runner = ModelRunner(model, tensors, attention)
    return Loaded(path, load_tokenizer(path), runner, max_model_len, text.vocab_size, eos_of(path, text))


def shared_model(path: Path, hf_config: Any, dtype: torch.dtype, device: torch.device) -> Decoder | Adapter:
    """The weights, once for all engines of the process that use them."""
    key = (str(path), dtype, str(device))
    with _lock:
        model = _loaded.get(key)
        if model is None:
            own = supports(hf_config) is None and any(path.glob("*.safetensors"))
            model = _loaded[key] = (Decoder if own else Adapter)(path, hf_config, dtype, device)
    return model


def choose_device(asked: str) -> torch.device:
    """ "auto" is a GPU if there is one. Raises ValueError for a device that is not there."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ValueError(f"device={asked!r}: choose auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={asked!r}: minieng runs on cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={asked!r}: this machine has {torch.cuda.device_count()} CUDA devices; use device='cpu'")
    return device


def choose_dtype(asked: str, device: torch.device, config: Any) -> torch.dtype:
    """ "auto": bfloat16 on a GPU that computes in it, float16 on an older one, float32 on a CPU.

    ``is_bf16_supported()`` is no help: it says yes on a T4, which only emulates it.
    """
    if asked != "auto":
        return getattr(torch, asked)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.float32


def host_blocks(config: EngineConfig, shape: KVShape, device_blocks: int) -> int:
    """Blocks of swap space: as many as swap_space_gb holds, and no more than there is to swap."""
    if config.preemption != "swap":
        return 0
    return min(int(config.swap_space_gb * 2**30) // (shape.bytes_per_token * config.block_size), device_blocks)


def eos_of(path: Path, config: Any) -> list[int]:
    """Token ids that end a text: the generation config's, which is the later word, else the model config's."""
    from transformers import GenerationConfig

    found = None
    if (path / "generation_config.json").exists():
        found = GenerationConfig.from_pretrained(path).eos_token_id
    found = config.eos_token_id if found is None else found
    return [] if found is None else [found] if isinstance(found, int) else list(found)
