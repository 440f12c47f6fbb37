"""Directories of models on this machine: what a whole one holds, and our cache of those that were fetched or made.

Promises: a directory passes `check_directory` only if it is whole; a cached model is there as a whole or not at all,
is never made twice, and is made again if it is damaged. It knows nothing of where models come from.

    MINIENG_HOME (else ~/.cache/minieng; ~/Library/Caches/minieng on macOS)
      models/<name>/        published by one os.replace
        minieng.json        the manifest, written last: source, sha256, versions, {file: bytes}
        model.safetensors, config.json, tokenizer.json, ...   (source "hub": none; `path` names the hub's own cache)
      models/.<name>.lock   held while one process makes models/<name>; a second one waits and finds it made
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..home import cache_home

MANIFEST = "minieng.json"
Say = Callable[[str], None]


class ModelError(ValueError):
    """A model cannot be used as it is; the message names the file or value and the remedy."""


class ModelNotFound(ModelError):
    """There is no such model here, nor where we looked for it."""


def check_directory(path: str | Path) -> Path:
    """Return `path` if it holds config.json and whole safetensors weights; else ModelError naming file and remedy.

    Reads only headers, so it costs milliseconds however large the weights are. Weights are whole when each file is
    exactly as long as its header says, and the index (for sharded weights) names no absent file.
    """
    path = Path(path)
    again = "download or copy the model again"
    if not path.is_dir():
        raise ModelNotFound(f"{path} is not a directory: {again}")
    config = _read_json(path / "config.json", again)
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"{path / 'config.json'} names no model_type: it is no transformers model; {again}")
    shards = sorted(path.glob("*.safetensors"))
    if (index := path / "model.safetensors.index.json").exists():
        try:
            shards = [path / shard for shard in sorted(set(_read_json(index, again)["weight_map"].values()))]
        except (KeyError, TypeError, AttributeError):
            raise ModelError(f"{index} has no weight_map: {again}") from None
    if not shards:
        raise ModelError(
            f"{path} holds no *.safetensors file: {again}; other formats must be saved as safetensors first "
            "(save_pretrained does it)"
        )
    for shard in shards:
        _check_safetensors(shard, again)
    return path


def _read_json(file: Path, remedy: str) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: {remedy}") from None
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON ({error}): {remedy}") from None


def _check_safetensors(file: Path, remedy: str) -> None:
    """A safetensors file: 8 bytes of header length n, n bytes of JSON, then the data that the JSON's offsets cover."""
    if not file.exists():
        raise ModelError(f"{file} is missing, though the index names it: {remedy}")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if head == b"version ":
            raise ModelError(f"{file} is a git-lfs pointer, not weights: run `git lfs pull` in its directory")
        length = int.from_bytes(head, "little")
        if len(head) < 8 or 8 + length > size:
            raise ModelError(f"{file} ends inside its header ({size} bytes): {remedy}")
        try:
            tensors = json.loads(stream.read(length))
            ends = [int(t["data_offsets"][1]) for key, t in tensors.items() if key != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            raise ModelError(f"{file} has a damaged header: {remedy}") from None
    if (promised := 8 + length + max(ends, default=0)) != size:
        raise ModelError(f"{file} has {size} bytes where its header promises {promised}: {remedy}")


def last_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def read_manifest(directory: Path) -> tuple[dict | None, str]:
    """(manifest, "") if all that it lists is there, whole; else (None, fault), where "" means that nothing is there.

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
    """The cached directory `name`; `make(stage, say)` fills stage/out and returns its manifest, if it must be made."""
    final = cache_home() / "models" / name
    manifest, _ = read_manifest(final)
    if manifest is None:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with _lock(final.parent / f".{name}.lock"):
                manifest = _publish(final, make, say)
        except OSError as error:
            raise ModelError(
                f"cannot write the model cache {final.parent} ({error}): free about 1 GB there, or set MINIENG_HOME "
                "to a directory that can be written"
            ) from error
    return Path(manifest["path"])


def _publish(final: Path, make: Callable[[Path, Say], dict], say: Say) -> dict:
    """Make `final` and return its manifest; called under the lock. Whatever happens, no half of it stays behind."""
    manifest, fault = read_manifest(final)
    if manifest is not None:  # another process made it while we waited for the lock
        return manifest
    if fault:
        say(f"the cached copy is damaged ({fault}): making it again")
    for stale in final.parent.glob(f".{final.name}-*"):  # left by a process that was killed: the lock is ours now
        shutil.rmtree(stale, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))  # same file system, so replace is atomic
    try:
        out = stage / "out"
        out.mkdir()
        manifest = make(stage, say)
        home = check_directory(manifest.get("path", out))
        manifest["files"] = {f.name: f.stat().st_size for f in sorted(home.iterdir()) if f.is_file()}
        manifest["versions"] = {p: installed(p) for p in ("transformers", "torch", "gguf")}
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for file in out.iterdir():  # safetensors writes for the owner alone; a shared cache is for all who may read it
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
    """Hold `file` for this process; freed by the system if we die. Without fcntl (Windows) the last os.replace wins."""
    with file.open("w") as stream:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
