"""Any other causal language model of transformers, on the same paged cache.

transformers lets a model's attention be replaced by a function (``AttentionInterface``). Ours stores and reads the
paged cache; embeddings, norms, projections and the head stay transformers' own code. An architecture whose
attention does not go through that interface, or needs what a packed batch cannot say, is refused: some by name,
with the reason; all others by a trial when the model is loaded, against transformers' own attention.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..kernels.backend import BACKENDS
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention

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
    """The function that transformers calls in each layer. query [1, H, T, D], key and value [1, Hkv, T, D].

    minieng: batch, caches and attention of the step; or a list, into which each layer writes what it would cache.
    """
    if isinstance(minieng, list):
        minieng.append((query.shape[1], key.shape[1], key.shape[3], value.shape[3]))
        return query.transpose(1, 2), None
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
        except (ValueError, KeyError) as problem:  # KeyError: a table of attentions in which ours does not stand
            raise UnsupportedModel(
                f"model type {config.model_type!r}: attention cannot be replaced ({problem!r:.150})"
            ) from problem
        self.model, self.dtype, self.device = model.eval().to(device), dtype, device
        self.weight_nbytes = dtype.itemsize  # of one weight in memory
        self.config, kind = config.get_text_config(), config.model_type
        try:
            self.heads, self.kv_heads, self.head_dim, self.num_layers = self.geometry()
            self.scales, self.windows = [self.head_dim**-0.5] * self.num_layers, [None] * self.num_layers
            self.softcap = None  # scale, window and softcap are told by transformers, layer by layer
            error = trial(self)
        except Exception as problem:
            raise UnsupportedModel(
                f"model type {kind!r} does not run on a paged KV cache: {str(problem) or type(problem).__name__:.150}"
            ) from problem
        if not error < (1e-3 if dtype == torch.float32 else 0.2):  # not: NaN is refused too
            raise UnsupportedModel(
                f"model type {kind!r} computes something else on a paged KV cache than transformers does alone "
                f"(off by {error:.2g}): its layers need more than keys and values of the tokens before"
            )

    @torch.inference_mode()
    def geometry(self) -> tuple[int, int, int, int]:
        """Query heads, K/V heads, head size and layers, from what the layers really pass to their attention."""
        seen: list[tuple[int, int, int, int]] = []
        self.model(input_ids=torch.tensor([[1]], device=self.device), use_cache=False, minieng=seen)
        if not seen:
            raise ValueError("its attention does not go through transformers' AttentionInterface")
        if len(set(seen)) > 1 or seen[0][2] != seen[0][3]:
            raise ValueError(f"heads, K/V heads, sizes of keys and values are not the same everywhere: {sorted(set(seen))}")
        return *seen[0][:3], len(seen)

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


@torch.inference_mode()
def trial(adapter: Adapter) -> float:
    """Largest difference of two texts' logits from transformers' own attention, in standard deviations.

    The longer text comes in three steps, the shorter beside it in the second, as in a served batch.
    """
    texts = [[(37 * i + 11 + 5 * n) % adapter.config.vocab_size for i in range(n)] for n in (9, 5)]
    want = []
    adapter.model.set_attn_implementation("eager")
    for text in texts:
        out = adapter.model(input_ids=torch.tensor([text], device=adapter.device), use_cache=False)
        want.append(out.logits[0, -1].float())
    adapter.model.set_attn_implementation(NAME)
    size = (2, adapter.num_layers, 6, 4, adapter.kv_heads, adapter.head_dim)
    cache, attention = torch.zeros(size, dtype=adapter.dtype, device=adapter.device), Attention(BACKENDS["torch"], "trial")
    kv = [LayerKV(cache[0, i], cache[1, i], adapter.scales[i]) for i in range(adapter.num_layers)]
    adapter.forward(trial_batch(texts, [(0, 0, 4)], adapter.device), kv, attention)
    other = adapter.forward(trial_batch(texts, [(0, 4, 8), (1, 0, 5)], adapter.device), kv, attention)[-1]
    long = adapter.forward(trial_batch(texts, [(0, 8, 9)], adapter.device), kv, attention)[-1]
    return max(float((got.float() - w).abs().max() / w.std()) for got, w in zip((long, other), want, strict=True))


def trial_batch(texts: list[list[int]], slices: list[tuple[int, int, int]], device: torch.device) -> Batch:
    """Tokens first … last-1 of some texts; text t lies in blocks 3t, 3t+1 and 3t+2 of four slots each."""
    places = [(t, i) for t, first, last in slices for i in range(first, last)]
    starts = [0]
    for _, first, last in slices:
        starts.append(starts[-1] + last - first)
    numbers = [[texts[t][i] for t, i in places], [i for _, i in places], [12 * t + i for t, i in places]]
    tables = torch.tensor([[3 * t, 3 * t + 1, 3 * t + 2] for t, _, _ in slices], dtype=torch.int32, device=device)
    rows = torch.tensor(starts[1:], device=device) - 1
    return Batch(*torch.tensor(numbers, device=device), starts, [0] * len(slices), [last for _, _, last in slices], tables, rows)


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
