"""From a model's name to a runner: weights, tokenizer, limits, cache and attention,
each chosen for this machine.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import gpu
from ..adapter.adapter import Adapter
from ..adapter.refusals import refuse, text_of
from ..config import EngineConfig
from ..hub.resolve import load_config, load_tokenizer, resolve
from ..hub.shelf import AGAIN, ModelError, last_line, tensors_in
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention, choose_attention
from ..kernels.contest import Sizes, choose_form
from ..kernels.native import keep_freed_memory
from ..known.facts import Known, keep, recall
from ..known.tokenizer import PlainTokenizer
from ..kv.tensors import KVShape, KVTensors, choose_num_blocks
from ..request import Request, SamplingParams
from ..warn import warn
from .chat import bounded
from .decoder import Decoder, geometry, supports
from .graphs import GATHER_BYTES, Cuda, Decodes, num_spare_blocks
from .runner import ModelRunner
from .sampler import choose
from .weights import frequencies, places

MOST_PROFILED = 16_384  # tokens of the warm-up step; a larger step is reckoned from it
FEW = 64  # tokens of the warm-up step where the cache's size is given and kernels are to be compiled only
GRAPH_BYTES = 256 << 20  # for graphs and the work space of libraries
LargestStep = Callable[[EngineConfig, int], int]  # most tokens of a step, from the knobs and the longest text
Layers = range | None  # those of a stage of a pipeline; None: all
_loaded: weakref.WeakValueDictionary[tuple, Decoder | Adapter] = weakref.WeakValueDictionary()
_lock = threading.Lock()


@dataclass
class Loaded:
    """All that ``LLM`` needs of a model."""

    path: Path
    tokenizer: Any
    runner: ModelRunner
    max_model_len: int
    vocab_size: int
    eos_token_ids: list[int]


def load(
    name: str, config: EngineConfig, largest_step: LargestStep, rectangles: bool = False,
    layers: Layers = None,
) -> Loaded:  # fmt: skip
    """Load a model for an engine. Raises ValueError (ModelError) naming what is wrong and what to do.

    largest_step, rectangles  of the ``Scheduler`` that will plan for it
    layers                    those that are loaded
    """
    device = choose_device(config.device)
    try:
        with gpu.here(device):
            return load_here(name, config, device, largest_step, rectangles, layers)
    except BaseException as problem:  # Ctrl-C, too
        if gpu.is_gpu(device):
            gpu.let_go(problem)
        raise


def load_here(
    name: str,
    config: EngineConfig,
    device: torch.device,
    largest_step: LargestStep,
    rectangles: bool,
    layers: Layers,
) -> Loaded:
    """``load`` on a device that has been chosen and, if it is a GPU, is the current one."""
    # Huge pages for torch's large tensors on Linux, read when torch first allocates: streaming the weights of
    # a small model through a CPU at every step is 5 % faster with them.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    path = resolve(name)
    known = recall(path)
    hf_config = known or load_config(path)
    text = text_of(hf_config)
    dtype = choose_dtype(config.dtype, device, text)
    limit = getattr(text, "max_position_embeddings", None) or 2048
    if config.max_model_len is not None and config.max_model_len > limit:
        raise ValueError(f"max_model_len={config.max_model_len}: {name} was made for at most {limit} tokens")
    max_model_len = config.max_model_len or limit
    model = shared_model(path, hf_config, dtype, device, layers)
    if gpu.is_gpu(device):
        gpu.leave_out_cudnn()
    else:
        keep_freed_memory()  # of the steps to come; what loading freed has gone back to the system
    attention = choose_attention(
        config.attention, device, dtype, model.heads, model.kv_heads, model.head_dim, config.block_size
    )
    most = largest_step(config, max_model_len)
    tensors = make_cache(model, attention, config, max_model_len, most, max_model_len if rectangles else 0)
    model.reach(min(max_model_len, tensors.num_blocks * config.block_size))
    runner = ModelRunner(model, tensors, attention)
    if gpu.is_gpu(device):
        capture(runner, config, max_model_len)
    return Loaded(
        path, tokenizer_for(path, known, hf_config), runner, max_model_len, text.vocab_size,
        known.end_tokens if known else eos_of(path, text),
    )  # fmt: skip


def read_tokenizer(path: Path) -> Any:
    """transformers' own, with bounds on its chat template."""
    return bounded(load_tokenizer(path))


