"""One stage of a pipeline: a part of the layers, its share of the KV, and nothing of any request.

    python -m minieng.parallel.stage        a stage that is not the first

``LLM(stages=2)`` starts the others itself. On several hosts they are started by hand, before or after it,
with the variables that torchrun has too (docs/PIPELINE.md):

    MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 RANK=1 WORLD_SIZE=2 python -m minieng.parallel.stage
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import gpu
from ..config import EngineConfig
from ..kernels.batch import Batch
from ..kv.tensors import KVTensors
from ..model.load import load
from ..model.runner import ModelRunner
from .message import Message
from .wire import START, Wire, find_each_other

KNOBS = (  # of the engine, that a stage loads its part by
    "device", "dtype", "attention", "block_size", "num_blocks", "memory_fraction", "max_model_len",
    "max_num_seqs", "batch_size", "preemption", "swap_space_gb",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What a stage must know to load its part. Travels as JSON.

    name     of the model; every host finds it by itself
    cuts     the layers at which a stage begins, and the number of all
    most     tokens of a step at most; rectangles: whether steps are padded rectangles
    """

    name: str
    cuts: list[int]
    knobs: dict[str, Any]
    most: int
    rectangles: bool

    def load(self, rank: int) -> Any:
        """What ``model.load.load`` gives, with the layers of this stage.
        On GPUs stage k takes the k-th of its host.
        """
        config = EngineConfig(**self.knobs, enforce_eager=True)  # graphs are made for whole models
        if config.device != "cpu" and torch.cuda.is_available():
            config = replace(config, device=f"cuda:{os.environ.get('LOCAL_RANK', rank)}")
        return load(
            self.name, config, lambda *_: self.most, self.rectangles, range(*self.cuts[rank : rank + 2])
        )


class Stage:
    """Computes its part of a message. The runner's model has the layers, its tensors their KV."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner, self.device = runner, runner.device
        self.hidden: int = runner.model.config.hidden_size

    def resize(self, num_blocks: int, host_blocks: int) -> None:
        """As many blocks as every stage has room for."""
        tensors, runner = self.runner.tensors, self.runner
        if (tensors.num_blocks, len(tensors.host)) != (num_blocks, host_blocks):
            runner.close()  # gives a GPU's memory back
            self.runner = ModelRunner(
                runner.model,
                KVTensors(tensors.shape, num_blocks, tensors.block_size, self.device, host_blocks),
                runner.attention,
            )

    def compute(self, message: Message, batch: Batch | None, x: torch.Tensor | None) -> torch.Tensor | None:
        """What the layers make of the batch; None if it has no tokens. Notes in the message when it was done.

        x  what the stage before made, [T, hidden]; None on the first
        """
        runner, begin, out = self.runner, time.perf_counter(), None
        with gpu.here(self.device):
            runner.tensors.apply(message.moves)
            if batch is not None:
                out = runner.model.forward(batch, runner.kv, runner.attention, x)
            if gpu.is_gpu(self.device):
                # Else it would not be this stage that is busy, but the next.
                torch.cuda.current_stream().synchronize()
        message.spans.append((begin, time.perf_counter()))
        return out

    def serve(self, wire: Wire) -> None:
        """Compute what comes, and send it on, until the message that says that it is over."""
        first, last, to = wire.rank - 1, wire.rank == wire.size - 1, (wire.rank + 1) % wire.size
        while True:
            message, x = wire.receive(first)
            if message is None:
                wire.send(None, None, to)
                wire.flush()
                return
            out = None
            if message.failure is not None:
                self.runner.tensors.apply(message.moves)  # of others maybe, who know nothing of the failure
            else:
                try:
                    batch = message.batch(self.device) if message.num_slices else None
                    out = self.compute(message, batch, x)
                    told: Any = message.answer(out) if last else message
                except Exception as problem:  # the next batch may do better: it is for the first stage to say
                    message.failure, out = sendable(problem, wire.rank), None
            if message.failure is not None:
                told = message.answer(None) if last else message
            wire.send(told, None if last else out, to)


def sendable(problem: Exception, rank: int) -> Exception:
    """The exception, or one that says the same and can be pickled."""
    problem.add_note(f"in stage {rank} of the pipeline")
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:
        return RuntimeError(f"stage {rank}: {type(problem).__name__}: {problem}")
    return problem


def end_with_parent(folder: Path) -> None:
    """End as soon as the process that started this one is gone:
    it holds the other end of stdin and writes nothing.
    """
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Come up, load, tell the first stage, and serve."""
    place, parent = os.environ.get("MINIENG_STAGE_STORE"), None
    if place:
        # Ctrl-C is for the first stage, which goes on with this one.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        parent = threading.Thread(target=end_with_parent, args=(Path(place).parent,), daemon=True)
        parent.start()
    else:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', '29500')}"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = find_each_other(place, size, first=False)
    store.set_timeout(START)
    part = Part(**json.loads(store.get("part")))
    try:
        stage = Stage(part.load(rank).runner)
    except Exception as problem:
        store.set(f"stage {rank}", json.dumps({"failed": f"{type(problem).__name__}: {problem}"}))
        raise SystemExit(1) from problem
    tensors = stage.runner.tensors
    here = {
        "pid": os.getpid(),
        "device": stage.runner.device_name,
        "blocks": [tensors.num_blocks, len(tensors.host)],
    }
    store.set(f"stage {rank}", json.dumps(here))
    stage.resize(*json.loads(store.get("blocks")))
    wire = Wire(store, rank, size, stage.hidden, stage.runner.model.dtype, stage.device)
    try:
        stage.serve(wire)
    except RuntimeError as problem:  # a connection is closed
        print(f"stage {rank}: {problem}", file=sys.stderr, flush=True)
        if parent:  # if it is gone, that thread ends this process, and cleans up
            parent.join(timeout=1.0)
        os._exit(1)
    os._exit(0)  # not by way of the threads of gloo


if __name__ == "__main__":
    main()
