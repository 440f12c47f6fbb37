"""The pool of KV blocks: who owns which, which may be reused, and which still hold a known prefix.

The pool is the only owner of block ids. It knows neither requests nor tensors.

    state of a block    refs   hash     where
    free                0      no       front of the free queue: reused first
    cached              0      yes      back of the free queue: a later prompt may still hit it
    owned               >= 1   either   in `refs` block tables

    free queue   [ 7 | 3 | 9 | 4* | 1* | 8* ]      * cached, least recently used first
                   ^ taken from here       ^ a cached block comes back here
                             ^ a hit leaves from the middle in O(1) (a linked list under a dictionary)
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from ..config import MOST_BLOCKS

ROOT = b""


def block_hash(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Name of a full block: 16 bytes over its own tokens and, through ``parent``,
    over all tokens before it.
    """
    return hashlib.blake2b(parent + array("q", tokens).tobytes(), digest_size=16).digest()


class OutOfBlocks(RuntimeError):
    """More blocks were taken than the pool has free: a bug in the counting, never a user's mistake."""


class BlockPool:
    """``num_blocks`` blocks with reference counts, a least-recently-used free queue and a prefix index."""

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks={num_blocks}: the cache needs at least one block")
        if num_blocks > MOST_BLOCKS:
            most = f"at most {MOST_BLOCKS:,} can be counted"
            raise ValueError(f"num_blocks={num_blocks:,}: {most}: raise block_size")
        self.num_blocks = num_blocks
        self.refs = [0] * num_blocks
        self.hash_of: list[bytes | None] = [None] * num_blocks
        self.by_hash: dict[bytes, int] = {}
        self.free_queue: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def num_free(self) -> int:
        """Blocks that can be taken now, cached ones included."""
        return len(self.free_queue)

    @property
    def num_cached(self) -> int:
        """Blocks nobody holds whose content is still known."""
        return sum(1 for block in self.by_hash.values() if self.refs[block] == 0)

    def take(self) -> int:
        """The block that was unused longest; a prefix that it held is forgotten. Raises OutOfBlocks."""
        if not self.free_queue:
            raise OutOfBlocks(f"all {self.num_blocks} blocks are owned")
        block, _ = self.free_queue.popitem(last=False)
        self.forget(block)
        self.refs[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more table holds the block; a cached one leaves the free queue."""
        if self.refs[block] == 0:
            del self.free_queue[block]
        self.refs[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """A table lets go of its blocks. Tail first,
        so that the tail of a prefix is evicted before its head.
        """
        for block in reversed(blocks):
            if self.refs[block] < 1:
                raise OutOfBlocks(f"block {block} was freed twice")
            self.refs[block] -= 1
            if self.refs[block] == 0:
                self.free_queue[block] = None
                if self.hash_of[block] is None:  # nothing to hit: reuse it before any cached block
                    self.free_queue.move_to_end(block, last=False)

    def publish(self, block: int, key: bytes) -> None:
        """A full block's content is known from now on.
        Of two blocks with one content the first stays the known one.
        """
        if key not in self.by_hash:
            self.by_hash[key] = block
            self.hash_of[block] = key

    def forget(self, block: int) -> None:
        """The block's content is about to change."""
        key = self.hash_of[block]
        if key is not None:
            del self.by_hash[key]
            self.hash_of[block] = None

    def longest_prefix(self, keys: Sequence[bytes]) -> list[int]:
        """Blocks that hold the longest known prefix of the chain ``keys``."""
        hits: list[int] = []
        for key in keys:
            block = self.by_hash.get(key)
            if block is None:
                break
            hits.append(block)
        return hits

    def check_invariants(self, tables: Sequence[Sequence[int]]) -> None:
        """Counts agree with the block tables of all requests; every block is exactly one of free,
        cached, owned.

        Raises AssertionError naming what does not hold, under ``python -O`` too.
        """
        held = [0] * self.num_blocks
        for table in tables:
            if len(set(table)) < len(table):
                raise AssertionError(f"a table holds a block twice: {table}")
            for block in table:
                held[block] += 1
        every = list(range(self.num_blocks))
        owned = [b for b in every if self.refs[b]]
        rules = {  # no bare asserts: python -O leaves them out
            "a reference count differs from the number of tables that hold the block": held == self.refs,
            "free + cached + owned is not the pool": sorted([*self.free_queue, *owned]) == every,
            "the prefix index points astray": all(self.hash_of[b] == key for key, b in self.by_hash.items()),
            "a hash without an index entry": len(self.by_hash) == self.num_blocks - self.hash_of.count(None),
        }
        if broken := [rule for rule, kept in rules.items() if not kept]:
            raise AssertionError("; ".join(broken))
