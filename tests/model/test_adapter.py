"""Architectures: the own decoder's family and transformers' others give ``generate``'s tokens; what cannot is refused."""

from __future__ import annotations

import random

import pytest
import torch
from support.models import SHAPES, SMALL, make_tokenizer, spread

from minieng import LLM, SamplingParams
from minieng.adapter import adapter
from minieng.adapter.adapter import Adapter, UnsupportedModel
from minieng.model.decoder import Decoder

OWN = {name for name in SHAPES if name.startswith(("llama", "mistral", "qwen"))}
COUNT = 10
RUNS = {
    "continuous": {"scheduler": "continuous"},
    "chunked": {"scheduler": "chunked", "max_num_batched_tokens": 9},
    "static": {"scheduler": "static", "batch_size": 3},
    "padded": {"scheduler": "chunked", "max_num_batched_tokens": 9, "attention": "padded"},
}


def prompts(kit) -> list[list[int]]:
    """Lengths around the sliding window (7 tokens), the blocks (4) and longer."""
    dice = random.Random(3)
    return [[dice.randrange(3, SMALL["vocab_size"]) for _ in range(length)] for length in (1, 5, 8, 13, 30)]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_architecture_gives_transformers_tokens(shape, name, run):
    kit = shape(name)
    with kit.llm(block_size=4, num_blocks=64, max_num_seqs=8, **RUNS[run]) as llm:
        assert type(llm.runner.model) is (Decoder if name in OWN else Adapter)
        outs = llm.generate(prompts(kit), SamplingParams(max_tokens=COUNT, ignore_eos=True))
        for prompt, out in zip(prompts(kit), outs, strict=True):
            kit.oracle.compare(prompt, out.outputs[0].token_ids, COUNT)


@pytest.mark.parametrize("name", ["opt", "gemma2", "gpt2"])
def test_preempted_and_shared_kv_is_right_through_the_adapter_too(shape, name):
    kit, same = shape(name), prompts(shape(name))[3]
    with kit.llm(block_size=4, num_blocks=9, watermark=0.0, preemption="swap", swap_space_gb=0.01) as llm:
        out = llm.generate([same, same[:9] + [5, 6], same], SamplingParams(max_tokens=COUNT, ignore_eos=True, n=2))
        assert sum(o.metrics.num_preemptions for o in out) and llm.trace.total("cached")
        for each in out:
            for sample in each.outputs:
                kit.oracle.compare(each.prompt_token_ids, sample.token_ids, COUNT)


TRAPS = {
    "the softcap": ("gemma2", {"softcap": None}),
    "the layers' windows": ("gemma2", {"sliding_window": None}),
    "the scale of queries": ("gemma3", {"scaling": None}),
    "a window of its own": ("phi3", {"sliding_window": None}),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_these_tests_would_see_a_trap(shape, trap):
    """With the argument left out the tokens differ, so the comparison above is no formality."""
    from transformers import AttentionInterface

    name, without = TRAPS[trap]
    kit = shape(name)
    whole = adapter.attend
    with kit.llm(block_size=4, num_blocks=64) as llm:
        AttentionInterface.register(adapter.NAME, lambda *args, **given: whole(*args, **{**given, **without}))
        try:
            outs = llm.generate(prompts(kit), SamplingParams(max_tokens=COUNT, ignore_eos=True))
        finally:
            AttentionInterface.register(adapter.NAME, whole)
    assert [out.outputs[0].token_ids for out in outs] != [kit.oracle.tokens(p, COUNT) for p in prompts(kit)]


# name of transformers' configuration, settings, a word of the reason
REFUSED = {
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}, "ALiBi"),
    "mpt": ("MptConfig", {"d_model": 48, "n_layers": 2, "n_heads": 4}, "ALiBi"),
    "t5": ("T5Config", {"d_model": 48, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 12}, "encoder"),
    "mamba": ("MambaConfig", {"num_hidden_layers": 2}, "recurrent state"),
    "rwkv": ("RwkvConfig", {"num_hidden_layers": 2, "attention_hidden_size": 48}, "recurrent state"),
    "deepseek_v32": ("DeepseekV32Config", {"index_topk": 12, "num_key_value_heads": 4}, "an index of its own"),
    "gpt_oss": ("GptOssConfig", {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 16}, "sinks"),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention", "conv"]}, "conv|paged KV cache"),
    "falcon": ("FalconConfig", {}, "cannot be replaced"),
    "bert": ("BertConfig", {"is_decoder": False}, "something else on a paged KV cache"),
    "xglm": ("XGLMConfig", {"d_model": 48, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4}, "AttentionInterface"),
    "doge": ("DogeConfig", {"keep_window_size": 12}, "something else on a paged KV cache"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_by_name(tmp_path, name):
    import transformers

    kind, own, reason = REFUSED[name]
    base = getattr(transformers, kind)()
    config = getattr(transformers, kind)(**{**{k: v for k, v in SMALL.items() if hasattr(base, k) and v is not None}, **own})
    torch.manual_seed(0)
    maker = transformers.AutoModelForSeq2SeqLM if name == "t5" else transformers.AutoModelForCausalLM
    model = maker.from_config(config)
    spread(model)
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match=reason) as problem:
        LLM(str(tmp_path), num_blocks=4, device="cpu", dtype="float32")
    assert repr(name) in str(problem.value)


def test_the_geometry_is_measured_not_believed(tmp_path):
    """A GPT-2 whose configuration carries another family's num_key_value_heads."""
    from support.models import make_model

    folder = make_model(tmp_path / "odd", "gpt2", num_key_value_heads=2)
    with LLM(str(folder), num_blocks=8, device="cpu", dtype="float32") as llm:
        assert (llm.runner.model.heads, llm.runner.model.kv_heads, llm.runner.model.head_dim) == (4, 4, 12)
        assert len(llm.generate([[5, 6]], SamplingParams(max_tokens=3, ignore_eos=True))[0].outputs[0].token_ids) == 3
