"""Grade a folder: hand each submission to a helper process, keep a journal, write the table at the end.

The journal (``.NAME.journal`` beside the CSV) gets one line as soon as a submission is graded. A second run
reads it and grades only what is missing; the same seed and the same files give the same table.
"""

import argparse
import fcntl
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..task import lessons
from . import collect, processes, report, sandbox
from .collect import Submission
from .helper import Family, Helper
from .job import Job
from .journal import CannotGrade, Journal
from .report import Row

Say = Callable[[str], Any]

LONGEST_EXTRA = 120
RUN = "coursekit-grade-"


def masters_in(folder: str | Path) -> dict[str, str]:
    """{lesson: path} of the master notebooks."""
    found = {p.stem[:2]: str(p.resolve()) for p in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")) if p.stem[:2] in lessons()}
    if not found:
        raise CannotGrade(f"no master notebooks in {folder}: hidden answers come from them; name the folder with --solutions")
    return found


def version_of(masters: dict[str, str]) -> str:
    """Changes when a master or anything of the package does: then old grades are not reused."""
    files = [*sorted(masters.values()), *sorted(map(str, sandbox.PACKAGE.rglob("*.py")))]
    return collect.digest(b"".join(Path(f).read_bytes() for f in files))[:16]


def grade_folder(options: argparse.Namespace, say: Say = print) -> list[Row]:
    """Grade everything under ``options.submissions``; writes the CSV, the pages and the summary. Returns the rows."""
    mode, warning = sandbox.choose(options.sandbox)
    if warning:
        say(warning)
    out, feedback = places(options)
    masters = masters_in(options.solutions)
    found, notes = collect.collect(options.submissions, [out, *feedback])
    for note in notes:
        say("  " + note)
    if not found:
        raise CannotGrade(f"no notebooks in {options.submissions}")
    settings = {
        "seed": str(options.seed) if options.seed is not None else None,
        "timeout": options.timeout,
        "mode": mode,
        "exercise": options.exercise,
        "version": version_of(masters),
    }
    journal = Journal(out.with_name(f".{out.name}.journal"))
    with journal.opened(settings, options.fresh) as done:
        job = Job(
            lesson=options.exercise,
            masters=masters,
            mode=mode,
            seed=str(settings["seed"]),
            seconds=options.timeout,
            hidden=tuple(hidden_folders(options, masters)),
            packages=tuple(engine_folders()),
        )
        rows = Round(found, job, journal, done, say).graded(options.jobs)
        try:
            report.write_all(rows, out, options.feedback, settings, say)
        except OSError as problem:
            raise CannotGrade(
                f"{problem.filename or out} cannot be written ({problem.strerror}). All results are kept: make room, or name "
                "another place, and run the same command"
            ) from None
    return rows


def places(options: argparse.Namespace) -> tuple[Path, list[Path]]:
    """(the CSV, [the folder of the pages, if any]). What cannot be written is said before anything is graded."""
    out = Path(options.output)
    if out.is_dir():
        raise CannotGrade(f"-o {out} is a folder: name a file in it, such as {out / 'grades.csv'}")
    feedback = [Path(options.feedback)] if options.feedback else []
    for option, folder in (("-o", out.absolute().parent), *(("--feedback", page) for page in feedback)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as problem:
            raise CannotGrade(f"{option} {folder} cannot be written ({problem.strerror}): name another folder") from None
    return out, feedback


def hidden_folders(options: argparse.Namespace, masters: dict[str, str]) -> list[str]:
    """What a sandbox must never show, should it lie below a folder that Python needs."""
    folders = {str(Path(options.submissions).resolve()), str(Path(options.output).resolve().parent)}
    folders |= {str(Path(m).parent) for m in masters.values()}
    if (sandbox.PACKAGE.parent / "solutions").is_dir():  # a checkout, with its history and its tests
        folders.add(str(sandbox.PACKAGE.parent))
    pythons = (sys.prefix, *sandbox.python_folders())
    return sorted(f for f in folders if os.path.isdir(f) and not any(sandbox.is_inside(p, f) for p in pythons))


def engine_folders() -> list[str]:
    """The engine's folder, for tasks that run an answer inside it."""
    folder = sandbox.PACKAGE.parent / "minieng"
    return [str(folder)] if folder.is_dir() else []


class Round:
    """All submissions once through the helpers, a few at a time. What the grader fails at is tried once more, alone."""

    def __init__(self, found: list[Submission], job: Job, journal: Journal, done: dict[str, Row], say: Say) -> None:
        self.found, self.job, self.journal, self.done, self.say = found, job, journal, done, say
        self.todo: queue.Queue[int] = queue.Queue()
        self.rows: dict[int, Row] = {}
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.trouble: CannotGrade | None = None

    def graded(self, jobs: int) -> list[Row]:
        """A row for each submission, in the order they were found."""
        processes.adopt_orphans()
        processes.keep_to_oneself()
        with temporary() as temp:
            family = Family()
            helpers = [Helper(temp, family) for _ in range(max(1, min(jobs, len(self.found))))]
            try:
                self.all_once(helpers)
                helpers[0].end()  # a helper does not outlive the thread that started it
                for i in [i for i, row in self.rows.items() if row.get("ungraded")]:
                    self.grade(i, helpers[0])
            finally:
                self.stop.set()
                for helper in helpers:
                    helper.ask_to_end()
                for helper in helpers:
                    helper.end()
        return [self.rows[i] for i in range(len(self.found))]

    def all_once(self, helpers: list[Helper]) -> None:
        for i in range(len(self.found)):
            self.todo.put(i)
        threads = [threading.Thread(target=self.serve, args=(helper,), daemon=True) for helper in helpers]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # in short waits, so that a signal is heard
                thread.join(0.2)
        if self.trouble:
            raise self.trouble

    def serve(self, helper: Helper) -> None:
        while not self.stop.is_set():
            try:
                self.grade(self.todo.get_nowait(), helper)
            except queue.Empty:
                return
            except CannotGrade as problem:
                self.trouble = self.trouble or problem
                self.stop.set()

    def grade(self, i: int, helper: Helper) -> None:
        """The row of a submission, from the journal or from a helper; into the journal and onto the screen."""
        submission, begun = self.found[i], time.monotonic()
        key = key_of(submission)
        if key in self.done:
            return self.finish(i, self.done[key], "from the journal")
        row = grade_one(helper, submission, self.job, key)
        if self.stop.is_set():
            return
        if not row.get("ungraded"):  # the next run takes it up again
            self.journal.add(row)
        self.finish(i, row, f"{time.monotonic() - begun:.1f} s")

    def finish(self, i: int, row: Row, how: str) -> None:
        with self.lock:
            self.rows[i] = row
            self.say(f"[{len(self.rows)}/{len(self.found)}] {row['student']}: {report.in_short(row)} ({how})")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """The first Ctrl-C, TERM or HUP raises KeyboardInterrupt. Those that follow are not heard: they would disturb the leaving."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard: list[int] = []

    def leave(number: int, frame: Any) -> None:
        heard.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, leave)
    yield  # without a finally: who was interrupted is on the way out
    if not heard:
        for number, handler in before.items():
            signal.signal(number, handler)


def key_of(submission: Submission) -> str:
    try:
        size = submission.size()
        content = collect.digest(submission.read())
    except Exception as problem:  # a broken zip member is graded as unreadable, and named
        size, content = 0, f"unreadable: {problem}"
    return f"{submission.student}|{submission.place}|{size}|{content}"


def grade_one(helper: Helper, submission: Submission, job: Job, key: str) -> Row:
    """The row of a submission; with "ungraded" where the grader failed, whatever it was."""
    row = {"key": key, "student": submission.student, "file": submission.place}
    if submission.problem:
        return {**row, "problem": submission.problem}
    try:
        return {**row, **helper.ask(job, submission, 10 * (4 * job.seconds + 10) + LONGEST_EXTRA)}
    except Exception as problem:  # noqa: BLE001 (a mistake of the grader's must not become a student's zero, nor end the run)
        return {**row, "problem": f"{type(problem).__name__}: {problem}", "ungraded": True}


@contextmanager
def temporary() -> Iterator[str]:
    """A folder for the run, held by a lock for as long as the run lives; what killed runs have left is removed first."""
    clear_stale_runs()
    temp, held = held_folder()
    while not os.path.isdir(temp):  # another run that begins took it for a stale one
        os.close(held)
        temp, held = held_folder()
    try:
        yield temp
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        os.close(held)


def held_folder() -> tuple[str, int]:
    temp = tempfile.mkdtemp(prefix=RUN)
    held = os.open(temp, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    return temp, held


def clear_stale_runs() -> None:
    """The folders of killed runs, and processes of their submissions that live on."""
    for folder in Path(tempfile.gettempdir()).glob(f"{RUN}*"):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another's, or gone
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            processes.end_all_of(str(folder))
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # a run that lives
        finally:
            os.close(held)
