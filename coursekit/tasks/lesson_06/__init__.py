"""Exercise 06: the paged KV cache."""

from . import block_pool, shared_blocks, slot_mapping

TITLE = "Paged KV cache"
TASKS = [slot_mapping.TASK, block_pool.TASK, shared_blocks.TASK]
