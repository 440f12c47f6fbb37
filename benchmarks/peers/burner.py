"""A process that keeps a named share of the CPUs busy, as a browser or a neighbour would, and that ends with the benchmark.

The share is of all CPUs together: 0.5 of two is one loop that never rests. It is pinned to the same CPUs as the peer and to none
of them in particular, at the same priority; what it really got of them is recorded, since the peer takes its part too.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

PERIOD_S = 0.02
START_S = 0.3  # until the scheduler has found places for all
MOST_S = 1800.0  # a last resort: whoever lost the benchmark and its kernel's signal ends by itself


class Burner:
    """``with Burner(0.5, [0, 1])``: one process for each whole CPU asked for, and one for what is left."""

    def __init__(self, share: float, cpus: list[int] | None) -> None:
        self.cpus = cpus
        busy = share * (len(cpus) if cpus is not None else psutil.cpu_count())
        self.loads = [min(1.0, busy - i) for i in range(math.ceil(busy))]
        self.processes: list[subprocess.Popen] = []

    def __enter__(self) -> Burner:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        try:
            for load in self.loads:
                line = [sys.executable, "-m", "peers.burner", str(load)]
                self.processes.append(subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL))
                if self.cpus is not None:
                    os.sched_setaffinity(self.processes[-1].pid, self.cpus)
            time.sleep(START_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cpu_seconds(self) -> float:
        """What all of it has used so far. Raises RuntimeError if one has ended: the run was not as busy as it says."""
        if any(process.poll() is not None for process in self.processes):
            raise RuntimeError("the burner process ended by itself")
        times = [psutil.Process(process.pid).cpu_times() for process in self.processes]
        return sum(t.user + t.system for t in times)

    def close(self) -> None:
        """No process is left."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()


def burn(load: float) -> None:
    """Compute for this share of each period, until killed."""
    end = time.monotonic() + MOST_S
    while (begin := time.monotonic()) < end:
        while time.monotonic() < begin + load * PERIOD_S:
            pass
        time.sleep((1.0 - load) * PERIOD_S) if load < 1.0 else None


if __name__ == "__main__":
    from peers.protocol import die_with_parent

    die_with_parent()
    burn(float(sys.argv[1]))
