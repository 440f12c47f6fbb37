"""What a kernel is handed: the step's tokens and rows as tensors, and one layer's cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

# q_starts, kv_starts and kv_ends as int32 tensors on the device.
Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass
class Batch:
    """The step as tensors. T tokens of S rows (requests, in the plan's order).

    token_ids, positions, slots   [T] int64; a slot is where the token's KV is stored
    q_starts    [S+1] first token of each row in the packed order
    kv_starts   [S] first slot of the row that holds a real token (left padding lies before it)
    kv_ends     [S] slots of the row that are filled once this step's tokens are stored
    tables      [S, blocks] int32 block ids, filled up with 0
    logit_rows  [E] int64: packed positions whose logits are needed
    width       tokens in a row if the batch is a rectangle, else 0
    decode_rows given by who captures a graph of decodes: the rows' numbers, in place of the three lists,
                whose own are not to be read; every row then has one token, and the tables are as wide as the
                longest may be

    What a backend computes in a step's first layer and uses in all of them:
    rows        the lists as tensors (Triton)
    kinds       launches of the attention kernel: for rows of one token (True), for longer ones (False)
    (Triton)
    parts       where pieces of long rows are put down: sums, largest scores, weights (Triton)
    masks       mask, blocks and context of the rectangles of (width, rows, window) (padded)
    step        the rows, cut into tasks for the threads (native)
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    q_starts: list[int]
    kv_starts: list[int]
    kv_ends: list[int]
    tables: torch.Tensor
    logit_rows: torch.Tensor
    width: int = 0
    decode_rows: Rows | None = None
    rows: Rows | None = None
    kinds: tuple[bool, ...] | None = None
    parts: tuple[torch.Tensor, ...] | None = None
    masks: dict[tuple[int, int, int | None], tuple[torch.Tensor, torch.Tensor, int]] = field(
        default_factory=dict
    )
    step: Any = None

    @property
    def num_rows(self) -> int:
        return len(self.kv_ends)


@dataclass(frozen=True)
class LayerKV:
    """One layer's cache and the constants of its attention.

    k, v    [num_blocks, block_size, kv_heads, head_dim]
    window  a token sees itself and the window-1 tokens before it (None: all)
    softcap scores become softcap · tanh(score / softcap) (None: left alone)
    """

    k: torch.Tensor
    v: torch.Tensor
    scale: float
    window: int | None = None
    softcap: float | None = None
