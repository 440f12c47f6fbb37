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
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "API.md"
PROJECT = ("minieng", "coursekit")
LONGEST = 100  # columns of a signature; a longer one is shown a parameter to a line


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
    parts = ["# API", "Generated from the code by `python -m tools.api_page`; do not edit."]
    for package in packages():
        parts += [f"## `{package.__name__}`", first_paragraph(package)]
        parts += [described(name, getattr(package, name)) for name in sorted(package.__all__, key=str.lower)]
    return "\n\n".join(part for part in parts if part) + "\n"


def packages() -> Iterator[ModuleType]:
    """The project's packages that have a face, outermost first."""
    for name in PROJECT:
        top = importlib.import_module(name)
        inner = sorted(found.name for found in pkgutil.walk_packages(top.__path__, f"{name}.") if found.ispkg)
        for module in (top, *map(importlib.import_module, inner)):
            if getattr(module, "__all__", ()):
                yield module


def described(name: str, thing: Any) -> str:
    """One public name: what it is called with, what it does, and the public methods of a class."""
    if inspect.isclass(thing):
        lines = [f"### class `{name}{signature(thing)}`", first_paragraph(thing)]
        if dataclasses.is_dataclass(thing):
            lines.append("Fields: " + ", ".join(f"`{field.name}`" for field in dataclasses.fields(thing)) + ".")
        methods = [f"- `{m}{signature(f)}`: {one_line(f)}" for m, f in vars(thing).items() if is_public_method(m, f)]
        return "\n\n".join([*filter(None, lines), *(["\n".join(methods)] if methods else [])])
    if callable(thing):
        return f"### `{name}{signature(thing)}`\n\n{first_paragraph(thing)}"
    if isinstance(thing, dict):
        return f"### `{name}`\n\nThe names: {', '.join(f'`{key}`' for key in thing)}."
    return f"### `{name}`\n\n{first_paragraph(type(thing)) if not isinstance(thing, ModuleType) else first_paragraph(thing)}"


def is_public_method(name: str, thing: Any) -> bool:
    return not name.startswith("_") and inspect.isfunction(getattr(thing, "__func__", thing)) and bool(one_line(thing))


def signature(thing: Any) -> str:
    """(parameters) without annotations, which would double its length; ``self`` left out."""
    try:
        found = inspect.signature(getattr(thing, "__func__", thing))
    except (TypeError, ValueError):
        return "(…)"
    bare = [
        p.replace(annotation=inspect.Parameter.empty, default="…" if " at 0x" in repr(p.default) else p.default)
        for p in found.parameters.values()
        if p.name not in ("self", "cls")
    ]
    text = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return text if len(text) <= LONGEST else f"({', '.join(p.name for p in bare)})"


def first_paragraph(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def one_line(thing: Any) -> str:
    return (inspect.getdoc(getattr(thing, "__func__", thing)) or "").strip().split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
