"""The Llama family's forward pass on packed tokens: Llama, SmolLM2, Mistral, Qwen2, Qwen3.

All requests' tokens of a step lie one after the other in one [T, hidden] matrix. Only attention knows where
one request ends and the next begins; everything else is done for all tokens at once. Q, K and V share one
matrix product, gate and up another.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..kernels import native
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention
from ..kernels.linear import OWN, Linear, linear
from .weights import EMBEDDING, HEAD, Layer, Weights, rope_table

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
FIRST_POSITIONS = 2_048  # of the rotation's table when nobody has said yet how long texts become


def supports(config: Any) -> str | None:
    """None if this forward is right for the model, else what it lacks."""
    if config.model_type not in FAMILY:
        return f"model type {config.model_type!r} is not of the Llama family"
    stray = {"llama": ("sliding_window", "layer_types"), "mistral": ("layer_types",)}.get(
        config.model_type, ()
    )
    if found := [name for name in stray if getattr(config, name, None)]:
        return f"{found[0]}, which transformers' model has no place for but its cache goes by"
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act!r}"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):
        return f"rope type {rope.get('rope_type')!r}"
    return None


def window_of(config: Any, layer: int) -> int | None:
    """The sliding window of a layer in tokens, or None for full attention."""
    kinds = getattr(config, "layer_types", None)
    return None if kinds and kinds[layer] != "sliding_attention" else getattr(config, "sliding_window", None)


def geometry(config: Any) -> tuple[int, int, int]:
    """Query heads, K/V heads and head size."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return heads, kv_heads, getattr(config, "head_dim", None) or config.hidden_size // heads


