"""Whether an answer is somebody else's work: one of the engine's own schedulers, or a judge of this course.

``check`` says so in a remark and lets it be: to run the engine's scheduler in place of one's own is a good way to compare.
Grading closes both to an answer (grade/child.py), and no points are left. What is looked for here are plain names;
who hides them fools a remark, not the grader.
"""

import types
from collections.abc import Iterator
from typing import Any

JUDGES = ("coursekit.tasks", "coursekit.judging")
ENGINES = ("minieng.scheduler",)


def borrowed(answer: Any, may_use: tuple[str, ...] = ()) -> str | None:
    """The name of what the answer is, inherits from or calls, of the engine's schedulers and the judges; None if nothing.

    may_use: schedulers of the engine that the exercise itself hands out.
    """
    for thing in reached(answer, set()):
        home, name = home_of(thing), getattr(thing, "__name__", str(thing))
        if is_under(home, JUDGES):
            return f"{home}.{name}".removesuffix(f".{home}")
        if is_under(home, ENGINES) and name not in may_use and decides(thing):
            return name
    return None


def reached(thing: Any, seen: set[int]) -> Iterator[Any]:
    """The thing, its base classes and methods, and what its code names."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield thing
    if isinstance(thing, type):
        for base in thing.__mro__[1:]:
            yield from reached(base, seen)
    if not is_own(thing):
        return
    if isinstance(thing, type):
        for method in vars(thing).values():
            yield from reached(method, seen)
    elif isinstance(thing, types.FunctionType):
        for named in named_in(thing.__code__, thing.__globals__):
            yield from reached(named, seen)


def named_in(code: types.CodeType, space: dict[str, Any]) -> Iterator[Any]:
    """What the names of a function stand for: globals, what it imports, and what it takes out of a module of the engine."""
    modules = [space[name] for name in code.co_names if isinstance(space.get(name), types.ModuleType)]
    for name in code.co_names:
        if name in space:
            yield space[name]
        elif is_under(name, JUDGES):  # an import inside the function
            yield types.ModuleType(name)
        yield from (getattr(module, name, None) for module in modules if is_under(module.__name__, ("minieng",)))
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from named_in(inner, space)


def home_of(thing: Any) -> str:
    """The dotted name of the module in which a class or a function was written; that of a module itself."""
    return str(getattr(thing, "__name__" if isinstance(thing, types.ModuleType) else "__module__", ""))


def is_own(thing: Any) -> bool:
    return home_of(thing).partition(".")[0] not in ("minieng", "coursekit")


def is_under(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def decides(thing: Any) -> bool:
    """Whether it is a whole scheduler or part of one, beyond the engine's bare Scheduler, or makes one from its name."""
    if isinstance(thing, type):
        return any(base.__name__ == "Scheduler" for base in thing.__mro__[1:])
    return getattr(thing, "__name__", "") == "make_scheduler"
