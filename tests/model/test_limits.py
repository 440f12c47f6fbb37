"""What begins far into a text (windows, chunks, floors, longrope): right beside any neighbour, or refused with the remedy."""

from __future__ import annotations

import threading

import pytest
from support.models import ABSENT, SHAPES, make_model, make_tokenizer
from support.oracle import Oracle

from minieng import LLM, SamplingParams
from minieng.adapter.adapter import Adapter, UnsupportedModel
from minieng.adapter.trial import LENGTHS, STEPS, limits

COUNT = 8
PROMPTS = [[(k * i + 5) % 300 + 3 for i in range(n)] for k, n in ((3, 5), (7, 30), (11, 61))]
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
       "shared_expert_intermediate_size": 32}  # fmt: skip
LLAMA4 = {"head_dim": 12, "num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 96, "num_hidden_layers": 4}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 32,
            "short_factor": [1.0] * 6, "long_factor": [1.0 + i for i in range(6)]}  # fmt: skip
# name → (class of configuration, settings, the longest text that is free of it)
LIMITED = {
    "phi3 longrope": (
        "Phi3Config", {"sliding_window": None, "original_max_position_embeddings": 32, "rope_parameters": LONGROPE}, 32
    ),
    "llama longrope": ("LlamaConfig", {"rope_parameters": LONGROPE}, 32),
    "llama4 chunks": ("Llama4TextConfig", {**LLAMA4, "attention_chunk_size": 16}, 16),
    "qwen2_moe window": ("Qwen2MoeConfig", {**MOE, "sliding_window": 20, "use_sliding_window": True, "max_window_layers": 1}, 20),
    "phimoe window": ("PhimoeConfig", {**MOE, "sliding_window": 20}, 20),
    "moshi window": ("MoshiConfig", {"sliding_window": 20, "head_dim": 12, "ffn_dim": 96, "num_key_value_heads": 4}, 20),
}  # fmt: skip


def made(folder, name: str, **settings):
    kind, own, _ = LIMITED[name]
    SHAPES[name] = (kind, own)
    return make_model(folder, name, **settings)


def served(folder, prompts, **knobs) -> list[list[int]]:
    settings = {"num_blocks": 64, "block_size": 4, "dtype": "float32", "device": "cpu"}
    with LLM(str(folder), **{**settings, **knobs}) as llm:
        outs = llm.generate(prompts, SamplingParams(max_tokens=COUNT, ignore_eos=True))
    return [out.outputs[0].token_ids for out in outs]


@pytest.mark.parametrize("name", LIMITED)
def test_right_or_refused_by_name(tmp_path, name):
    folder = made(tmp_path, name)
    try:
        seen = [served(folder, PROMPTS), served(folder, PROMPTS, scheduler="chunked", max_num_batched_tokens=9)]
    except UnsupportedModel as refusal:
        assert f"model type {name.split()[0]!r}"[:-1] in str(refusal)
        return
    oracle = Oracle(folder, name, longest=COUNT)
    for outs in seen:
        for prompt, tokens in zip(PROMPTS, outs, strict=True):
            oracle.compare(prompt, tokens, COUNT)


@pytest.mark.parametrize("name", ["phi3 longrope", "llama longrope", "llama4 chunks", "phimoe window"])
def test_a_limit_is_refused_with_the_length_that_is_right(tmp_path, name):
    folder, longest = made(tmp_path, name), LIMITED[name][2]
    with pytest.raises(UnsupportedModel, match=f"set max_model_len to {longest} or less"):
        served(folder, PROMPTS)
    prompts = [prompt[: longest - COUNT] for prompt in PROMPTS]
    oracle = Oracle(folder, name, longest=COUNT)
    for prompt, tokens in zip(prompts, served(folder, prompts, max_model_len=longest), strict=True):
        oracle.compare(prompt, tokens, COUNT)


def test_engines_that_share_weights_are_tried_each_as_far_as_it_goes(tmp_path):
    folder = made(tmp_path, "phimoe window")
    with LLM(str(folder), num_blocks=64, block_size=4, dtype="float32", device="cpu", max_model_len=20) as short:
        assert isinstance(short.runner.model, Adapter) and short.runner.model.reached == 20
        with pytest.raises(UnsupportedModel, match="set max_model_len to 20"):
            served(folder, PROMPTS, max_model_len=200)


def test_nobody_steps_while_a_trial_changes_the_attention(tmp_path):
    """Engines share a model: a step in one thread waits while the trial for another engine has the model to itself."""
    folder = made(tmp_path, "phimoe window", max_position_embeddings=256)
    with LLM(str(folder), num_blocks=64, block_size=4, dtype="float32", device="cpu", max_model_len=20) as first:
        model, steps = first.runner.model, threading.Event()
        want = tokens_of(first)
        with model._alone:
            side = threading.Thread(target=lambda: (tokens_of(first), steps.set()))
            side.start()
            assert not steps.wait(0.5)
        assert steps.wait(20)
        side.join()
        assert tokens_of(first) == want


def tokens_of(llm) -> list[int]:
    return llm.generate([PROMPTS[0]], SamplingParams(max_tokens=4, ignore_eos=True))[0].outputs[0].token_ids


