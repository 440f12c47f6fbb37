"""Mooncake, FAST 2025: how much of all prompts a prefix cache of a given size finds, on the published traces.

The cache is the engine's own ``BlockPool``. Nothing is computed and nothing takes time: a block is a chunk of
512 tokens, its name is the trace's hash id, and one request after the other holds its blocks and lets go.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...kv.blocks import BlockPool
from ...timed_trace import CHUNK, read_timed_trace
from ...workload_file import trace_file
from .table import Row, Table

FILES = {
    "conversation": ("mooncake_conversation.jsonl", "conversation_trace.jsonl"),
    "synthetic": ("mooncake_synthetic.jsonl", "synthetic_trace.jsonl"),
}
SOURCE = (
    "Download both from https://github.com/kvcache-ai/Mooncake (FAST25-release/traces, Apache-2.0) and set "
    "MINIENG_TRACES to their folder"
)
LOCAL = 3_000_000  # tokens: the cache of one machine in the paper
PUBLISHED = {"conversation": 41, "synthetic": 46}  # % of all that could be found, with such a cache: figure 9
SIZES = (1_000, 3_000, 10_000, 30_000, 50_000)  # blocks


def run(seed: int) -> Table:
    """Nothing is drawn, so the seed changes nothing. Raises MissingTrace if the traces are not there."""
    table = Table(
        "Mooncake: Trading More Storage for Less Computation (FAST 2025), hits against the size of the cache",
        f"the traces of its release, blocks of {CHUNK} tokens; one cache for all, least recently used block "
        "out first, tails before heads; found: share of all blocks of all prompts",
        {
            "when a block is there": "at once: the next request of the trace finds it, whenever it comes",
            "who holds a block": "one request at a time, so every block may be given away",
            "an answer's KV": "is not kept: the traces name the blocks of prompts",
        },
        [
            "time: what the hits save, and what moving KV costs",
            "the trace Tool&Agent (published: 75 %), which was not at hand",
            "several caches, and which of them a request is sent to",
        ],
    )
    for name, published in PUBLISHED.items():
        names = chunk_names(trace(name))
        most = share_found(names, len({each for prompt in names for each in prompt}))
        table.rows.append(Row(f"{name}, any size: % of blocks found", None, 100 * most))
        for size in SIZES:
            what = f"{name}, {size:,} blocks: % of blocks found"
            table.rows.append(Row(what, None, 100 * share_found(names, size)))
        local = share_found(names, LOCAL // CHUNK)
        table.rows.append(Row(f"{name}, 3M tokens: % of what any size finds", published, 100 * local / most))
    return table


def trace(name: str) -> Path:
    """The file of one of FILES. Raises MissingTrace saying how to get it."""
    return trace_file(FILES[name], "mooncake", SOURCE)


def chunk_names(path: Path) -> list[list[bytes]]:
    """For each request, in order of arrival, the names of its blocks."""
    jobs = sorted(read_timed_trace(path), key=lambda job: job.arrival_s)
    return [[name.encode() for name, _ in job.parts] for job in jobs]


def share_found(prompts: Sequence[Sequence[bytes]], num_blocks: int) -> float:
    """Blocks found, over all asked for, if one prompt after the other uses a pool of ``num_blocks``."""
    pool, found = BlockPool(num_blocks), 0
    for names in prompts:
        hits = pool.longest_prefix(names)
        for block in hits:
            pool.share(block)
        new = min(
            len(names) - len(hits), pool.num_free
        )  # of a prompt that is longer than the cache the head is kept
        table = hits + [pool.take() for _ in range(new)]
        for block, name in zip(table, names, strict=False):
            pool.publish(block, name)
        pool.release(table)
        found += len(hits)
    return found / sum(map(len, prompts))
