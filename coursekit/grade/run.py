"""Grade a folder: hand each submission to a helper process, keep a journal, write the table at the end.

The journal (``.NAME.journal`` beside the CSV) gets one line as soon as a submission is graded. A second run
reads it and grades only what is missing; the same seed and the same files give the same table.
"""

import argparse
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..task import lessons
from . import collect, processes, report, sandbox
from .collect import Submission
from .job import Job, to_line
from .report import Row

LONGEST_EXTRA = 120


class CannotGrade(RuntimeError):
    """Grading cannot begin; the message says what to do."""


class Journal:
    """One line a graded submission; the first line holds the settings that a resumed run must share."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.lock = Path(path), threading.Lock()

    def begin(self, settings: dict[str, Any], fresh: bool = False) -> dict[str, Row]:
        """{key: result} of an earlier run with these settings; the seed of that run when none is asked for."""
        lines = [] if fresh else self.lines()
        old: Row = lines[0] if lines else {}
        if settings["seed"] is None:
            settings["seed"] = old.get("seed") if old.get("version") == settings["version"] else None
        if settings["seed"] is None:
            settings["seed"] = str(secrets.randbits(40))
        if old == settings:
            done = {row["key"]: row for row in lines[1:] if "key" in row}
        else:
            done = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in (settings, *done.values()))
        fresh_file = self.path.with_suffix(".new")
        fresh_file.write_text(text, encoding="utf-8")
        os.replace(fresh_file, self.path)
        return done

    def lines(self) -> list[Row]:
        """The whole lines; a last one cut short by a crash is left out."""
        rows: list[Row] = []
        try:
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    rows.append(row)
        except (OSError, UnicodeDecodeError):
            return []
        return rows

    def add(self, row: Row) -> None:
        with self.lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Helper:
    """A worker process, started again when it has died."""

    def __init__(self, temp: str) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.temp = temp

    def ask(self, job: Job, submission: Submission, seconds: float) -> Row | None:
        """The result of a submission, or None when the helper died or took too long over it."""
        process = self.living()
        assert process.stdin and process.stdout
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            key = secrets.token_hex(16)
            process.stdin.write(to_line(job, submission, key))
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if not isinstance(answer, dict) or answer.get("key") != key:
                raise ValueError("a line that is no answer to this job: somebody else wrote it")
            return answer["result"]
        except (OSError, ValueError):
            process.kill()
            process.wait()
            return None
        finally:
            timer.cancel()

    def living(self) -> "subprocess.Popen[str]":
        """The process, or a new one when there is none."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "coursekit.grade.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": self.temp, "PYTHONPATH": search_path()},
                start_new_session=True,
            )
        return self.process

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()


def search_path() -> str:
    own = str(sandbox.PACKAGE.parent)
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])


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


def grade_folder(options: argparse.Namespace, say: Callable[[str], Any] = print) -> list[Row]:
    """Grade everything under ``options.submissions``; writes the CSV, the pages and the summary. Returns the rows."""
    mode, warning = sandbox.choose(options.sandbox)
    if warning:
        say(warning)
    masters = masters_in(options.solutions)
    found, notes = collect.collect(options.submissions)
    for note in notes:
        say("  " + note)
    if not found:
        raise CannotGrade(f"no notebooks in {options.submissions}")
    out = Path(options.output)
    check_places(out, options.feedback)
    journal = Journal(out.with_name(f".{out.name}.journal"))
    settings = {
        "seed": str(options.seed) if options.seed is not None else None,
        "timeout": options.timeout,
        "mode": mode,
        "exercise": options.exercise,
        "version": version_of(masters),
    }
    done = journal.begin(settings, options.fresh)
    job = Job(
        lesson=options.exercise,
        masters=masters,
        mode=mode,
        seed=settings["seed"],
        seconds=options.timeout,
        hidden=tuple(hidden_folders(options, masters)),
        packages=tuple(engine_folders()),
    )
    rows = grade_all(found, job, journal, done, options.jobs, say)
    report.write_all(rows, out, options.feedback, settings, say)
    return rows


