"""Any other causal language model of transformers, on the same paged cache.

transformers lets a model's attention be replaced by a function (``AttentionInterface``). Ours stores and
reads the paged cache; embeddings, norms, projections and the head stay transformers' own code. An
architecture whose attention does not go through that interface, or needs what a packed batch cannot say, is
refused: some by name, with the reason (refusals.py); all others by a trial (trial.py), as far into a text as
the engine will go.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention
from .refusals import UnsupportedModel, and_more, tell_unused
from .trial import LENGTHS, limits, lowered, trial

NAME = "minieng_paged"
# Arguments that change what is computed.
UNHEARD = {"s_aux": "sinks", "position_bias": "a bias of its own for each distance"}
NO_MEMORY = (MemoryError, torch.OutOfMemoryError)  # of the machine, not of the model
ELSEWHERE = "its layers need more than keys and values of the tokens before, or count positions another way"


@dataclass
class Step:
    """What the layers' attention needs of the step that runs in this thread.

    caches   a cache for each call of the attention, in the order of the calls; None while the model is
    measured
    seen     query heads, K/V heads, sizes of a key and of a value of each call
    """

    batch: Batch | None
    caches: Iterator[LayerKV] | None
    attention: Attention | None
    seen: list[tuple[int, int, int, int]]


_running = threading.local()  # .step: not every model hands an argument on to its attention


def attend(
    module, query, key, value, attention_mask, *, scaling=None, sliding_window=None, softcap=None, **rest
):
    """The function that transformers calls in each layer. query [1, H, T, D], key and value [1, Hkv,
    T, D].
    """
    step: Step = _running.step
    step.seen.append((query.shape[1], key.shape[1], key.shape[3], value.shape[3]))
    if step.caches is None:
        return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[3]), None
    if unheard := next((what for name, what in UNHEARD.items() if rest.get(name) is not None), None):
        raise UnsupportedModel(f"its attention has {unheard}")
    assert step.attention is not None and step.batch is not None
    cache = next(step.caches)
    scale = cache.scale if scaling is None else scaling
    layer = LayerKV(cache.k, cache.v, scale, sliding_window, softcap)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    return step.attention.paged_attention(q, k, v, layer, step.batch)[None], None


class Adapter:
    """A transformers model behind the decoder's face: ``forward(batch, kv, attention)``.

    reached  tokens of the longest text for which the trial holds
    """

    attention_name = NAME

    def __init__(self, path: Path, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.kind, self.config, self.reached = config.model_type, config.get_text_config(), 0
        self.dtype, self.device = dtype, device
        # Engines share a model: none steps while another's trial changes its attention.
        self._alone = threading.RLock()
        self.model = load_model(path, self.kind, dtype).eval().to(device)
        self.weight_nbytes = dtype.itemsize  # of one weight in memory
        try:
            self.heads, self.kv_heads, self.head_dim, self.num_layers = self.geometry()
        except (UnsupportedModel, *NO_MEMORY):
            raise
        except Exception as problem:
            raise self.unsupported(
                "transformers' own code for it fails on a text alone, with this config.json"
            ) from problem
        self.scales, self.windows = [self.head_dim**-0.5] * self.num_layers, [None] * self.num_layers
        self.softcap = None  # scale, window and softcap are told by transformers, layer by layer

    def reach(self, tokens: int) -> None:
        """Try the model on texts of up to ``tokens`` tokens.
        Raises UnsupportedModel if it is not right for all of them.
        """
        if tokens <= self.reached:
            return
        with self._alone:
            found = limits(self.model, tokens)
            with lowered(found):
                wrong = self.fault(tokens)
            nearest = min((value for _, _, value in found), default=0)
            if wrong and nearest > min(LENGTHS) and not self.fault(nearest):
                names = ", ".join(sorted({f"{name}={value}" for _, name, value in found}))
                wrong = f"from token {nearest} on ({names}): set max_model_len to {nearest} or less"
        if wrong:
            raise UnsupportedModel(
                f"model type {self.kind!r} computes something else on a paged KV cache than transformers "
                f"does alone, {wrong}"
            )
        self.reached = tokens

    def fault(self, longest: int) -> str | None:
        """What the trial found with texts of at most ``longest`` tokens, or None."""
        try:
            error = trial(self, longest)
        except UnsupportedModel as refusal:
            raise self.unsupported(str(refusal)) from None
        except NO_MEMORY:
            raise
        except Exception:
            return "or does not run in a packed batch at all"
        if error < (1e-3 if self.dtype == torch.float32 else 0.2):  # NaN is a fault too
            return None
        return f"off by {error:.2g}: {ELSEWHERE}"

    @torch.inference_mode()
    def geometry(self) -> tuple[int, int, int, int]:
        """Query heads, K/V heads, head size and layers,
        from what the layers really pass to their attention.
        """
        seen: list[tuple[int, int, int, int]] = []
        _running.step = Step(None, None, None, seen)
        self.model(input_ids=torch.tensor([[1]], device=self.device), use_cache=False)
        if not seen:
            raise self.unsupported(
                "its attention is written into its own code and does not go through AttentionInterface"
            )
        if any(key != value for _, _, key, value in seen):
            _, _, key, value = seen[0]
            raise self.unsupported(
                f"its keys have {key} numbers and its values {value}, the cache holds both in one size"
            )
        if len(set(seen)) > 1:
            sizes = ", ".join(f"{q} and {kv} heads of {d}" for q, kv, d, _ in sorted(set(seen)))
            raise self.unsupported(
                f"its layers differ (query and K/V {sizes}), a paged cache has one size for all"
            )
        return *seen[0][:3], len(seen)

    def unsupported(self, reason: str) -> UnsupportedModel:
        return UnsupportedModel(f"model type {self.kind!r} does not run on a paged KV cache: {reason}")

    @torch.inference_mode()
    def forward(
        self, batch: Batch, kv: list[LayerKV], attention: Attention, before: None = None
    ) -> torch.Tensor:
        """Logits [E, vocabulary] of the positions in ``batch.logit_rows``."""
        with self._alone:
            _running.step = Step(batch, iter(kv), attention, [])
            logits = self.model(
                input_ids=batch.token_ids[None],
                position_ids=batch.positions[None],
                use_cache=False,
                logits_to_keep=batch.logit_rows,
            ).logits[0]
        # a model that knows no logits_to_keep gives all rows
        return logits if len(logits) == len(batch.logit_rows) else logits[batch.logit_rows]


def load_model(path: Path, kind: str, dtype: torch.dtype) -> torch.nn.Module:
    """The model as transformers reads it, with our attention in it. Raises UnsupportedModel,
    and for what lacks a weight.
    """
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register(NAME, attend)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, attn_implementation=NAME, trust_remote_code=False, use_safetensors=True,
            local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except NO_MEMORY:
        raise
    except Exception as problem:
        # a KeyError: the table of its attentions has no place for ours
        own_code = (
            isinstance(problem, KeyError)
            and NAME in str(problem)
            or "attention implementation" in str(problem)
        )
        if own_code:
            reason = (
                "its attention cannot be replaced: it is written into its own code, with a cache of its own"
            )
        elif "Unrecognized configuration class" in str(problem):
            reason = "transformers has no causal language model of this type"
        elif isinstance(problem, ImportError):
            reason = f"transformers needs a package that is not here ({' '.join(str(problem).split()):.200})"
        else:
            reason = f"transformers cannot load {path} (its config.json and weights may not belong together)"
        raise UnsupportedModel(f"model type {kind!r}: {reason}") from problem
    if missing := sorted(report["missing_keys"]):
        raise UnsupportedModel(
            f"{path}: the weights lack {missing[0]}{and_more(missing)}, which config.json asks for and "
            "transformers would fill at random: fetch the model again, or correct config.json"
        )
    tell_unused(path, report["unexpected_keys"])
    return model
