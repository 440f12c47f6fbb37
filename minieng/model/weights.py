"""A model's numbers: read from safetensors one at a time, laid out for the products,
and the table of its rotation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..adapter.refusals import tell_unused
from ..hub.shelf import ModelError, tensors_in
from ..kernels.linear import Linear, linear
from ..known.facts import Known

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Weights:
    """The tensors of a directory's safetensors files,
    read one at a time so that no second copy of them all exists.

    The config decides which are read, as in transformers: a tensor that it has no place for is left unused
    (and told of), one that it asks for must be there in its shape.
    """

    def __init__(self, path: Path, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.path, self.dtype, self.device = path, dtype, device
        self.stored, self.wanted = tensors_in(path), places(path, config)
        if config.tie_word_embeddings and HEAD not in self.stored:
            del self.wanted[HEAD]
        for name, shape in self.wanted.items():
            if name not in self.stored:
                raise ModelError(
                    f"{path}: the weights lack {name}, which config.json asks for: fetch the model again"
                )
            if self.stored[name].shape != shape:
                raise ModelError(
                    f"{path}: config.json asks for {name} of shape {shape}, the weights hold "
                    f"{self.stored[name].shape}: they do not belong together, fetch the model again"
                )
        tell_unused(path, self.stored.keys() - self.wanted.keys())

    def get(self, name: str) -> torch.Tensor | None:
        """One tensor in the engine's precision on its device; None if the config has no place for it."""
        return self.compact(name).to(self.dtype) if name in self.wanted else None

    def need(self, name: str) -> torch.Tensor:
        """``get``, for a tensor that every config of the family has."""
        tensor = self.get(name)
        assert tensor is not None, name
        return tensor

    def compact(self, name: str) -> torch.Tensor:
        """A tensor in the precision that it was published in, or in the engine's where that is narrower."""
        with safe_open(self.stored[name].file, framework="pt") as file:
            tensor = file.get_tensor(name).to(self.device)
        return tensor if tensor.itemsize <= self.dtype.itemsize else tensor.to(self.dtype)


def places(path: Path, config: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a config asks for: from transformers' own model of one layer,
    without memory. Or as it is known.
    """
    if isinstance(config, Known):
        return dict(config.places)
    from transformers import AutoModelForCausalLM

    settings = config.to_dict() | {"num_hidden_layers": 1}
    if settings.get("layer_types"):
        settings["layer_types"] = settings["layer_types"][:1]
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                type(config).from_dict(settings), trust_remote_code=False
            )
    except Exception as problem:
        raise ModelError(
            f"{path}: config.json makes no model ({problem!s:.150}): download or copy the model again"
        ) from problem
    first = "model.layers.0."
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in model.state_dict().items():
        layers = range(config.num_hidden_layers) if name.startswith(first) else (0,)
        found |= {name.replace(first, f"model.layers.{i}.", 1): tuple(tensor.shape) for i in layers}
    return found


class Layer:
    """One decoder layer's weights. form: of its products; None: the one that is fastest alone."""

    def __init__(self, weights: Weights, prefix: str, form: type[Linear] | None = None) -> None:
        def get(name: str) -> torch.Tensor | None:
            return weights.get(f"{prefix}.{name}")

        def merged(*names: str) -> Linear:
            biases = [get(f"{name}.bias") for name in names]
            bias = torch.cat(biases) if biases[0] is not None else None
            parts = [weights.compact(f"{prefix}.{name}.weight") for name in names]
            return linear(torch.cat(parts), bias, form, weights.dtype)

        self.input_norm, self.post_norm = (
            weights.need(f"{prefix}.{name}.weight")
            for name in ("input_layernorm", "post_attention_layernorm")
        )
        self.q_norm, self.k_norm = get("self_attn.q_norm.weight"), get("self_attn.k_norm.weight")
        self.qkv = merged("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        self.o = merged("self_attn.o_proj")
        self.gate_up, self.down = merged("mlp.gate_proj", "mlp.up_proj"), merged("mlp.down_proj")


def rope_table(
    config: Any, positions: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [positions, head_dim], scaled as the config says; for ``rotate``.

    The frequencies come from transformers, which knows every scaling; the angles are computed in fp32.
    """
    inv_freq, scaling = frequencies(config)
    angles = torch.outer(torch.arange(positions).float(), inv_freq)
    cos, sin = angles.cos() * scaling, angles.sin() * scaling
    return torch.cat((cos, cos), -1).to(device, dtype), torch.cat((-sin, sin), -1).to(device, dtype)


def frequencies(config: Any) -> tuple[torch.Tensor, float]:
    """The rotation's frequencies [head_dim / 2], and the factor of its cosines and sines."""
    if isinstance(config, Known):
        return torch.tensor(config.inv_freq), config.attention_scaling
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    rope = LlamaRotaryEmbedding(config)
    return rope.inv_freq.float(), rope.attention_scaling
