"""Exercise 04: dynamic batching."""

from . import batcher, best_window, dynamic_scheduler

TITLE = "Dynamic batching"
TASKS = [dynamic_scheduler.TASK, batcher.TASK, best_window.TASK]
