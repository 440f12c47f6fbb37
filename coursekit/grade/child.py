"""Runs inside the sandbox: loads the answer cells of one task, then answers calls, one line of JSON each.

Nothing here is trusted. The parent believes no line that this process writes beyond "this is the value
that came back", and compares that value itself. Started as ``python -I child.py``; standard library only.
"""

import ast
import asyncio
import contextlib
import importlib.machinery
import importlib.util
import inspect
import json
import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any

Drive = Callable[[Any, Any, Callable[[Any], Any]], Any]  # answer, arguments, a function that asks the judge

LARGE = ("numpy", "torch")  # are imported before an answer's time and memory count: a notebook has them already
dumps, loads = json.dumps, json.loads


def load_file(*parts: str) -> Any:
    """A file of coursekit as a module, by its path: the package itself is not imported here."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *parts)
    spec = importlib.util.spec_from_file_location(parts[-1].removesuffix(".py"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def limit(setup: dict[str, Any]) -> None:
    """Hard limits on this process and all it starts. What Python and its libraries have mapped by now does not count."""
    import resource

    for name, value in setup["limits"].items():
        value += mapped() if name == "RLIMIT_AS" else 0
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError, AttributeError):
            pass  # a lower limit is already in force, or this system has none of the kind
    if setup["refuse"]:
        load_file("grade", "calls.py").refuse()


def mapped() -> int:
    """Bytes of this process's address space; 0 where it cannot be seen."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def die_with_parent() -> None:
    """On Linux the kernel ends this process when the grader's helper ends, and lets no other submission look into it."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)
        ctypes.CDLL(None).prctl(4, 0)


# -------------------------------------------------------------- cells, as the notebook runs them
AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def nothing(*args: Any, **more: Any) -> None:
    """What ``check`` and its like do here: a cell may hold a call of them."""


class Shell:
    """What ``get_ipython()`` gives: a magic that runs code runs it, all others and the commands of the system do nothing."""

    def __init__(self, space: dict[str, Any], output: Callable[[], Any]) -> None:
        self.space, self.output = space, output

    def run_line_magic(self, name: str, line: str, *args: Any, **more: Any) -> Any:
        if name != "time":
            return None
        try:
            return eval(compile(line, "<answer>", "eval", dont_inherit=True), self.space)  # noqa: S307
        except SyntaxError:
            return run_cell(line, "<answer>", self.space)

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        if name in ("time", "capture", "prun"):
            run_cell(cell, "<answer>", self.space)

    def getoutput(self, *args: Any, **more: Any) -> Any:
        return self.output()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return nothing


def run_cell(source: str, label: str, space: dict[str, Any]) -> None:
    """As the notebook does, with ``await`` at the left margin too."""
    code = compile(source, label, "exec", flags=AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, space))  # noqa: S307 (this is what the sandbox is for)
    else:
        exec(code, space)  # noqa: S102


def is_python(source: str) -> bool:
    try:
        compile(source, "answer", "exec", flags=AWAIT, dont_inherit=True)
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def load(setup: dict[str, Any], magics: Any) -> dict[str, Any]:
    """Run the given cells and the answer cells in one namespace, which is ``__main__`` as in the notebook."""
    sys.modules["__main__"] = types.ModuleType("__main__")
    space = vars(sys.modules["__main__"])
    space["__builtins__"] = __builtins__
    shell = Shell(space, magics.Lines)
    space |= {"get_ipython": lambda: shell, **dict.fromkeys((*COURSE, "display"), nothing)}
    for name, source in setup["cells"]:
        own, label = name == setup["task"], f"<answer {name}>"
        try:
            source = source if is_python(source) else magics.without_magics(source)
            linecache.cache[label] = (len(source), None, source.splitlines(True), label)
            run_cell(source, label, space)
        except Exception:
            if own:  # a helper cell that fails is its own task's business
                raise
    return space


# -------------------------------------------------------------- what an answer may not borrow
COURSE = ("check", "hint", "predict", "progress", "reveal", "solved", "export_progress", "import_progress")


CLOSED, FORMULAS = ("minieng.scheduler", "minieng.parallel.router"), "minieng.sim.facts"


class Borrowed(Exception):
    """The answer lets the engine's own work decide."""


def refused(name: str) -> Callable[..., None]:
    def refuse(*args: Any, **more: Any) -> None:
        raise Borrowed(f"the engine's own {name} decides here. To compare with it is welcome; points are for work of your own")

    return refuse


class Door:
    """Stands before the finders of modules: what was closed is not loaded anew from its file.

    The lessons' formulas may be imported at any time, and compute nothing.
    """

    def __init__(self, closed: Sequence[str] = ()) -> None:
        self.closed = closed

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if any(name == closed or name.startswith(f"{closed}.") for closed in self.closed):
            raise Borrowed(f"{name} cannot be loaded here: it is the engine's own work. Points are for yours")
        return importlib.machinery.ModuleSpec(name, self) if name == FORMULAS else None  # type: ignore[arg-type]  # a loader too

    def create_module(self, spec: Any) -> None:
        """An empty one will do."""

    def exec_module(self, module: types.ModuleType) -> None:
        def part(name: str) -> Callable[..., None]:
            if name.startswith("__"):
                raise AttributeError(name)
            return refused(name)

        vars(module)["__getattr__"] = part


