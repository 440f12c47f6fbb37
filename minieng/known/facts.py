"""A model's config, places of weights, rotation and tokenizer, as transformers gave them at its first load.

To import transformers takes longer than all else that loading a small model does, torch's import aside. Of a
model of the Llama family the loader asks it for facts alone, and they follow from the model's text files and
from the versions that read them: so they are kept under a hash of these.

What is checked when. At every load: the model's directory (``hub.check_directory``), the refusals, each
weight's name and shape against the places, the hash of every text file, and of the kept files themselves.
Only at the first load of such files by such versions: that transformers accepts config and tokenizer, and
that what is read back from the cache says the same. Anything that does not fit, is damaged or cannot be
written is left out, and transformers asked again.

    MINIENG_HOME/known/<hash>/facts.json      the facts, and the sha256 of the other file
                             tokenizer.json   the tokenizer as transformers had put it together
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..home import cache_home
from ..hub.shelf import installed
from .tokenizer import agrees, backend_of

FORMAT, MOST_KEPT = 1, 16
TEXTS = (".json", ".jinja", ".model", ".txt")
# What the loader and the forward pass read of a config: of each of these the kept one must say the same.
READ = (
    "model_type", "hidden_act", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size",
    "num_key_value_heads", "head_dim", "num_hidden_layers", "rms_norm_eps", "max_position_embeddings",
    "tie_word_embeddings", "sliding_window", "layer_types", "rope_parameters", "quantization_config",
    "compression_config", "is_encoder_decoder", "index_topk", "eos_token_id",
)  # fmt: skip


class Known(SimpleNamespace):
    """A config's values as attributes, and beside them what else the loader wants to know.

    places           name → shape of every weight that the config has a place for
    inv_freq         frequencies of the rotation, and its ``attention_scaling``
    end_tokens       token ids that end a text
    tokenizer_file   for ``PlainTokenizer``
    """

    places: dict[str, tuple[int, ...]]
    inv_freq: list[float]
    attention_scaling: float
    end_tokens: list[int]
    tokenizer_file: Path

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    def get_text_config(self) -> Known:
        return self


def folder_of(path: Path) -> Path:
    """Where the facts of a model's directory are kept: named by its text files, and by what read them."""
    names = hashlib.sha256(f"{FORMAT}".encode())
    for package in ("transformers", "tokenizers", "torch"):
        names.update(f"{package} {installed(package)}\n".encode())
    for file in sorted(f for f in path.rglob("*") if f.suffix in TEXTS and f.is_file()):
        names.update(f"{file.relative_to(path)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return cache_home() / "known" / names.hexdigest()[:24]


def recall(path: Path) -> Known | None:
    """What is known of a model's directory; None if nothing is, or if it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        folder = folder_of(path)
        text = (folder / "facts.json").read_text(encoding="utf-8")
        facts = json.loads(text.partition("\n")[2])
        file = folder / "tokenizer.json"
        if sealed(text.partition("\n")[2]) == text and digest(file.read_bytes()) == facts.pop("tokenizer"):
            facts["places"] = {name: tuple(shape) for name, shape in facts["places"].items()}
            os.utime(folder)  # the least recently used go first
            return Known(**facts.pop("config"), **facts, tokenizer_file=file)
    return None


def sealed(text: str) -> str:
    """A text behind its own hash."""
    return f"{digest(text.encode())}\n{text}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(path: Path, config: Any, tokenizer: Any, facts: Mapping[str, Any]) -> bool:
    """Write down what was learnt of a model; True if the next load will find it.

    facts  places, inv_freq, attention_scaling and end_tokens of ``Known``
    """
    with contextlib.suppress(Exception):  # of transformers' objects as well: then it is asked again next time
        backend = backend_of(tokenizer)
        text = json.dumps({"config": config.to_dict(), "tokenizer": digest(backend), **facts})
        back = Known(**json.loads(text)["config"])
        same = all(getattr(back, name, None) == getattr(config, name, None) for name in READ)
        if config.get_text_config() is config and same and agrees(tokenizer, backend):
            publish(folder_of(path), {"facts.json": sealed(text).encode(), "tokenizer.json": backend})
            return recall(path) is not None
    return False


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """The folder with these files, as a whole or not at all; of all such folders the newest stay."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as made:
        for name, data in files.items():
            (Path(made) / name).write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, stage := folder.with_name(f".{folder.name}-{os.getpid()}"))
        os.replace(stage, folder)
    kept = sorted((f for f in folder.parent.iterdir() if not f.name.startswith(".")), key=age, reverse=True)
    for old in kept[MOST_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def age(folder: Path) -> float:
    with contextlib.suppress(OSError):  # another process may have taken it away
        return folder.stat().st_mtime
    return 0.0
