"""The workload: lengths and token ids from one numpy seed, the same on every machine for one vocabulary."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


class BadModel(Exception):
    """The model directory lacks something; the message says what and what to do."""


@dataclass(frozen=True)
class Lengths:
    """How many requests, and the inclusive ranges their lengths are drawn from.

    prefix  tokens that every prompt begins with, the same in all, before those that ``prompt`` counts
    busy    a burner process takes a share of the CPUs meanwhile
    """

    requests: int = 32
    prompt: tuple[int, int] = (16, 256)
    output: tuple[int, int] = (16, 128)
    seed: int = 0
    prefix: int = 0
    busy: bool = False

    def quick(self) -> Lengths:
        """The same in small, for the tiny model."""
        few = min(self.requests, 6)
        return replace(self, requests=few, prompt=(8, 24), output=(4, 12), prefix=min(self.prefix, 40))


WORKLOADS = {
    "main": Lengths(),
    "single": Lengths(1, (64, 64), (256, 256)),
    "long": Lengths(8, (1500, 2000), (48, 64)),
    "many": Lengths(128, (16, 64), (16, 64)),
    "shared-prefix": Lengths(16, (16, 64), (16, 64), prefix=1000),
    "busy": Lengths(busy=True),
}


def read_json(path: Path) -> dict:
    """A JSON file of the model directory, or a BadModel that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel(f"{path} is missing: --model-dir takes a directory as transformers saves it") from None
    except json.JSONDecodeError as error:
        raise BadModel(f"{path} is not valid JSON ({error}): delete it and fetch the model again") from None


def plain_ids(model_dir: Path) -> np.ndarray:
    """The ids a prompt is drawn from: the vocabulary without special tokens."""
    config = read_json(model_dir / "config.json")
    special = set()
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        value = config.get(key)
        special.update(value if isinstance(value, list) else [value])
    if (model_dir / "tokenizer.json").exists():
        added = read_json(model_dir / "tokenizer.json").get("added_tokens", [])
        special.update(token["id"] for token in added)
    special = {token for token in special if isinstance(token, int) and token >= 0}
    return np.setdiff1d(np.arange(config["vocab_size"]), np.array(sorted(special), dtype=np.int64))


def make(model_dir: Path, lengths: Lengths = WORKLOADS["main"]) -> list[dict]:
    """The requests: ``{"prompt": ids, "max_tokens": n}``. Lengths are drawn first, then common ids, then prompt by prompt."""
    rng = np.random.default_rng(lengths.seed)
    prompts = rng.integers(lengths.prompt[0], lengths.prompt[1] + 1, lengths.requests)
    outputs = rng.integers(lengths.output[0], lengths.output[1] + 1, lengths.requests)
    ids = plain_ids(model_dir)
    prefix = ids[rng.integers(0, len(ids), lengths.prefix)].tolist()
    return [
        {"prompt": prefix + ids[rng.integers(0, len(ids), int(n))].tolist(), "max_tokens": int(m)}
        for n, m in zip(prompts, outputs, strict=True)
    ]


def digest(requests: list[dict]) -> str:
    """A short name for exactly these requests."""
    return hashlib.sha256(json.dumps(requests, sort_keys=True).encode()).hexdigest()[:16]


def span(least: int, most: int) -> str:
    """The range of a length in words."""
    return f"uniform {least}–{most}" if least < most else str(least)


def describe(requests: list[dict], lengths: Lengths) -> dict:
    """The workload as the report states it."""
    outputs = [r["max_tokens"] for r in requests]
    return {
        "requests": len(requests),
        "prompt_lengths": (f"{lengths.prefix} in common and " if lengths.prefix else "") + span(*lengths.prompt),
        "output_lengths": span(*lengths.output),
        "numpy_seed": lengths.seed,
        "prompt_tokens": sum(len(r["prompt"]) for r in requests),
        "output_tokens": sum(outputs),
        "longest_output": max(outputs),
        "digest": digest(requests),
        "sampling": "greedy, ignore_eos",
    }
