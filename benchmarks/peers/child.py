"""One peer's process seen from the benchmark: start, ask, time with repeats or in turns, and never leave it behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import statistics
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .burner import Burner
from .host import Load, Watch

Say = Callable[[str], None]

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
ERROR_LINE = re.compile(r"(\w+\.)*\w*(Error|Exception|Interrupt|NotFound|Exit)\b")


class PeerFailed(Exception):
    """The peer's process broke; the message ends with the last lines it wrote."""


class PeerSkipped(Exception):
    """The peer says that it cannot run here, and why."""


@dataclass
class Run:
    """One timed run: what it took, who else used the CPUs meanwhile (our own burner's share apart), and whether it counts."""

    seconds: float
    tokens: Any
    load: Load
    disturbed: bool
    burner: float | None = None
    used: bool = False


class Child:
    """A peer's process: pinned, in a process group of its own, spoken to in JSON lines."""

    def __init__(self, python: str, module: str, env: dict[str, str], cpus: list[int] | None, log: Path) -> None:
        full = {**os.environ, **env, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{REPO}", "PYTHONUNBUFFERED": "1"}
        self.log = log
        with log.open("wb") as err:
            self.process = subprocess.Popen(
                [python, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, env=full,
                text=True, process_group=0, cwd=REPO,
            )  # fmt: skip
        if cpus is not None:
            with contextlib.suppress(ProcessLookupError):  # gone already: the first question tells why
                os.sched_setaffinity(self.process.pid, cpus)
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.close(10.0 if kind is None else 0.0)

    def _read(self) -> None:
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, line: str, timeout: float) -> dict:
        """Send one line, give back the answer. Raises PeerSkipped or PeerFailed."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise PeerFailed(f"no answer within {timeout:.0f} s") from None
        except BrokenPipeError:
            answer = None
        if answer is None:
            self.process.wait(timeout=30)
            raise PeerFailed(f"ended with code {self.process.returncode}: {self.last_words()}")
        message = json.loads(answer)
        if message["event"] == "skip":
            raise PeerSkipped(message["reason"])
        return message

    def last_words(self) -> str:
        """The last line that names an error, else the last line, of what the process wrote."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if ERROR_LINE.match(line)]
        return f"{(errors or lines or ['it wrote nothing'])[-1][:500]} (all of it in {self.log})"

    def family(self) -> list[psutil.Process]:
        """The process and all that it started and that still runs."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []

    def rest(self, stopped: bool = True) -> None:
        """Stop it and all of its threads where they are, so that nothing of it runs in another peer's turn; or let it go on."""
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                process.suspend() if stopped else process.resume()

    @contextlib.contextmanager
    def turn(self):
        """Awake within, at rest before and after."""
        self.rest(False)
        try:
            yield self
        finally:
            self.rest()

    def close(self, patience: float) -> None:
        """End the process and everything it started: politely, then not."""
        self.rest(False)
        family = self.family()
        try:
            self.process.stdin.close()
            self.process.wait(timeout=patience)
        except (subprocess.TimeoutExpired, OSError):
            pass  # not politely, then
        finally:
            kill_group(self.process.pid)
            for process in family[1:]:  # what made a group of its own
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self.process.wait()


def kill_group(pid: int) -> None:
    """Kill the process group that the child leads, if anything of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Patience:
    """How often to run, when a run counts as disturbed, how many of those to repeat, how long to wait for quiet."""

    repeats: int = 3
    retries: int = 6
    max_foreign: float = 0.05
    wait_quiet: float = 20.0
    timeout: float = 1800.0

    def wants(self, runs: list[Run]) -> bool:
        """Is another run wanted after these?"""
        clean = sum(not run.disturbed for run in runs)
        return clean < self.repeats and len(runs) < self.repeats + self.retries


def measure(run_once: Callable[[], Run], patience: Patience) -> tuple[list[Run], bool]:
    """Run until ``repeats`` runs were undisturbed or the retries are used up; then ``judge``."""
    runs: list[Run] = []
    while patience.wants(runs):
        runs.append(run_once())
    return runs, judge(runs, patience)


def judge(runs: list[Run], patience: Patience) -> bool:
    """Say of each run whether it is used. Every run is kept on record.

    The answer says whether the figure must be marked: too few undisturbed runs. With none at all the disturbed
    ones are used, marked; otherwise they are discarded.
    """
    clean = sum(not run.disturbed for run in runs)
    for run in runs:
        run.used = not run.disturbed or clean == 0
    return clean < patience.repeats


def one_run(child: Child, name: str, watch: Watch, patience: Patience, say: Say, busy: float = 0.0) -> Run:
    """One timed run of a child that is ready, after a wait for a quiet machine; with a burner beside it if ``busy`` > 0."""
    watch.wait_until_quiet(patience.max_foreign, patience.wait_quiet)
    with Burner(busy, watch.cpus) as burner:
        before = burner.cpu_seconds()
        watch.lap()
        answer = child.ask(f"run {name}", patience.timeout)
        load = watch.lap()
        burnt = (burner.cpu_seconds() - before) / (load.wall_s * watch.number) if busy else None
    disturbed = load.foreign > patience.max_foreign
    beside = "" if burnt is None else f", burner {burnt:.1%}"
    verdict = "disturbed" if disturbed else "counts"
    say(f"    {answer['seconds']:8.2f} s, others {load.foreign:.1%} of the CPUs{beside}: {verdict}")
    return Run(answer["seconds"], answer["tokens"], load, disturbed, burnt)


def median_seconds(runs: list[Run]) -> float:
    """The median of the runs that count."""
    return statistics.median(run.seconds for run in runs if run.used)
