"""Directories of models on this machine: what a whole one holds,
and our cache of those that were fetched or made.

Promises: a directory passes `check_directory` only if it is whole; a cached model is there as a whole or not
at all, is never made twice, and is made again if it is damaged. It knows nothing of where models come from.

    MINIENG_HOME (else ~/.cache/minieng; ~/Library/Caches/minieng on macOS)
      models/<name>/        published by one os.replace
        minieng.json        the manifest, written last: source, sha256, versions, {file: bytes}
        model.safetensors, config.json, tokenizer.json, ...   (source "hub": none; `path` names the hub's own
        cache)
      models/.<name>.lock   held while one process makes models/<name>; a second one waits and finds it made
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ..home import cache_home

MANIFEST = "minieng.json"
Say = Callable[[str], None]
AGAIN = "download or copy the model again"
MOST_HEADER = 100_000_000  # bytes: safetensors reads no longer header
# bits of a number, by safetensors' name for its kind
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64,
        "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
        "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4}  # fmt: skip
# what configs call the number of layers (each has a tensor at least), and the sizes that a tensor has as its
# dimension
LAYER_COUNTS = {"num_hidden_layers", "num_layers", "n_layer", "n_layers", "decoder_layers"}
SIZES = {"hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
         "head_dim", "d_model", "n_embd", "n_inner", "n_head", "ffn_dim", "num_experts", "num_local_experts",
         "n_routed_experts"}  # fmt: skip


class ModelError(ValueError):
    """A model cannot be used as it is; the message names the file or value and the remedy."""


class ModelNotFound(ModelError):
    """There is no such model here, nor where we looked for it."""


class Stored(NamedTuple):
    """A tensor in a safetensors file: where, of what kind (safetensors' name) and shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def check_directory(path: str | Path) -> Path:
    """Return `path` if it holds config.json and whole safetensors weights;
    else ModelError naming file and remedy.

    Reads only headers, so it costs milliseconds however large the weights are, and little memory whatever
    they say.
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelNotFound(f"{path} is not a directory: {AGAIN}")
    for file in (*path.iterdir(), *path.glob("*/*.jinja")):
        _check_file(file)
    config = _read_json(path / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path / 'config.json'} names no model_type: it is no transformers model; {AGAIN}")
    _check_sizes(path, config, tensors_in(path))
    return path


def tensors_in(path: Path) -> dict[str, Stored]:
    """The weights of a directory by name, from the headers of its safetensors files;
    ModelError if a file is not whole.
    """
    whole = path / "model.safetensors"  # a consolidated copy or an adapter beside it is another's
    shards = [whole] if whole.exists() else sorted(path.glob("*.safetensors"))
    if (index := path / "model.safetensors.index.json").exists():
        try:
            names = sorted(set(_read_json(index)["weight_map"].values()))
            shards = [path / Path(name).name for name in names]  # a shard lies beside its index, nowhere else
        except (KeyError, TypeError, AttributeError):
            raise ModelError(f"{index} has no weight_map: {AGAIN}") from None
    if not shards:
        raise ModelError(
            f"{path} holds no *.safetensors file: {AGAIN}; other formats must be saved as safetensors first "
            "(save_pretrained does it)"
        )
    return {name: tensor for shard in shards for name, tensor in _read_header(shard).items()}


def _check_file(file: Path) -> None:
    """Refuse what would hang a reader, or fill its memory: pipes and devices, and JSON beyond all reason."""
    read = file.suffix in (".json", ".jinja", ".safetensors", ".model", ".txt")
    if not read or not file.exists() or file.is_dir():
        return
    if not file.is_file():
        raise ModelError(f"{file} is no regular file: {AGAIN}")
    if file.suffix in (".json", ".jinja") and (size := file.stat().st_size) > MOST_HEADER:
        fault = f"{file} has {size:,} bytes, more than the {MOST_HEADER:,} that a model's text may have"
        raise ModelError(f"{fault}: {AGAIN}")


def _check_sizes(path: Path, config: dict, tensors: dict[str, Stored]) -> None:
    """Each size in config.json (and in what it nests) must have its numbers in the weights:
    an absurd one is met here.

    Before transformers sees the config, which makes lists and modules as long as it says.
    """
    numbers = sum(math.prod(tensor.shape) for tensor in tensors.values())
    for key, value in config.items():
        if isinstance(value, dict):
            _check_sizes(path, value, tensors)
        most = len(tensors) if key in LAYER_COUNTS else numbers if key in SIZES else None
        if most is not None and isinstance(value, int) and value > most:
            what = "tensors" if key in LAYER_COUNTS else "numbers"
            fault = f"{path / 'config.json'} says {key}={value:,}, the weights hold {most:,} {what} in all"
            raise ModelError(f"{fault}: {AGAIN}")


def _read_json(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: {AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON ({error}): {AGAIN}") from None


def _read_header(file: Path) -> dict[str, Stored]:
    """A safetensors file: 8 bytes of header length n, n bytes of JSON,
    then the data that the JSON's offsets cover.
    """
    if not file.exists():
        raise ModelError(f"{file} is missing, though the index names it: {AGAIN}")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if head == b"version ":
            raise ModelError(f"{file} is a git-lfs pointer, not weights: run `git lfs pull` in its directory")
        length = int.from_bytes(head, "little")
        if len(head) < 8 or 8 + length > size:
            raise ModelError(f"{file} ends inside its header ({size} bytes): {AGAIN}")
        if length > MOST_HEADER:
            fault = f"{file} has a header of {length:,} bytes, safetensors allows {MOST_HEADER:,}"
            raise ModelError(f"{fault}: {AGAIN}")
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            tensors = {name: Stored(file, t["dtype"], tuple(t["shape"])) for name, t in header.items()}
            spans = sorted((*t["data_offsets"], name) for name, t in header.items())
            sizes = {name: math.prod(t.shape) * BITS[t.dtype] // 8 for name, t in tensors.items()}
            end = 0
            for begin, stop, name in spans:
                if begin != end or stop - begin != sizes[name] or min(tensors[name].shape, default=0) < 0:
                    raise ValueError
                end = stop
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
            raise ModelError(f"{file} has a damaged header: {AGAIN}") from None
    if (promised := 8 + length + end) != size:
        raise ModelError(f"{file} has {size} bytes where its header promises {promised}: {AGAIN}")
    return tensors


def last_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def read_manifest(directory: Path) -> tuple[dict | None, str]:
    """(manifest, "") if all that it lists is there, whole; else (None, fault),
    where "" means that nothing is there.

    Costs about a millisecond; `path` is filled in for models that live in this very directory.
    """
    if not directory.exists():
        return None, ""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        home = Path(manifest.setdefault("path", str(directory)))
        manifest["source"], manifest["origin"]  # noqa: B018  (a manifest without them is damaged)
        for name, size in manifest["files"].items():
            if (found := (home / name).stat().st_size) != size:
                return None, f"{home / name} has {found} bytes instead of {size}"
        check_directory(home)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, last_line(error)
    return manifest, ""


def cached(name: str, make: Callable[[Path, Say], dict], say: Say) -> Path:
    """The cached directory `name`; `make(stage, say)` fills stage/out and returns its manifest,
    if it must be made.
    """
    final = cache_home() / "models" / name
    manifest, _ = read_manifest(final)
    if manifest is None:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with _lock(final.parent / f".{name}.lock"):
                manifest = _publish(final, make, say)
        except OSError as error:
            raise ModelError(
                f"cannot write the model cache {final.parent} ({error}): free about 1 GB there, or set "
                "MINIENG_HOME to a directory that can be written"
            ) from error
    return Path(manifest["path"])


def _publish(final: Path, make: Callable[[Path, Say], dict], say: Say) -> dict:
    """Make `final` and return its manifest; called under the lock. Whatever happens,
    no half of it stays behind.
    """
    manifest, fault = read_manifest(final)
    if manifest is not None:  # another process made it while we waited for the lock
        return manifest
    if fault:
        say(f"the cached copy is damaged ({fault}): making it again")
    # Left by a process that was killed: the lock is ours now.
    for stale in final.parent.glob(f".{final.name}-*"):
        shutil.rmtree(stale, ignore_errors=True)
    # Same file system, so replace is atomic.
    stage = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        out = stage / "out"
        out.mkdir()
        manifest = make(stage, say)
        home = check_directory(manifest.get("path", out))
        manifest["files"] = {f.name: f.stat().st_size for f in sorted(home.iterdir()) if f.is_file()}
        manifest["versions"] = {p: installed(p) for p in ("transformers", "torch", "gguf")}
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        # Safetensors writes for the owner alone; a shared cache is for all who may read it.
        for file in out.iterdir():
            file.chmod((out / MANIFEST).stat().st_mode)
        if final.exists():
            os.replace(final, stage / "damaged")
        os.replace(out, final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return manifest | {"path": manifest.get("path", str(final))}


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@contextlib.contextmanager
def _lock(file: Path):
    """Hold `file` for this process; freed by the system if we die. Without fcntl (Windows)
    the last os.replace wins.
    """
    with file.open("w") as stream:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
