"""The command coursekit: build and check exercises, grade submissions, look after the notebooks."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

OWN = ("build", "new", "grade", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parser(with_notebooks=not argv or argv[0] not in OWN).parse_args(argv)
    return args.run(args) or 0


def parser(with_notebooks: bool = True) -> argparse.ArgumentParser:
    """All commands; those of the notebook tool are left out, and not imported, where another one was named."""
    top = argparse.ArgumentParser(prog="coursekit", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add_build(commands)
    add_new(commands)
    add_grade(commands)
    doctor = commands.add_parser("doctor", help="say whether this machine can run, and grade, the course")
    doctor.set_defaults(run=run_doctor)
    if with_notebooks:
        importlib.import_module("coursekit.notebooks").add_parser(commands)
    return top


def add_build(commands: Any) -> None:
    build = commands.add_parser("build", help="write exercises/ from the master notebooks in solutions/")
    build.add_argument("--check", action="store_true", help="write nothing; fail with a difference when they have drifted")
    build.add_argument("--root", default=".", help="the folder of the course (default: here)")
    build.set_defaults(run=run_build)


def add_new(commands: Any) -> None:
    text = "begin an exercise (master notebook, a folder of tasks, wrong answers, tests), or with --lesson a lesson"
    new = commands.add_parser("new", help=text, description=text.capitalize())
    new.add_argument("name", help="the name of the lesson, such as 03_static_batching")
    new.add_argument("--lesson", action="store_true", help="the lesson's own notebook, and its row in the map")
    new.add_argument("--root", default=".")
    new.set_defaults(run=run_new)


def add_grade(commands: Any) -> None:
    grade = commands.add_parser("grade", help="grade a folder (or zip) of submissions")
    add = grade.add_argument
    add("submissions", help="a folder or zip: notebooks, zips, or a folder for each student")
    add("-o", "--output", default="grades.csv", metavar="CSV")
    add("--feedback", metavar="DIR", help="write a feedback page for each submission, and a class summary")
    add("--timeout", type=seconds, default=10.0, metavar="S", help="seconds for each task (default 10)")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="submissions at once (default: the cores)")
    add(
        "--sandbox",
        choices=("auto", "bwrap", "rlimits", "none"),
        default="auto",
        help="auto: bubblewrap where it runs, else limits with a warning; none: no limits, for debugging",
    )
    add("--seed", help="the seed of the hidden cases; without it one is drawn, printed and kept for a resumed run")
    add("--exercise", metavar="NN", help="grade every notebook as this exercise (default: by its task lines)")
    add("--solutions", default="solutions", metavar="DIR", help="where the master notebooks are")
    add("--fresh", action="store_true", help="forget an earlier run into the same CSV")
    grade.set_defaults(run=run_grade)


def seconds(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 3600 seconds")
    return value


def run_build(args: argparse.Namespace) -> int:
    from .build import build

    return 1 if build(args.root, args.check) else 0


def run_new(args: argparse.Namespace) -> int:
    from .new import CannotBegin, begin
    from .new_lesson import begin_lesson

    try:
        (begin_lesson if args.lesson else begin)(Path(args.root), args.name)
    except CannotBegin as problem:
        print(f"coursekit new: {problem}", file=sys.stderr)
        return 2
    return 0


def run_doctor(args: argparse.Namespace) -> int:
    from .doctor import doctor

    return doctor()


def clean(text: Any) -> str:
    """Nothing that a terminal would obey: names, and what was raised, may hold anything."""
    return "".join(c if c == "\n" or c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))


def say(text: str, stream: TextIO | None = None) -> None:
    """A line for the terminal, whatever its encoding, and whether or not somebody is left at the other end."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    try:
        print(clean(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:  # the reader has gone, as with | head: the grades are still wanted
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # what is still in the buffer goes there too
            os.close(null)


def run_grade(args: argparse.Namespace) -> int:
    if os.name != "posix":
        say("coursekit grade: grading needs Linux or macOS; on Windows run it inside WSL", sys.stderr)
        return 2
    from .grade.run import CannotGrade, grade_folder, interruptible
    from .grade.sandbox import NoSandbox

    args.exercise = args.exercise[:2] if args.exercise else None
    with interruptible():
        try:
            rows = grade_folder(args, say=say)
        except (CannotGrade, NoSandbox, OSError) as problem:
            say(f"coursekit grade: {problem}", sys.stderr)
            return 2
        except KeyboardInterrupt:
            say("\nStopped. What was graded is kept: the same command goes on from here.", sys.stderr)
            return 130
    ungraded = [row["student"] for row in rows if row.get("ungraded")]
    if ungraded:
        say(f"{len(ungraded)} not graded, by no fault of theirs: {', '.join(ungraded)}. The same command takes them up again")
    return 1 if ungraded else 0
