"""Every type of causal language model that transformers knows, tiny and random, on the engine: right, or refused in words.

A tiny model is made from its type's default configuration, with every size, window, chunk and floor made small. It
is served under four schedules, and each token compared with what transformers' ``generate`` gives to the prompt alone.

    PYTHONPATH=tests python -m support.sweep docs/MODELS.md     every type, into the table
    PYTHONPATH=tests python -m support.sweep llama gemma3       some types, to the terminal
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import random
import re
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY, LAYERS, COUNT = 320, 4, 8
LENGTHS = (5, 30, 61)
RUNS = {
    "continuous": {"scheduler": "continuous"},
    "chunked": {"scheduler": "chunked", "max_num_batched_tokens": 9},
    "static": {"scheduler": "static", "batch_size": 3},
    "padded": {"scheduler": "chunked", "max_num_batched_tokens": 9, "attention": "padded"},
}
# what the settings of a configuration are called → what they become here, the first that fits
SMALL = [
    (r"(.*_)?vocab_size(_.*)?", VOCABULARY),
    (r"num_hidden_layers|(num_|n_)?(encoder_|decoder_)?layers?|depth", LAYERS),
    (r"qk_rope_head_dim|rotary_dim", 8),
    (r"(.*_)?head_dim|d_head|kv_channels|attention_key_size|d_kv", 16),
    (r"(.*_)?(moe|expert)_?.*(intermediate|hidden)_size|shared_expert_intermediate_size|(moe_)?ffn_hidden_size", 32),
    (r"(.*_)?(intermediate|ffn_hidden)_size(_mlp)?|(.*_)?ffn_(dim|embed)|n_inner|d_ff|dim_ff|hidden_dim|ffn_hidden", 128),
    (r"(.*_)?hidden_size|n_embd|n_embed|d_model|dim_model|emb_dim|embed_dim|(word_)?embed_proj_dim|word_embed_proj_dim", 64),
    (r"(num_|n_)(key_value|kv|global_key_value)_heads?|(.*_)?num_key_value_heads(_.*)?", 2),
    (r"(num_|n_)?(encoder_|decoder_)?(attention_)?(query_)?heads?|n_head|(.*_)?num_(attention_)?heads", 4),
    (r"num_experts_per_tok|(moe_)?top_?k(_experts)?|moe_k|num_selected_experts|num_experts_per_token", 2),
    (r"(moe_)?(num|n)_(local_|routed_)?experts", 4),
    (r"max_(position_embeddings|(target|source)_positions|sequence_length)|n_positions|n_ctx|max_seq_len|seq_length", 256),
    (r"n_group|topk_group|num_expert_groups?", 1),
    (r"q_lora_rank|(.*_)?lora_rank", 24),
    (r"(text_)?sliding_window(_size)?|window_size|keep_window_size|attention_window|index_topk", 12),
    (r"attention_chunk_size|(.*_)?floor(_scale)?|log_scaling_n_floor|original_max_position_embeddings", 16),
]
LEFT_OUT = {"transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype", "id2label", "label2id"}
# what single types need besides
CORE = ("hidden_size", "num_attention_heads", "num_key_value_heads", "n_routed_experts", "num_experts_per_tok", "head_dim")
MLA = {"head_dim": 8, "num_key_value_heads": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
SLIDING = ["sliding_attention", "full_attention"] * 2
BASE: dict[str, dict[str, Any]] = {  # without these not even the default configuration can be made
    "gemma4_assistant": {
        "text_config": {"model_type": "gemma4_text", "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    },
}
MORE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu"), MLA),
    "longcat_flash": {**MLA, "qk_head_dim": 24},
    "xmod": {"default_language": "en_XX"},
    **dict.fromkeys(("bamba", "granitemoehybrid"), MAMBA),
    **dict.fromkeys(("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral"), ROPE),
    "gemma3n_text": {"layer_types": SLIDING, "num_kv_shared_layers": 2},
    "cohere_compass_text": {"layer_types": SLIDING, "rope_parameters": dict.fromkeys(SLIDING, ROPE["rope_parameters"])},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "dots1": {"n_shared_experts": 1, "n_group": 1, "topk_group": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "reformer": {"axial_pos_embds_dim": [32, 32], "axial_pos_shape": [16, 16]},
    "zaya": {"num_experts_per_tok": 1},
}


@dataclass(frozen=True)
class Outcome:
    """how: "own" decoder, "adapter", "refused"; "wrong" where a token differs or anything else is raised; "unmade"."""

    kind: str
    how: str
    note: str = ""


def kinds() -> list[str]:
    """transformers' names of all types."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small(settings: dict[str, Any], layers: int | None) -> dict[str, Any]:
    """The settings of a configuration with every size made small. layers: how many it had; lists of that length shrink."""
    found = {}
    for name, value in settings.items():
        if name in LEFT_OUT:
            continue
        rule = next((to for pattern, to in SMALL if re.fullmatch(pattern, str(name))), None)
        if isinstance(value, dict):
            value = small({k: v for k, v in value.items() if not str(k).isdigit() or int(k) < LAYERS}, depth(value) or layers)
        elif isinstance(value, list) and value and len(value) == layers:
            distinct = list(dict.fromkeys(map(str, value)))
            first = [next(v for v in value if str(v) == d) for d in distinct]
            value = (value[: max(0, LAYERS - len(first))] + first)[:LAYERS]
        elif re.fullmatch(r".*_token_(id|index)|(bos|eos|pad)_.*id", str(name)):
            value = 0 if name == "eos_token_id" else 1
        elif rule is not None and (type(value) is int or value is None and name in CORE):
            value = rule
        elif name == "sliding_window" and value is None or name in ("is_decoder", "use_sliding_window"):
            value = True if name != "sliding_window" else 12
        found[name] = value
    return found


