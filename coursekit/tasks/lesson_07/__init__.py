"""Exercise 07: memory pressure."""

from . import careful_scheduler, choose_victims, peak_tokens, recompute_or_swap

TITLE = "Memory pressure"
TASKS = [choose_victims.TASK, recompute_or_swap.TASK, peak_tokens.TASK, careful_scheduler.TASK]