def tokenizer_for(path: Path, known: Known | None, config: Any) -> Any:
    """The model's tokenizer. What transformers had to tell of a model of ours is kept for the next time."""
    if known:
        return PlainTokenizer(known.tokenizer_file, path, read_tokenizer)
    tokenizer = read_tokenizer(path)
    if supports(config) is None:
        inv_freq, scaling = frequencies(config)
        facts = {"places": places(path, config), "inv_freq": inv_freq.tolist(), "attention_scaling": scaling}
        keep(path, config, tokenizer, facts | {"end_tokens": eos_of(path, config)})
    return tokenizer


def make_cache(
    model: Decoder | Adapter,
    attention: Attention,
    config: EngineConfig,
    max_model_len: int,
    most: int,
    width: int = 0,
) -> KVTensors:
    """The cache, as large as asked or as memory allows beside a step of ``most`` tokens (``warm_up``)."""
    device, size, work, spare = model.device, config.block_size, 0, 0
    shape = KVShape(model.num_layers, model.kv_heads, model.head_dim, model.dtype)
    if gpu.is_gpu(device):
        gpu.give_back(device)
        if config.num_blocks is None:
            work = warm_up(model, attention, config, max_model_len, most, width) + GRAPH_BYTES
            work += 2 * GATHER_BYTES if attention.backend.gathers else 0
        else:
            warm_up(model, attention, config, max_model_len, min(most, FEW), width)
        if not config.enforce_eager:
            spare = num_spare_blocks(max(config.max_num_seqs, config.batch_size), size)
            work += spare * size * shape.bytes_per_token
    longest = config.max_num_seqs * max_model_len
    blocks = choose_num_blocks(shape, size, device, longest, config.memory_fraction, config.num_blocks, work)
    return KVTensors(shape, blocks, size, device, host_blocks(config, shape, blocks), spare)


