"""Exercise 12: pipeline parallelism."""

from . import bubble_share, micro_batches, stage, transfers

TITLE = "Pipeline parallelism"
TASKS = [bubble_share.TASK, transfers.TASK, stage.TASK, micro_batches.TASK]
