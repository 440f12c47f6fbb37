"""Finding and ending every process that a submission started, also those that ran away from their parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time

LINUX = sys.platform.startswith("linux")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that a child that calls setsid and forks stays in sight."""
    if LINUX:
        ctypes.CDLL(None).prctl(36, 1)


def end_with_parent(sig: int = signal.SIGTERM) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(1, int(sig))


def keep_to_oneself() -> None:
    """No other process of this user may look into this one's memory or take over what it has open (root's may)."""
    if LINUX:
        ctypes.CDLL(None).prctl(4, 0)


def table() -> dict[int, tuple[int, str]]:
    """{pid: (parent, state)} of every process to be seen; empty where there is no /proc."""
    found = {}
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    rest = file.read().rpartition(")")[2].split()
                found[int(name)] = (int(rest[1]), rest[0])
            except (OSError, IndexError):
                pass  # it ended while we looked
    return found


def descendants(root: int) -> list[int]:
    """The living processes below ``root``."""
    below, known, grew = {root}, table(), True
    while grew:
        grew = False
        for pid, (parent, _) in known.items():
            if parent in below and pid not in below:
                below.add(pid)
                grew = True
    return [pid for pid in below - {root} if known[pid][1] not in "ZX"]


def threads_of_user() -> int:
    """How many threads this user's processes have; 0 where it cannot be seen."""
    total = 0
    for name in os.listdir("/proc") if LINUX else ():
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            pass  # it ended while we looked
    return total


def memory_of(pids: list[int]) -> int:
    """Resident bytes of these processes together."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * PAGE
        except (OSError, IndexError):
            pass
    return total


def files_kept(pids: list[int]) -> int:
    """Files and folders in a /tmp of these processes' own, each of which is memory; 0 where there is none, or none in sight."""
    for pid in pids:
        place = f"/proc/{pid}/root/tmp"
        try:
            if os.stat(place).st_dev != os.stat("/tmp").st_dev:
                room = os.statvfs(place)
                return room.f_files - room.f_ffree
        except OSError:
            pass  # it ended while we looked
    return 0


def cpu_seconds(pids: list[int]) -> float | None:
    """Processor time these processes, and the children they have waited for, used; None where it cannot be seen."""
    if not LINUX:
        return None
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                total += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
        except (OSError, ValueError):
            pass
    return total / os.sysconf("SC_CLK_TCK")


def seconds_in_line(pids: list[int]) -> float:
    """Seconds in which these processes could have run but no processor was free; 0 where it cannot be seen."""
    total = 0
    for pid in pids if LINUX else ():
        try:
            with open(f"/proc/{pid}/schedstat") as file:
                total += int(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            pass
    return total / 1e9


def end_all(process: subprocess.Popen[bytes], patience: float = 5.0) -> bool:
    """Kill the child, then everything below this process, until nothing is left; True when nothing is."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    try:
        process.kill()
        process.wait(timeout=patience)
    except Exception:  # a child that cannot be waited for is found below
        pass
    end = time.monotonic() + patience
    while time.monotonic() < end:
        left = descendants(os.getpid())
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        reap()
        if not left:
            return True
        time.sleep(0.01)
    return False


def children() -> set[int]:
    """The processes right below this one, ended ones that nobody has waited for too."""
    return {pid for pid, (parent, _) in table().items() if parent == os.getpid()}


def end_orphans(spare: set[int], patience: float = 5.0) -> None:
    """End every child that is not in ``spare``, and all below it: what a helper that died has left to this process."""
    end = time.monotonic() + patience
    while (orphans := children() - spare) and time.monotonic() < end:
        for pid in orphans:
            for each in (pid, *descendants(pid)):
                try:
                    os.kill(each, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.01)


def end_all_of(folder: str) -> None:
    """Kill what a killed run has left: processes that were started with its folder as an argument or in their environment."""
    for pid in table():
        for part in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{part}", "rb") as file:
                    if folder.encode() in file.read() and pid != os.getpid():
                        os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # another user's, or gone


def reap() -> None:
    """Collect adopted children that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
