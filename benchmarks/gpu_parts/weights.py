"""A model directory that every engine loads: real weights where they are, else random ones made on the device.

How fast an engine is does not depend on the weights' values; every result says which they were.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

QWEN3_06B = {
    "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960, "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip
SMOLLM2 = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "head_dim": 64, "max_position_embeddings": 8192, "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
}  # fmt: skip
SMALL = {**QWEN3_06B, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A directory and what is in it."""

    path: Path
    label: str
    dtype: torch.dtype

    @property
    def config(self) -> dict:
        return json.loads((self.path / "config.json").read_text())

    @property
    def weight_bytes(self) -> int:
        """What a decode step reads of the weights: layers and head; of an embedding that is not the head, next to nothing."""
        c = self.config
        width, dim, inner = c["hidden_size"], c["head_dim"], c["intermediate_size"]
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        layer = width * dim * (heads + 2 * kv_heads) + heads * dim * width + 3 * width * inner
        return (c["num_hidden_layers"] * layer + c["vocab_size"] * width) * self.dtype.itemsize

    @property
    def kv_bytes_per_token(self) -> int:
        c = self.config
        return 2 * c["num_hidden_layers"] * c["num_key_value_heads"] * c["head_dim"] * self.dtype.itemsize


def random_model(folder: Path, shape: dict, kind: str, name: str, dtype: torch.dtype, device: torch.device) -> Model:
    """A model of that shape with random weights, made on the device, saved once; the tokenizer is that of ``tiny``."""
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, Qwen3Config

    from minieng.model import resolve

    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = {"qwen3": Qwen3Config, "llama": LlamaConfig}[kind](**shape, bos_token_id=None, eos_token_id=None)
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
        model.save_pretrained(folder)
        del model
        for file in resolve("tiny").glob("*token*"):
            shutil.copy(file, folder)
        done.touch()
    return Model(folder, f"{name}, random weights made from the config", dtype)


def real_model(name: str, dtype: torch.dtype) -> Model | None:
    """A model by name if it is here or can be fetched."""
    from minieng.hub.resolve import ModelError
    from minieng.model import resolve

    try:
        return Model(resolve(name), f"{name}, real weights", dtype)
    except (ModelError, OSError):
        return None
