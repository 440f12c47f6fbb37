"""What C source declares, as ctypes has to know it: read from the source, so that the two cannot differ."""

from __future__ import annotations

import ctypes
import re
from typing import Any

NUMBERS = {
    "int64_t": ctypes.c_int64, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int": ctypes.c_int,
    "float": ctypes.c_float, "void": None,
}  # fmt: skip
STRUCT = re.compile(r"^struct (\w+) \{(.*?)^\};", re.DOTALL | re.MULTILINE)
FUNCTION = re.compile(r"^EXPORT (\w+) (\w+)\((.*?)\) \{", re.DOTALL | re.MULTILINE)


class Declarations:
    """The structs of some C source as ctypes classes,
    and the argument types and answer of its EXPORT functions.

    A pointer to a struct stays one, so that ctypes refuses any other; pointers to numbers are addresses.
    Structs with arrays or unions in them are none that Python hands over, and left out.
    """

    def __init__(self, source: str) -> None:
        source = re.sub(r"/\*.*?\*/", " ", source, flags=re.DOTALL)
        self.structs: dict[str, Any] = {}  # classes that are made here: a type checker knows nothing of them
        for name, body in STRUCT.findall(source):
            if "[" not in body:
                fields = [field for line in body.split(";") for field in self.declared(line)]
                self.structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
        self.functions = {
            name: (
                [self.declared(argument)[0][1] for argument in arguments.split(",") if argument != "void"],
                NUMBERS[answer],
            )
            for answer, name, arguments in FUNCTION.findall(source)
        }

    def declared(self, line: str) -> list[tuple[str, Any]]:
        """The names that a declaration such as ``const float *x, *y`` declares, with their types."""
        words = line.replace("const ", "").strip()
        if not words:
            return []
        found = re.fullmatch(r"((?:struct )?\w+)\s+(.*)", words, re.DOTALL)
        assert found is not None, f"no declaration: {words}"
        kind, rest = found.groups()
        return [(name.strip(" *"), self.type_of(kind, name.strip())) for name in rest.split(",")]

    def type_of(self, kind: str, declarator: str) -> Any:
        struct = self.structs.get(kind.removeprefix("struct "))
        if declarator.startswith("*"):
            return ctypes.c_void_p if struct is None else ctypes.POINTER(struct)
        return NUMBERS[kind] if struct is None else struct