def depth(settings: dict[str, Any]) -> int | None:
    return next((settings[n] for n in ("num_hidden_layers", "n_layer", "num_layers", "n_layers") if settings.get(n)), None)


def make(kind: str, folder: Path) -> Path:
    """A tiny random model of that type, saved as transformers saves it, with a tokenizer."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from support.models import make_tokenizer, spread

    base = CONFIG_MAPPING[kind](**BASE.get(kind, {}))
    settings = small(base.to_dict(), depth(base.to_dict()))
    if settings.get("sliding_window") and set(settings.get("layer_types") or ()) == {"full_attention"}:
        settings["layer_types"] = SLIDING
    config = type(base)(**{**settings, **MORE.get(kind, {})})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False).eval()
    spread(model)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def prompts() -> list[list[int]]:
    dice = random.Random(3)
    return [[dice.randrange(3, VOCABULARY) for _ in range(length)] for length in LENGTHS]


def try_kind(kind: str, folder: Path) -> Outcome:
    """Make the model and serve it."""
    from minieng.hub.shelf import ModelError

    try:
        make(kind, folder)
    except Exception as problem:  # often its refusal needs no weights
        return refusal_of(kind) or Outcome(kind, "unmade", f"{type(problem).__name__}: {problem}")
    try:
        return Outcome(kind, serve(kind, folder))
    except ModelError as refusal:
        return Outcome(kind, "refused", str(refusal))
    except (Exception, AssertionError) as problem:
        return Outcome(kind, "wrong", f"{type(problem).__name__}: {problem}")


def refusal_of(kind: str) -> Outcome | None:
    """How the type's default configuration is refused, if it is and can be made."""
    from transformers import CONFIG_MAPPING

    from minieng.adapter.refusals import UnsupportedModel, refuse

    try:
        refuse(CONFIG_MAPPING[kind](**BASE.get(kind, {})), {})
    except UnsupportedModel as refusal:
        return Outcome(kind, "refused", str(refusal))
    except Exception:  # not even the configuration can be made
        pass
    return None


