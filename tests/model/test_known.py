"""What transformers said of a model is kept, and used only where it says the same."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minieng import LLM
from minieng.hub.resolve import load_config, load_tokenizer, resolve
from minieng.known import PlainTokenizer, keep, recall
from minieng.known import facts as known_facts
from minieng.model.load import eos_of
from minieng.model.weights import frequencies, places, rope_table

TWICE = """
import sys
from minieng import LLM, SamplingParams
with LLM(sys.argv[1], num_blocks=64) as llm:
    text = llm.generate("Once upon a time", SamplingParams(max_tokens=12, temperature=0))[0].outputs[0].text
print("transformers" in sys.modules, repr(text))
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(resolve("tiny"), tmp_path / "model"))


def kept(folder: Path) -> None:
    config, tokenizer = load_config(folder), load_tokenizer(folder)
    inv_freq, scaling = frequencies(config)
    facts = {"places": places(folder, config), "inv_freq": inv_freq.tolist(), "attention_scaling": scaling}
    assert keep(folder, config, tokenizer, facts | {"end_tokens": eos_of(folder, config)})


def test_what_is_recalled_is_what_transformers_says(home, folder):
    assert recall(folder) is None
    kept(folder)
    known, config, cpu = recall(folder), load_config(folder), torch.device("cpu")
    assert known is not None and known.end_tokens == eos_of(folder, config)
    assert places(folder, known) == places(folder, config)
    for mine, theirs in zip(rope_table(known, 50, cpu, torch.float32), rope_table(config, 50, cpu, torch.float32), strict=True):
        assert torch.equal(mine, theirs)
    for name in known_facts.READ:
        assert getattr(known, name, None) == getattr(config, name, None), name


def test_the_second_start_needs_no_transformers_and_writes_the_same(home):
    run = [subprocess.run([sys.executable, "-c", TWICE, "tiny"], capture_output=True, text=True, check=True) for _ in range(2)]
    first, second = (done.stdout.split(maxsplit=1) for done in run)
    assert (first[0], second[0]) == ("True", "False") and first[1] == second[1]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_changed_files_are_not_recognised(home, folder, name):
    kept(folder)
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert recall(folder) is None


def test_other_versions_are_not_recognised(home, folder, monkeypatch):
    kept(folder)
    monkeypatch.setattr(known_facts, "installed", lambda package: "0.0")
    assert recall(folder) is None


@pytest.mark.parametrize("name", ["facts.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_files_are_ignored_and_written_again(home, folder, name, damage):
    kept(folder)
    file = known_facts.folder_of(folder) / name
    text = file.read_text()
    file.write_text(text[:-9] if damage == "cut" else text.replace("1", "2", 1))
    if damage == "gone":
        file.unlink()
    assert recall(folder) is None
    kept(folder)
    assert recall(folder) is not None


def test_a_config_that_would_say_something_else_is_not_kept(home, folder):
    config = load_config(folder)
    config.to_dict = lambda: {**type(config).to_dict(config), "rms_norm_eps": 1.0}
    assert not keep(folder, config, load_tokenizer(folder), {}) and recall(folder) is None


def test_a_home_that_cannot_be_written_is_no_failure(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "file"))
    assert not keep(folder, load_config(folder), load_tokenizer(folder), {}) and recall(folder) is None


def test_the_oldest_are_thrown_away(home, folder, monkeypatch):
    monkeypatch.setattr(known_facts, "MOST_KEPT", 2)
    for i in range(4):
        (folder / "note.txt").write_text(str(i))
        kept(folder)
    assert len(list((home / "known").iterdir())) == 2 and recall(folder) is not None


def test_the_plain_tokenizer_is_transformers_own_in_everything_else(home, folder):
    kept(folder)
    known, whole, asked = recall(folder), load_tokenizer(folder), []
    plain = PlainTokenizer(known.tokenizer_file, Path(), lambda _: asked.append(1) or whole)
    for text in ("Once upon a time", "", "<s>é\n"):
        ids = whole(text)["input_ids"]
        assert plain(text)["input_ids"] == plain(text).input_ids == ids
        assert plain.decode(ids, skip_special_tokens=True) == whole.decode(ids, skip_special_tokens=True)
    assert not asked
    assert plain(["a", "b"])["input_ids"] == whole(["a", "b"])["input_ids"] and plain.encode("a") == whole.encode("a")
    assert len(plain) == len(whole) and plain.eos_token_id == whole.eos_token_id and asked == [1]
    plain.chat_template = "x"
    assert whole.chat_template == "x"
    assert json.dumps(plain("Once")["input_ids"]) == json.dumps(whole("Once")["input_ids"])


def test_the_tokenizer_of_a_second_start_travels_to_other_processes():
    """As a replica's does, to the front that reads prompts for it."""
    for _ in range(2):
        with LLM("tiny") as llm:
            tokenizer = pickle.loads(pickle.dumps(llm.tokenizer))
    assert isinstance(llm.tokenizer, PlainTokenizer) and isinstance(tokenizer, PlainTokenizer)
    tokens = llm.tokenizer("Once upon a time")["input_ids"]
    assert tokenizer("Once upon a time")["input_ids"] == tokens and tokenizer.decode(tokens) == llm.tokenizer.decode(tokens)
    assert tokenizer.eos_token == llm.tokenizer.eos_token
