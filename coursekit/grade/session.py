"""One child in its sandbox, seen from the parent: start it, call it, watch it, end it with all its offspring.

Every line from the child must answer the one question that is open, under that question's random number.
Anything else on the channel ends the session: it is the mark of code that tries to answer for the judge.
"""

import json
import os
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from ..examine import BROKEN, ERROR, LATE, MISSING, TODO, Failed
from ..task import Args, Task
from . import processes, sandbox
from .job import Job

MAX_LINE = 4_000_000
MAX_PRINTED = 1_000_000
MAX_PROCESSES = 8
MAX_FILES = 20_000  # in the sandbox's memory, whose size counts what is in them only
MAX_QUESTION, MAX_QUESTIONS = 1_000, 100_000  # bytes of a line, and how many: all are kept for the judge
START = 60  # seconds that an empty sandbox may take to come up


class NotGraded(RuntimeError):
    """The grader itself failed: no fault of the submission, which has to be graded again. The message says why."""


class Session:
    """Answers calls of one task. Use as a context manager; ``call(args)`` returns plain data or raises Failed."""

    def __init__(self, task: Task, cells: Sequence[tuple[str, str]], job: Job) -> None:
        self.task, self.seconds, self.mode = task, job.seconds, job.mode
        self.begun: float | None = None
        self.end = time.monotonic() + START
        self.home = tempfile.mkdtemp(prefix="coursekit-box-") if self.mode != "bwrap" else None
        self.buffer, self.printed, self.base, self.rule = b"", 0, 0, ""
        self.looked, self.forked, self.late = 0.0, False, False
        # pairs of sockets and no pipes: those could be opened a second time, through /proc, by another submission
        pairs = [socket.socketpair() for _ in range(3)]
        self.stdin, self.stdout, self.stderr = (here for here, _ in pairs)
        self.process = subprocess.Popen(
            sandbox.command(self.mode, job.hidden, job.packages, task.lesson if task.drive else None, mark=tempfile.gettempdir()),
            stdin=pairs[0][1].fileno(),
            stdout=pairs[1][1].fileno(),
            stderr=pairs[2][1].fileno(),
            cwd=self.home or "/",
            env=sandbox.environment(self.home or "/tmp/home"),
            start_new_session=True,
            bufsize=0,
        )
        for _, there in pairs:
            there.close()
        self.watch = selectors.DefaultSelector()
        self.watch.register(self.stdout, selectors.EVENT_READ)
        self.watch.register(self.stderr, selectors.EVENT_READ)
        self.setup: dict[str, Any] = {
            "cells": cells,
            "task": task.id,
            "name": task.name,
            "drive": task.drive is not None,
            "needs": task.needs,
            "paths": [str(sandbox.PACKAGE.parent)],
            "libraries": sandbox.library_folders(),
            "limits": sandbox.limits(self.mode, task.memory_mb, self.seconds),
            "refuse": self.mode != "none",
            "die": self.mode != "bwrap",
        }

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *problem: Any) -> None:
        self.close()

    def start(self) -> None:
        """Load the cells; raises Failed when they do not load."""
        self.setup["id"] = secrets.token_hex(16)
        self.hear_ready()
        self.base = len(processes.descendants(os.getpid()))
        self.begun = time.monotonic()  # the sandbox's own start is not the learner's time
        self.delayed = self.delay()
        self.end = self.begun + self.seconds
        self.write(b"\n")
        self.hear(self.setup["id"], ("loaded",))

    def hear_ready(self) -> None:
        """Nothing of the learner's has run yet: whatever fails here is the sandbox's fault."""
        said = b""
        try:
            self.say(self.setup)
            self.hear(self.setup["id"], ("ready",))
        except Failed as failure:
            if self.process.poll() is not None:
                said = read(self.stderr, 400)
            why = said.decode("utf-8", "replace").strip() or failure.text
            raise NotGraded(f"the sandbox did not start ({why[:200]})") from None

    def call(self, args: Args) -> Any:
        """What the answer gives to ``args``. Where it may ask (judging/questions.py), this side replies and keeps the record."""
        if self.late:
            raise self.too_late()
        number, asking = secrets.token_hex(16), self.task.asking
        if asking is None:
            self.say({"id": number, "args": list(args)})
            return self.hear(number, ("value",))["value"]
        self.say({"id": number, "args": asking.shown(args)})
        asked: list[Any] = []
        while (said := self.hear(number, ("value", "question")))["kind"] == "question":
            if len(asked) == MAX_QUESTIONS:
                raise self.broken(f"your code asked more than {MAX_QUESTIONS:,} times in one call")
            self.say(asking.told(args, said["value"], asked))
        return asking.record(said["value"], asked)

    def say(self, data: Any) -> None:
        self.write(json.dumps(data).encode() + b"\n")

    def write(self, data: bytes) -> None:
        os.set_blocking(self.stdin.fileno(), False)
        while data:
            try:
                data = data[os.write(self.stdin.fileno(), data) :]
            except BlockingIOError:
                self.wait_a_little()
            except OSError:
                raise self.broken("your code ended the program before it gave an answer") from None

    def hear(self, number: str, wanted: tuple[str, ...]) -> dict[str, Any]:
        """The next line, which must be the answer to ``number``."""
        while b"\n" not in self.buffer:
            self.wait_a_little()
        line, _, self.buffer = self.buffer.partition(b"\n")
        if self.buffer:
            raise self.broken("your code wrote into the grader's channel")
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):  # half a line: a stranger's, or a child without memory for the other half
            raise self.broken("your code wrote into the grader's channel, or ran out of memory while it answered") from None
        if not isinstance(data, dict) or data.get("id") != number:
            raise self.broken("your code wrote into the grader's channel")
        kind = data.get("kind")
        if kind == "question" and len(line) > MAX_QUESTION:
            raise self.broken(f"your code asked a question of {len(line):,} bytes")
        if kind in wanted and (kind in ("loaded", "ready") or "value" in data):
            return data
        raise self.failure(kind, data)

    def failure(self, kind: Any, data: dict[str, Any]) -> Failed:
        text, where, error = (str(data.get(key, ""))[:400] for key in ("text", "where", "error"))
        if kind == "missing":
            return Failed(MISSING, f"the answer cell does not define `{self.task.name}`: was it renamed?")
        if kind == "todo":
            return Failed(TODO, "not done yet")
        if kind == "error" and error in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
            return self.broken(f"your code ended the program ({error})")
        if kind == "error":
            return Failed(ERROR, text, where, error)
        return self.broken("your code wrote into the grader's channel")

    def wait_a_little(self) -> None:
        """Read what there is; raise Failed when a limit is passed."""
        left = self.end - time.monotonic()
        if left <= 0:
            left = self.more_time()
        if left <= 0:
            raise self.too_late()
        for key, _ in self.watch.select(min(left, 0.2)):
            chunk = read(key.fileobj, 1 << 16)
            if not chunk:
                self.watch.unregister(key.fileobj)
                if key.fileobj is self.stdout:
                    raise self.broken("your code ended the program before it gave an answer")
            elif key.fileobj is self.stdout:
                self.buffer += chunk
            else:
                self.printed += len(chunk)
        self.hold_limits()

    def too_late(self) -> Failed:
        """Its answer may come yet, to a question that is closed: nobody listens any more."""
        self.late = True
        return Failed(LATE, f"it did not finish in {self.seconds:g} s.")

    def more_time(self) -> float:
        """0, or a little: on a busy machine the time in which the child stood in line for a processor is not its own.

        Without this a submission would lose points for what the others in its class do. One that sleeps gains nothing,
        and neither does one that keeps a processor busy. One that started processes has put itself in line behind them.
        """
        if self.begun is None:
            raise Failed(LATE, f"the sandbox did not start in {START} s, which is no fault of the answer: grade it again.")
        pids, passed = processes.descendants(os.getpid()), time.monotonic() - self.begun
        used = processes.cpu_seconds(pids)
        self.forked = self.forked or len(pids) > self.base
        if used is None or used >= self.seconds * 0.9 or passed > 8 * self.seconds + 20 or self.forked:
            return 0
        own = passed - (self.delay() - self.delayed)
        return 0.2 if own < self.seconds or (used < self.seconds / 2 and own < 2 * self.seconds) else 0

    def delay(self) -> float:
        return processes.seconds_in_line(processes.descendants(os.getpid()))

    def hold_limits(self) -> None:
        if len(self.buffer) > MAX_LINE:
            raise self.broken(f"the answer is larger than {MAX_LINE / 1e6:.0f} MB")
        if self.printed > MAX_PRINTED:
            raise self.broken(f"your code printed more than {MAX_PRINTED / 1e6:.0f} MB")
        if time.monotonic() - self.looked > 0.2 and self.mode != "none":
            self.looked = time.monotonic()
            self.count_processes()

    def count_processes(self) -> None:
        pids = processes.descendants(os.getpid())
        extra = len(pids) - self.base
        self.forked = self.forked or extra > 0
        if self.base and extra > MAX_PROCESSES:
            raise self.broken(f"your code started {extra} more processes; the limit is {MAX_PROCESSES}")
        used = processes.memory_of(pids) >> 20
        if used > self.task.memory_mb * 1.5:
            raise self.broken(f"your code used {used} MB of memory; the limit is {self.task.memory_mb} MB")
        if self.mode == "bwrap" and (files := processes.files_kept(pids)) > MAX_FILES:
            raise self.broken(f"your code made {files:,} files; the limit is {MAX_FILES:,}")

    def broken(self, text: str) -> Failed:
        self.rule = self.rule or text
        return Failed(BROKEN, text + ".")

    def finish(self) -> None:
        """After the last answer: raise Failed if the channel is not silent or if processes were left behind."""
        if self.late:
            return
        number = len(processes.descendants(os.getpid())) - self.base
        if number > 0:
            raise self.broken(f"your code left {number} processes running; they were stopped")
        for key, _ in self.watch.select(0):
            if key.fileobj is self.stdout and read(key.fileobj, 10):
                raise self.broken("your code wrote into the grader's channel")

    def close(self) -> None:
        processes.end_all(self.process)
        self.watch.close()
        for channel in (self.stdin, self.stdout, self.stderr):
            channel.close()
        if self.home:
            shutil.rmtree(self.home, ignore_errors=True)


def read(channel: Any, most: int) -> bytes:
    """What has come, or nothing at the end; a child that ended without reading all it was told ends the channel too."""
    try:
        return channel.recv(most)
    except ConnectionResetError:
        return b""
