"""Exercise 02: padding and masks."""

from . import bucket_by_length, left_pad, pack, packed_mask, padding_waste

TITLE = "Padding and masks"
TASKS = [left_pad.TASK, padding_waste.TASK, bucket_by_length.TASK, pack.TASK, packed_mask.TASK]
