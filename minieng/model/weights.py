"""A model's numbers: read from safetensors one at a time, laid out for the products, and the table of its rotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..hub.shelf import ModelError
from ..kernels.linear import Linear, linear


class Weights:
    """The tensors of a directory's safetensors files, read one at a time so that no second copy of them all exists."""

    def __init__(self, path: Path, dtype: torch.dtype, device: torch.device) -> None:
        index = path / "model.safetensors.index.json"
        self.files = json.loads(index.read_text())["weight_map"] if index.exists() else {}
        self.path, self.dtype, self.device = path, dtype, device
        if not self.files:
            with safe_open(path / "model.safetensors", framework="pt") as file:
                self.files = dict.fromkeys(file.keys(), "model.safetensors")

    def get(self, name: str) -> torch.Tensor | None:
        """One tensor in the engine's precision on its device; None if the model has none of that name."""
        if name not in self.files:
            return None
        with safe_open(self.path / self.files[name], framework="pt") as file:
            return file.get_tensor(name).to(self.device, self.dtype)

    def need(self, name: str) -> torch.Tensor:
        """``get``, for a tensor without which the model is not whole. Raises ModelError."""
        tensor = self.get(name)
        if tensor is None:
            raise ModelError(f"{self.path}: the weights lack {name}, which config.json asks for: fetch the model again")
        return tensor


class Layer:
    """One decoder layer's weights."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        def get(name: str) -> torch.Tensor | None:
            return weights.get(f"{prefix}.{name}")

        def merged(*names: str) -> Linear:
            biases = [get(f"{name}.bias") for name in names]
            bias = torch.cat(biases) if biases[0] is not None else None
            return linear(torch.cat([weights.need(f"{prefix}.{name}.weight") for name in names]), bias)

        self.input_norm, self.post_norm = (
            weights.need(f"{prefix}.{name}.weight") for name in ("input_layernorm", "post_attention_layernorm")
        )
        self.q_norm, self.k_norm = get("self_attn.q_norm.weight"), get("self_attn.k_norm.weight")
        self.qkv = merged("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.o = merged("self_attn.o_proj")
        self.gate_up, self.down = merged("mlp.gate_proj", "mlp.up_proj"), merged("mlp.down_proj")


def rope_table(config: Any, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [max_position, head_dim] for all positions, scaled as the config says; for ``rotate``.

    The frequencies come from transformers, which knows every scaling; the angles are computed in fp32.
    """
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = LlamaRotaryEmbedding(config)
    angles = torch.outer(torch.arange(config.max_position_embeddings).float(), rope.inv_freq.float())
    cos, sin = angles.cos() * rope.attention_scaling, angles.sin() * rope.attention_scaling
    return torch.cat((cos, cos), -1).to(device, dtype), torch.cat((-sin, sin), -1).to(device, dtype)
