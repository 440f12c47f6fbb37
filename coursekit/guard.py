"""Run work that may never end, and keep the notebook's kernel alive.

Where the system can fork, the work runs in a copy of the kernel that is killed at the deadline: no loop
and no memory bomb of the learner's reaches the kernel. Elsewhere (macOS, Windows, or a task that must
stay in this process) a timer interrupts the work; that stops Python loops, not a loop inside C code.
"""

import builtins
import faulthandler
import os
import secrets
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

# Under names of our own: what the work puts in their place in its copy, nobody here meets.
from json import dumps, loads
from os import _exit, getpid, kill, waitpid, write
from typing import Any, NoReturn

from .plain import name_of, text_of

Work = Callable[[Callable[..., None]], Any]
Outcome = tuple[Any, Any, str, str]  # result, last, printed, state

SHOWN_OUTPUT = 2_000
EXTRA_MEMORY = 4 << 30
CLOSED = "your code closed all open files, and with them the way back of its answer: close only what you opened."
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
    key = secrets.token_hex(8).encode()  # begins each line that is ours: whatever else the work writes into the pipe is not read
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads; the copy uses none of them
        child = os.fork()
    if child == 0:
        run_as_copy(work, there, key)
    os.close(there)
    try:
        result, last, printed, state = outcome(*read_lines(here, key, time.monotonic() + seconds))
        if state == "gone" and result is None and still_there(child):
            result = CLOSED
    finally:
        os.close(here)
        end_copy(child)
    return result, last, printed, state


def run_as_copy(work: Work, pipe: int, key: bytes) -> NoReturn:
    """In the copy: do the work, write lines of JSON, and leave without touching anything of the kernel's."""
    printed = Printed()

    def tell(data: Any, mark: str = "t") -> None:
        line = b"\n" + key + (mark + dumps(data) + "\n").encode()
        while line:
            line = line[write(pipe, line) :]

    try:
        builtins.input = nobody_answers
        faulthandler.disable()  # a crash of the copy is told in words, not by a dump on the kernel's own stderr
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        let_go_of_files(pipe)
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
            tell(f"{name_of(type(problem))}: {text_of(problem)}"[:300], "x")
        except Exception:  # noqa: BLE001 (nobody is left to tell it to)
            time.sleep(0.2)  # the pipe was closed: stay until the other side has seen that we still run
    finally:
        _exit(0)
    kill(getpid(), signal.SIGKILL)


def nobody_answers(prompt: object = "") -> NoReturn:
    """``input`` in the copy: the kernel's own would wait for an answer that cannot come here."""
    raise EOFError("your function asks for input(): it gets all it needs as arguments")


def let_go_of_files(kept: int) -> None:
    """Close in this copy what the kernel has open, its sockets above all, so that nobody writes there; 0, 1, 2 lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    most = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, most if 0 < most < 1 << 20 else 1 << 16)


def limit_memory() -> None:
    import resource

    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + EXTRA_MEMORY, now + EXTRA_MEMORY))
    except (OSError, ValueError):
        pass  # no such limit on this system: the deadline still holds


def read_lines(pipe: int, key: bytes, end: float) -> tuple[list[bytes], bool]:
    """The lines that begin with ``key``, without it, up to the last word (r or x), the end or the deadline; whether it ended."""
    lines: list[bytes] = []
    rest = b""
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return lines, False
        chunk = os.read(pipe, 1 << 16)
        *whole, rest = (rest + chunk).split(b"\n")
        lines += [line[len(key) :] for line in whole if line.startswith(key)]
        if not chunk or lines and lines[-1][:1] in (b"r", b"x"):
            return lines, True


def still_there(child: int) -> bool:
    """Whether the copy runs on although its pipe is closed."""
    time.sleep(0.02)
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except OSError:
        return False


def end_copy(child: int) -> None:
    for end, who in ((os.killpg, child), (kill, child)):
        try:
            end(who, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    try:
        waitpid(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored in this kernel: the system has taken the copy away by itself
        pass


def outcome(lines: list[bytes], ended: bool) -> Outcome:
    last: Any = None
    result: Any = None
    printed, state = "", "gone" if ended else "late"
    for line in lines:
        mark, text = line[:1], line[1:].decode("utf-8", "replace")
        try:
            data = loads(text)
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
