"""The house map holds: no import runs upwards, `import minieng` is light, and nothing has grown too large to read."""

from __future__ import annotations

import ast
import inspect
import io
import re
import subprocess
import sys
import textwrap
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from minieng.scheduler import ContinuousScheduler

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "minieng").rglob("*.py"))

GROUND = {"request", "resume", "params", "answers", "ticket", "turn", "plan", "config", "clock", "text", "interrupt", "prompts",
          "workload", "workload_file", "timed_trace", "prefixes", "job", "distributions", "home", "lazy", "openmp", "gpu", "warn",
          "save", "__version__"}  # fmt: skip
# part of the house → the parts that it may know, besides itself and the ground floor
KNOWS = {
    "ground": set(),
    "hub": set(),
    "kernels": set(),
    "draw": set(),
    "observe": {"draw"},
    "kv": set(),
    "adapter": {"hub", "kernels"},
    "known": {"hub"},
    "model": {"adapter", "hub", "kernels", "known", "kv"},
    "scheduler": {"kv"},
    "viz": {"draw", "observe"},
    "executor": set(),
    "engine": {"observe", "kv", "scheduler", "executor"},
    "parallel": {"hub", "kernels", "kv", "observe", "scheduler", "model", "executor", "engine"},
    "bench": {"observe", "kv", "scheduler", "engine"},
    "replay": {"observe", "kv", "scheduler", "engine"},
    "sim": {"kernels", "observe", "kv", "scheduler", "engine", "bench", "parallel"},
    "doctor": {"adapter", "hub", "kernels", "kv", "model"},
    "llm": {"observe", "kv", "model", "scheduler", "engine", "bench", "replay", "parallel", "sim"},
}
KNOWS["parts"] = {"kernels", "observe", "kv", "model", "scheduler", "engine", "parallel"}
KNOWS["llm"].add("parts")
KNOWS["server"] = {*KNOWS["llm"], "llm"}
KNOWS["playground"] = {"draw", "observe", "scheduler", "engine", "sim", "llm"}
KNOWS["load"] = {
    "hub",
    "kernels",
    "observe",
    "kv",
    "scheduler",
    "engine",
    "bench",
    "parallel",
    "sim",
}  # no llm: servers of others too
KNOWS["cli"] = {*KNOWS["server"], "server", "load", "doctor", "hub", "kernels", "viz"}
CLI = {"cli", "commands", "__main__"}


def part_of(module: str) -> str:
    name = module.split(".")[1]
    return "ground" if name in GROUND else "cli" if name in CLI else name


