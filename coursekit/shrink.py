"""From a failing call to the smallest one that fails in the same way."""

import time
from collections.abc import Callable, Iterator
from json import dumps
from typing import Any

from .task import Args

Call = tuple[Any, ...]  # the arguments of a call


def size_of(args: Args) -> int:
    """How much a reader has to hold in the head: the length of the call written out."""
    return len(dumps(args))


def shrink(
    args: tuple, still_fails: Callable[[Call], bool], valid: Callable[[Args], bool], seconds: float = 2.0, tries: int = 300
) -> tuple:
    """The smallest arguments found that are ``valid`` and for which ``still_fails(args)`` holds.

    Greedy: take the first smaller candidate that still fails, start again from it, stop when none does.
    """
    end = time.monotonic() + seconds
    best, seen = args, set()
    progress = True
    while progress:
        progress = False
        for candidate in candidates(best):
            key = dumps(candidate)
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > tries or time.monotonic() > end:
                return best
            if is_fair(valid, candidate) and still_fails(candidate):
                best, progress = candidate, True
                break
    return best


def is_fair(valid: Callable[[Args], bool], args: tuple) -> bool:
    try:
        return bool(valid(args))
    except (TypeError, ValueError, IndexError, KeyError):
        return False


def candidates(args: tuple) -> Iterator[Call]:
    """Calls with one argument made smaller, boldest first."""
    for i, value in enumerate(args):
        for smaller in smaller_values(value):
            yield args[:i] + (smaller,) + args[i + 1 :]


def smaller_values(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield from smaller_ints(value)
    elif isinstance(value, float) and value > 0:
        yield from smaller_floats(value)
    elif isinstance(value, list):
        yield from smaller_lists(value)
    elif isinstance(value, dict):
        yield from smaller_dicts(value)


def smaller_ints(value: int) -> Iterator[int]:
    for smaller in (0, 1, value // 2, value - 1):
        if 0 <= smaller < value:
            yield smaller


def smaller_floats(value: float) -> Iterator[float]:
    """Zero, then the same number with fewer digits."""
    for smaller in (0.0, *(round(value, digits) for digits in range(4))):
        if smaller == 0.0 or len(repr(smaller)) < len(repr(value)):
            yield smaller


def smaller_dicts(items: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The dict without one key, then with one value made smaller."""
    for key in items:
        yield {k: v for k, v in items.items() if k != key}
    for key, value in items.items():
        for smaller in smaller_values(value):
            yield {**items, key: smaller}


def smaller_lists(items: list[Any]) -> Iterator[list[Any]]:
    """Half of the list, the list without one item, then the list with one item made smaller."""
    n = len(items)
    if n > 3:
        yield items[: n // 2]
        yield items[n // 2 :]
    for i in range(n):
        yield items[:i] + items[i + 1 :]
    for i, item in enumerate(items):
        for smaller in smaller_values(item):
            yield items[:i] + [smaller] + items[i + 1 :]
