"""Any other causal language model of transformers, on the same paged cache.

transformers lets a model's attention be replaced by a function (``AttentionInterface``). Ours stores and reads the
paged cache; embeddings, norms, projections and the head stay transformers' own code. An architecture whose
attention does not go through that interface, or needs what a packed batch cannot say, is refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .attention import Attention, Batch, LayerKV

NAME = "minieng_paged"
KNOWN_ARGUMENTS = {"scaling", "dropout", "sliding_window", "softcap", "position_ids", "use_cache", "is_causal", "minieng"}
REFUSED = {
    "bloom": "ALiBi attention bias",
    "mpt": "ALiBi attention bias",
    "t5": "an encoder and a decoder",
    "gpt_oss": "attention sinks",
    "mamba": "a recurrent state instead of KV",
    "mamba2": "a recurrent state instead of KV",
    "rwkv": "a recurrent state instead of KV",
    "jamba": "recurrent layers",
    "recurrent_gemma": "recurrent layers",
}


class UnsupportedModel(ValueError):
    """The architecture cannot be right on this engine; the message says why."""


def attend(module, query, key, value, attention_mask, *, minieng, scaling=None, sliding_window=None, softcap=None, **rest):
    """The function that transformers calls in each layer. query [1, H, T, D], key and value [1, Hkv, T, D]."""
    unknown = {name for name, given in rest.items() if given is not None and name not in KNOWN_ARGUMENTS}
    if unknown & {"s_aux", "position_bias"}:
        raise UnsupportedModel(f"{type(module).__name__} attends with {', '.join(sorted(unknown))}, which is not supported")
    batch, kv, attention = minieng
    cache = kv[module.layer_idx]
    scale = cache.scale if scaling is None else scaling
    layer = LayerKV(cache.k, cache.v, scale, sliding_window, softcap)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    return attention.paged_attention(q, k, v, layer, batch)[None], None


class Adapter:
    """A transformers model behind the decoder's face: ``forward(batch, kv, attention)``."""

    def __init__(self, path: Path, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import AttentionInterface, AutoModelForCausalLM

        refuse(config)
        AttentionInterface.register(NAME, attend)
        try:
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=NAME)
        except ValueError as problem:
            raise UnsupportedModel(f"{config.model_type}: attention cannot be replaced ({problem})") from problem
        self.model, self.dtype, self.device = model.eval().to(device), dtype, device
        text = self.config = config.get_text_config()
        self.heads = text.num_attention_heads
        self.kv_heads = getattr(text, "num_key_value_heads", None) or self.heads
        self.head_dim = getattr(text, "head_dim", None) or text.hidden_size // self.heads
        self.num_layers = text.num_hidden_layers
        self.scales = [self.head_dim**-0.5] * self.num_layers
        self.windows, self.softcap = [None] * self.num_layers, getattr(text, "attn_logit_softcapping", None)

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: list[LayerKV], attention: Attention) -> torch.Tensor:
        """Logits [E, vocabulary] of the positions in ``batch.logit_rows``."""
        out = self.model(
            input_ids=batch.token_ids[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.logit_rows,
            minieng=(batch, kv, attention),
        )
        return out.logits[0]


def refuse(config: Any) -> None:
    """Raise UnsupportedModel for an architecture that would give wrong tokens."""
    kind = config.model_type
    reason = REFUSED.get(kind)
    if reason is None and getattr(config, "is_encoder_decoder", False):
        reason = "an encoder and a decoder"
    if reason is None and any("linear" in str(t) or "mamba" in str(t) for t in getattr(config, "layer_types", None) or ()):
        reason = "layers with a recurrent state"
    if reason is not None:
        raise UnsupportedModel(f"model type {kind!r} has {reason}, which a paged KV cache cannot hold")
