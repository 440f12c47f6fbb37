"""What several files of these tests compute with."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3", "mistral"])
def shape(request, tmp_path_factory):
    """A small model of each kind of layer: plain, biased, with normed queries and keys, with a window."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 3, "num_attention_heads": 6,
             "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 90, "max_position_embeddings": 256}  # fmt: skip
    more = {"mistral": {"sliding_window": 20}, "qwen2": {"use_sliding_window": False}, "qwen3": {}, "llama": {}}[request.param]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **sizes, **more))
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.1)
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    return path, model.config
