"""How the stages of a pipeline find each other and talk: torch.distributed,
without its process-wide default group.

A message is a pickle, and the activations beside it. Both travel through gloo between CPUs; between GPUs the
activations travel through NCCL. As everywhere in torch.distributed, whoever can reach the port can run code
in the processes: the hosts of a pipeline belong in a network of their own.
"""

from __future__ import annotations

import os
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from .. import gpu

START = timedelta(minutes=5)  # for a stage to come up and load its part
FOREVER = timedelta(days=365)  # a stage without work waits; one that is gone closes its connections


def find_each_other(place: str, size: int, first: bool) -> dist.Store:
    """Where the processes of a pipeline leave notes for each other.

    place  a file, for processes of one machine, or "host:port": the first stage listens there
    """
    host, _, port = place.rpartition(":")
    if not host:
        return dist.FileStore(place, size)
    return dist.TCPStore(host, int(port), is_master=first, timeout=START, wait_for_workers=False)


def place_of(folder: Path) -> tuple[str, bool]:
    """MASTER_ADDR and MASTER_PORT if they are set, as for torchrun: then the other stages are started by
    hand, on other hosts maybe. Else a file in the folder. And whether it is the file.
    """
    if host := os.environ.get("MASTER_ADDR"):
        return f"{host}:{os.environ.get('MASTER_PORT', '29500')}", False
    return str(folder / "store"), True


def gloo_device(one_machine: bool) -> Any:
    """Where gloo listens: where nobody else can connect,
    else at the interface GLOO_SOCKET_IFNAME or the host's own name.
    """
    gloo = dist.ProcessGroupGloo
    if one_machine:
        return gloo.create_device(hostname="127.0.0.1")
    interface = os.environ.get("GLOO_SOCKET_IFNAME")
    return gloo.create_device(interface=interface) if interface else gloo.create_default_device()


class Wire:
    """One stage's connections. ``receive`` and ``send`` keep the order;
    nothing is sent before it can be received.

    Sending returns at once. The tensors are kept until they are gone, which is asked before the next ones are
    sent: so a stage is at most one batch ahead of the next, and no two wait for each other.
    """

    def __init__(
        self, store: dist.Store, rank: int, size: int, hidden: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rank, self.size, self.hidden, self.dtype, self.device = rank, size, hidden, dtype, device
        options = dist.ProcessGroupGloo._Options()
        options._timeout, options._devices = (
            FOREVER,
            [gloo_device(one_machine=isinstance(store, dist.FileStore))],
        )
        self.cpu: Any = dist.ProcessGroupGloo(dist.PrefixStore("gloo", store), rank, size, options)
        self.gpu: Any = None
        if gpu.is_gpu(device):
            self.gpu = dist.ProcessGroupNCCL(dist.PrefixStore("nccl", store), rank, size)
        self._leaving: list[tuple[Any, torch.Tensor]] = []

    def send(self, what: Any, x: torch.Tensor | None, to: int) -> None:
        """A message and [T, hidden] activations, if there are any, to a stage."""
        self.flush()
        body = torch.frombuffer(bytearray(pickle.dumps(what, pickle.HIGHEST_PROTOCOL)), dtype=torch.uint8)
        head = torch.tensor([len(body), 0 if x is None else len(x)])
        self._leaving = [(self.cpu.send([tensor], to, 0), tensor) for tensor in (head, body)]
        if x is not None:
            x = x.contiguous()
            self._leaving.append(((self.gpu or self.cpu).send([x], to, 0), x))

    def flush(self) -> None:
        """Wait until all that was sent has been taken."""
        while self._leaving:
            self._leaving.pop()[0].wait()

    def receive(self, source: int) -> tuple[Any, torch.Tensor | None]:
        """The next message of a stage. Raises RuntimeError if the stage is gone."""
        head = self._read(torch.zeros(2, dtype=torch.int64), source)
        size, tokens = head.tolist()
        body = self._read(torch.zeros(size, dtype=torch.uint8), source)
        what = pickle.loads(body.numpy())
        if not tokens:
            return what, None
        x = torch.empty((tokens, self.hidden), dtype=self.dtype, device=self.device)
        return what, self._read(x, source, self.gpu or self.cpu)

    def _read(self, into: torch.Tensor, source: int, group: Any = None) -> torch.Tensor:
        (group or self.cpu).recv([into], source, 0).wait()
        return into
