"""Mutants of a solution: copies that differ in one place, made on its syntax tree. One that a check accepts may show a hole.

    PYTHONPATH=tests python -m support.mutants 02.1      # every mutant of the solution that the check accepts

What is changed, one thing at a time: comparisons, operators and their operands, whole numbers by one, conditions (dropped,
negated, always or never true), lines (left out), loops (without their first or last round), slices and ranges (by one, without
an end), minimum and maximum, any and all, the order of arguments, names and attributes (another of the same function). Texts,
docstrings and messages of exceptions stay.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from coursekit import cells
from coursekit.examine import LATE, Failed, caller, try_case
from coursekit.guard import guarded
from coursekit.task import Case, Task, find_task

from .course import answer_from, master_of, tasks_of

CALL_SECONDS = 2.0  # a mutant's call is cut there
MUTANT_SECONDS = 120.0
OTHER_SEEDS = ("a", "b")  # calls beside those of the check, to see whether a mutant's answers differ at all

OPPOSITE: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "sum": "max"}
WHOLE = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass, ast.Global)  # statements that are never left out


@dataclass(frozen=True)
class Mutant:
    """was, now: the line that was changed, before and after, without what hangs below it; source: all of the code."""

    was: str
    now: str
    source: str

    def __str__(self) -> str:
        return f"{self.was}\n    -> {self.now}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of this code, each once, from top to bottom."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    lines: dict[str, list[int]] = {}  # where each line stands that is written more than once
    for statement in (node for node in ast.walk(tree) if isinstance(node, ast.stmt)):
        lines.setdefault(head(statement), []).append(statement.lineno)
    scopes = scopes_of(tree)
    for statement, parent, name, at in places(tree):
        around = scopes.get(statement, {})
        held = getattr(parent, name)
        old = held if at is None else held[at]
        was = head(statement)
        numbers = sorted(lines[was])
        nth = f"  # {numbers.index(statement.lineno) + 1} of {len(numbers)}" if len(numbers) > 1 else ""
        for new in [*changes(old), *(others(old, around) if name != "func" else [])]:
            put(parent, name, at, new)
            whole = ast.unparse(ast.fix_missing_locations(tree))
            now = head(new) if old is statement else head(statement)
            put(parent, name, at, old)
            if whole not in seen and compiles(whole):
                seen.add(whole)
                yield Mutant(was + nth, "(left out)" if isinstance(new, ast.Pass) else now, whole)


def places(tree: ast.AST) -> Iterator[tuple[ast.stmt, ast.AST, str, int | None]]:
    """(statement it stands in, parent, field, index) of every node that may be changed."""

    def below(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.stmt, ast.AST, str, int | None]]:
        if isinstance(node, ast.Raise):  # its message is free
            return
        for name, value in ast.iter_fields(node):
            for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or is_text(child) or name in ("decorator_list", "annotation", "returns"):
                    continue
                inside = child if isinstance(child, ast.stmt) else statement
                if inside is not None:
                    yield inside, node, name, at
                yield from below(child, inside)

    return below(tree, None)


def is_text(node: ast.AST) -> bool:
    """A docstring, or a text that is put together."""
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def scopes_of(tree: ast.AST) -> dict[ast.AST, dict[str, set[str]]]:
    """For each statement the names of its function under "", and under each of them the attributes that are read from it."""
    found: dict[ast.AST, dict[str, set[str]]] = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        around: dict[str, set[str]] = {"": {arg.arg for arg in function.args.args} - {"self"}}
        called = {node.func for node in ast.walk(function) if isinstance(node, ast.Call)}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                around[""].add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node not in called:
                around.setdefault(node.value.id, set()).add(node.attr)
        found |= {node: around for node in ast.walk(function) if isinstance(node, ast.stmt)}
    return found


def others(node: ast.AST, around: dict[str, set[str]]) -> list[ast.AST]:
    """Another name of the function in the place of this one, another attribute of the same thing."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in around.get("", ()):
        return [ast.Name(name, node.ctx) for name in sorted(around[""] - {node.id})]
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Name):
        known = around.get(node.value.id, set())
        return [other(node, attr=attr) for attr in sorted(known - {node.attr})] if node.attr in known else []
    return []