def test_windows_that_are_told_to_the_attention_are_no_reason_to_refuse(shape):
    """The real limits come back after the trial."""
    with shape("gemma2").llm(num_blocks=64) as llm:
        model = llm.runner.model
        assert model.reached > 100 and model.config.sliding_window == 7
        assert {(name, value) for _, name, value in limits(model.model, 256)} == {("sliding_window", 7)}


@pytest.mark.parametrize("name, limit", [
    ("llama4 chunks", "attention_chunk_size"), ("phimoe window", "sliding_window"),
    ("phi3 longrope", "original_max_position_embeddings"),
])  # fmt: skip
def test_the_trial_finds_the_limits_and_its_texts_are_past_them(tmp_path, name, limit):
    import transformers

    folder = made(tmp_path, name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    found = limits(model, 10_000)
    assert limit in {name for _, name, _ in found} and {value for _, _, value in found} >= {LIMITED[name][2]}
    assert not limits(model, LIMITED[name][2])
    ends = {text: max(end for step in STEPS for t, _, end in step if t == text) for text in range(len(LENGTHS))}
    assert [ends[text] for text in ends] == list(LENGTHS)


# --- refusals in the user's words, and those that need none --------------------------------------------------------------

MLA = {"num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
       "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1,
       "topk_group": 1, "index_topk": 12, "index_n_heads": 2, "index_head_dim": 16}  # fmt: skip
WHISPER = {"d_model": 48, "decoder_layers": 2, "encoder_layers": 1, "decoder_attention_heads": 4, "encoder_attention_heads": 4,
           "decoder_ffn_dim": 64, "encoder_ffn_dim": 64, "max_target_positions": 256, "decoder_start_token_id": 2,
           "begin_suppress_tokens": None}  # fmt: skip
GPT_NEO = {"num_layers": 3, "num_heads": 4, "attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 12}
REFUSED = {
    "deepseek_v32": ("DeepseekV32Config", MLA),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention", "conv"]}),
    "roberta": ("RobertaConfig", {"is_decoder": True, "pad_token_id": 1}),
    "falcon": ("FalconConfig", {}),
    "gptj": ("GPTJConfig", {"n_embd": 48, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "num_key_value_heads": ABSENT}),
    "gpt_neo": ("GPTNeoConfig", GPT_NEO),
    "whisper": ("WhisperConfig", WHISPER),
}
INSIDE = ("object", "NoneType", "argument", "attribute '", "Error", "minieng_paged", "out of range", "unpack", "None ")


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_speaks_in_the_users_words(tmp_path, name):
    SHAPES[name] = REFUSED[name]
    folder = make_model(tmp_path, name)
    with pytest.raises(UnsupportedModel, match=f"^model type '{name}'") as refusal:
        served(folder, PROMPTS)
    assert not [word for word in INSIDE if word in str(refusal.value)], refusal.value


def musicgen(folder, whole: bool):
    """A checkpoint of sound from text: all its parts, or the decoder alone."""
    import transformers as tf

    decoder = tf.MusicgenDecoderConfig(hidden_size=32, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=300)
    if whole:
        text = tf.T5Config(d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=320)
        sound = tf.EncodecConfig(num_filters=2, num_lstm_layers=1, hidden_size=16, codebook_size=8)
        config = tf.MusicgenConfig(text_encoder=text, audio_encoder=sound, decoder=decoder)
        tf.MusicgenForConditionalGeneration(config).save_pretrained(folder)
    else:
        tf.MusicgenForCausalLM(decoder).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("whole, kind, said", [
    (True, "musicgen", "has an encoder beside its decoder, which a paged KV cache cannot hold"),
    (False, "musicgen_decoder", "transformers has no causal language model of this type"),
])  # fmt: skip
def test_a_model_of_sound_is_refused_from_disk(tmp_path, whole, kind, said):
    with pytest.raises(UnsupportedModel, match=f"^model type '{kind}'.* {said}"):
        served(musicgen(tmp_path, whole), PROMPTS)


def test_a_package_that_transformers_lacks_is_named(tmp_path, monkeypatch):
    import transformers

    def lacks(*_, **__):
        raise ImportError("\nTimmWrapperModel requires the timm library but it was not found in your environment.\n")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lacks)
    with pytest.raises(UnsupportedModel, match="needs a package that is not here .TimmWrapperModel requires the timm library"):
        served(make_model(tmp_path, "gpt2"), PROMPTS)


@pytest.mark.parametrize("name, kind", [("stablelm", "StableLmConfig"), ("nemotron", "NemotronConfig")])
def test_models_that_hand_no_arguments_on_run(tmp_path, name, kind):
    SHAPES[name] = (kind, {"hidden_size": 64})
    folder = make_model(tmp_path, name)
    oracle = Oracle(folder, name, longest=COUNT)
    for knobs in ({}, {"scheduler": "chunked", "max_num_batched_tokens": 9}, {"scheduler": "static"}, {"attention": "padded"}):
        for prompt, tokens in zip(PROMPTS, served(folder, PROMPTS, **knobs), strict=True):
            oracle.compare(prompt, tokens, COUNT)
