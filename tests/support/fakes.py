"""Executors and schedulers that tests put in place of the real ones. No torch.

``ContentExecutor`` is a model whose KV can be looked at: a slot holds the whole text up to its token, so that a slot
that was lost, overwritten, shared wrongly or moved wrongly is seen at once, and the next token is a pure function of
the text: ``next_token(text)``. What an engine must answer is then known without running it: ``expected(prompt, n)``.
"""

from __future__ import annotations

import zlib
from array import array

from minieng.clock import VirtualClock
from minieng.config import EngineConfig
from minieng.engine import Engine
from minieng.kv.allocator import KVCache
from minieng.plan import Plan, StepResult
from minieng.request import Request, SamplingParams
from minieng.scheduler import SCHEDULERS, Scheduler
from minieng.scheduler.admission import reservation_of

VOCABULARY = 97
GARBAGE = ("garbage",)


def next_token(text: list[int] | tuple[int, ...], sample: int = 0) -> int:
    """The fake model: any function of the whole text will do, if it is one. Samples of one prompt differ."""
    return zlib.crc32(array("q", text).tobytes(), sample) % VOCABULARY


def expected(prompt: list[int], n: int, sample: int = 0, stop: tuple[int, ...] = ()) -> list[int]:
    """What the fake model goes on with, alone: ``n`` tokens, or up to the first of ``stop``."""
    text = list(prompt)
    while len(text) < len(prompt) + n and (len(text) == len(prompt) or text[-1] not in stop):
        text.append(next_token(text, sample))
    return text[len(prompt) :]


