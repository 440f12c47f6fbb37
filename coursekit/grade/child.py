"""Runs inside the sandbox: loads the answer cells of one task, then answers calls, one line of JSON each.

Nothing here is trusted. The parent believes no line that this process writes beyond "this is the value
that came back", and compares that value itself. Started as ``python -I child.py``; standard library only.
"""

import importlib.util
import json
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

dumps, loads = json.dumps, json.loads


def load_plain() -> Any:
    """``coursekit/plain.py``, loaded by its path: the package itself is not imported here."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "plain.py")
    spec = importlib.util.spec_from_file_location("plain", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def limit(setup: dict[str, Any]) -> None:
    """Hard limits on this process and all it starts."""
    import resource

    for name, value in setup["limits"].items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError, AttributeError):
            pass  # a lower limit is already in force, or this system has none of the kind


def die_with_parent() -> None:
    """On Linux the kernel ends this process when the grader's helper ends, however that happens."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)


def without_magics(source: str) -> str:
    """The cell with IPython's own lines (``%time``, ``!ls``) blanked, when it does not compile as it is."""
    try:
        compile(source, "answer", "exec")
        return source
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def load(setup: dict[str, Any]) -> dict[str, Any]:
    """Run the given cells and the answer cells in one namespace, as the notebook does."""
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for name, source in setup["cells"]:
        source, own = without_magics(source), name == setup["task"]
        label = f"<answer {name}>"
        linecache.cache[label] = (len(source), None, source.splitlines(True), label)
        try:
            exec(compile(source, label, "exec"), space)  # noqa: S102 (this is what the sandbox is for)
        except Exception:
            if own:  # a helper cell that fails is its own task's business
                raise
    return space


def where(problem: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename.startswith("<answer")]
    return f"line {frames[-1].lineno}: {frames[-1].line}"[:200] if frames else ""


def failure(problem: BaseException, plain: Any) -> dict[str, str]:
    kind = "todo" if isinstance(problem, NotImplementedError) else "error"
    ours = {plain.NotPlain: "not plain", plain.InputChanged: "input changed"}
    name = ours.get(type(problem), type(problem).__name__)
    text = f"{problem}"[:300] if type(problem) in ours else f"{name}: {problem}"[:300]
    if isinstance(problem, SyntaxError):
        return {
            "kind": kind,
            "error": name,
            "text": text,
            "where": f"line {problem.lineno}: {(problem.text or '').strip()[:150]}",
        }
    return {"kind": kind, "error": name, "text": text, "where": where(problem)}


def driver(setup: dict[str, Any], plain: Any) -> Callable[[Any, Any], Any]:
    """The task's own way to run an answer (a scheduler in an engine), or a plain call."""
    sys.path += [folder for folder in setup["paths"] if folder not in sys.path]  # answers may import the engine
    if not setup["drive"]:
        return plain.answer_to
    from coursekit.task import find_task

    drive = find_task(setup["task"]).drive
    assert drive is not None  # setup["drive"] says so
    return drive


def serve(setup: dict[str, Any], requests: Any, reply: Callable[..., None], plain: Any) -> None:
    try:
        drive = driver(setup, plain)
        space = load(setup)
        answer = space.get(setup["name"])
        if answer is None:
            return reply({"id": setup["id"], "kind": "missing"})
    except BaseException as problem:
        return reply({"id": setup["id"], **failure(problem, plain)})
    reply({"id": setup["id"], "kind": "loaded"})
    for line in requests:
        call = loads(line)
        try:
            out = {"kind": "value", "value": plain.to_plain(drive(answer, call["args"]))}
            text = dumps(out)
        except MemoryError:  # leaving the block frees what the answer held; only then is there room for words
            text = '{"kind": "error", "error": "MemoryError", "text": "MemoryError: over the limit"}'
        except BaseException as problem:
            text = dumps(failure(problem, plain))
        reply({"id": call["id"]}, text)


def main() -> None:
    plain = load_plain()
    requests = os.fdopen(os.dup(0), "r")
    channel = os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    setup = loads(requests.readline())

    def reply(head: dict[str, Any], body: str | None = None) -> None:
        line = dumps(head)
        data = ((line[:-1] + ", " + body[1:]) if body else line).encode() + b"\n"
        while data:
            data = data[os.write(channel, data) :]

    if setup["die"]:
        die_with_parent()
    reply({"id": setup["id"], "kind": "ready"})
    requests.readline()  # the parent has counted the processes of an empty sandbox: now it may begin
    limit(setup)
    serve(setup, requests, reply, plain)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)
