"""The memory behind the block ids: K and V of all layers, on the device and, for swapping, on the host.

cache  [layers, 2, num_blocks, block_size, kv_heads, head_dim]      2: K and V
slot s of the cache is row s % block_size of block s // block_size
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
import torch

from .. import gpu
from ..plan import Moves

CPU_CACHE_BYTES = 1 << 30  # unless asked for more; pages that are never written cost nothing


@dataclass(frozen=True)
class KVShape:
    """What one token's KV looks like, and how it is stored."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """2 (K and V) · layers · K/V heads · head size · bytes of a number."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * self.dtype.itemsize


class KVTensors:
    """The cache's tensors. ``layer(i)`` gives K and V of one layer as [blocks, block_size,
    kv_heads, head_dim].

    Behind the ``num_blocks`` blocks that the pool names lie ``num_spare_blocks`` that only the runner knows
    (graphs.py).
    """

    def __init__(
        self, shape: KVShape, num_blocks: int, block_size: int, device: torch.device,
        num_host_blocks: int = 0, num_spare_blocks: int = 0,
    ) -> None:  # fmt: skip
        self.shape, self.num_blocks, self.block_size = shape, num_blocks, block_size
        self.num_spare_blocks = num_spare_blocks
        slots = num_blocks + num_spare_blocks, block_size
        size = (shape.num_layers, 2, *slots, shape.num_kv_heads, shape.head_dim)
        self.cache = zeros(size, shape.dtype, device)
        self.host = zeros((num_host_blocks, shape.num_layers, 2, *size[3:]), shape.dtype, torch.device("cpu"))

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cache[index, 0], self.cache[index, 1]

    def apply(self, moves: Moves) -> None:
        """Swap out, swap in, copy: in this order, because a block given up now may be written next."""
        for source, target in moves.swap_out:
            self.host[target].copy_(self.cache[:, :, source])
        for source, target in moves.swap_in:
            self.cache[:, :, target].copy_(self.host[source])
        for source, target in moves.copy:
            self.cache[:, :, target] = self.cache[:, :, source]


def zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeroed memory. On a CPU pages that are never written stay unclaimed,
    where torch.zeros writes them all.
    """
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    word = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}[dtype.itemsize]
    words: np.ndarray = np.zeros(math.prod(size), word)
    return torch.from_numpy(words).view(dtype).view(size)


def main_memory() -> float:
    """Bytes of this machine's memory; inf where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def choose_num_blocks(
    shape: KVShape, block_size: int, device: torch.device, longest: int, memory_fraction: float,
    asked: int | None, work: int = 0,
) -> int:  # fmt: skip
    """How many blocks fit: what was asked for, else 1 GiB on a CPU, else what a GPU has left.

    longest: tokens of all requests at their longest together; more than that is never claimed.
    work: bytes of a GPU that must stay free for the steps themselves.
    Raises ValueError if the memory does not even hold one block, or not what was asked for.
    """
    block_bytes = shape.bytes_per_token * block_size
    if asked is not None:
        there = torch.cuda.mem_get_info(device)[0] if gpu.is_gpu(device) else main_memory()
        if asked * block_bytes > there:
            what = (
                f"num_blocks={asked} are {asked * block_bytes / 2**30:,.1f} GiB of KV, the memory for it is "
            )
            what += f"{there / 2**30:.1f} GiB: lower num_blocks, or leave it out and it is chosen"
            raise ValueError(what)
        return asked
    room = CPU_CACHE_BYTES
    if gpu.is_gpu(device):
        free, total = torch.cuda.mem_get_info(device)
        room = free - int((1 - memory_fraction) * total) - work
    blocks = min(room // block_bytes, -(-longest // block_size))
    if blocks < 1:
        what = f"no memory for KV: {room / 2**20:.0f} MiB left, one block takes {block_bytes / 2**20:.2f} MiB"
        raise ValueError(f"{what}; raise memory_fraction, lower block_size, or close another engine")
    return blocks
