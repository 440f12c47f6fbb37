"""Is a value from a file what an annotation says? JSON has lists for tuples, and numbers of any size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

MOST = {int: 2**63 - 1, float: sys.float_info.max}  # tokens, slots and seeds live in 64 bits


@cache
def fits(hint: Any) -> Callable[[Any], bool]:
    """The question for one annotation, made once since it is asked of every value of a large file.

    ``hint``: int, float (whole numbers too, none infinite), str, bool, None, Any, ``list[…]``,
    ``tuple[…]`` (a list of that length), ``dict[str, …]``, or a union of these.
    """
    kind, parts = get_origin(hint), [fits(part) for part in get_args(hint)]
    if kind in (Union, UnionType):
        return lambda value: any(part(value) for part in parts)
    if kind is list:
        return lambda value: isinstance(value, list) and all(map(parts[0], value))
    if kind is tuple:
        return lambda value: (
            isinstance(value, list)
            and len(value) == len(parts)
            and all(part(each) for part, each in zip(parts, value, strict=True))
        )
    if kind is dict:
        return lambda value: isinstance(value, dict) and all(map(parts[1], value.values()))
    if hint is Any:
        return lambda value: True
    if most := MOST.get(hint):  # True is an int to isinstance, and no number here
        return lambda value: (type(value) is int or type(value) is hint) and -most <= value <= most
    return lambda value: isinstance(value, hint)
