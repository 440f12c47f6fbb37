"""Exercise 10: prefix caching."""

from . import block_names, prefix_cache, prefix_first

TITLE = "Prefix caching"
TASKS = [block_names.TASK, prefix_cache.TASK, prefix_first.TASK]