class ContentExecutor:
    """Runs plans on a cache of texts and fails where a request would not see exactly its own past."""

    def __init__(self, num_blocks: int, block_size: int, num_host_blocks: int = 0, seconds: float = 1.0) -> None:
        self.size, self.seconds = block_size, seconds
        self.cache: list[list] = [[None] * block_size for _ in range(num_blocks)]
        self.host: list[list] = [[None] * block_size for _ in range(num_host_blocks)]
        self.interrupt_in: int | None = None  # moves and slices until a KeyboardInterrupt
        self.plans: list[str] = []

    def execute(self, plan: Plan) -> StepResult:
        self.plans.append(str(plan))
        for source, target in plan.moves.swap_out:
            self.tick()
            self.host[target] = list(self.cache[source])
        for source, target in plan.moves.swap_in:
            self.tick()
            self.cache[target] = list(self.host[source])
        for source, target in plan.moves.copy:
            self.tick()
            self.cache[target] = list(self.cache[source])
        written: set[tuple[int, int]] = set()
        tokens = [self.slice(request, n, written) for request, n in plan.extend]
        if plan.rows is not None and plan.extend:
            self.finished_rows(plan, written)
        return StepResult(tokens, self.seconds)

    def slice(self, request: Request, n: int, written: set) -> int | None:
        self.tick()
        first, text = request.num_computed_tokens, tuple(request.token_ids)
        for i in range(first):
            assert self.read(request, i) == text[: i + 1], f"{request}: token {i} has lost its KV"
        for i in range(first, first + n):
            self.write(request, request.pad + i, text[: i + 1], written)
        return next_token(text, request.sample_index) if first + n == len(text) else None

    def finished_rows(self, plan: Plan, written: set) -> None:
        """Rows that are done, and padding, are computed too: they write rubbish, into their own slots."""
        live = dict(plan.extend)
        ends = {r.pad + r.num_computed_tokens + n for r, n in plan.extend}
        assert len(ends) == 1, f"the rows of the rectangle end in different columns: {ends}"
        (end,) = ends
        for request in plan.rows:
            for slot in range(end - plan.width, end - live.get(request, 0)):
                self.write(request, slot, GARBAGE, written)

    def read(self, request: Request, i: int):
        slot = request.pad + i
        return self.cache[request.block_table[slot // self.size]][slot % self.size]

    def write(self, request: Request, slot: int, content: tuple, written: set) -> None:
        place = request.block_table[slot // self.size], slot % self.size
        assert place not in written, f"{request}: slot {place} is written twice in a step"
        written.add(place)
        self.cache[place[0]][place[1]] = content

    def tick(self) -> None:
        if self.interrupt_in is not None:
            self.interrupt_in -= 1
            if self.interrupt_in < 0:
                self.interrupt_in = None
                raise KeyboardInterrupt


class InFlight(ContentExecutor):
    """The same as a pipeline: a plan is computed in the order of ``submit``, and its tokens wait for ``collect``."""

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.interrupt_collect = self.fail_collect = False
        self.most = self.flying = 0

    def submit(self, plan: Plan) -> list:
        result = self.execute(plan)
        self.flying += 1
        self.most = max(self.most, self.flying)
        return [result, True]

    def collect(self, sent: list) -> StepResult:
        if self.interrupt_collect:
            self.interrupt_collect = False
            raise KeyboardInterrupt
        self.flying -= sent[1]
        sent[1] = False
        if self.fail_collect:
            self.fail_collect = False
            raise FloatingPointError("a stage has failed")
        return sent[0]


def fake_engine(
    scheduler="continuous", num_blocks=16, block_size=4, seconds=1.0, host=64, make=Engine, executor=ContentExecutor, **knobs
) -> Engine:
    """An engine on the fake model and a virtual clock; every step is checked."""
    config = EngineConfig(scheduler=scheduler, num_blocks=num_blocks, block_size=block_size, **knobs)
    host = host if config.preemption == "swap" else 0
    kv = KVCache(num_blocks, block_size, config.enable_prefix_caching, reservation_of(config.admission), host)
    return make(executor(num_blocks, block_size, host, seconds), kv, config, VirtualClock(), checked=True)


def ask(engine: Engine, name: str, prompt, max_tokens: int = 4, at: float = 0.0, **more) -> Request:
    """Queue a request; ``prompt`` may be a length. Its text is then different from that of every other name."""
    if isinstance(prompt, int):
        prompt = [zlib.crc32(f"{name} {i}".encode()) % VOCABULARY for i in range(prompt)]
    params = more.pop("params", None) or SamplingParams(max_tokens=max_tokens)
    return engine.add_request(Request(name, prompt, params, arrival_time=at, **more))


def finish(engine: Engine, limit: int = 5_000) -> None:
    """Run to the end; an engine that does not get there in ``limit`` steps hangs."""
    for _ in range(limit):
        if engine.step() is None:
            return
    raise AssertionError(f"still at work after {limit} steps: {engine.scheduler.running} {list(engine.scheduler.waiting)[:5]}")


def nothing_left(engine: Engine) -> None:
    """No request, no block, no host block is held by anybody."""
    scheduler, kv = engine.scheduler, engine.kv
    assert not engine.requests and not engine.has_work and not engine._future and not engine._siblings
    assert not scheduler.running and not scheduler.waiting and not scheduler.members
    assert kv.pool.num_free == kv.pool.num_blocks, f"{kv.pool.num_blocks - kv.pool.num_free} blocks are lost"
    kv.check_invariants([])


def forced(scheduler: str, every: int, most: int = 40, pick: int = 0):
    """A scheduler of that rung that also preempts a request at every ``every``-th plan, ``most`` times at most.

    ``pick`` chooses the victim; a rectangle loses its row too.
    """
    base = SCHEDULERS[scheduler]

    class Forced(base):
        calls = given = 0

        def plan(self, now: float) -> Plan:
            plan = super().plan(now)
            self.calls += 1
            able = [r for r in self.running if not r.is_done and r not in plan.preempt]
            if plan.extend and able and self.calls % every == 0 and self.given < most:
                victim = able[(pick + self.given) % len(able)]
                self.given += 1
                plan.drop(victim)
                plan.preempt.append(victim)
                for sample in [r for r, _ in plan.extend if r.fork_of is victim and not r.block_table]:
                    plan.drop(sample)  # it was counted as one that shares the victim's blocks
            return plan

    Forced.__name__ = f"Forced{base.__name__}"
    return Forced()


class Scripted(Scheduler):
    """Plans that the test wrote down: {"a": 3, "b": 0} computes three tokens of a and preempts b.

    When they are used up it goes on as continuous batching.
    """

    def __init__(self, *steps: dict[str, int]) -> None:
        self.steps = list(steps)

    def plan(self, now: float) -> Plan:
        known = {r.request_id: r for r in self.members}
        if self.steps:
            step = self.steps.pop(0)
            return Plan([(known[name], n) for name, n in step.items() if n], [known[name] for name, n in step.items() if not n])
        return SCHEDULERS["continuous"].plan(self, now)

    decode = SCHEDULERS["continuous"].decode
