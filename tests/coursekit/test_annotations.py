"""Every function of coursekit says what it takes and what it returns, as those of the engine do."""

import ast

import pytest
from support.course import ROOT

FILES = sorted((ROOT / "coursekit").rglob("*.py"))


def open_ends(tree):
    """(line, name) of each function with an argument, or a result, whose type is not written down."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            a = node.args
            given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            if node.returns is None or any(x.annotation is None for x in given if x.arg not in ("self", "cls")):
                yield node.lineno, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_signature_is_annotated(path):
    assert list(open_ends(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_an_open_end_is_found():
    tree = ast.parse("def f(x: int, *y) -> int: ...\ndef g(x: int): ...\ndef h(self, x: int) -> None: ...")
    assert [name for _, name in open_ends(tree)] == ["f", "g"]