def check_places(out: Path, feedback: str | None) -> None:
    """Raise CannotGrade for a place that what is graded for minutes could not be written to."""
    if out.is_dir():
        raise CannotGrade(f"--output {out} is a directory: name a CSV file in it")
    for folder in (out.absolute().parent, *([Path(feedback).absolute()] if feedback else [])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as problem:
            raise CannotGrade(f"{folder} cannot be written to ({problem.strerror}): name another folder") from None


def hidden_folders(options: argparse.Namespace, masters: dict[str, str]) -> list[str]:
    """What a sandbox must never show, should it lie below a folder that Python needs."""
    folders = {str(Path(options.submissions).resolve()), str(Path(options.output).resolve().parent)}
    folders |= {str(Path(m).parent) for m in masters.values()}
    return sorted(f for f in folders if os.path.isdir(f) and not sandbox.is_inside(sys.prefix, f))


def engine_folders() -> list[str]:
    """The engine's folder, for tasks that run an answer inside it."""
    folder = sandbox.PACKAGE.parent / "minieng"
    return [str(folder)] if folder.is_dir() else []


def grade_all(
    found: list[Submission], job: Job, journal: Journal, done: dict[str, Row], jobs: int, say: Callable[[str], Any]
) -> list[Row]:
    """A row for each submission, in the order they were found."""
    processes.adopt_orphans()
    clear_stale_boxes()
    temp = tempfile.mkdtemp(prefix=f"coursekit-grade-{os.getpid()}-")
    todo: queue.Queue[tuple[int, Submission]] = queue.Queue()
    rows: dict[int, Row] = {}
    count, lock, stop = [0], threading.Lock(), threading.Event()
    for i, submission in enumerate(found):
        todo.put((i, submission))
    helpers = [Helper(temp) for _ in range(max(1, jobs))]

    def finish(i: int, submission: Submission, row: Row, seconds: str) -> None:
        rows[i] = row
        with lock:
            count[0] += 1
            say(f"[{count[0]}/{len(found)}] {submission.student}: {report.in_short(row)}{seconds}")

    def serve(helper: Helper) -> None:
        while not stop.is_set():
            try:
                i, submission = todo.get_nowait()
            except queue.Empty:
                return
            key = key_of(submission)
            if key in done:
                finish(i, submission, done[key], " (from the journal)")
                continue
            begun = time.monotonic()
            row = grade_one(helper, submission, job, key)
            if not stop.is_set():
                if not row.get("ungraded"):  # the next run takes it up again
                    journal.add(row)
                finish(i, submission, row, f" ({time.monotonic() - begun:.1f} s)")

    threads = [threading.Thread(target=serve, args=(h,), daemon=True) for h in helpers]
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        run_to_end(threads)
    finally:
        stop.set()
        for helper in helpers:
            helper.end()
        signal.signal(signal.SIGTERM, before)
        shutil.rmtree(temp, ignore_errors=True)
    return [rows[i] for i in range(len(found))]


def run_to_end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # in short waits, so that a signal is heard
            thread.join(0.2)


def interrupted(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def key_of(submission: Submission) -> str:
    try:
        size = submission.size()
        content = collect.digest(submission.read())
    except Exception as problem:  # a broken zip member is graded as unreadable, and named
        size, content = 0, f"unreadable: {problem}"
    return f"{submission.student}|{submission.place}|{size}|{content}"


def grade_one(helper: Helper, submission: Submission, job: Job, key: str) -> Row:
    seconds = 10 * (4 * job.seconds + 10) + LONGEST_EXTRA
    result = {"problem": submission.problem} if submission.problem else helper.ask(job, submission, seconds)
    if result is None:
        result = {"problem": "the grader's helper process was killed or never came back while it graded this notebook"}
    return {"key": key, "student": submission.student, "file": submission.place, **result}


def clear_stale_boxes() -> None:
    """Folders that a killed run left behind."""
    for folder in Path(tempfile.gettempdir()).glob("coursekit-grade-*-*"):
        pid = folder.name.split("-")[2]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and os.path.isdir("/proc/self"):
            shutil.rmtree(folder, ignore_errors=True)
