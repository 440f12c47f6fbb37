"""Exercise 05: continuous batching."""

from . import continuous_scheduler, selective_attention_mask, true_times

TITLE = "Continuous batching"
TASKS = [true_times.TASK, selective_attention_mask.TASK, continuous_scheduler.TASK]
