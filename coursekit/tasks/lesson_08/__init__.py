"""Exercise 08: scheduling policies."""

from . import aged_key, key, next_target, predict_outputs

TITLE = "Scheduling policies"
TASKS = [predict_outputs.TASK, aged_key.TASK, next_target.TASK, key.TASK]
