"""The jobs that both schedulers of this exercise are tried on."""

from typing import Any

from ...task import Case

ALONE = [[0.0, 12, 3]]
LATER = [[0.0, 1, 9], [0.0, 1, 9], [0.02, 20, 2]]
THREE = [[0.0, 3, 6], [0.0, 14, 2], [0.0, 2, 4]]
STREAM = [[0.0, 2, 6], [0.01, 30, 2], [0.02, 3, 4], [0.03, 3, 4], [0.04, 3, 4], [0.05, 3, 4], [0.06, 3, 4]]
TIGHT = [[0.0, 12, 12], [0.0, 12, 12], [0.0, 12, 12]]
WAITS = [[0.0, 12, 12], [0.0, 8, 12], [0.0, 20, 12], [0.02, 2, 4]]
LARGE = [[0.0, 8, 6], [0.0, 8, 4], [0.0, 2, 4]]  # in step 1 one block is left: not enough for the second, enough for the third
FOUR = [[0.0, 4, 9]] * 4  # eight blocks hold two for each, and all need a third in the same step


def knobs(budget: int, seats: int, **more: Any) -> dict[str, Any]:
    return {"max_num_batched_tokens": budget, "max_num_seqs": seats, **more}


CASES = (
    Case((ALONE, knobs(16, 4)), None),
    Case((ALONE, knobs(5, 4)), None),
    Case((LATER, knobs(7, 4)), None),
    Case((THREE, knobs(8, 4)), None),
    Case((THREE, knobs(5, 2)), None),
    Case((STREAM, knobs(6, 4)), None),
    Case((TIGHT, knobs(8, 4, num_blocks=3)), None),
    Case((WAITS, knobs(8, 4, num_blocks=4)), None),
    Case((LARGE, knobs(8, 4, num_blocks=4, block_size=4)), None),
    Case((FOUR, knobs(16, 4, num_blocks=8, block_size=4)), None),
)
