"""Exercise 11: GPU kernels and CUDA graphs."""

from . import best_buckets, paged_decode, pick_bucket, replay

TITLE = "GPU kernels and CUDA graphs"
TASKS = [paged_decode.TASK, pick_bucket.TASK, best_buckets.TASK, replay.TASK]