def import_nodes(file: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a file, in functions too; not those for type checkers only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in for_checkers:
            yield node


def base_of(node: ast.ImportFrom, file: Path) -> list[str]:
    """The dotted name behind ``from``, written out."""
    package = ("minieng", *file.relative_to(ROOT / "minieng").parent.parts)
    return [*package[: len(package) - node.level + 1 if node.level else 0], *(node.module.split(".") if node.module else [])]


def imports(file: Path) -> set[str]:
    """Modules that a file imports anywhere, in functions too; not those for type checkers only."""
    found = set()
    for node in import_nodes(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = base_of(node, file)
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


def test_orders_rules_and_admission_know_the_queues_and_no_scheduler():
    """base.py stands on these: a glance back, even for a type checker only, would be a circle."""
    for name in ("queues", "rules", "ordering", "admission"):
        tree = ast.parse((ROOT / "minieng" / "scheduler" / f"{name}.py").read_text(encoding="utf-8"))
        near = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}
        assert near <= {"queues"}, name


def test_the_ground_floor_and_the_blocks_need_no_torch():
    """``gpu`` is for those who have torch already: the cache's tensors, the kernels, the model."""
    more = ("engine", "executor", "parallel/pipeline", "kv/blocks", "kv/allocator", "observe/trace", "observe/metrics")
    for name in (*GROUND - {"__version__", "gpu"}, *more):
        file = ROOT / "minieng" / f"{name}.py"
        assert not {m.split(".")[0] for m in imports(file)} & {"torch", "transformers"}, file


def test_whether_a_device_is_a_gpu_is_asked_in_one_place():
    """A device of another kind in a GPU's place then goes the GPU's way everywhere (tests/model/test_dry_run.py)."""
    own = [f.relative_to(ROOT) for f in FILES if re.search(r"""\.type\s*[!=]=\s*["']cuda""", f.read_text(encoding="utf-8"))]
    assert own == [Path("minieng/gpu.py")]


def test_import_minieng_is_light():
    code = (
        "import sys, minieng; from minieng import LLM, SamplingParams, EngineConfig, Plan, Request, Scheduler\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'ipywidgets', 'numpy', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- circles ----------------------------------------------------------------------------------------------------

# May stay, for a convenience: ``StepTimeModel.fit``.
CIRCLES = {frozenset({"minieng.sim.cost_model", "minieng.sim.fit"})}


def import_graph() -> dict[str, set[str]]:
    """Module → modules of minieng that it imports; of a package that it names, the module that is meant."""
    modules = {own(file).removesuffix(".__init__"): file for file in FILES}
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        named = set()
        for node in import_nodes(file):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            else:
                base = ".".join(base_of(node, file))
                named |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names}
        graph[name] = named & modules.keys()
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules of which each reaches all others by imports."""
    reach = {}
    for name in graph:
        found, rest = set(), [name]
        while rest:
            new = graph[rest.pop()] - found
            found |= new
            rest += new
        reach[name] = found
    return {frozenset({name} | {m for m in reach[name] if name in reach[m]}) for name in graph if name in reach[name]}


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": {"a", "d"}}) == {frozenset("bc"), frozenset("d")}
    graph = import_graph()
    assert "minieng.kernels.native" in graph["minieng.kernels.ops"]  # from . import x
    assert "minieng.kernels.triton_ops" in graph["minieng.kernels.backend"]  # in a function
    assert "minieng.kernels.batch" not in graph["minieng.kernels.backend"]  # for type checkers


def test_no_import_comes_back_to_where_it_began():
    assert circles(import_graph()) <= CIRCLES


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
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node) is not None
        ):
            found -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def lines(*patterns: str) -> int:
    files = [file for pattern in patterns for file in (ROOT / "minieng").glob(pattern)]
    return sum(len(code_lines(file)) for file in files)


HEART = (
    "engine.py",
    "executor.py",
    "request.py",
    "scheduler/*.py",
    "kv/*.py",
)  # orders and admission rules have their own budget
MOST_IN_HEART, MOST_IN_C, MOST_IN_RUNG, MOST_IN_FILE, MOST_IN_FUNCTION, MOST_IN_TRITON = 1_300, 900, 120, 350, 60, 120
MOST_WITH_WORDS = 400  # of a file, docstrings and comments counted too
ROOMS = [
    ("orders and admission rules", ("scheduler/ordering.py", "scheduler/admission.py"), 350),
    ("what a reader types and what computes it", ("model/*.py", "llm.py", "parts.py", "config.py", "plan.py"), 1_700),
    ("models of others", ("adapter/*.py",), 350),
    ("kernels in Python", ("kernels/*.py",), 1_300),
    ("finding models", ("hub/*.py",), 450),
    ("what is known of models", ("known/*.py",), 200),
    ("the door", ("server/[!rw]*.py", *(f"server/{name}.py" for name in ("reply", "run", "watch", "wire"))), 1_450),
    ("several engines behind it", ("server/replica*.py", "server/*worker.py"), 600),
    ("a server under load, from outside", ("load/*.py",), 800),
]


def test_the_heart_can_be_read_in_an_evening():
    assert lines(*HEART) - lines("scheduler/ordering.py", "scheduler/admission.py") < MOST_IN_HEART


@pytest.mark.parametrize("room, files, most", ROOMS)
def test_each_room_stays_small(room, files, most):
    assert lines(*files) < most, room


def test_the_c_kernel_stays_small():
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "minieng/kernels/native").glob("*.[ch]")))
    code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) < MOST_IN_C


def test_the_readme_shows_the_scheduler_that_there_is():
    """What README prints of continuous batching is the source, and it is all that decides there."""
    methods = (ContinuousScheduler.plan, ContinuousScheduler.decode)
    shown = "\n\n".join(textwrap.dedent(inspect.getsource(method)) for method in methods)
    assert f"```python\n{shown}```\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    decisions = {name for name, value in vars(ContinuousScheduler).items() if inspect.isfunction(value)}
    assert decisions == {method.__name__ for method in methods}


@pytest.mark.parametrize("rung", ["static", "dynamic", "continuous", "chunked"])
def test_a_rung_can_be_read_in_ten_minutes(rung):
    assert lines(f"scheduler/{rung}.py") < MOST_IN_RUNG


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(file):
    text = file.read_text(encoding="utf-8")
    assert len(code_lines(file)) <= MOST_IN_FILE and len(text.splitlines()) <= MOST_WITH_WORDS
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            limit = MOST_IN_TRITON if file.name == "triton_attention.py" else MOST_IN_FUNCTION
            assert node.end_lineno - node.lineno < limit, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_no_check_is_a_bare_assert(file):
    """python -O leaves them out. What stays tells a type checker that something is not None, which Python finds out anyway."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assert):
            parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
            assert all(isinstance(p, ast.Compare) and isinstance(p.ops[0], ast.IsNot) for p in parts), node.lineno


def test_no_function_has_too_many_branches():
    """Cyclomatic complexity at most 12, as pyproject.toml says."""
    limit = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]["mccabe"]
    assert limit == {"max-complexity": 12}
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "C901", "--output-format", "concise"]
    done = subprocess.run([*ruff, "minieng", "coursekit"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