def put(parent: ast.AST, name: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[at] = node


def head(node: ast.AST) -> str:
    """The first line of a node."""
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split("\n")[0]


def compiles(source: str) -> bool:
    try:
        compile(source, "<mutant>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


# ---------------------------------------------------------------- what may take the place of a node
def changes(node: ast.AST) -> list[ast.AST]:
    """Nodes that take the place of this one, each in a mutant of its own."""
    found: list[ast.AST] = []
    for kind, change in CHANGES:
        if isinstance(node, kind):
            found += change(node)
    return found


def other(node: Any, **fields: Any) -> Any:
    """A copy of a node with other fields."""
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def moved(node: ast.expr, by: int) -> ast.expr:
    """The expression, and one more or less."""
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(1))


def number(node: ast.Constant) -> list[ast.AST]:
    if isinstance(node.value, bool):
        return [ast.Constant(not node.value)]
    return [ast.Constant(node.value + by) for by in (1, -1)] if isinstance(node.value, (int, float)) else []


def comparison(node: ast.Compare) -> list[ast.AST]:
    return [
        other(node, ops=[*node.ops[:i], kind(), *node.ops[i + 1 :]])
        for i, op in enumerate(node.ops)
        for kind in OPPOSITE.get(type(op), ())
    ]


def operation(node: ast.BinOp | ast.AugAssign) -> list[ast.AST]:
    found = [other(node, op=kind()) for kind in OPPOSITE.get(type(node.op), ())]
    if isinstance(node, ast.AugAssign):
        return [*found, ast.Assign([node.target], node.value, lineno=node.lineno)]
    swapped = [other(node, left=node.right, right=node.left)] if not isinstance(node.op, (ast.Add, ast.Mult)) else []
    return [*found, *swapped]


def junction(node: ast.BoolOp) -> list[ast.AST]:
    parts = [other(node, values=node.values[:i] + node.values[i + 1 :]) for i in range(len(node.values))]
    return [
        *(other(node, op=kind()) for kind in OPPOSITE[type(node.op)]),
        *(p.values[0] if len(p.values) == 1 else p for p in parts),
    ]


def call(node: ast.Call) -> list[ast.AST]:
    found: list[ast.AST] = []
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in TWINS:
        found.append(other(node, func=ast.Name(TWINS[name], ast.Load())))
    if len(node.args) >= 2 and not any(isinstance(arg, ast.Starred) for arg in node.args):
        found.append(other(node, args=[node.args[1], node.args[0], *node.args[2:]]))
    if name == "range":
        places = [(i, by) for i in range(len(node.args)) for by in (1, -1)]
        found += [other(node, args=[moved(a, by) if i == at else a for at, a in enumerate(node.args)]) for i, by in places]
    found += [other(node, keywords=[k for k in node.keywords if k is not keyword]) for keyword in node.keywords]
    return found


def comprehension(node: ast.comprehension) -> list[ast.AST]:
    return [other(node, ifs=[test for test in node.ifs if test is not gone]) for gone in node.ifs]


def piece(node: ast.Slice) -> list[ast.AST]:
    found: list[ast.AST] = []
    for side in ("lower", "upper"):
        end = getattr(node, side)
        if end is not None:
            found += [other(node, **{side: None}), *(other(node, **{side: moved(end, by)}) for by in (1, -1))]
    return found


def item(node: ast.Subscript) -> list[ast.AST]:
    if isinstance(node.slice, (ast.Slice, ast.Constant, ast.Tuple, ast.UnaryOp)):
        return []
    return [other(node, slice=moved(node.slice, by)) for by in (1, -1)]


def statement(node: ast.stmt) -> list[ast.AST]:
    return [] if isinstance(node, WHOLE) else [ast.Pass()]


def choice(node: ast.If | ast.IfExp | ast.While) -> list[ast.AST]:
    """The condition always holds, or never, or is turned round."""
    tests = [ast.UnaryOp(ast.Not(), node.test)]
    if not isinstance(node, ast.While):
        tests += [ast.Constant(True), ast.Constant(False)]
    return [other(node, test=test) for test in tests]


def loop(node: ast.For | ast.comprehension) -> list[ast.AST]:
    """Without its first round, or its last."""
    line = ast.Call(ast.Name("list", ast.Load()), [node.iter], [])
    ends = ast.Slice(ast.Constant(1), None), ast.Slice(None, ast.UnaryOp(ast.USub(), ast.Constant(1)))
    return [other(node, iter=ast.Subscript(line, end, ast.Load())) for end in ends]


def returned(node: ast.Return) -> list[ast.AST]:
    if isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
        first, second, *rest = node.value.elts
        return [other(node, value=ast.Tuple([second, first, *rest], ast.Load()))]
    return []


CHANGES: list[tuple[Any, Callable[[Any], list[ast.AST]]]] = [
    (ast.Constant, number),
    (ast.Compare, comparison),
    ((ast.BinOp, ast.AugAssign), operation),
    (ast.BoolOp, junction),
    (ast.UnaryOp, lambda node: [node.operand]),
    (ast.Call, call),
    (ast.comprehension, comprehension),
    (ast.Slice, piece),
    (ast.Subscript, item),
    ((ast.If, ast.IfExp, ast.While), choice),
    ((ast.For, ast.comprehension), loop),
    (ast.Return, returned),
    (ast.Break, lambda node: [ast.Continue()]),
    (ast.Continue, lambda node: [ast.Break()]),
    (ast.stmt, statement),
]


# ---------------------------------------------------------------- what the check says of them
class Hunt:
    """The solution of a task and its mutants, run as the check runs an answer."""

    def __init__(self, task: Task) -> None:
        book, tasks = master_of(task.lesson), tasks_of(task.lesson)
        *others, (_, source) = cells.needed(task, cells.answers(book, tasks), tasks)
        self.task, self.source = task, source
        self.before = [*cells.given(book), *(text for _, text in others)]
        self.cases = [*task.cases, *(Case(args, None) for args in task.random_cases("public"))]
        self.answer_of(self.source)(self.cases[0].args)  # what it imports is loaded here, and not anew in each copy

    def answer_of(self, source: str) -> Callable[[Any], Any]:
        """The function or class of this source, as it is called with a case's arguments."""
        return caller(answer_from(source, self.task.name, self.before), self.task.drive)

    def mutants(self) -> list[Mutant]:
        return list(mutants(self.source))

    def accepted(self, mutant: Mutant) -> bool:
        """Whether the check finds nothing wrong with it. In a copy of this process, which ends with the first thing found.

        The case that found it comes first for the next mutant: what showed one mistake is likely to show its neighbour.
        """

        def work(tell: Any) -> int | None:
            answer = in_time(self.answer_of(mutant.source))
            wrong = (try_case(self.task, answer, case.args, case.expected) is not None for case in self.cases)
            return next((number for number, found in enumerate(wrong) if found), None)

        found, _, _, state = guarded(work, MUTANT_SECONDS)
        if state == "ok" and found is not None:
            self.cases.insert(0, self.cases.pop(found))
        return state == "ok" and found is None

    def survivors(self) -> list[Mutant]:
        return [mutant for mutant in self.mutants() if self.accepted(mutant)]

    def differs(self, mutant: Mutant) -> str:
        """A call, in words, to which it gives another answer than the solution; "" if there is none among many."""

        def work(tell: Any) -> str:
            own, its = (in_time(self.answer_of(source)) for source in (self.source, mutant.source))
            more = [Case(args, None) for seed in OTHER_SEEDS for args in self.task.random_cases(seed)]
            return next((self.task.call_text(c.args) for c in [*self.cases, *more] if said(own, c.args) != said(its, c.args)), "")

        result, _, _, state = guarded(work, MUTANT_SECONDS)
        return str(result) if state == "ok" else f"a call that ends the program ({result})"


def in_time(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same calls, each cut at CALL_SECONDS."""

    def call(args: Any) -> Any:
        result, _, _, state = guarded(lambda tell: answer(args), CALL_SECONDS, stay=True)
        if state != "ok":
            raise Failed(LATE, "it did not finish in time")
        return result

    return call


def said(answer: Callable[[Any], Any], args: Any) -> Any:
    try:
        return answer(args)
    except Failed as failure:
        return failure.kind, failure.error


def main(task_ids: list[str]) -> None:
    for task_id in task_ids:
        hunt = Hunt(find_task(task_id))
        print(f"{task_id}: {len(hunt.mutants())} mutants", flush=True)
        for mutant in hunt.survivors():
            call = hunt.differs(mutant)
            print(f"  {mutant}\n    {f'differs: {call}' if call else 'no difference found'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
