"""Checkpoints that are not what they seem: quantised, with weights the config has no place for, without some, absurd in size."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models import make_model
from support.oracle import Oracle

from minieng import LLM, SamplingParams
from minieng.adapter.adapter import UnsupportedModel
from minieng.hub.resolve import load_config, resolve
from minieng.hub.shelf import ModelError
from minieng.model.weights import Weights

PROMPT, COUNT = [5, 9, 17, 33, 21], 8
REPO = Path(__file__).parents[2]


def llm(folder: Path, **knobs) -> LLM:
    return LLM(str(folder), **{"num_blocks": 64, "block_size": 4, "dtype": "float32", "device": "cpu", **knobs})


def same_as_transformers(folder: Path, **knobs) -> None:
    with llm(folder, **knobs) as engine:
        out = engine.generate([PROMPT], SamplingParams(max_tokens=COUNT, ignore_eos=True))[0]
    Oracle(folder, folder.name, longest=COUNT).compare(PROMPT, out.outputs[0].token_ids, COUNT)


def tokens(outs) -> list[list[int]]:
    return [out.outputs[0].token_ids for out in outs]


def edit(folder: Path, change) -> Path:
    """Change the weights on disk: ``change`` is given the dict of tensors."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def set_config(folder: Path, **settings) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


# --- quantised -------------------------------------------------------------------------------------------------------

QUANTISED = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "int-quantized"},
}


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize("method", QUANTISED)
def test_quantised_checkpoints_are_refused_with_the_remedy(tmp_path, shape, method):
    folder = set_config(make_model(tmp_path, shape), quantization_config=QUANTISED[method])
    with pytest.raises(UnsupportedModel, match=f"quantised .{method}.*plain weights only.*bfloat16 or as GGUF"):
        llm(folder)


