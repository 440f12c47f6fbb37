"""Replicas that Ray runs: actors, on whatever machines Ray puts them, started again by Ray when they die."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..request import Request
from .replica import Ask, Hello, News, Replica, Spec
from .worker import Worker, WorkerDied

AT_ONCE = 4_096  # submissions under way in an actor
REACH_SECONDS = 5.0  # for the head of a cluster to be there
STORE_BYTES = 100_000_000  # of Ray's object store on this machine: nothing large goes through it


def connect(address: str) -> Any:
    """Ray itself, running: "local" starts one here, else it is the address of a cluster's head, or "auto".

    Raises RuntimeError if it is not installed, or does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise RuntimeError("--ray-address: ray is not installed: pip install 'minieng[scale]'") from None
    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        if ":" in address:  # Ray itself would ask for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), REACH_SECONDS).close()
        ray.init(address=address, logging_level="ERROR", log_to_driver=True, **own)
    except Exception as problem:
        raise RuntimeError(f"--ray-address {address}: Ray does not answer: {problem!s:.500}") from None
    return ray


def ray_workers(spec: Spec, count: int, address: str) -> list[Worker]:
    """``count`` actors, spread over the machines; a GPU each, where the cluster has as many."""
    ray = connect(address)
    resources = ray.cluster_resources()
    gpus = int(spec.knobs.get("device", "auto") != "cpu" and resources.get("GPU", 0) >= count)
    cpus = 1 if resources.get("CPU", 0) >= count else 0
    env = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1" if not gpus else "4")}
    if address == "local":  # elsewhere minieng is installed
        env["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
    options = {
        "num_cpus": cpus, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": 0,
        "max_concurrency": AT_ONCE, "scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": env},
    }  # fmt: skip
    return [RayWorker(ray, spec, number, options) for number in range(count)]


class RayWorker:
    """A replica in an actor."""

    def __init__(self, ray: Any, spec: Spec, number: int, options: dict[str, Any]) -> None:
        self.ray, self.number = ray, number
        self.on_death: Callable[[WorkerDied], None] | None = None  # Ray tells at the next call
        self.actor = ray.remote(Actor).options(**options).remote(spec, number)
        self._open: dict[int, Any] = {}

    async def start(self) -> Hello:
        with self.told():
            # Retried: while Ray starts an actor again, other calls fail.
            return await self.actor.hello.options(max_task_retries=-1).remote()

    async def submit(self, key: int, order: Ask | Request) -> AsyncGenerator[list[Request] | list[News]]:
        try:
            with self.told():
                stream = self.actor.submit.options(num_returns="streaming").remote(order)
                self._open[key] = stream
                async for found in stream:
                    yield await found
                self._open.pop(key, None)  # it has ended: nothing is to be aborted
        finally:
            self.abort(key)

    def abort(self, key: int) -> None:
        if (stream := self._open.pop(key, None)) is not None:
            self.ray.cancel(stream)

    async def stats(self) -> bytes:
        with self.told():
            return await self.actor.stats.remote()

    async def stop(self) -> None:
        self.ray.kill(self.actor)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Ray's errors as a front knows them: what the engine said, or that it is gone."""
        try:
            yield
        except self.ray.exceptions.RayTaskError as problem:
            raise problem.cause from None
        except self.ray.exceptions.RayError as death:
            why = " ".join(str(death).split())
            raise WorkerDied(f"replica {self.number} ended: {why:.200}") from None


class Actor:
    """A ``Replica`` as Ray calls it."""

    def __init__(self, spec: Spec, number: int) -> None:
        self.replica = Replica(spec, number)
        self.told: Hello | None = None

    async def hello(self) -> Hello:
        self.told = self.told or self.replica.start()
        return self.told

    async def submit(self, order: Ask | Request) -> AsyncGenerator[list[Request] | list[News]]:
        await self.hello()
        async for found in self.replica.submit(order):
            yield found

    async def stats(self) -> bytes:
        return self.replica.stats()
