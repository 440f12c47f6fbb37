"""Exercise 03: static batching."""

from . import fill_wait, idle_fraction, static_scheduler

TITLE = "Static batching"
TASKS = [idle_fraction.TASK, fill_wait.TASK, static_scheduler.TASK]
