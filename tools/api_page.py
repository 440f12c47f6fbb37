"""Write docs/API.md: every public name of the project, from ``__all__`` of its packages and from their docstrings.

python -m tools.api_page           write it
python -m tools.api_page --check   exit with 1 if it is not what the code says (tests do this)
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "API.md"
PROJECT = ("minieng", "coursekit")
LONGEST = 100  # columns of a signature; of a longer one the names are shown
PLAIN = (bool, int, float, str, type(None))  # what every version of Python writes alike
ABOUT = """\
Every public name: what a package lists in its `__all__`. Written from the code by `python -m tools.api_page`; do not edit.
Defaults that are no plain value are shown as `…`. How the parts work together: [ENGINE.md](ENGINE.md)."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the page that is there, write nothing")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is not what the code says: run python -m tools.api_page", file=sys.stderr)
    return 1


def page() -> str:
    """The whole page as Markdown."""
    faces = list(packages())
    homes = {(name, id(getattr(face, name))): face.__name__ for face in faces for name in face.__all__}  # the innermost stays
    parts = ["# API", ABOUT]
    for face in faces:
        parts += [f"## `{face.__name__}`", first_paragraph(face)]
        for name in sorted(face.__all__, key=str.lower):
            home = homes[name, id(getattr(face, name))]
            parts.append(described(name, getattr(face, name)) if home == face.__name__ else pointer(name, home))
    return "\n\n".join(parts) + "\n"


def packages() -> Iterator[ModuleType]:
    """The project's packages that have a face, outermost first."""
    for name in PROJECT:
        top = importlib.import_module(name)
        inner = sorted(found.name for found in pkgutil.walk_packages(top.__path__, f"{name}.") if found.ispkg)
        for module in (top, *map(importlib.import_module, inner)):
            if hasattr(module, "__all__"):
                yield module


# -- one name -----------------------------------------------------------------------------------------------------


def pointer(name: str, home: str) -> str:
    """A name that an inner package lists too is told there."""
    return f"### `{name}`\n\nSee [`{home}`](#{home.replace('.', '')})."


def described(name: str, thing: Any) -> str:
    """One public name: how it is called, what it does, and what a class has besides."""
    if isinstance(thing, dict):
        return told(f"`{name}`", "", [entry(key, value) for key, value in thing.items()])
    text = first_paragraph(thing) + source(thing)
    if not inspect.isclass(thing):
        return told(f"`{name}{signature(thing)}`", text, [])
    knobs = list(knobs_of(thing))
    called = "" if knobs or issubclass(thing, BaseException) else signature(thing)
    return told(f"class `{name}{called}`", text, [*knobs, *members_of(thing)])


def told(title: str, text: str, lines: Sequence[str]) -> str:
    return "\n\n".join(filter(None, (f"### {title}", text, "\n".join(f"- {line}" for line in lines))))


def entry(key: str, value: Any) -> str:
    """A line of a list of names: the word, and what it stands for where that says so itself."""
    if isinstance(value, str):
        return f"`{key}`: {value}"
    return f"`{key}`: {first_sentence(value)}" if inspect.isclass(value) else f"`{key}`"


def knobs_of(thing: type) -> Iterator[str]:
    """Lines for the fields of a dataclass that have a sentence; of others, the signature says enough."""
    for field in dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ():
        if "help" in field.metadata:
            yield f"`{field.name} = {shown(field.default)}`: {field.metadata['help']}"


def members_of(thing: type) -> Iterator[str]:
    """Lines for the public methods and properties that the class itself defines and explains."""
    for name, member in vars(thing).items():
        inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(inner) or not inner.__doc__:
            continue
        yield f"`{name}{'' if isinstance(member, property) else signature(inner)}`: {first_sentence(inner)}"


def source(thing: Any) -> str:
    """Where it is defined, as a link; nothing for what is no function or class."""
    module = getattr(thing, "__module__", None)
    if module is None or module.split(".")[0] not in PROJECT:
        return ""
    file = Path(inspect.getfile(sys.modules[module])).relative_to(PAGE.parents[1])
    return f" ([{file.name}](../{file.as_posix()}))"


# -- how it is called ---------------------------------------------------------------------------------------------


def signature(thing: Any) -> str:
    """(parameters) without annotations, which would double its length; ``self`` left out."""
    parameters = [p for p in inspect.signature(thing).parameters.values() if p.name not in ("self", "cls")]
    text = f"({', '.join(listed(parameters, defaults=True))})"
    return text if len(text) <= LONGEST else f"({', '.join(listed(parameters, defaults=False))})"


def listed(parameters: list[Parameter], defaults: bool) -> Iterator[str]:
    """Each parameter as a caller sees it, with the star behind which names must be given."""
    starred = False
    for p in parameters:
        starred |= p.kind is Parameter.VAR_POSITIONAL
        if p.kind is Parameter.KEYWORD_ONLY and not starred:
            yield "*"
            starred = True
        stars = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}.get(p.kind, "")
        yield f"{stars}{p.name}" + (f"={shown(p.default)}" if defaults and p.default is not Parameter.empty else "")


def shown(default: Any) -> str:
    """A default as it is typed; ``…`` where the text would depend on the version of Python, or on the run."""
    plain = isinstance(default, PLAIN) or isinstance(default, tuple) and all(isinstance(part, PLAIN) for part in default)
    return repr(default) if plain else "…"


# -- what it does -------------------------------------------------------------------------------------------------


def first_paragraph(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def first_sentence(thing: Any) -> str:
    head, dot, _ = first_paragraph(thing).partition(". ")
    return head + dot.strip()


if __name__ == "__main__":
    sys.exit(main())