@torch.inference_mode()
def warm_up(
    model: Decoder | Adapter,
    attention: Attention,
    config: EngineConfig,
    max_model_len: int,
    most: int,
    width: int = 0,
) -> int:
    """Bytes that a step of ``most`` tokens takes besides weights and KV: it is run once,
    on a cache of one block.

    width  tokens of its rows where the scheduler plans rectangles, else 0: prompts and one decode, packed.
           Either way it is what will be planned, and every kernel of such steps is compiled.
    """
    tokens, device, size = min(most, MOST_PROFILED), model.device, config.block_size
    model.reach(max_model_len)
    cache = torch.zeros((2, 1, size, model.kv_heads, model.head_dim), dtype=model.dtype, device=device)
    k, v = cache
    kv = [LayerKV(k, v, model.scales[i], model.windows[i], model.softcap) for i in range(model.num_layers)]
    batch = step_of(tokens, width, max_model_len, config, device)
    asked = [
        Request(str(i), [0], SamplingParams(temperature=1.0, top_p=0.9)) for i in range(len(batch.logit_rows))
    ]
    gpu.give_back(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    full = False
    try:
        # Stage of a pipeline.
        first, last = (getattr(model, name, True) is not None for name in ("embedding", "lm_head"))
        x = (
            None
            if first
            else torch.zeros(len(batch.slots), model.config.hidden_size, dtype=model.dtype, device=device)
        )
        logits = model.forward(batch, kv, attention, x)
        if last:
            choose(logits, asked)
    except torch.cuda.OutOfMemoryError:
        full = True
    if full:  # raised here, the error does not keep the one of torch, which holds all of the step's tensors
        raise ValueError(
            f"a step of {tokens} tokens does not fit into the memory that is left: lower max_model_len, "
            "max_prefill_tokens, max_num_batched_tokens, max_num_seqs or batch_size, or close another engine"
        )
    peak = torch.cuda.max_memory_allocated(device) - before
    del batch
    gpu.give_back(device)
    return int(peak * max(1.0, most / tokens))


def step_of(tokens: int, width: int, max_model_len: int, config: EngineConfig, device: torch.device) -> Batch:
    """A step of so many tokens, or a little fewer if it is a rectangle: all of them in slot 0 of block 0."""
    if width:
        width = min(width, tokens)
        lengths = ends = [width] * (tokens // width)
    else:
        prompts = [min(max_model_len, tokens - 1 - first) for first in range(0, tokens - 1, max_model_len)]
        lengths, ends = [*prompts, 1], [*prompts, max_model_len]
    starts = list(itertools.accumulate(lengths, initial=0))
    nothing = torch.zeros(starts[-1], dtype=torch.int64, device=device)
    positions = torch.arange(starts[-1], device=device) % max_model_len
    tables = torch.zeros((len(ends), -(-max(ends) // config.block_size)), dtype=torch.int32, device=device)
    asking = nothing[: len(lengths) if width else config.max_num_seqs]
    return Batch(nothing, positions, nothing, starts, [0] * len(ends), ends, tables, asking, width)


def capture(runner: ModelRunner, config: EngineConfig, max_model_len: int) -> None:
    """Give a runner its graphs, or the reason why it has none."""
    model, attention, tensors = runner.model, runner.attention, runner.tensors
    if config.enforce_eager:
        runner.no_graphs = "no: enforce_eager"
    elif not isinstance(model, Decoder):
        runner.no_graphs = "no: the layers are transformers' own code"
    elif not attention.backend.capturable:
        runner.no_graphs = f"no: attention backend {attention.backend.name!r} asks the host for numbers"
    else:
        rows, longest = (
            max(config.max_num_seqs, config.batch_size),
            min(max_model_len, tensors.num_blocks * config.block_size),
        )
        try:
            runner.decodes = Decodes(model, tensors, runner.kv, attention, rows, longest, Cuda(model.device))
        except RuntimeError as problem:  # out of memory, too
            runner.no_graphs = f"no: capturing failed ({problem!s:.200})"
            warn(f"no CUDA graphs, every step is launched piece by piece: {problem!s:.300}")


def shared_model(
    path: Path, hf_config: Any, dtype: torch.dtype, device: torch.device, layers: Layers
) -> Decoder | Adapter:
    """The weights, once for all engines of the process that use them."""
    key = (str(path), dtype, str(device), layers)
    with _lock:
        model = _loaded.get(key)
        if model is None:
            refuse(hf_config, tensors_in(path))
            own = (path, hf_config, dtype, device)
            if supports(hf_config):
                model = Adapter(*own)
            else:
                sizes = Sizes(hf_config.hidden_size, hf_config.intermediate_size, *geometry(hf_config))
                model = Decoder(*own, layers, *choose_form(sizes, dtype, device))
            _loaded[key] = model
    return model


def choose_device(asked: str) -> torch.device:
    """ "auto" is a GPU if there is one. Raises ValueError for a device that is not there."""
    if asked in ("auto", "cuda") and torch.cuda.is_available():
        # By its number: weights are shared by device.
        return torch.device("cuda", torch.cuda.current_device())
    if asked == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ValueError(f"device={asked!r}: choose auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={asked!r}: minieng runs on cpu and cuda")
    if gpu.is_gpu(device) and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={asked!r}: this machine has {torch.cuda.device_count()} CUDA devices; use device='cpu'"
        )
    return device


def choose_dtype(asked: str, device: torch.device, config: Any) -> torch.dtype:
    """ "auto": bfloat16 on a GPU that computes in it, float16 on an older one, float32 on a CPU.

    ``is_bf16_supported()`` is no help: it says yes on a T4, which only emulates it.
    """
    if asked != "auto":
        return getattr(torch, asked)
    if gpu.is_gpu(device):
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    return torch.float32


def host_blocks(config: EngineConfig, shape: KVShape, device_blocks: int) -> int:
    """Blocks of swap space: as many as swap_space_gb holds, and no more than there is to swap."""
    if config.preemption != "swap":
        return 0
    return min(
        int(config.swap_space_gb * 2**30) // (shape.bytes_per_token * config.block_size), device_blocks
    )


def eos_of(path: Path, config: Any) -> list[int]:
    """Token ids that end a text: the generation config's, which is the later word,
    else the model config's. Raises ModelError for what is none.
    """
    from transformers import GenerationConfig

    found, file = None, path / "generation_config.json"
    if file.exists():
        try:
            told = GenerationConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # of many kinds, as for the other configs
            raise ModelError(f"{file} cannot be read ({last_line(error)}): {AGAIN}") from error
        found = told.eos_token_id
    found = getattr(config, "eos_token_id", None) if found is None else found
    ends = [] if found is None else list(found) if isinstance(found, (list, tuple)) else [found]
    if not all(isinstance(end, int) for end in ends):
        raise ModelError(
            f"{path}: eos_token_id={found!r:.60} must be a token id, or a list of these: {AGAIN}"
        )
    return ends
