"""The Llama family's forward pass on packed tokens: Llama, SmolLM2, Mistral, Qwen2, Qwen3.

All requests' tokens of a step lie one after the other in one [T, hidden] matrix. Only attention knows where one
request ends and the next begins; everything else is done for all tokens at once. Q, K and V share one matrix
product, gate and up another.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..hub.shelf import ModelError
from ..kernels import native
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention
from ..kernels.linear import Native, linear
from ..kernels.ops import ops_named
from .weights import Layer, Weights, rope_table

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


def supports(config: Any) -> str | None:
    """None if this forward is right for the model, else what it lacks."""
    if config.model_type not in FAMILY:
        return f"model type {config.model_type!r} is not of the Llama family"
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act!r}"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        return f"rope type {rope.get('rope_type')!r}"
    return None


def window_of(config: Any, layer: int) -> int | None:
    """The sliding window of a layer in tokens, or None for full attention."""
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if kinds:
        return window if kinds[layer] == "sliding_attention" else None
    return window if getattr(config, "use_sliding_window", True) else None


class Decoder:
    """A loaded model: ``forward(batch, kv, attention)`` gives the logits of the rows that asked for them."""

    def __init__(self, path: Path, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        weights = Weights(path, dtype, device)
        self.config, self.dtype, self.device, self.eps = config, dtype, device, config.rms_norm_eps
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.embedding, self.norm = weights.need("model.embed_tokens.weight"), weights.need("model.norm.weight")
        if tuple(self.embedding.shape) != (config.vocab_size, config.hidden_size):
            raise ModelError(
                f"{path}: config.json says {config.vocab_size} tokens of size {config.hidden_size}, the weights hold "
                f"{tuple(self.embedding.shape)}: they do not belong together, fetch the model again"
            )
        self.layers = [Layer(weights, f"model.layers.{i}") for i in range(config.num_hidden_layers)]
        head = None if config.tie_word_embeddings else weights.get("lm_head.weight")
        self.lm_head = linear(self.embedding if head is None else head)
        self.windows = [window_of(config, i) for i in range(len(self.layers))]
        self.scales, self.softcap = [self.head_dim**-0.5] * len(self.layers), None
        self.cos, self.sin = rope_table(config, device, dtype)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def weight_nbytes(self) -> int:
        """Bytes of a weight in memory: 2 where it was published in half precision and stays so, even to compute in fp32."""
        return self.layers[0].gate_up.weight_nbytes

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: list[LayerKV], attention: Attention) -> torch.Tensor:
        """Logits [E, vocabulary] of the positions in ``batch.logit_rows``."""
        return self.logits(self.hidden(batch, kv, attention), attention)

    def hidden(self, batch: Batch, kv: list[LayerKV], attention: Attention) -> torch.Tensor:
        """What the layers make of the tokens in ``batch.logit_rows``: [E, hidden], before the last norm.

        After the last layer's attention nobody asks for the others any more. native.native_layers is the same in C.
        """
        ops, delta = ops_named(attention.ops), None
        x = F.embedding(batch.token_ids, self.embedding)
        cos, sin = self.cos[batch.positions], self.sin[batch.positions]
        if self.runs_whole(attention):
            return native.native_layers(
                self.in_panels, x, self.config.intermediate_size, cos, sin, self.eps, self.heads, kv, batch
            )
        for layer, cache in zip(self.layers, kv, strict=True):
            norm = layer.input_norm
            h = ops.rms_norm(x, norm, self.eps) if delta is None else ops.add_norm(x, delta, norm, self.eps)
            h = self.attend(layer, h, cos[:, None], sin[:, None], cache, batch, attention, ops)
            if layer is self.layers[-1] and len(batch.logit_rows) < len(x):
                x, h = x[batch.logit_rows], h[batch.logit_rows]
            h = ops.add_norm(x, layer.o(h), layer.post_norm, self.eps)
            delta = layer.down(ops.silu_mul(layer.gate_up(h)))
        x += delta
        return x

    def runs_whole(self, attention: Attention) -> bool:
        """Whether ``native.native_layers`` computes the layers: it needs products and attention to be its own."""
        return attention.backend == "native" and self.in_panels is not None

    @functools.cached_property
    def in_panels(self) -> ctypes.Array | None:
        """The layers' weights for ``native.native_layers``, or None where the products are not done by it."""
        products = {type(p) for layer in self.layers for p in (layer.qkv, layer.o, layer.gate_up, layer.down)}
        return native.layer_weights(self.layers) if products == {Native} else None

    def logits(self, x: torch.Tensor, attention: Attention) -> torch.Tensor:
        """[E, hidden] → [E, vocabulary]."""
        return self.lm_head(ops_named(attention.ops).rms_norm(x, self.norm, self.eps))

    def attend(self, layer: Layer, h: torch.Tensor, cos, sin, cache: LayerKV, batch: Batch, attention: Attention, ops):
        """Project, rotate, attend over the paged cache. h [T, hidden] → [T, heads · head_dim]."""
        heads = layer.qkv(h).view(len(h), -1, self.head_dim)  # queries, then keys, then values
        qk, v = heads.split((self.heads + self.kv_heads, self.kv_heads), 1)
        qk = ops.norm_rotate(qk, self.heads, layer.q_norm, layer.k_norm, self.eps, cos, sin)
        q, k = qk.split((self.heads, self.kv_heads), 1)
        return attention.paged_attention(q, k, v, cache, batch).reshape(len(h), -1)
