"""Exercise 09: chunked prefill."""

from . import chunked_scheduler, largest_budget, mended_scheduler

TITLE = "Chunked prefill"
TASKS = [chunked_scheduler.TASK, largest_budget.TASK, mended_scheduler.TASK]
