"""Exercise 13: capacity and scale-out."""

from . import fleet_router, front, goodput, max_rate_under_slo

TITLE = "Capacity and scale-out"
TASKS = [goodput.TASK, max_rate_under_slo.TASK, fleet_router.TASK, front.TASK]
