"""The parent's side of a helper process (worker.py): hand it a submission, hear the result, start another when it has died."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

from . import processes, sandbox
from .collect import Submission
from .job import Job, to_line
from .report import Row


class Family:
    """The helpers of a run. Other children than these, and those that were there before, are orphans of a dead helper."""

    def __init__(self) -> None:
        self.before, self.helpers = processes.children(), set[int]()
        self.lock = threading.Lock()

    def born(self, process: subprocess.Popen[bytes]) -> None:
        self.helpers.add(process.pid)

    def died(self, process: subprocess.Popen[bytes]) -> None:
        with self.lock:
            self.helpers.discard(process.pid)
            processes.end_orphans(self.before | self.helpers)


class Helper:
    """A worker process, started again when it has died.

    Each submission has a channel of its own, made for it and closed behind it: a pair of sockets, which, unlike a pipe,
    nobody can open a second time. The result must carry the key of this job and be the only line.
    """

    def __init__(self, temp: str, family: Family | None = None) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.temp, self.family, self.ending = temp, family or Family(), threading.Lock()
        self.said: IO[bytes] = tempfile.TemporaryFile(dir=temp)  # what it says on its stderr: for the reason, when it has died

    def ask(self, job: Job, submission: Submission, seconds: float) -> Row:
        """The result of a submission; {"problem", "ungraded"} when the helper died or took too long over it."""
        key, end = secrets.token_hex(16), time.monotonic() + seconds
        here, there = socket.socketpair()
        try:
            with here:
                with there:
                    socket.send_fds(self.living(), [b"."], [there.fileno()])
                here.sendall(to_line(job, submission, key).encode())
                here.shutdown(socket.SHUT_WR)
                return result_in(all_of(here, end), key)
        except (OSError, ValueError) as problem:
            return {"problem": self.why(problem, seconds), "ungraded": True}

    def living(self) -> socket.socket:
        """The door to the process, or to a new one when there is none."""
        if self.process and self.process.poll() is not None:
            self.end()
        if self.process is None:
            self.door, inside = socket.socketpair()
            with inside, self.family.lock:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "coursekit.grade.worker"],
                    stdin=inside.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self.said,
                    env={**os.environ, "TMPDIR": self.temp, "PYTHONPATH": search_path()},
                    start_new_session=True,
                )
                self.family.born(self.process)
        return self.door

    def why(self, problem: Exception, seconds: float) -> str:
        """Why there is no result. The process is at an end afterwards."""
        process, late = self.process, isinstance(problem, TimeoutError)
        if process is None:
            return f"the grader's helper process did not start ({problem})"
        try:
            code: Any = process.wait(timeout=0.2 if late else 2)
        except subprocess.TimeoutExpired:
            code = None
        self.end(signal.SIGKILL)
        if late:
            return f"the grader's helper process did not come back in {seconds:.0f} s"
        if code is None:
            return f"the grader's helper process gave no answer ({problem})"
        how = f"killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
        last = self.last_words()
        return f"the grader's helper process was lost: {how}{': ' if last else ''}{last}"

    def last_words(self) -> str:
        self.said.seek(0)
        lines = self.said.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        self.said.truncate(0)
        return lines[-1][:200] if lines else ""

    def end(self, sig: int = signal.SIGTERM) -> None:
        """Ask it to end, and see to it that it does; whoever comes second waits for whoever is at it."""
        with self.ending:
            process = self.process
            if process is None:
                return
            self.ask_to_end(sig)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.door.close()
            self.family.died(process)
            self.process = None

    def ask_to_end(self, sig: int = signal.SIGTERM) -> None:
        process = self.process
        if process and process.poll() is None:
            process.send_signal(sig)


def all_of(channel: socket.socket, end: float) -> bytes:
    """Everything until the other side closes. Raises TimeoutError at ``end``, on the monotonic clock."""
    data = b""
    while True:
        channel.settimeout(max(0.01, end - time.monotonic()))
        chunk = channel.recv(1 << 16)
        if not chunk:
            return data
        data += chunk
        if time.monotonic() > end:
            raise TimeoutError


def result_in(data: bytes, key: str) -> Row:
    """The result in the one line that is expected. Raises ValueError for anything else."""
    answer = json.loads(data)
    if not isinstance(answer, dict) or answer.get("key") != key or not isinstance(answer.get("result"), dict):
        raise ValueError("what came back is no answer to this job")
    return answer["result"]


def search_path() -> str:
    own = str(sandbox.PACKAGE.parent)
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
