"""Whether an answer is somebody else's work: something of the engine's that decides, or a judge of this course.

``check`` says so in a remark and lets it be: to run the engine's scheduler in place of one's own is a good way to compare.
Grading closes both to an answer (grade/child.py), and no points are left. What is looked for here are plain names;
who hides them fools a remark, not the grader. The learner's things are only looked at: none of their own code runs.
"""

import functools
import types
from collections.abc import Iterator
from typing import Any

from .plain import name_of

JUDGES = ("coursekit.tasks", "coursekit.judging")
ENGINES = ("minieng.scheduler", "minieng.parallel.router")
ARITHMETIC = ("minieng.sim.facts",)
OWN = ("__main__", "builtins")  # where a notebook's cells are; the second, where nobody has said
MOST = 10_000  # things looked at


def borrowed(answer: Any, may_use: tuple[str, ...] = ()) -> str | None:
    """The name of what the answer is, inherits from or calls, of the engine's own and the judges; None if nothing.

    may_use: schedulers of the engine that the exercise itself hands out.
    """
    for thing in reached(answer):
        home, name = home_of(thing), called(thing)
        if is_under(home, JUDGES):
            return f"{home}.{name}".removesuffix(f".{home}")
        if is_under(home, ENGINES) and name not in may_use and decides(thing):
            return name
        if is_under(home, ARITHMETIC):
            return name
    return None


def reached(answer: Any) -> Iterator[Any]:
    """Classes, functions and modules: the answer, its base classes and methods, and what its code names."""
    todo, seen = [answer], set[int]()
    while todo and len(seen) < MOST:
        thing = behind(todo.pop())
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        if is_a(thing, type):
            todo += family(thing)
        if home_of(thing) in OWN:
            todo += named_by(thing)


def behind(thing: Any) -> Any:
    """A class, a function or a module; of anything else its class."""
    if type(thing) is types.MethodType:
        return thing.__func__
    if type(thing) in (staticmethod, classmethod):
        return thing.__wrapped__
    if type(thing) is functools.partial:
        return behind(thing.func)
    return thing if is_a(thing, type, types.FunctionType, types.ModuleType) else type(thing)


def is_a(thing: Any, *kinds: type) -> bool:
    """``isinstance``, but for what the thing itself says of its class."""
    return issubclass(type(thing), kinds)


def family(kind: type) -> tuple[type, ...]:
    """The classes that it inherits from, whatever its metaclass says."""
    return type.__dict__["__mro__"].__get__(kind)[1:]


def parts(thing: Any) -> dict[str, Any]:
    """What is written in a class or a module, whatever its class says."""
    holder: Any = type if is_a(thing, type) else types.ModuleType
    return dict(holder.__dict__["__dict__"].__get__(thing))


def named_by(thing: Any) -> Iterator[Any]:
    if is_a(thing, type):
        yield from parts(thing).values()
    elif is_a(thing, types.FunctionType):
        yield from named_in(thing.__code__, thing.__globals__)


def named_in(code: types.CodeType, space: dict[str, Any]) -> Iterator[Any]:
    """What the names of a function stand for: globals, what it imports, and what it takes out of a module of the engine."""
    modules = [space[name] for name in code.co_names if is_a(space.get(name), types.ModuleType)]
    for name in code.co_names:
        if name in space:
            yield space[name]
        elif is_under(name, (*JUDGES, *ARITHMETIC)):  # an import inside the function
            yield types.ModuleType(name)
        yield from (
            parts(module)[name] for module in modules if is_under(home_of(module), ("minieng",)) and name in parts(module)
        )
    for inner in code.co_consts:
        if is_a(inner, types.CodeType):
            yield from named_in(inner, space)


def called(thing: Any) -> str:
    if is_a(thing, type):
        return name_of(thing)
    return thing.__code__.co_name if is_a(thing, types.FunctionType) else home_of(thing)


def home_of(thing: Any) -> str:
    """The dotted name of the module in which a class or a function was written; that of a module itself."""
    if is_a(thing, types.FunctionType):
        home = thing.__module__
    else:
        home = parts(thing).get("__module__" if is_a(thing, type) else "__name__")
    return home if type(home) is str else ""


def is_under(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def decides(thing: Any) -> bool:
    """Whether it is a whole scheduler or router or part of one, beyond the engine's bare classes, or makes one from its name."""
    if is_a(thing, type):
        return any(name_of(base) in ("Scheduler", "Router") for base in family(thing))
    return called(thing) in ("make_scheduler", "make_router")