class Decoder:
    """A loaded model: ``forward(batch, kv, attention)`` gives the logits of the rows that asked for them.

    layers  those that are loaded, with the embedding if the first of the model is among them and with the
            last norm and the head if the last is (default: all). A stage of a pipeline has a part, ``kv`` one
            cache for each.
    form    of the products; None: the one that is fastest by itself. why_form: words on how it was chosen
    """

    def __init__(
        self, path: Path, config: Any, dtype: torch.dtype, device: torch.device, layers: range | None = None,
        form: type[Linear] | None = None, why_form: str = "",
    ) -> None:  # fmt: skip
        weights, count = Weights(path, config, dtype, device), config.num_hidden_layers
        layers = range(count) if layers is None else layers
        if not layers or layers.step != 1 or layers.start < 0 or layers.stop > count:
            raise ValueError(
                f"layers={layers}: {path} has layers 0 to {count - 1}, choose some that follow each other"
            )
        first, last = layers.start == 0, layers.stop == count
        self.config, self.dtype, self.device, self.eps = config, dtype, device, config.rms_norm_eps
        self.why_form = why_form
        self.heads, self.kv_heads, self.head_dim = geometry(config)
        tied = HEAD not in weights.wanted
        embedding = weights.compact(EMBEDDING) if first or last and tied else None
        self.embedding = embedding if first else None
        self.norm = weights.need("model.norm.weight") if last else None
        self.layers = [Layer(weights, f"model.layers.{i}", form) for i in layers]
        head = weights.compact(HEAD) if last and not tied else embedding
        self.lm_head = linear(head, None, form, dtype) if last else None
        self.windows = [window_of(config, i) for i in layers]
        self.scales, self.softcap = [self.head_dim**-0.5] * len(layers), None
        self.cos = self.sin = torch.empty(0, self.head_dim, dtype=dtype, device=device)
        self.outgrown: list[tuple[torch.Tensor, torch.Tensor]] = []  # captured graphs may still read them
        self.reach(min(config.max_position_embeddings, FIRST_POSITIONS))

    def reach(self, tokens: int) -> None:
        """Make the table of the rotation as long as texts may become here."""
        if tokens > len(self.cos):
            self.outgrown.append((self.cos, self.sin))
            self.cos, self.sin = rope_table(self.config, tokens, self.device, self.dtype)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def weight_nbytes(self) -> int:
        """Bytes of a weight in memory: 2 where it was published in half precision and stays so,
        even to compute in fp32.
        """
        return self.layers[0].gate_up.weight_nbytes

    @torch.inference_mode()
    def forward(
        self, batch: Batch, kv: list[LayerKV], attention: Attention, before: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits [E, vocabulary] of the positions in ``batch.logit_rows``; without a head,
        ``hidden`` of all tokens.

        before  [T, hidden], overwritten: what the layers before these made, where there is no embedding
        """
        x = self.hidden(batch, kv, attention, before)
        return x if self.lm_head is None else self.logits(x, attention)

    def hidden(
        self, batch: Batch, kv: list[LayerKV], attention: Attention, before: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the layers make of the tokens in ``batch.logit_rows``: [E, hidden], before the last norm.

        After the model's last attention nobody asks for the others any more. native.native_layers is the same
        in C.
        """
        ops, delta = attention.ops, None
        x: torch.Tensor = before
        if self.embedding is not None:
            x = F.embedding(batch.token_ids, self.embedding).to(self.dtype)
        if self.lm_head is None:  # more layers follow, which need every token
            batch = replace(batch, logit_rows=torch.arange(len(x), device=x.device))
        cos, sin = self.cos[batch.positions], self.sin[batch.positions]
        if self.runs_whole(attention):
            assert self.in_panels is not None
            return native.native_layers(
                self.in_panels, x, self.config.intermediate_size, cos, sin, self.eps, self.heads, kv, batch
            )
        for layer, cache in zip(self.layers, kv, strict=True):
            norm = layer.input_norm
            h = ops.rms_norm(x, norm, self.eps) if delta is None else ops.add_norm(x, delta, norm, self.eps)
            h = self.project_and_attend(layer, h, cos[:, None], sin[:, None], cache, batch, attention)
            if layer is self.layers[-1] and len(batch.logit_rows) < len(x):
                x, h = x[batch.logit_rows], h[batch.logit_rows]
            h = ops.add_norm(x, layer.o(h), layer.post_norm, self.eps)
            delta = layer.down(ops.silu_mul(layer.gate_up(h)))
        x += delta
        return x

    def runs_whole(self, attention: Attention) -> bool:
        """Whether ``native.native_layers`` computes the layers:
        it needs products and attention to be its own.
        """
        return attention.backend.whole_layers and self.in_panels is not None

    @functools.cached_property
    def in_panels(self) -> native.LayerPanels | None:
        """The layers' weights for ``native.native_layers``, or None where the products are not done by it."""
        products = {type(p) for layer in self.layers for p in (layer.qkv, layer.o, layer.gate_up, layer.down)}
        return native.LayerPanels(self.layers) if len(products) == 1 and products <= {*OWN} else None

    def logits(self, x: torch.Tensor, attention: Attention) -> torch.Tensor:
        """[E, hidden] → [E, vocabulary]."""
        assert self.lm_head is not None
        return self.lm_head(attention.ops.rms_norm(x, self.norm, self.eps))

    def project_and_attend(
        self, layer: Layer, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, cache: LayerKV,
        batch: Batch, attention: Attention,
    ) -> torch.Tensor:  # fmt: skip
        """Project, rotate, attend over the paged cache. h [T, hidden] → [T, heads · head_dim]."""
        heads = layer.qkv(h).view(len(h), -1, self.head_dim)  # queries, then keys, then values
        qk, v = heads.split((self.heads + self.kv_heads, self.kv_heads), 1)
        qk = attention.ops.norm_rotate(qk, self.heads, layer.q_norm, layer.k_norm, self.eps, cos, sin)
        q, k = qk.split((self.heads, self.kv_heads), 1)
        return attention.paged_attention(q, k, v, cache, batch).reshape(len(h), -1)
