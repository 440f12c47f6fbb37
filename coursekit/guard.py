"""Run work that may never end, and keep the notebook's kernel alive.

Where the system can fork, the work runs in a copy of the kernel that is killed at the deadline: no loop
and no memory bomb of the learner's reaches the kernel. Elsewhere (macOS, Windows, or a task that must
stay in this process) a timer interrupts the work; that stops Python loops, not a loop inside C code.
"""

import faulthandler
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

Work = Callable[[Callable[..., None]], Any]
Outcome = tuple[Any, Any, str, str]  # result, last, printed, state

SHOWN_OUTPUT = 2_000
EXTRA_MEMORY = 4 << 30
OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


class TooLate(BaseException):
    """The deadline has passed. Not an Exception, so that ``except Exception`` in the work does not catch it."""


class Printed(StringIO):
    """Keeps the first letters of what the work prints, and forgets the rest."""

    def write(self, text: str) -> int:
        if self.tell() < SHOWN_OUTPUT:
            super().write(text[:SHOWN_OUTPUT])
        return len(text)


def guarded(work: Work, seconds: float, stay: bool = False) -> Outcome:
    """Run ``work(tell)``; returns (result, last, printed, state), state "ok" | "late" | "gone".

    ``work`` returns JSON-able data and may call ``tell(data)`` before each risky step; ``last`` is the last thing told.
    """
    if can_fork() and not stay:
        return in_a_copy(work, seconds)
    return in_this_process(work, seconds)


def can_fork() -> bool:
    return hasattr(os, "fork") and sys.platform.startswith("linux")


def in_a_copy(work: Work, seconds: float) -> Outcome:
    here, there = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads; the copy uses none of them
        child = os.fork()
    if child == 0:
        os.close(here)
        run_as_copy(work, there)
    os.close(there)
    try:
        lines, ended = read_lines(here, time.monotonic() + seconds)
    finally:
        os.close(here)
        end_copy(child)
    return outcome(lines, ended)


def run_as_copy(work: Work, pipe: int) -> None:
    """In the copy: do the work, write lines of JSON, and leave without touching anything of the kernel's."""
    printed = Printed()

    def tell(data: Any, mark: str = "t") -> None:
        data = (mark + json.dumps(data) + "\n").encode()
        while data:
            data = data[os.write(pipe, data) :]

    try:
        faulthandler.disable()  # a crash of the copy is told in words, not by a dump on the kernel's own stderr
        os.setpgid(0, 0)
        limit_memory()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)  # the thread pool of the kernel did not come along
        with redirect_stdout(printed), redirect_stderr(printed):
            result = work(tell)
        tell(printed.getvalue(), "p")
        tell(result, "r")
    except BaseException as problem:  # whatever happens in the copy, it must not come back into the kernel's loop
        try:
            tell(printed.getvalue(), "p")
            tell(f"{type(problem).__name__}: {problem}"[:300], "x")
        except OSError:
            pass
    finally:
        os._exit(0)


def limit_memory() -> None:
    import resource

    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + EXTRA_MEMORY, now + EXTRA_MEMORY))
    except (OSError, ValueError):
        pass  # no such limit on this system: the deadline still holds


def read_lines(pipe: int, end: float) -> tuple[list[bytes], bool]:
    """Every whole line until the other side closes or the deadline; and whether it closed."""
    data = b""
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return data.splitlines(), False
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            return data.splitlines(), True
        data += chunk


def end_copy(child: int) -> None:
    for kill, who in ((os.killpg, child), (os.kill, child)):
        try:
            kill(who, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    os.waitpid(child, 0)


def outcome(lines: list[bytes], ended: bool) -> Outcome:
    last: Any = None
    result: Any = None
    printed, state = "", "gone" if ended else "late"
    for line in lines:
        mark, text = line[:1], line[1:].decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except ValueError:
            continue
        if mark == b"t":
            last = data
        elif mark == b"p":
            printed = data
        elif mark == b"r":
            result, state = data, "ok"
        elif mark == b"x":
            result, state = data, "gone"
    return result, last, printed, state


def in_this_process(work: Work, seconds: float) -> Outcome:
    """A timer raises TooLate in the work, and again on each of its lines until the work has let go."""
    last: list[Any] = [None]
    printed = Printed()

    def tell(data: Any) -> None:
        last[0] = data

    stop = start_timer(seconds)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            result, state = work(tell), "ok"
    except TooLate:
        result, state = None, "late"
    except SystemExit as problem:
        result, state = f"SystemExit: {problem}", "gone"
    finally:
        stop()
    return result, last[0], printed.getvalue(), state


def start_timer(seconds: float) -> Callable[[], None]:
    """Arrange for TooLate in this thread; returns the function that calls it off."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        old = signal.signal(signal.SIGALRM, raise_everywhere)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)

        def stop() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
            sys.settrace(None)

        return stop
    timer = threading.Timer(seconds, throw_into, [threading.get_ident()])
    timer.daemon = True
    timer.start()
    return timer.cancel


def raise_everywhere(signum: int, frame: Any) -> None:
    """Raise TooLate, and once more on the next line: ``except:`` in an endless loop would swallow the first."""

    def trace(frame: Any, event: str, arg: Any) -> Any:
        # a trace that raises is switched off: spend it on a line inside `except:`, not on the exception before it
        if event == "line" and not frame.f_code.co_filename.startswith(OWN_FOLDER):
            raise TooLate
        return trace

    sys.settrace(trace)
    while frame:
        if frame.f_code.co_filename.startswith(OWN_FOLDER):
            break
        frame.f_trace = trace
        frame = frame.f_back
    raise TooLate


def throw_into(thread: int) -> None:
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TooLate))
