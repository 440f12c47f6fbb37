"""Where learner code runs: bubblewrap where it really works, else limits with a loud warning, or nothing at all.

| mode | files | network | processes | memory, time, output |
| --- | --- | --- | --- | --- |
| bwrap | only Python itself, read-only, and an empty home of 64 MB | none | die with the sandbox | limited |
| rlimits | **within reach**, and so is the disk's last byte | **within reach** | found and stopped afterwards | limited |
| none | within reach | within reach | stopped afterwards | only the time-out |
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import processes

PACKAGE = Path(__file__).resolve().parent.parent
CHILD, TASKS = PACKAGE / "grade" / "child.py", PACKAGE / "tasks"
WARNING = (
    "WARNING: bubblewrap does not run here, so the submissions run with limits on memory, time and output ONLY. "
    "They can read, write and leave files as you can, fill your disk and use the network. Install it "
    "(apt-get install bubblewrap) or grade on a machine that you can lose."
)
FILE_BYTES, OPEN_FILES = 4 << 20, 48  # together: what an answer's process can keep in files that have no name
AS_ROOT = " And you are root, whose processes the kernel does not count: grade as another user."
NO_LIMITS = "WARNING: --sandbox none: the submissions run as you, without limits. Only for debugging your own code."


class NoSandbox(RuntimeError):
    """The sandbox that was asked for does not run here; the message says why and what to do."""


def choose(wanted: str) -> tuple[str, str]:
    """("bwrap" | "rlimits" | "none", a warning or "") for what was asked for."""
    if os.name != "posix":
        raise NoSandbox("grading needs Linux or macOS; on Windows run it inside WSL")
    if wanted == "none":
        return "none", NO_LIMITS
    limits_only = WARNING + (AS_ROOT if os.geteuid() == 0 else "")
    if wanted == "rlimits":
        return "rlimits", limits_only
    works, why = probe()
    if works:
        return "bwrap", ""
    if wanted == "bwrap":
        raise NoSandbox(f"bubblewrap does not run here ({why}): install it, or use --sandbox auto and read its warning")
    return "rlimits", limits_only


@functools.cache
def probe() -> tuple[bool, str]:
    """(does bubblewrap run this Python here?, why not): found out by running it."""
    if not bwrap():
        return False, "there is no command bwrap"
    try:
        done = subprocess.run(
            [*bwrap_command(()), sys.executable, "-I", "-c", "print('inside')"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            cwd="/",
            env=environment("/tmp/home"),  # as the boxes are started: what helps bubblewrap here must help it there
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return False, str(problem)
    return done.stdout.strip() == "inside", (done.stderr.strip() or "it gave no answer")[:200]


def bwrap() -> str | None:
    """Where the command is on the caller's PATH, from the root: the sandbox's own PATH is another one."""
    found = shutil.which("bwrap")
    return os.path.abspath(found) if found else None


def command(
    mode: str, hidden: Sequence[str] = (), packages: Sequence[str] = (), lesson: str | None = None, mark: str = ""
) -> list[str]:
    """The command line of a child. hidden: folders that must be out of reach; packages: folders a task needs.

    lesson: whose judges the child may see, because an answer there runs in an engine or on operations of theirs.
    mark: by which it can be told whose it is, should its run be killed.
    """
    python = [sys.executable, "-I", str(CHILD), mark]
    return [*bwrap_command(hidden, packages, lesson), *python] if mode == "bwrap" else python


def bwrap_command(hidden: Sequence[str], packages: Sequence[str] = (), lesson: str | None = None) -> list[str]:
    """An empty system with Python in it: read-only, no network, no other processes, no rights, nobody's name."""
    line = [
        bwrap() or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--uid",
        "65534",
        "--gid",
        "65534",
        "--hostname",
        "sandbox",
        "--clearenv",
    ]
    for folder in system_folders():
        line += ["--ro-bind-try", folder, folder]
    line += ["--proc", "/proc", "--dev", "/dev", "--size", str(64 << 20), "--tmpfs", "/tmp"]
    for folder in (*python_folders(), *library_folders()):
        line += ["--ro-bind", folder, folder]
    in_sight = (*system_folders(), *python_folders(), *library_folders())
    covered = [f for f in sorted(map(str, hidden)) if any(is_inside(f, seen) for seen in in_sight)]
    for folder in covered:
        line += in_place_of(folder)
    for package in (PACKAGE, *packages):
        line += ["--ro-bind", str(package), str(package)]
    line += in_place_of(TASKS)
    for part in (TASKS / "__init__.py", TASKS / f"lesson_{lesson}") if lesson else ():
        line += ["--ro-bind", str(part), str(part)]
    for folder in (*covered, str(TASKS)):  # only now: a package may lie in one of them
        line += ["--remount-ro", folder]
    # what is left to write to is /tmp, which has a size: / itself and /dev are memory without one
    line += ["--dir", "/tmp/home", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp/home"]
    for name, value in environment("/tmp/home").items():
        line += ["--setenv", name, value]
    return [*line, "--"]


def in_place_of(folder: str | Path) -> list[str]:
    """An empty folder, in which what must stay in sight can be put before it is made read-only."""
    return ["--size", str(1 << 20), "--tmpfs", str(folder)]


def system_folders() -> tuple[str, ...]:
    return ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/alternatives")


def python_folders() -> list[str]:
    """Every folder this Python lives in, outermost first, without those the system folders hold."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent.parent)}
    found = {os.path.abspath(f) for f in found} | {os.path.realpath(f) for f in found}
    return sorted(f for f in found if not any(is_inside(f, s) for s in system_folders()) and f != "/")


def library_folders() -> list[str]:
    """Folders of packages that lie elsewhere: a user's own (pip install --user), or those of an environment built upon."""
    own = (*system_folders(), *python_folders())
    found = [os.path.realpath(f) for f in sys.path if os.path.basename(f) in ("site-packages", "dist-packages")]
    return [f for f in dict.fromkeys(found) if os.path.isdir(f) and not any(is_inside(f, seen) for seen in own)]


def is_inside(path: str | Path, folder: str | Path) -> bool:
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def environment(home: str) -> dict[str, str]:
    """The few variables a child gets; none of the teacher's."""
    return {
        "HOME": home,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "/tmp" if home.startswith("/tmp/home") else home,
        "TRITON_INTERPRET": "1",  # no GPU is to be had inside: kernels are interpreted
    }


def limits(mode: str, memory_mb: int, seconds: float) -> dict[str, int]:
    """rlimits by name for the child; the watch in session.py counts what they cannot."""
    if mode == "none":
        return {}
    return {
        "RLIMIT_AS": memory_mb << 20,
        "RLIMIT_CPU": int(seconds) + 5,
        "RLIMIT_FSIZE": FILE_BYTES,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_NPROC": processes.threads_of_user() + 64,
    }
