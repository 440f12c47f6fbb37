"""The first stage of a pipeline and the processes of the others: started, watched and ended here.

The first stage is the process that has the engine. It computes its layers in ``submit`` and sends the rest
off; a thread takes what the last stage sends back, so that ``collect`` can look after the processes, and be
stopped with Ctrl-C, while it waits.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..config import EngineConfig
from ..hub.resolve import load_config, resolve
from ..hub.shelf import tensors_in
from ..interrupt import uninterrupted
from ..model.decoder import supports
from ..model.load import Loaded
from ..model.weights import HEAD
from ..plan import Plan, StepResult
from .message import Answer, Message, own_rows
from .pipeline import StageEnded
from .stage import KNOBS, Part, Stage
from .wire import START, Wire, find_each_other, place_of

COMMAND = ["-m", "minieng.parallel.stage"]  # for Python
PATIENCE = 5.0  # seconds for a process to end by itself
LOOK = 0.1  # seconds between two looks at the processes


@dataclass
class Sent:
    """A batch in flight. answer: None until it is back."""

    plan: Plan
    emitting: list[int]
    begin: float
    answer: Answer | None = None


def cut_layers(costs: list[float], stages: int) -> list[int]:
    """Where each stage begins, and the number of layers: the costliest stage is as cheap as can be.

    costs  bytes of each layer's weights; the head's are among the last one's
    """
    count = len(costs)
    if not 1 <= stages <= count:
        raise ValueError(f"stages={stages}: the model has {count} layers: choose 1 to {count}")

    @functools.cache
    def best(first: int, left: int) -> tuple[float, float, tuple[int, ...]]:
        """(costliest stage, sum of squares, cuts) of the layers from ``first`` on in ``left`` stages."""
        if left == 1:
            cost = sum(costs[first:])
            return cost, cost * cost, (first, count)
        options = []
        for cut in range(first + 1, count - left + 2):
            cost, (most, squares, cuts) = sum(costs[first:cut]), best(cut, left - 1)
            options.append((max(cost, most), cost * cost + squares, (first, *cuts)))
        return min(options)

    return list(best(0, stages)[2])


def layer_costs(path: Path, count: int) -> list[float]:
    """Numbers in each layer's weights, by the files' headers. Of the embedding a step reads a few rows."""
    stored = {name: float(prod(tensor.shape)) for name, tensor in tensors_in(path).items()}
    costs = [
        sum(size for name, size in stored.items() if name.startswith(f"model.layers.{i}."))
        for i in range(count)
    ]
    costs[-1] += stored.get(HEAD, stored["model.embed_tokens.weight"])
    return costs


def load_stages(
    name: str, config: EngineConfig, most: Callable[[EngineConfig, int], int], rectangles: bool
) -> Loaded:
    """As ``model.load.load``, with a runner that has its layers in ``config.stages`` processes.

    Raises ValueError for a model that cannot be cut, RuntimeError if a stage does not come up.
    """
    path = resolve(name)
    hf_config = load_config(path)
    if lacking := supports(hf_config):
        raise ValueError(
            f"stages={config.stages}: only models of the Llama family can be cut, and {lacking}: use stages=1"
        )
    if config.device.startswith("cuda:"):
        raise ValueError(
            f"stages={config.stages}, device={config.device!r}: stage k takes GPU k: use device='cuda'"
        )
    if (
        config.device != "cpu"
        and 0 < torch.cuda.device_count() < config.stages
        and not os.environ.get("MASTER_ADDR")
    ):
        raise ValueError(
            f"stages={config.stages}: this machine has {torch.cuda.device_count()} GPUs: use fewer, or "
            "device='cpu'"
        )
    limit: int = config.max_model_len or hf_config.max_position_embeddings
    cuts = cut_layers(layer_costs(path, hf_config.num_hidden_layers), config.stages)
    part = Part(name, cuts, {knob: getattr(config, knob) for knob in KNOBS}, most(config, limit), rectangles)
    processes = Processes(part, config.stages)
    try:
        loaded = part.load(0)
        return replace(loaded, runner=Stages(Stage(loaded.runner), processes, cuts))
    except BaseException:  # Ctrl-C, too
        processes.end()
        raise


class Processes:
    """The other stages' processes on this machine (none if started by hand). Ended with this object."""

    def __init__(self, part: Part, size: int) -> None:
        self.size, self.reason = size, ""
        self.folder = Path(tempfile.mkdtemp(prefix="minieng-stages-"))
        place, ours = place_of(self.folder)
        self.store = find_each_other(place, size, first=True)
        self.store.set("part", json.dumps(vars(part)))
        self.threads = max(1, torch.get_num_threads() // size)
        self.running: dict[int, subprocess.Popen] = {}
        self.end: Callable[[], object] = weakref.finalize(self, end_all, self.running, self.folder)
        for rank in range(1, size) if ours else ():
            with uninterrupted():
                self.running[rank] = self.start(rank, place)

    def start(self, rank: int, place: str) -> subprocess.Popen:
        own = {"MINIENG_STAGE_STORE": place, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.size}
        own["OMP_NUM_THREADS"] = self.threads  # all stages together take as many as one process would
        env = os.environ | {name: str(value) for name, value in own.items()}
        env["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        with open(self.log(rank), "wb") as log:
            return subprocess.Popen(
                [sys.executable, *COMMAND], stdin=subprocess.PIPE, stdout=log, stderr=log, env=env
            )

    def log(self, rank: int) -> Path:
        return self.folder / f"stage{rank}.log"

    def wait_for_all(self) -> list[dict[str, Any]]:
        """What each stage says of itself once it is loaded. RuntimeError names one that is not, and why."""
        end, told = time.monotonic() + START.total_seconds(), []
        for rank in range(1, self.size):
            while not self.store.check([f"stage {rank}"]):
                try:
                    self.watch()
                except StageEnded:
                    if self.store.check([f"stage {rank}"]):  # it has said why
                        break
                    raise
                if time.monotonic() > end:
                    raise RuntimeError(
                        f"stage {rank} did not come up within {START}: is it started, with the same "
                        "MASTER_ADDR?"
                    )
                time.sleep(LOOK / 4)
            told.append(json.loads(self.store.get(f"stage {rank}")))
            if "failed" in told[-1]:
                raise RuntimeError(f"stage {rank} could not be loaded: {told[-1]['failed']}")
        return told

    def watch(self, problem: Exception | None = None) -> None:
        """Raise StageEnded if a process is gone, or if it is known by its connection (``problem``)."""
        # The connection may be seen closed before the process is over.
        until = time.monotonic() + (1.0 if problem else 0.0)
        while not self.reason:
            gone = {rank: code for rank, each in self.running.items() if (code := each.poll()) is not None}
            if gone:
                killed = [rank for rank, code in gone.items() if code < 0]  # the others only followed
                rank = min(killed or gone)
                self.reason = f"stage {rank} ended: {self.why(rank, gone[rank])}"
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(0.01)
        if problem and not self.reason:
            self.reason = f"the connection to the other stages is lost: {problem}"
        if self.reason:
            raise StageEnded(self.reason)

    def why(self, rank: int, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        lines = self.log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"exit code {code}" + (f", {lines[-1]}" if lines else "")


def end_all(running: dict[int, subprocess.Popen], folder: Path, patience: float = 0.0) -> None:
    """No process of the pipeline is left after this. patience: seconds for them to end by themselves."""
    end = time.monotonic() + patience
    for each in running.values():
        try:
            each.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
        assert each.stdin is not None
        each.stdin.close()
    running.clear()
    shutil.rmtree(folder, ignore_errors=True)


class Stages:
    """The executor of a pipeline: ``submit`` sends a plan on its way, ``collect`` waits for its tokens.

    Answers come in the order in which plans were sent.
    """

    def __init__(self, first: Stage, processes: Processes, cuts: list[int]) -> None:
        self.first, self.processes, self.cuts = first, processes, cuts
        self.others = processes.wait_for_all()
        tensors = first.runner.tensors
        sizes = [[tensors.num_blocks, len(tensors.host)], *(each["blocks"] for each in self.others)]
        blocks = [min(values) for values in zip(*sizes, strict=True)]
        first.resize(*blocks)
        self.bytes_per_layer = tensors.shape.bytes_per_token // tensors.shape.num_layers
        self.flying: deque[Sent] = deque()
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self._last, self._closed = 0.0, False
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(processes.threads)
        processes.store.set("blocks", json.dumps(blocks))
        size, model = processes.size, first.runner.model
        connect = functools.partial(Wire, processes.store, 0, size, first.hidden, model.dtype, first.device)
        threading.Thread(target=listen, args=(connect, size - 1, self.inbox), daemon=True).start()
        self.wire: Wire = self._next_of_inbox()

    # -- what an engine asks for ------------------------------------------------------------------------

    @property
    def model(self) -> Any:
        return self.first.runner.model

    @property
    def tensors(self) -> Any:
        return self.first.runner.tensors

    @property
    def kv_nbytes_per_token(self) -> int:
        return self.bytes_per_layer * self.cuts[-1]

    @property
    def device_name(self) -> str:
        return self.first.runner.device_name

    def facts(self) -> dict[str, str]:
        """What runs here, for ``explain()``."""
        where = [
            f"process {os.getpid()} (this one)",
            *(f"process {each['pid']} on {each['device']}" for each in self.others),
        ]
        layers = [
            f"layers {a}-{b - 1} in {name}"
            for a, b, name in zip(self.cuts, self.cuts[1:], where, strict=False)
        ]
        count = self.processes.threads
        threads = f"; {count} thread{'s' * (count > 1)} each" if self.device_name == "cpu" else ""
        return self.first.runner.facts() | {"stages": "; ".join(layers) + ", with the head" + threads}

    def execute(self, plan: Plan) -> StepResult:
        return self.collect(self.submit(plan))

    def submit(self, plan: Plan) -> Sent:
        """Compute the first stage's part, and send it on. Raises StageEnded if a stage is gone."""
        self.processes.watch()
        runner, begin, batch = self.first.runner, time.perf_counter(), None
        emitting = [
            i for i, (r, n) in enumerate(plan.extend) if r.num_computed_tokens + n == len(r.token_ids)
        ]
        message = Message(plan.moves)
        if plan.extend:
            batch = (
                runner.packed(plan, emitting)
                if plan.rows is None
                else own_rows(plan, runner.rectangle(plan), emitting)
            )
            message = Message.of(plan, batch, emitting)
        x = self.first.compute(message, batch, None)
        sent = Sent(plan, emitting, begin)
        with uninterrupted():
            self.flying.append(sent)
            self._send(message, x)
        return sent

    def collect(self, sent: Sent) -> StepResult:
        """Wait for the answer. May be called again, if it was interrupted, or for the same answer.

        Raises what a stage raised, or StageEnded if a stage is gone.
        """
        while sent.answer is None:
            answer = self._next_of_inbox()
            self.flying.popleft().answer = answer
        answer, now = sent.answer, time.perf_counter()
        duration = now - max(sent.begin, self._last)  # what it took beyond the one before
        self._last = now
        if answer.failure is not None:
            raise answer.failure
        count = len(sent.plan.extend)
        tokens: list[int | None] = [None] * count
        logprobs: list[Any] | None = None if answer.logprobs is None else [None] * count
        for place, i in enumerate(sent.emitting):
            tokens[i] = answer.tokens[place]
            if logprobs is not None and answer.logprobs is not None:
                logprobs[i] = answer.logprobs[place]
        spans = [(begin - now, end - now) for begin, end in answer.spans] if self.processes.running else []
        return StepResult(tokens, duration, logprobs, answer.foretold, spans)

    def close(self) -> None:
        """End the other stages, and give all memory back."""
        if self._closed:
            return
        self._closed = True
        if not self.processes.reason:
            try:
                self._send(None, None)
            except StageEnded:
                pass
            end_all(self.processes.running, self.processes.folder, PATIENCE)
        self.processes.end()
        torch.set_num_threads(self._threads_before)
        self.first.runner.close()

    # -- inside -----------------------------------------------------------------------------------------

    def _send(self, message: Message | None, x: torch.Tensor | None) -> None:
        try:
            self.wire.send(message, x, 1)
        except RuntimeError as problem:
            self.processes.watch(problem)

    def _next_of_inbox(self) -> Any:
        """What the listening thread has for us, looking after the processes while it has nothing."""
        while True:
            try:
                found = self.inbox.get(timeout=LOOK)
            except queue.Empty:
                self.processes.watch()
                continue
            if isinstance(found, Exception):
                self.processes.watch(found)
            return found


def listen(connect: Callable[[], Wire], source: int, inbox: queue.SimpleQueue) -> None:
    """Connect, then put down what the last stage sends; an exception when it stops. Runs in a thread."""
    try:
        wire = connect()
        inbox.put(wire)
        while (answer := wire.receive(source)[0]) is not None:
            inbox.put(answer)
    except Exception as problem:
        inbox.put(problem)
