"""What cannot be right here, in the user's words:
said before a weight is read where the config or a name tells it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..hub.shelf import ModelError, Stored
from ..warn import warn

ENCODER, RECURRENT, ALIBI = (
    "an encoder beside its decoder",
    "a recurrent state instead of KV",
    "ALiBi attention bias",
)
DRAFTER = "only the keys and values of the model that it drafts for"
REFUSED = {
    "bloom": ALIBI,
    "blt": "layers over patches of several bytes",
    "mpt": ALIBI,
    "t5": "an encoder and a decoder",
    "whisper": ENCODER,
    "gpt_oss": "attention sinks",
    "mamba": RECURRENT,
    "mamba2": RECURRENT,
    "falcon_mamba": RECURRENT,
    "rwkv": RECURRENT,
    "xlstm": RECURRENT,
    "jamba": "recurrent layers",
    "recurrent_gemma": "recurrent layers",
    "gemma4_assistant": DRAFTER,
    "gemma4_unified_assistant": DRAFTER,
}
PLAIN = ("F64", "F32", "F16", "BF16")
# What GPTQ, AWQ and others store.
PACKED = (".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv")
# In the name of a layer's kind: it remembers more than keys and values.
STATES = ("linear", "mamba", "conv", "recurrent")


class UnsupportedModel(ModelError):
    """The architecture cannot be right on this engine; the message says why."""


def refuse(config: Any, tensors: dict[str, Stored]) -> None:
    """Raise UnsupportedModel for a model that would give wrong tokens, on either forward."""
    text = text_of(config)
    quantised = next((q for c in (config, text) if (q := quantisation(c))), None)
    odd = (
        f"{name} is stored as {t.dtype}"
        for name, t in tensors.items()
        if name.endswith("weight") and t.dtype not in PLAIN
    )
    packed = (f"{name} is part of a quantised weight" for name in tensors if name.endswith(PACKED))
    raw = next(odd, None) or next(packed, None)
    if quantised or raw:
        what = f"its weights are quantised ({quantised})" if quantised else raw
        raise UnsupportedModel(
            f"model type {config.model_type!r}: {what}, and minieng reads plain weights only: take the "
            "model it was made from, or a copy that is saved in bfloat16 or as GGUF"
        )
    reason = REFUSED.get(text.model_type) or REFUSED.get(config.model_type)
    if reason is None and getattr(config, "is_encoder_decoder", False):
        reason = "an encoder and a decoder"
    if reason is None and getattr(text, "index_topk", None):
        reason = "an index of its own that picks the tokens to attend to"
    kinds = sorted(
        {
            str(kind)
            for kind in getattr(text, "layer_types", None) or ()
            if any(s in str(kind) for s in STATES)
        }
    )
    if reason is None and kinds:
        reason = f"layers with a state of their own ({', '.join(kinds)})"
    if reason is not None:
        raise cannot_hold(config, reason)


def cannot_hold(config: Any, reason: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"model type {config.model_type!r} has {reason}, which a paged KV cache cannot hold"
    )


def text_of(config: Any) -> Any:
    """The configuration of the model's text. Raises UnsupportedModel if it has two,
    a text encoder's and a decoder's.
    """
    try:
        return config.get_text_config()
    except ValueError:
        raise cannot_hold(config, ENCODER) from None


def quantisation(config: Any) -> str | None:
    """The method by which config.json says that the weights were quantised, or None."""
    found = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    if not found:
        return None
    plain = found if isinstance(found, dict) else found.to_dict()
    return str(plain.get("quant_method") or plain.get("quant_algo") or "by an unnamed method")


def tell_unused(path: Path, names: Any) -> None:
    """Warn of tensors in the files that config.json has no place for."""
    unused = sorted(name for name in names if not name.endswith("rotary_emb.inv_freq"))  # computed, not read
    if unused:
        warn(f"{path}: config.json has no place for {unused[0]}{and_more(unused)}: left unused")


def and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
