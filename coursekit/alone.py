"""Did a notebook have the machine to itself? What else computed meanwhile, and whether the machine kept its pace.

Times that stand in different lessons can be compared only if nothing disturbed any of them. Linux counts the seconds
that all cores computed, and those of this process and of the children that it has waited for; the rest is others.
"""

import os
import time
from pathlib import Path

OTHERS = 0.1  # cores that others may use in the mean: what an idle desktop does
PACE = 1.15  # how many times as long a fixed piece of work may take, or how many times less long
STAT = Path("/proc/stat")


class Alone:
    """Watches one sitting. ``start()`` before each notebook; ``disturbed()`` after it says what was wrong, or ""."""

    def __init__(self) -> None:
        if not STAT.exists():
            raise OSError(f"no {STAT} here: only Linux tells what else computed; run without --alone")
        self.usual = fixed_work()

    def start(self) -> None:
        self.time, self.others = time.monotonic(), seconds_of_others()

    def disturbed(self) -> str:
        cores = (seconds_of_others() - self.others) / max(1e-3, time.monotonic() - self.time)
        if cores > OTHERS:
            return f"others used {cores:.2f} cores meanwhile"
        pace = fixed_work() / self.usual
        return "" if 1 / PACE < pace < PACE else f"the machine takes {pace:.2f} times as long as when this began"


def seconds_of_others() -> float:
    """Seconds that the cores computed for anybody but this process and its children, or were taken by a host."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, STAT.read_text().split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def fixed_work() -> float:
    """Seconds for the same reading and computing each time, the best of several: other values mean another pace."""
    import numpy as np

    square: np.ndarray = np.ones((400, 400), dtype=np.float32)
    large: np.ndarray = np.ones(2**24, dtype=np.float32)
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        large.sum()
        square @ square
        times.append(time.perf_counter() - begin)
    return min(times)
