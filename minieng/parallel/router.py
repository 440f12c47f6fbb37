"""Which replica takes a request. A router sees how loaded each living replica is, and nothing of how it
works, so one object serves the simulator, processes here and a cluster.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import look_up
from ..kv.blocks import ROOT, block_hash


@dataclass(frozen=True, slots=True)
class Load:
    """A replica as a router sees it.

    waiting, running   requests
    tokens             of all of them, prompt and output so far
    speed              tokens a second beside those of the others; only the ratio counts
    replica            its number. One that was started again has a new one, and nothing in its cache. None:
                       its place in the list
    """

    waiting: int = 0
    running: int = 0
    tokens: int = 0
    speed: float = 1.0
    replica: int | None = None


class Router:
    """Base: ``pick`` names the replica for a prompt, as a place in ``loads``, which holds those that live.
    Raises nothing; replicas are never full, they queue.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.turn = itertools.count()

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        raise NotImplementedError


class RandomRouter(Router):
    """Any replica, each as likely."""

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        return self.random.randrange(len(loads))


class RoundRobin(Router):
    """One after the other."""

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        return next(self.turn) % len(loads)


class LeastWork(Router):
    """The replica whose requests, this one with them, have the fewest tokens for its speed; ties to the
    first.
    """

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        return min(range(len(loads)), key=lambda i: (loads[i].tokens + len(prompt)) / loads[i].speed)


class FewestRequests(Router):
    """Those who wait count four times: as vLLM spreads requests over data-parallel engines with full
    caches.
    """

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        return min(
            range(len(loads)), key=lambda i: (4 * loads[i].waiting + loads[i].running) / loads[i].speed
        )


class PowerOfTwo(Router):
    """Of two replicas drawn at random, the one with fewer requests (Mitzenmacher; Ray Serve's default)."""

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        if len(loads) < 2:
            return 0
        pair = self.random.sample(range(len(loads)), 2)
        return min(pair, key=lambda i: loads[i].waiting + loads[i].running)


class PrefixAffinity(Router):
    """The replica that was sent the longest prefix of the prompt, if that is ``MATCH`` of it,
    unless it is overloaded.

    Overloaded: more than ``IMBALANCE`` requests ahead of the least loaded one. Prefixes are remembered as
    hashes of blocks of ``BLOCK`` tokens, as the block pool does (SGLang's and Ray's cache-aware routers,
    simplified).
    """

    MATCH, IMBALANCE, BLOCK, BLOCKS = 0.5, 32, 16, 64

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.seen: dict[int, set[bytes]] = {}  # by the replica's number

    def pick(self, loads: Sequence[Load], prompt: Sequence[int]) -> int:
        keys = self.hashes(prompt)
        seen = [
            self.seen.setdefault(i if load.replica is None else load.replica, set())
            for i, load in enumerate(loads)
        ]
        depths = [sum(1 for _ in itertools.takewhile(known.__contains__, keys)) for known in seen]
        counts = [load.waiting + load.running for load in loads]
        best = max(range(len(loads)), key=lambda i: (depths[i], -counts[i]))
        if depths[best] < self.MATCH * max(1, len(keys)) or counts[best] - min(counts) > self.IMBALANCE:
            best = min(range(len(loads)), key=lambda i: (counts[i], len(seen[i])))
        seen[best].update(keys)
        return best

    def hashes(self, prompt: Sequence[int]) -> list[bytes]:
        keys: list[bytes] = []
        for start in range(0, min(len(prompt) - self.BLOCK + 1, self.BLOCK * self.BLOCKS), self.BLOCK):
            keys.append(block_hash(keys[-1] if keys else ROOT, prompt[start : start + self.BLOCK]))
        return keys


ROUTERS: dict[str, type[Router]] = {
    "random": RandomRouter,
    "round_robin": RoundRobin,
    "least": LeastWork,
    "joint": FewestRequests,
    "power_of_two": PowerOfTwo,
    "prefix_affinity": PrefixAffinity,
}


def make_router(which: str | Router, seed: int = 0) -> Router:
    """A router by name, or one's own as it is. Raises ValueError with the names there are."""
    if isinstance(which, Router):
        return which
    return look_up("router", which, ROUTERS)(seed)
