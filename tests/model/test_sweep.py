"""Right or refused: ten types of causal language models, and with the marker ``wide`` every one that transformers has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.sweep import kinds, try_kind

TABLE = Path(__file__).parents[2] / "docs" / "MODELS.md"
TEN = ("llama", "qwen3", "gemma3_text", "gpt_neox", "stablelm", "mixtral", "phi3", "falcon", "mamba", "deepseek_v32")
INSIDE = ("NoneType", "has no attribute", "keyword argument", "Error(", "Error:", "minieng_paged", "unpack", "out of range")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in TEN else [pytest.mark.wide]) for k in kinds()])
def test_right_or_refused_with_a_sentence(tmp_path, kind):
    found = try_kind(kind, tmp_path)
    assert found.how != "wrong", found.note
    assert found.how == listed().get(kind, found.how), f"{found}: run `make models` to write docs/MODELS.md anew"
    if found.how == "refused":
        assert found.note.startswith("model type ") and not [w for w in INSIDE if w in found.note], found.note


def listed() -> dict[str, str]:
    """What docs/MODELS.md says of each type."""
    titles = {"On the own decoder": "own", "Through the adapter": "adapter", "Refused": "refused", "Not tried": "unmade"}
    found = {}
    for part in TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        names = re.findall(r"^\| `([^`]+)` \|", text, re.M) if "| --- |" in text else re.findall(r"`([^`]+)`", text)
        found |= dict.fromkeys(names, titles[title])
    return found


def test_the_table_lists_every_type():
    import transformers

    if f"transformers {transformers.__version__} " not in TABLE.read_text(encoding="utf-8"):
        pytest.skip(f"docs/MODELS.md is of another version than {transformers.__version__}: types come and go")
    assert set(listed()) == set(kinds())