def close_the_course() -> None:
    """From here on ``import coursekit`` finds a notebook's few words, which do nothing, and no judge."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "coursekit"]:
        del sys.modules[name]
    stand_in = sys.modules["coursekit"] = types.ModuleType("coursekit")
    vars(stand_in).update(dict.fromkeys(COURSE, nothing))


def close_the_engines_schedulers(may_use: Sequence[str]) -> None:
    """They and the routers may be named and subclassed, and do nothing; what the exercise itself hands out stays as it is."""
    from minieng.parallel.router import ROUTERS
    from minieng.scheduler import SCHEDULERS

    for kind in (*SCHEDULERS.values(), *ROUTERS.values()):
        if kind.__name__ not in may_use:
            for name in [n for n, value in vars(kind).items() if inspect.isfunction(value) and not n.startswith("__")]:
                setattr(kind, name, refused(kind.__name__))


# -------------------------------------------------------------- calls and replies
def where(problem: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename.startswith("<answer")]
    return f"line {frames[-1].lineno}: {frames[-1].line}"[:200] if frames else ""


OURS = {"NotPlain": "not plain", "InputChanged": "input changed", "Borrowed": "borrowed"}  # told in their own words


def failure(problem: BaseException) -> dict[str, str]:
    kind = "todo" if isinstance(problem, NotImplementedError) else "error"
    raised = type(problem).__name__
    name = OURS.get(raised, raised)
    text = f"{problem}"[:300] if raised in OURS else f"{name}: {problem}"[:300]
    if isinstance(problem, SyntaxError):
        return {
            "kind": kind,
            "error": name,
            "text": text,
            "where": f"line {problem.lineno}: {(problem.text or '').strip()[:150]}",
        }
    return {"kind": kind, "error": name, "text": text, "where": where(problem)}


def driver(setup: dict[str, Any], plain: Any) -> Drive:
    """The task's own way to run an answer (a scheduler in an engine, one that asks), or a plain call."""
    sys.path[:0] = setup["paths"]  # answers may import the engine, and it is the judge's own, not one installed beside it
    sys.path += setup["libraries"]
    for name in setup["needs"]:
        importlib.import_module(name)
    for name in LARGE:
        if any(re.search(rf"^\s*(?:import|from)\s+{name}\b", source, re.MULTILINE) for _, source in setup["cells"]):
            with contextlib.suppress(Exception):  # the cell itself is told, if it comes to that line
                importlib.import_module(name)
    door = Door()
    sys.meta_path.insert(0, door)
    if not setup["drive"]:
        close_the_course()
        return lambda answer, args, ask: plain.answer_to(answer, args)
    from coursekit.task import find_task

    task = find_task(setup["task"])
    if task.engine:
        close_the_engines_schedulers(task.may_use)
        door.closed = CLOSED
    close_the_course()
    if task.asking:
        return task.asking.run
    drive = task.drive
    assert drive is not None  # setup["drive"] says so
    return lambda answer, args, ask: drive(answer, args)


class Server:
    """Answers the parent's calls, one at a time, and asks it in between what the task lets an answer ask."""

    def __init__(self, requests: Any, channel: int, plain: Any) -> None:
        self.requests, self.channel, self.plain, self.number = requests, channel, plain, ""

    def reply(self, kind: str, number: str = "", body: str = "{}") -> None:
        """One line: its kind and the number of the call; body: more of it, as the text of a JSON object."""
        head = dumps({"id": number or self.number, "kind": kind})
        data = (head if body == "{}" else f"{head[:-1]}, {body[1:]}").encode() + b"\n"
        while data:
            data = data[os.write(self.channel, data) :]

    def ask(self, question: Any) -> Any:
        self.reply("question", body=dumps({"value": self.plain.to_plain(question)}))
        told = loads(self.requests.readline())
        if "refused" in told:
            raise LookupError(told["refused"])
        return told["value"]

    def fail(self, problem: BaseException) -> None:
        told = failure(problem)
        self.reply(told.pop("kind"), body=dumps(told))

    def serve(self, setup: dict[str, Any], drive: Drive, magics: Any) -> None:
        self.number = setup["id"]
        try:
            space = load(setup, magics)
        except BaseException as problem:
            return self.fail(problem)
        answer = space.get(setup["name"])
        if answer is None:
            return self.reply("missing")
        self.reply("loaded")
        for line in self.requests:
            call = loads(line)
            self.number = call["id"]
            try:
                value = dumps({"value": self.plain.to_plain(drive(answer, call["args"], self.ask))})
            except MemoryError:  # leaving the block frees what the answer held; only then is there room for words
                value = ""
            except BaseException as problem:
                self.fail(problem)
                continue
            if value:
                self.reply("value", body=value)
            else:
                self.reply("error", body='{"error": "MemoryError", "text": "MemoryError: over the limit"}')


def main() -> None:
    plain = load_file("plain.py")
    requests = os.fdopen(os.dup(0), "r")
    server = Server(requests, os.dup(1), plain)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    setup = loads(requests.readline())
    if setup["die"]:
        die_with_parent()
    drive, magics = driver(setup, plain), load_file("grade", "magics.py")  # the course's own code: none of the learner's time
    server.reply("ready", setup["id"])
    requests.readline()  # the parent has counted the processes of an empty sandbox: now it may begin
    limit(setup)
    server.serve(setup, drive, magics)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
