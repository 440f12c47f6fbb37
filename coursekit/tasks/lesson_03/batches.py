"""Static batches of a list of numbers, as two tasks cut them."""

from typing import Any


def batches_of(items: list[Any], batch_size: int) -> list[list[Any]]:
    """In order of arrival, ``batch_size`` at a time; the last batch may be smaller."""
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)
