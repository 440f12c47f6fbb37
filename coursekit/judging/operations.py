"""Tasks whose answer is a class that stands for something, such as a BlockPool: do things to one, look at it each time.

    from .operations import driver, well_formed

    DRIVE = driver(watch=("num_free",))            # read after each operation; a method is called without arguments
    # args = (arguments of the constructor, operations)
    #        ([4], [["allocate", "a", 2], ["free", "a"], ["allocate", "b", 5]])

    Task(..., name="BlockPool", drive=DRIVE, exact=False,
         valid=lambda args: well_formed(args[1], {"allocate": 2, "free": 1}) and args[0][0] >= 1)

What comes back, one entry for the new object and one for each operation:

    {"op": ["allocate", "a", 2], "value": [0, 1], "num_free": 2}
    {"op": ["allocate", "b", 5], "raised": "MemoryError", "caught_by": ["MemoryError", ...], "text": "...", "num_free": 4}

An exception is part of the behaviour and is noted, not passed on; only NotImplementedError passes (not done yet).
An operation may be ``["name", arguments...]``; names that begin with ``_`` are refused: private state is nobody's business.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..plain import name_of, text_of, to_plain
from ..task import Args, Drive

Operation = list[Any]  # its name, then its arguments
Log = list[dict[str, Any]]


def driver(watch: Sequence[str] = ()) -> Drive:
    """``drive`` for a Task whose answer is a class; ``watch`` are public attributes or methods read after each operation."""

    def drive(answer: Any, args: Args) -> Log:
        made, operations = args
        thing = answer(*made)
        log: Log = [{"op": ["new", *made], "value": None, **look(thing, watch)}]
        for op in operations:
            log.append({"op": op, **outcome(thing, op), **look(thing, watch)})
        return log

    return drive


def outcome(thing: Any, op: Operation) -> dict[str, Any]:
    name, *rest = op
    if name.startswith("_"):
        raise ValueError(f"{name} is private")
    try:
        value = getattr(thing, name)(*rest)
    except NotImplementedError:
        raise
    except Exception as problem:  # noqa: BLE001 (whatever it raises is what it did)
        return what_was_raised(problem)
    return {"value": to_plain(value)}  # a copy: what is returned may change with the next operation


def answered(asked: Sequence[Operation], log: Log) -> Log:
    """The log with the operations that were asked for, whatever it says they were. Raises ValueError if one lacks its entry."""
    if not isinstance(log, list) or len(log) != len(asked):
        raise ValueError(f"{len(asked)} operations were asked for, and {len(log)} entries came back")
    return [{**entry, "op": list(op)} for op, entry in zip(asked, log)]


def what_was_raised(problem: Exception) -> dict[str, Any]:
    """Its name, and those of Python's own exceptions that an ``except`` would catch it by: a subclass does as well."""
    family: tuple[type, ...] = type.__dict__["__mro__"].__get__(type(problem))
    caught_by = [name_of(kind) for kind in family if getattr(builtins, name_of(kind), None) is kind]
    return {"raised": name_of(type(problem)), "caught_by": caught_by, "text": text_of(problem)[:300]}


def raised_a(entry: Mapping[str, Any], name: str) -> bool:
    """Whether an entry of the log tells of an exception that ``except name`` catches."""
    return entry.get("raised") is not None and name in entry.get("caught_by", ())


def look(thing: Any, watch: Sequence[str]) -> dict[str, Any]:
    seen = {}
    for name in watch:
        value = getattr(thing, name)
        seen[name] = to_plain(value() if callable(value) else value)
    return seen


def well_formed(operations: Sequence[Operation], arguments: Mapping[str, int]) -> bool:
    """Whether each operation has a known name and its number of arguments: {"allocate": 2} (for ``valid``, while shrinking)."""
    return all(op and op[0] in arguments and len(op) == 1 + arguments[op[0]] for op in operations)


def scene(name: str) -> Callable[[Args], str]:
    """``scene`` for a Task: the operations written as a reader would type them."""

    def words(args: Args) -> str:
        made, operations = args
        calls = [f"{op[0]}({', '.join(map(repr, op[1:]))})" for op in operations]
        return "; ".join([f"p = {name}({', '.join(map(repr, made))})", *(f"p.{call}" for call in calls)])

    return words
