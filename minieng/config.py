"""Every knob of an engine, once: name, default, range and the sentence that ``--help`` prints.

Schedulers, orders, admission rules, victims and attention backends have their names in the one list that
holds them (``SCHEDULERS``, ``ORDERS``, ``ADMISSIONS``, ``VICTIMS``, ``BACKENDS``), which is asked when an
engine is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from .params import INT_MAX, shown

Entry = TypeVar("Entry")
MOST_BLOCKS = 10_000_000  # of a cache: the pool keeps some 200 bytes for each


def look_up(knob_name: str, word: str, registry: Mapping[str, Entry], own: str = "") -> Entry:
    """What a registry holds under a word. Raises ValueError with the words there are, and ``own``:
    what else is taken.
    """
    if not isinstance(word, str) or word not in registry:
        raise ValueError(f"{knob_name}={word!r}: choose one of {', '.join(registry)}{own}")
    return registry[word]


def knob(
    default: Any, text: str, choices: tuple = (), low: float | None = None, high: float = INT_MAX
) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high})


@dataclass
class EngineConfig:
    """The engine's knobs. A value out of range raises ValueError naming the knob, the value and the range."""

    scheduler: Any = knob("continuous", "what plans the steps, or a Scheduler of your own")
    max_num_seqs: int = knob(32, "most requests that run at once", low=1)
    block_size: int = knob(16, "tokens in a block of KV", low=1, high=65_536)
    num_blocks: int | None = knob(
        None, "blocks in the cache; sized from memory if not given", low=1, high=MOST_BLOCKS
    )
    memory_fraction: float = knob(
        0.85, "share of a GPU's memory for weights, work space and KV", low=0.05, high=1.0
    )
    max_model_len: int | None = knob(
        None, "longest text in tokens; the model's own limit if not given", low=1
    )
    max_num_batched_tokens: int = knob(512, "chunked: token budget of a step", low=1)
    long_prefill_token_threshold: int = knob(
        0, "chunked: most tokens of one prompt in a step; 0: no such limit", low=0
    )
    max_prefill_tokens: int = knob(2048, "continuous: prompt tokens admitted in one step", low=1)
    mixed: bool = knob(False, "continuous: prompts and decodes share a step (Orca)")
    batch_size: int = knob(8, "static, dynamic: rows of a full batch", low=1)
    wait_window: float = knob(
        0.01, "dynamic: seconds that the oldest request waits at most", low=0.0, high=1e9
    )
    order: str | Callable = knob("fcfs", "order of the waiting queue, or a key function")
    predictor: Callable | None = knob(
        None, "sjf, adaptive, hrrn, future_peak: from a request to its output length, else what it asks"
    )
    ageing: float = knob(0.0, "priority: points a request gains for each second of waiting", low=0.0)
    max_num_queued_reqs: int | None = knob(
        None, "most requests in the engine, running ones too; more are refused", low=1
    )
    max_num_queued_tokens: int | None = knob(
        None, "most prompt tokens still to compute; more are refused", low=1
    )
    drop_overdue: bool = knob(False, "abort requests that still wait when their deadline has passed")
    admission: str = knob("full_prompt", "what a waiting request must find free before it starts")
    watermark: float = knob(
        0.0, "share of blocks that an admission leaves free for others that run", low=0.0, high=1.0
    )
    victim: str | Callable | None = knob(
        None, "who is preempted, or a key function; if not given, who is last in the order"
    )
    preemption: str = knob("recompute", "what happens to a victim's KV", ("recompute", "swap"))
    swap_space_gb: float = knob(1.0, "swap: GiB of host memory for swapped-out KV", low=0.0)
    enable_prefix_caching: bool = knob(True, "share KV of equal prompt prefixes")
    stages: int = knob(
        1, "pipeline: parts that the layers are cut into, each a process, a batch in flight for each", low=1
    )
    device: str = knob("auto", "auto | cpu | cuda | cuda:N")
    dtype: str = knob("auto", "precision of the weights", ("auto", "float32", "float16", "bfloat16"))
    attention: str = knob("auto", "attention backend; auto tries the best first")
    enforce_eager: bool = knob(False, "no CUDA graphs")
    seed: int = knob(0, "seed of all sampling that has no seed of its own", low=-INT_MAX)

    def __post_init__(self) -> None:
        for knob_ in fields(self):
            check_knob(knob_, getattr(self, knob_.name))

    def as_plain(self) -> dict[str, Any]:
        """The knobs as JSON can hold them; a function or a scheduler of one's own becomes its name."""
        values = {knob_.name: getattr(self, knob_.name) for knob_ in fields(self)}
        own = {k: v for k, v in values.items() if not (v is None or isinstance(v, (str, int, float)))}
        return values | {
            name: getattr(value, "__name__", type(value).__name__) for name, value in own.items()
        }


def check_knob(knob_: Field, value: Any) -> None:
    """Raise ValueError if the value is not one that the knob takes."""
    name, meta, kind = knob_.name, knob_.metadata, str(knob_.type)
    if value is None and "None" in kind or callable(value) and "Callable" in kind:
        return
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError(f"{name}={value!r}: choose one of {', '.join(meta['choices'])}")
    if kind.startswith("bool") and not isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: must be True or False")
    if kind.startswith("int") and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"{name}={value!r}: must be a whole number, not {type(value).__name__}")
    if kind.startswith("float") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"{name}={value!r}: must be a number, not {type(value).__name__}")
    if meta["low"] is not None and not (meta["low"] <= value <= meta["high"]):  # NaN fails this too
        limit = f"at most {meta['high']:,}" if value > meta["high"] else f"at least {meta['low']}"
        raise ValueError(f"{name}={shown(value)}: must be {limit}")
    if kind.startswith("str") and not isinstance(value, str):
        own = " or a function" if "Callable" in kind else ""
        raise ValueError(f"{name}={value!r}: must be a word{own}, not {type(value).__name__}")
    if kind.startswith("Callable"):
        raise ValueError(f"{name}={value!r}: must be callable")
