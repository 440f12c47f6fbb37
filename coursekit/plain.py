"""Plain data: the only thing that travels between a learner's answer and its judge.

Promise: what comes out of ``to_plain`` is made of None, bool, int, float, str, list and dict, each of
exactly that type. A subclass of ``int`` that lies about its value, or an object whose ``==`` always
answers True, never reaches a comparison: it is refused by name.

This file imports the standard library alone, because the grader loads it by its path inside the sandbox.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 40
MAX_ITEMS = 500_000
MAX_TEXT = 1_000_000
MAX_DIGITS = 4_000
IN_ORDER: tuple[type, ...] = (range, deque, type({}.keys()), type({}.values()), type({}.items()))


class NotPlain(Exception):
    """The answer holds something that is not plain data; the message says what, in a learner's words."""


class InputChanged(Exception):
    """The answer changed what it was given; the message says so, in a learner's words."""


def answer_to(function: Callable[..., Any], args: Any) -> Any:
    """What ``function(*args)`` returns, as plain data. Raises NotPlain, and InputChanged if the arguments are not left alone."""
    before = to_plain(args)
    got = to_plain(function(*args))
    try:
        untouched = same(to_plain(args), before)
    except NotPlain:  # something that is no plain data was put into an argument
        untouched = False
    if not untouched:
        raise InputChanged(
            "the answer is not judged, because your function changes the lists that it is given. The caller still needs them: "
            "build new lists, and mind append, insert, sort and += on an argument"
        )
    return got


def to_plain(value: Any) -> Any:
    """``value`` as plain data: tuples, ranges and generators become lists, arrays and tensors their numbers. Raises NotPlain."""
    return _convert(value, 0, [MAX_ITEMS])


def _convert(value: Any, depth: int, budget: list[int]) -> Any:
    kind = type(value)
    budget[0] -= 1
    if budget[0] < 0:
        raise NotPlain(f"the answer holds more than {MAX_ITEMS:,} values: return only what the task asks for")
    if depth > MAX_DEPTH:
        raise NotPlain(f"the answer is nested more than {MAX_DEPTH} lists deep: return only what the task asks for")
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return _small_int(value)
    if kind is str:
        return _short_text(value)
    if kind is list or kind is tuple or _comes_in_order(kind):
        return [_convert(item, depth + 1, budget) for item in value]
    if kind is dict:
        return {_key(k): _convert(v, depth + 1, budget) for k, v in value.items()}
    return _convert(_unwrap(value, kind), depth + 1, budget)


def _comes_in_order(kind: type) -> bool:
    """Python's own ways to give one value after the other: a range, the views of a dict, a generator, zip, map and their like."""
    return kind in IN_ORDER or hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools")


def _small_int(value: int) -> int:
    if value.bit_length() > MAX_DIGITS * 3:
        raise NotPlain(f"the answer holds a number of more than {MAX_DIGITS:,} digits")
    return value


def _short_text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise NotPlain(f"the answer holds a text of {len(value):,} letters; the limit is {MAX_TEXT:,}")
    return value.encode("utf-8", "replace").decode("utf-8")


def _key(key: Any) -> str:
    if type(key) not in (str, int):
        raise NotPlain(f"the answer holds a dict whose key is a {type(key).__name__}: use a str or an int")
    return str(key)


def _unwrap(value: Any, kind: type) -> Any:
    """The numbers inside an array or tensor; every other class is refused."""
    home = str(getattr(kind, "__module__", "")).split(".")[0]
    if home in ("torch", "numpy") and hasattr(kind, "tolist"):
        return value.tolist()
    for base in (bool, int, float, str, list, tuple, dict):
        if issubclass(kind, base):
            raise NotPlain(
                f"the answer holds a `{kind.__name__}`, a class of its own built on "
                f"{base.__name__}: return a plain {base.__name__}"
            )
    if hasattr(kind, "__next__"):
        raise NotPlain(f"the answer is a `{kind.__name__}`, an iterator of its own class: wrap it in list(...)")
    if kind in (set, frozenset):
        raise NotPlain("the answer holds a set, which has no order: return a list")
    raise NotPlain(f"the answer holds a `{kind.__name__}` object: return plain lists, numbers, True or False")


def same(a: Any, b: Any, tolerance: float = 1e-9) -> bool:
    """Equality of two plain values; numbers within ``tolerance``, and True counts as 1 as in Python."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return _same_number(a, b, tolerance)
    return type(a) is type(b) and a == b


def _same_number(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    try:
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:
        return False


def name_of(kind: type) -> str:
    """The name of a class, readable and not too long, whatever its metaclass says."""
    return readable(str(type.__dict__["__name__"].__get__(kind))[:80])


def text_of(problem: BaseException) -> str:
    """What an exception says, or that it cannot say it."""
    try:
        return readable(str(problem))
    except Exception as other:  # noqa: BLE001 (its __str__ is the learner's, and may do anything)
        return f"(its text cannot be shown: {name_of(type(other))})"


def readable(text: str) -> str:
    """``text`` as any terminal and page can show it: lone surrogates and control characters as escapes."""
    return "".join(x if x in "\n\t" or x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def brief(value: Any, limit: int = 160) -> str:
    """One line of ``repr``, cut in the middle when it is long."""
    text = repr(value)
    if len(text) <= limit:
        return text
    keep = (limit - 5) // 2
    return f"{text[:keep]} ... {text[-keep:]}"