def serve(kind: str, folder: Path) -> str:
    """Which forward ran it; raises what goes wrong."""
    from minieng import LLM, SamplingParams
    from minieng.model.decoder import Decoder
    from support.oracle import Oracle

    settings, oracle = {"num_blocks": 128, "block_size": 4, "device": "cpu", "dtype": "float32", "max_num_seqs": 8}, None
    with LLM(str(folder), **settings) as first:
        how = "own" if isinstance(first.runner.model, Decoder) else "adapter"
        for run, knobs in RUNS.items():
            with LLM(str(folder), **settings, **knobs) as llm:
                outs = llm.generate(prompts(), SamplingParams(max_tokens=COUNT, ignore_eos=True))
            oracle = oracle or Oracle(folder, kind, longest=COUNT)
            for prompt, out in zip(prompts(), outs, strict=True):
                try:
                    oracle.compare(prompt, out.outputs[0].token_ids, COUNT)
                except AssertionError as difference:
                    raise AssertionError(f"{run}: {difference}") from None
    return how


def sweep(chosen: list[str]) -> list[Outcome]:
    """The outcome of each type, one after the other; a line of progress for each."""
    found = []
    for kind in chosen:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(try_kind(kind, Path(folder)))
        print(f"{found[-1].how:8s} {kind:28s} {found[-1].note:.400}", flush=True)
        gc.collect()
    return found


def table(found: list[Outcome]) -> str:
    """docs/MODELS.md."""
    import torch
    import transformers

    def names(how: str) -> list[str]:
        return [f"`{kind}`" for kind in sorted(o.kind for o in found if o.how == how)]

    counts = {how: len(names(how)) for how in ("own", "adapter", "refused", "wrong", "unmade")}
    words = {"own": "run on the own decoder", "adapter": "run through the adapter", "refused": "are refused",
             "wrong": "are wrong", "unmade": "could not be tried"}  # fmt: skip
    said = [f"{counts[how]} {text}" for how, text in words.items() if counts[how]]
    lines = [
        "# Which models run",
        "",
        "Every model type that transformers knows as a causal language model, as a tiny random model: right under every",
        "schedule, or refused when it is loaded, with the reason. Windows, chunks and floors were 12 to 16 tokens, prompts",
        f"had {', '.join(map(str, LENGTHS))}; they ran continuous, chunked (9 tokens a step), static and with padded attention,",
        "in blocks of 4. Each token was compared with transformers' `generate` of the prompt alone.",
        "",
        f"Written by `make models` on {datetime.date.today()}, with transformers {transformers.__version__} and torch",
        f"{torch.__version__}. Of {len(found)} types {', '.join(said)}.",
        "A refusal that names `max_model_len` is of its windows only: up to that length the model runs.",
        "",
        "Weights come from safetensors in fp32, fp16 or bf16; quantised checkpoints (fp8, int8, GPTQ, AWQ, ...) are refused by",
        "name. GGUF is converted once: F32, F16, Q8_0 and Q6_K lose nothing; kinds of five bits or less become bf16, which is",
        "far finer than they are and keeps a weight in two bytes.",
        "",
        "## On the own decoder",
        "",
        ", ".join(names("own")),
        "",
        "## Through the adapter",
        "",
        ", ".join(names("adapter")),
        "",
    ]  # fmt: skip
    for how, title, first in (("refused", "Refused", "the reason that a reader is given"), ("wrong", "Wrong", "what happens"),
                              ("unmade", "Not tried", "why no tiny model could be made")):  # fmt: skip
        if counts[how]:
            lines += [f"## {title}", "", f"| type | {first} |", "| --- | --- |"]
            lines += [f"| `{o.kind}` | {in_a_cell(o)} |" for o in sorted(found, key=lambda o: o.kind) if o.how == how] + [""]
    return "\n".join(lines)


def in_a_cell(outcome: Outcome) -> str:
    note = re.sub(r"\s+", " ", outcome.note).replace("|", "\\|").removeprefix(f"model type {outcome.kind!r}").lstrip(": ")
    return re.sub(r"/\S*/", "", note)[:300]


def main(arguments: list[str]) -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
    if arguments and arguments[0].endswith(".md"):
        Path(arguments[0]).write_text(table(sweep(kinds())), encoding="utf-8")
    else:
        sweep(arguments or kinds())


if __name__ == "__main__":
    main(sys.argv[1:])
