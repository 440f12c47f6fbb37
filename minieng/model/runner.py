"""Runs a plan on a model: lays the tokens out, calls the forward pass, samples.

The runner knows plans and tensors. Whether a request is new, resumed or half done makes no difference to it:
each slice is "tokens c … c+n of this request", and whoever reaches its last token gets a new one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from .. import gpu
from ..adapter.adapter import Adapter
from ..kernels.batch import Batch, LayerKV
from ..kernels.choose import Attention
from ..kernels.linear import Linear
from ..kernels.transfer import on_device
from ..kv.tensors import KVTensors
from ..plan import Plan, StepResult
from ..request import Logprob, Request
from .decoder import Decoder
from .graphs import Decodes
from .logprobs import PromptRows, asked
from .sampler import sample


class ModelRunner:
    """The executor that really computes. One model, one cache; the model's weights may be shared with others.

    decodes  the fast way for plans that are decodes only (graphs.py), or None; ``no_graphs`` says why there
    is none
    """

    def __init__(self, model: Decoder | Adapter, tensors: KVTensors, attention: Attention) -> None:
        self.model, self.tensors, self.attention = model, tensors, attention
        self.device = model.device
        self.decodes: Decodes | None = None
        self.no_graphs = "no: they are for a GPU"
        self._here = gpu.here(self.device)
        self.kv = [
            LayerKV(*tensors.layer(i), model.scales[i], model.windows[i], model.softcap)
            for i in range(model.num_layers)
        ]

    @property
    def kv_nbytes_per_token(self) -> int:
        return self.tensors.shape.bytes_per_token

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if gpu.is_gpu(self.device) else str(self.device)

    def facts(self) -> dict[str, str]:
        """What runs here, for ``explain()``: device, precision,
        and how attention and matrix products are done.
        """
        forward = type(self.model).__name__
        linears: Any = Linear
        if isinstance(self.model, Decoder):
            linears = self.model.layers[0].qkv
            if self.model.runs_whole(self.attention):
                forward += ", all layers in one call of the C kernel"
        told = {
            "forward": forward,
            "device": f"{self.device_name}, {str(self.model.dtype).removeprefix('torch.')}",
            "attention": f"{self.attention.backend.name}: {self.attention.why}",
        }
        if gpu.is_gpu(self.device):
            told["graphs"] = str(self.decodes or self.no_graphs)
        told["linears"] = linears.title
        if isinstance(self.model, Decoder) and self.model.why_form:
            told["linears"] += f", the fastest here ({self.model.why_form})"
        return told

    def execute(self, plan: Plan) -> StepResult:
        """Compute the plan's tokens, and sample for every request whose last token was among them."""
        begin = time.perf_counter()
        try:
            with self._here:
                result = self.decodes.execute(plan, begin) if self.decodes is not None else None
                return self.compute(plan, begin) if result is None else result
        except torch.OutOfMemoryError as full:
            gpu.let_go(full)
            full.add_note(
                "minieng: lower memory_fraction, max_num_seqs, max_prefill_tokens or max_num_batched_tokens"
            )
            raise

    def close(self) -> None:
        """Give a GPU's memory back, the cache's and the graphs'. Nothing can be computed here any more."""
        if gpu.is_gpu(self.device):
            self.decodes = None
            del self.tensors, self.kv
            gpu.give_back(self.device)

    def compute(self, plan: Plan, begin: float) -> StepResult:
        """Any plan, launched piece by piece."""
        self.tensors.apply(plan.moves)
        tokens: list[int | None] = [None] * len(plan.extend)
        logprobs: list[dict[int, Logprob] | None] | None = None
        foretold: list[list[dict[int, Logprob]] | None] | None = None
        if plan.extend:
            emitting = [
                i for i, (r, n) in enumerate(plan.extend) if r.num_computed_tokens + n == len(r.token_ids)
            ]
            batch = self.packed(plan, emitting) if plan.rows is None else self.rectangle(plan)
            prompts = PromptRows(plan, batch) if asked(plan) else None
            logits = self.model.forward(prompts.batch if prompts else batch, self.kv, self.attention)
            if prompts:
                logits, foretold = prompts.part(logits)
            if plan.rows is not None:  # rows that are done have logits too; nobody reads them
                place = {request: row for row, request in enumerate(plan.rows)}
                wanted = [place[plan.extend[i][0]] for i in emitting]
                logits = logits[on_device(wanted, torch.int64, self.device)]
            if not emitting and gpu.is_gpu(self.device):
                torch.cuda.current_stream().synchronize()  # else the next step would be charged for this one
            if emitting:
                chosen, found = sample(logits, [plan.extend[i][0] for i in emitting])
                for i, token in zip(emitting, chosen, strict=True):
                    tokens[i] = token
                if found is not None:
                    logprobs = [None] * len(tokens)
                    for i, entry in zip(emitting, found, strict=True):
                        logprobs[i] = entry
        return StepResult(tokens, time.perf_counter() - begin, logprobs, foretold)

    def packed(self, plan: Plan, emitting: list[int]) -> Batch:
        """All slices one after the other, no padding."""
        size, token_ids, positions, slots, starts = self.tensors.block_size, [], [], [], [0]
        for request, n in plan.extend:
            first = request.num_computed_tokens
            if n == 1:
                token_ids.append(request.token_ids[first])
                positions.append(first)
                slots.append(request.block_table[first // size] * size + first % size)
            else:
                token_ids += request.token_ids[first : first + n]
                positions += range(first, first + n)
                slots += slot_range(request, first, first + n, size)
            starts.append(starts[-1] + n)
        ends = [r.num_computed_tokens + n for r, n in plan.extend]
        rows = [starts[i + 1] - 1 for i in emitting]
        requests = [r for r, _ in plan.extend]
        return self.batch(token_ids, positions, slots, starts, [0] * len(ends), ends, requests, rows, 0)

    def rectangle(self, plan: Plan) -> Batch:
        """Every row as long as the longest: padding on the left, and rows that are done compute on.

        The right ends of all rows stand in one column, so a row that is done writes there as well. What is
        computed for it, and for padding, is read by nobody; its position ids only have to be valid.
        """
        assert plan.rows is not None
        size, width, live = self.tensors.block_size, plan.width, dict(plan.extend)
        longest = next(r for r, n in plan.extend if n == width)
        end = longest.pad + longest.num_computed_tokens + width
        token_ids, positions, slots = [], [], []
        for request in plan.rows:
            n = live.get(request, 0)
            first = request.num_computed_tokens
            token_ids += [request.token_ids[-1]] * (width - n) + request.token_ids[first : first + n]
            last = end - request.pad
            positions += [min(max(0, p), request.max_num_tokens - 1) for p in range(last - width, last)]
            slots += slot_range(request, end - width, end, size)
        count = len(plan.rows)
        starts = list(range(0, count * width + 1, width))
        pads = [r.pad for r in plan.rows]
        rows = [start + width - 1 for start in starts[:-1]]
        return self.batch(token_ids, positions, slots, starts, pads, [end] * count, plan.rows, rows, width)

    def batch(
        self, token_ids: list[int], positions: list[int], slots: list[int], starts: list[int],
        pads: list[int], ends: list[int], requests: list[Request], rows: list[int], width: int,
    ) -> Batch:  # fmt: skip
        size = self.tensors.block_size
        blocks = -(-max(ends) // size)
        tables: np.ndarray = np.zeros((len(requests), blocks), dtype=np.int32)
        for row, request in enumerate(requests):
            table = request.block_table[:blocks]
            tables[row, : len(table)] = table
        ids, places, targets = on_device([token_ids, positions, slots], torch.int64, self.device)
        return Batch(
            ids, places, targets, starts, pads, ends, on_device(tables, torch.int32, self.device),
            on_device(rows, torch.int64, self.device), width,
        )  # fmt: skip


def slot_range(request: Request, first: int, last: int, size: int) -> list[int]:
    """Cache slots of the request's row positions first … last-1."""
    table = request.block_table
    return [table[i // size] * size + i % size for i in range(first, last)]
