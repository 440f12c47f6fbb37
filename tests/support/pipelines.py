"""Pipelines of real processes for the contract "same tokens": started once, and used by many engines one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import psutil

from minieng import LLM
from minieng.config import EngineConfig
from minieng.kv.allocator import KVCache
from minieng.parallel.pipeline import PipelineEngine
from minieng.plan import Plan, StepResult
from minieng.scheduler.admission import reservation_of

BLOCKS = 400  # the largest cache that a random workload asks for


class SteadyInFlight:
    """The stages on a virtual clock: each step adds a second."""

    def __init__(self, runner) -> None:
        self.runner, self.most = runner, 0

    def submit(self, plan: Plan):
        sent = self.runner.submit(plan)
        self.most = max(self.most, len(self.runner.flying))
        return sent

    def collect(self, sent) -> StepResult:
        result = self.runner.collect(sent)
        return StepResult(result.tokens, 1.0, result.logprobs, result.foretold, result.stages)


class PipelineKit:
    """As ``Kit``: engines with ``depth`` batches in flight, all on the stages of one LLM."""

    def __init__(self, kit, stages: int, block_size: int, depth: int = 2) -> None:
        self.oracle, self.block_size, self.depth, self.together = kit.oracle, block_size, depth, 0
        knobs = {"num_blocks": BLOCKS, "block_size": block_size, "preemption": "swap", "swap_space_gb": 0.01}
        self.whole = LLM(str(kit.path), device="cpu", dtype="float32", stages=stages, **knobs)

    def steady(self, runner) -> SteadyInFlight:
        return SteadyInFlight(runner)

    @contextmanager
    def llm(self, num_blocks: int, **knobs) -> Iterator[SimpleNamespace]:
        assert num_blocks <= BLOCKS and knobs["block_size"] == self.block_size
        config, runner = EngineConfig(num_blocks=num_blocks, **knobs), self.whole.runner
        host = len(runner.tensors.host) if config.preemption == "swap" else 0
        kv = KVCache(num_blocks, self.block_size, config.enable_prefix_caching, reservation_of(config.admission), host)
        engine = PipelineEngine(runner, kv, config, checked=True, depth=self.depth)
        yield SimpleNamespace(engine=engine, runner=runner)
        engine.depth = self.depth  # what still flies belongs to nobody: it lands
        self.together = max(self.together, engine.executor.most)


def stage_processes() -> list[psutil.Process]:
    """Processes of stages that this one or its children have started, and that are not over."""
    found = []
    for each in psutil.Process().children(recursive=True):
        try:
            if "minieng.parallel.stage" in each.cmdline() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except psutil.Error:
            pass
    return found