def test_raw_eight_bit_weights_that_the_config_is_silent_about(tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    folder = edit(make_model(tmp_path, "llama"), lambda w: w.update({name: w[name].to(torch.float8_e4m3fn)}))
    with pytest.raises(UnsupportedModel, match=f"{name} is stored as F8_E4M3"):
        llm(folder)


@pytest.mark.parametrize("packed", ["qweight", "weight_packed"])
def test_packed_weights_that_the_config_is_silent_about(tmp_path, packed):
    name = "model.layers.0.mlp.up_proj."
    folder = edit(make_model(tmp_path, "llama"), lambda w: w.update({name + packed: w.pop(name + "weight")}))
    with pytest.raises(UnsupportedModel, match=f"{name}{packed} is part of a quantised weight, .*plain weights only"):
        llm(folder)


# --- the config decides ----------------------------------------------------------------------------------------------


def biases(weights):
    for name in [n for n in weights if "self_attn" in n]:
        weights[name.replace("weight", "bias")] = torch.randn(len(weights[name]))


def norms(weights):
    for name in [n for n in weights if "q_proj" in n]:
        for norm in ("q_norm", "k_norm"):
            weights[name.replace("q_proj", norm)] = torch.rand(12) + 0.5


def stranger(weights):
    weights["model.layers.0.adapter.weight"] = torch.randn(4, 4)


@pytest.mark.parametrize("change, name", [(biases, "k_proj.bias"), (norms, "k_norm.weight"), (stranger, "adapter.weight")])
def test_what_the_config_has_no_place_for_is_left_unused_and_told_of(tmp_path, change, name):
    folder = edit(make_model(tmp_path, "llama"), change)
    with pytest.warns(UserWarning, match=f"no place for .*{name}.*left unused") as told:
        same_as_transformers(folder)
    assert {warning.filename for warning in told} == {__file__}, "it points at the line that made the LLM"


def test_a_plain_model_is_loaded_without_a_word(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm(make_model(tmp_path / "own", "llama")).close()
        llm(make_model(tmp_path / "other", "gpt2")).close()


def test_another_file_of_weights_in_the_folder_is_not_mixed_in(tmp_path):
    folder, other = make_model(tmp_path / "mine", "llama"), make_model(tmp_path / "other", "llama", seed=1)
    (other / "model.safetensors").rename(folder / "consolidated.safetensors")
    same_as_transformers(folder)


def test_a_tied_config_with_another_head_in_the_file_keeps_that_head(tmp_path):
    def head(weights):
        weights["lm_head.weight"] = torch.randn(320, 48)

    same_as_transformers(edit(make_model(tmp_path, "llama_mha_tied"), head))


@pytest.mark.parametrize("shape", ["llama_untied_bias", "gpt_neox"])
def test_a_head_that_transformers_would_fill_at_random_is_refused(tmp_path, shape):
    stored = "lm_head.weight" if shape == "llama_untied_bias" else "embed_out.weight"
    folder = edit(make_model(tmp_path, shape), lambda w: w.pop(stored))
    with pytest.raises(ModelError, match="the weights lack lm_head.weight, which config.json asks for"):
        llm(folder)


def test_a_window_that_exists_in_transformers_cache_only_is_refused_beyond_its_length(tmp_path):
    """transformers' Llama has no window, but the cache of its ``generate`` goes by any sliding_window in a config."""
    folder = set_config(make_model(tmp_path, "llama"), sliding_window=16)
    with pytest.raises(UnsupportedModel, match="sliding_window=16.*set max_model_len to 16 or less"):
        llm(folder)
    same_as_transformers(folder, max_model_len=16)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [2048, 1 << 20])
def test_the_table_of_the_rotation_is_as_long_as_texts_may_become(tmp_path, positions):
    folder = make_model(tmp_path, "llama", max_position_embeddings=positions)
    with llm(folder, num_blocks=1200, max_model_len=32) as short:
        assert len(short.runner.model.cos) <= 2048
        with llm(folder, num_blocks=1200) as longer:  # the same weights
            assert longer.runner.model is short.runner.model
            assert len(longer.runner.model.cos) == min(positions, 1200 * 4) or positions == 2048
            asked = ([PROMPT], SamplingParams(max_tokens=3, ignore_eos=True))
            assert tokens(short.generate(*asked)) == tokens(longer.generate(*asked))


@pytest.mark.parametrize("shape, sizes", [
    ("llama", {"intermediate_size": 10**9}), ("llama", {"hidden_size": 10**12}), ("llama", {"num_hidden_layers": 10**9}),
    ("llama", {"vocab_size": 10**10}), ("gpt2", {"n_layer": 10**9}), ("gpt2", {"n_embd": 10**9}), ("opt", {"ffn_dim": 10**9}),
    ("llama", {"num_hidden_layers": 4}), ("llama", {"intermediate_size": 97}), ("llama", {"num_attention_heads": 3}),
    ("gpt2", {"n_layer": 4}), ("opt", {"ffn_dim": 97}), ("llama", {"hidden_size": "large"}),
])  # fmt: skip
def test_sizes_that_are_not_the_weights_are_refused_at_once(tmp_path, shape, sizes):
    folder = set_config(make_model(tmp_path, shape), **sizes)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ModelError) as refusal:
        llm(folder)
    assert time.perf_counter() - begun < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB
    assert str(folder) in str(refusal.value) or "model type" in str(refusal.value)


# --- code, and files that are no files -------------------------------------------------------------------------------

EVIL = "open({mark!r}, 'w').write('ran')\nraise SystemExit('ran')\n"


