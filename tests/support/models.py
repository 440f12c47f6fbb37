"""Small random models on disk, with a tokenizer, for any architecture that transformers knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY, END = 320, 0
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": END,
         "pad_token_id": None}  # fmt: skip
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}  # fmt: skip
SLIDING = {"sliding_window": 7}
ABSENT = object()
ALL_HEADS = {"num_key_value_heads": ABSENT}

# name → (transformers' class of configuration, settings over SMALL)
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama_untied_bias": ("LlamaConfig", {"tie_word_embeddings": False, "attention_bias": True}),
    "llama_mha_tied": ("LlamaConfig", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama3_rope": ("LlamaConfig", {"rope_parameters": LLAMA3_ROPE}),
    "mistral_sliding": ("MistralConfig", SLIDING),
    "qwen2": ("Qwen2Config", {}),
    "qwen2_sliding": ("Qwen2Config", {**SLIDING, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "gpt2": ("GPT2Config", {**ALL_HEADS, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("GPTNeoXConfig", {**ALL_HEADS, "rotary_pct": 0.25}),
    "opt": ("OPTConfig", {**ALL_HEADS, "ffn_dim": 96, "word_embed_proj_dim": 48, "pad_token_id": 1}),
    "gemma2": ("Gemma2Config", {**SLIDING, "head_dim": 16, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0,
                                "final_logit_softcapping": 20.0}),
    "gemma3": ("Gemma3TextConfig", {**SLIDING, "head_dim": 16, "query_pre_attn_scalar": 8}),
    "phi3": ("Phi3Config", {**SLIDING}),
    "olmo2": ("Olmo2Config", {}),
    "diffllama": ("DiffLlamaConfig", {}),
    "cohere": ("CohereConfig", {"logit_scale": 1.0}),
}  # fmt: skip


def make_model(folder: Path, shape: str, seed: int = 0, **settings: Any) -> Path:
    """A model of that shape in ``folder``, saved as transformers saves it, with the tokenizer beside it."""
    import transformers

    name, own = SHAPES[shape]
    given = {key: value for key, value in {**SMALL, **own, **settings}.items() if value is not ABSENT}
    config = getattr(transformers, name)(**given)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    spread(model)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def spread(model: torch.nn.Module) -> None:
    """Larger weights than training starts with: positions and neighbours then matter, and texts do not run in circles."""
    generator = torch.Generator().manual_seed(1)
    tied = getattr(model.config, "tie_word_embeddings", False)  # then a large embedding makes a model repeat its last token
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                embedding = "embed" in name or "wte" in name or "wpe" in name
                size = (0.05 if tied else 1.0) if embedding else 1.8 / weight.shape[-1] ** 0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * size)
            elif "bias" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)


def make_tokenizer() -> Any:
    """Byte-level BPE: any text has tokens, and a character of several bytes is several tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat and then the dog said stop stopping"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
