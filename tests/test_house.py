"""The house map holds: no import runs upwards, `import minieng` is light, and nothing has grown too large to read."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "minieng").rglob("*.py"))

GROUND = {"request", "plan", "config", "clock", "text", "interrupt", "prompts", "workload", "workload_file", "job",
          "distributions", "home", "__version__"}  # fmt: skip
# part of the house → the parts that it may know, besides itself and the ground floor
KNOWS = {
    "ground": set(),
    "hub": set(),
    "kernels": set(),
    "observe": set(),
    "kv": set(),
    "model": {"hub", "kernels", "kv"},
    "scheduler": {"kv"},
    "viz": {"observe"},
    "parallel": {"kv", "observe", "scheduler", "engine", "model"},
    "engine": {"observe", "kv", "scheduler"},
    "bench": {"observe", "kv", "scheduler", "engine"},
    "replay": {"observe", "kv", "scheduler", "engine"},
    "sim": {"observe", "kv", "scheduler", "engine", "bench", "parallel"},
    "doctor": {"hub", "kernels", "kv", "model"},
    "llm": {"observe", "kv", "model", "scheduler", "engine", "bench", "replay", "parallel", "sim"},
}
KNOWS["server"] = {*KNOWS["llm"], "llm"}
KNOWS["cli"] = {*KNOWS["server"], "server", "doctor", "hub", "viz"}
CLI = {"cli", "commands", "__main__"}


def part_of(module: str) -> str:
    name = module.split(".")[1]
    return "ground" if name in GROUND else "cli" if name in CLI else name


def imports(file: Path) -> set[str]:
    """Modules that a file imports anywhere, in functions too; not those for type checkers only."""
    package, found = ("minieng", *file.relative_to(ROOT / "minieng").parent.parts), set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            found |= {".".join([*base, alias.name]) for alias in node.names} if len(base) == 1 else {".".join(base)}
    return found


def own(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_import_runs_upwards(file):
    if file.parent.name == "minieng" and file.name == "__init__.py":
        return
    part, known = part_of(own(file)), imports(file)
    upwards = {m for m in known if m.startswith("minieng.") and part_of(m) not in KNOWS[part] | {part, "ground"}}
    assert not upwards, f"{part} may know {sorted(KNOWS[part]) or 'the ground floor only'}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_the_engine_knows_nothing_of_the_course(file):
    assert not {m for m in imports(file) if m.split(".")[0] in ("coursekit", "notebooks", "exercises", "solutions")}


def test_a_scheduler_knows_no_model_no_tensor_and_no_clock():
    for file in (ROOT / "minieng" / "scheduler").glob("*.py"):
        assert not {m.split(".")[0] for m in imports(file)} & {"torch", "time", "numpy", "transformers"}, file


def test_the_ground_floor_and_the_blocks_need_no_torch():
    for name in (*GROUND - {"__version__"}, "engine", "kv/blocks", "kv/allocator", "observe/trace", "observe/metrics"):
        file = ROOT / "minieng" / f"{name}.py"
        assert not {m.split(".")[0] for m in imports(file)} & {"torch", "transformers"}, file


def test_import_minieng_is_light():
    code = (
        "import sys, minieng; from minieng import LLM, SamplingParams, EngineConfig, Plan, Request, Scheduler\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'ipywidgets', 'numpy', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- sizes, in lines of code: blank lines, comments and docstrings are not counted ------------------------------


def code_lines(file: Path) -> set[int]:
    text, layout = (
        file.read_text(encoding="utf-8"),
        (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    )
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (*layout, tokenize.ENDMARKER):
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            found -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def lines(*patterns: str) -> int:
    files = [file for pattern in patterns for file in (ROOT / "minieng").glob(pattern)]
    return sum(len(code_lines(file)) for file in files)


HEART = ("engine.py", "request.py", "scheduler/*.py", "kv/*.py")  # orders and admission rules have their own budget


def test_the_heart_can_be_read_in_an_evening():
    assert lines(*HEART) - lines("scheduler/ordering.py", "scheduler/admission.py") < 1_300


@pytest.mark.parametrize("room, files, most", [
    ("orders and admission rules", ("scheduler/ordering.py", "scheduler/admission.py"), 350),
    ("what a reader types and what computes it", ("model/*.py", "llm.py", "config.py", "plan.py"), 1_700),
    ("kernels", ("kernels/*.py",), 1_300),
    ("finding models", ("hub/*.py",), 450),
])  # fmt: skip
def test_each_room_stays_small(room, files, most):
    assert lines(*files) < most, room


def test_the_c_kernel_stays_small():
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "minieng/kernels/native").glob("*.[ch]")))
    code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) < 650


@pytest.mark.parametrize("rung", ["static", "dynamic", "continuous", "chunked"])
def test_a_rung_can_be_read_in_ten_minutes(rung):
    assert lines(f"scheduler/{rung}.py") < 120


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            limit = 120 if file.name == "triton_attention.py" else 60
            assert node.end_lineno - node.lineno < limit, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
