"""Time in seconds since the engine began: the wall's, or a virtual one that only steps and waits move."""

from __future__ import annotations

import time


class WallClock:
    """Real time. A step takes as long as it takes, so ``advance`` has nothing to do."""

    virtual = False

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._start

    def advance(self, seconds: float) -> None:
        pass

    def wait_until(self, when: float) -> None:
        time.sleep(max(0.0, when - self.now()))


class VirtualClock:
    """Simulated time: a step costs what the executor says it cost, waiting costs nothing real."""

    virtual = True

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def wait_until(self, when: float) -> None:
        self._now = max(self._now, when)