@pytest.mark.parametrize("known", [True, False], ids=["type known", "type unknown"])
def test_the_code_in_a_models_folder_never_runs_whoever_says_yes(tmp_path, known):
    folder, mark = make_model(tmp_path / "model", "llama"), tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    classes = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    set_config(folder, auto_map=classes, **({} if known else {"model_type": "evil"}))
    for name in ("tokenizer_config.json", "generation_config.json"):
        file = folder / name
        settings = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(settings | {"auto_map": classes}))
    code = f"from minieng import LLM; print(LLM({str(folder)!r}, num_blocks=8, device='cpu').generate([[5, 6]]))"
    done = subprocess.run([sys.executable, "-c", code], input="y\n" * 50, capture_output=True, text=True, timeout=120)
    assert not mark.exists() and (done.returncode == 0) is known, done.stderr
    if not known:
        assert "ModelError" in done.stderr and "update transformers" in done.stderr


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors", "chat_template.jinja"]
)
def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path, name):
    folder = make_model(tmp_path, "llama")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=f"{name} is no regular file"):
        resolve(folder)


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("generation_config.json", '{"eos_token_id": 2', "generation_config.json cannot be read .*not a valid JSON file"),
        ("generation_config.json", '{"eos_token_id": 1.5}', "eos_token_id=1.5 must be a token id, or a list of these"),
        ("generation_config.json", '{"eos_token_id": [2, "</s>"]}', r"eos_token_id=\[2, '</s>'\] must be a token id"),
        ("tokenizer_config.json", '{"model_max_length": [512]}', "no usable tokenizer in .*copy tokenizer.json"),
    ],
)
def test_what_stands_beside_the_weights_is_refused_by_name_too(tmp_path, name, text, said):
    folder = make_model(tmp_path, "llama")
    (folder / name).write_text(text)
    with pytest.raises(ModelError, match=said):
        llm(folder)


def test_a_pipe_in_place_of_a_gguf_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "model.gguf")
    for name in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ModelError, match="config.json is missing|is not a directory"):
            resolve(name)


def header(content: object, data: int = 24, length: int | None = None):
    def write(file: Path) -> None:
        text = json.dumps(content).encode()
        file.write_bytes((length or len(text)).to_bytes(8, "little") + text + bytes(data))
        if length:
            os.truncate(file, length + 8)  # as long as it says, and nearly all of it a hole

    return write


def tensor(**changes) -> dict:
    return {"w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], **changes}}


DAMAGED = {
    "3 GB of header": (header({}, length=3_000_000_000), "header of 3,000,000,000 bytes"),
    "a shape that is not its bytes": (header(tensor(shape=[7])), "damaged header"),
    "a negative shape": (header(tensor(shape=[-2, -3])), "damaged header"),
    "a shape of words": (header(tensor(shape=["six"])), "damaged header"),
    "an unknown kind": (header(tensor(dtype="F31")), "damaged header"),
    "a gap before the data": (header(tensor(data_offsets=[8, 32]), data=32), "damaged header"),
    "two tensors in one place": (header({**tensor(), "v": tensor()["w"]}), "damaged header"),
    "offsets that run backwards": (header(tensor(data_offsets=[24, 0])), "damaged header"),
    "lists in lists": (lambda file: file.write_bytes((10**6).to_bytes(8, "little") + b"[" * 10**6), "damaged header"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_header_is_met_in_constant_memory(tmp_path, kind):
    write, message = DAMAGED[kind]
    folder = make_model(tmp_path, "llama")
    write(folder / "model.safetensors")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message):
        resolve(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process had at most")
def test_loading_the_default_model_stays_under_1_2_gib(smollm2):
    """In a process of its own. The cache is a GiB of pages that nobody has written yet."""
    from loading import load

    found = load(REPO, str(smollm2.path))
    assert found["imports_mib"] + 250 < found["peak_mib"] < 1.2 * 1024, "the weights are 257 MiB"


@pytest.mark.parametrize("published", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("computed", [torch.bfloat16, torch.float32], ids=str)
def test_a_model_reads_its_weights_in_the_narrower_precision(published, computed, tmp_path):
    """What was published in two bytes is not written down in four on its way to the products."""
    folder = edit(make_model(tmp_path, "llama"), lambda w: w.update({name: w[name].to(published) for name in w}))
    read = Weights(folder, load_config(folder), computed, torch.device("cpu"))
    for name in read.wanted:
        assert read.compact(name).dtype == (published if published.itemsize == 2 else computed), name
        assert read.get(name).dtype == computed and torch.equal(read.get(name), read.compact(name).to(computed))
