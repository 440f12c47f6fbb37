"""The paged KV cache: which block belongs to whom (blocks), how many a plan needs (allocator),
the memory itself (tensors).
"""

from .allocator import RESERVATIONS, KVCache, Ledger, Shared
from .blocks import BlockPool, OutOfBlocks, block_hash

__all__ = ["RESERVATIONS", "BlockPool", "KVCache", "Ledger", "OutOfBlocks", "Shared", "block_hash"]
