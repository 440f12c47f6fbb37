"""vLLM's two schedulers, written down once more from their documented algorithms. Nothing of minieng is in here.

``V1`` is ``vllm/v1/core/sched/scheduler.py`` and ``kv_cache_manager.py`` of vLLM 0.32 (policy "fcfs", no speculation,
no connector), ``V0`` is ``vllm/core/scheduler.py`` of 0.6 without chunks. A plan is [(request, tokens)] and who was preempted.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable


class Asked:
    def __init__(self, name: str, prompt: list[int], output: int, arrival: float) -> None:
        self.name, self.tokens, self.longest, self.arrival = name, list(prompt), len(prompt) + output, arrival
        self.computed, self.table = 0, []


class V1:
    def __init__(self, blocks: int, size: int, seats: int, budget: int, watermark: float = 0.0, caching: bool = False) -> None:
        self.size, self.seats, self.budget, self.caching = size, seats, budget, caching
        self.reserve = int(watermark * blocks)
        self.free: deque[int] = deque(range(blocks))
        self.owners: Counter = Counter()
        self.known: dict[int, tuple] = {}  # block → all tokens up to its end, once it is sure to be filled
        self.waiting: deque[Asked] = deque()
        self.running: list[Asked] = []

    def hit(self, r: Asked) -> list[int]:
        """Blocks with the longest known prefix; the last token is always computed."""
        found = []
        for end in range(self.size, len(r.tokens), self.size):
            block = next((b for b, text in self.known.items() if text == tuple(r.tokens[:end])), None)
            if block is None or not self.caching:
                break
            found.append(block)
        return found

    def allocate(self, r: Asked, n: int, hit: list[int] = [], whole: bool = False) -> bool:  # noqa: B006
        """Blocks for n more tokens, or none at all. A waiting request must fit whole and leave the watermark."""
        start = r.computed + len(hit) * self.size
        idle = sum(not self.owners[b] for b in hit)  # cached blocks that nobody holds are among the free ones
        lacking = -(-(len(r.tokens) if whole else start + n) // self.size) - len(r.table) - len(hit) + idle
        if lacking + (self.reserve if whole and self.running else 0) > len(self.free):
            return False
        for block in hit:
            if not self.owners[block]:
                self.free.remove(block)
            self.owners[block] += 1
        r.table, r.computed = r.table + hit, start
        while len(r.table) * self.size < start + n:
            block = self.free.popleft()
            self.known.pop(block, None)
            self.owners[block] = 1
            r.table.append(block)
        for i in range(start // self.size, (start + n) // self.size):
            self.known[r.table[i]] = tuple(r.tokens[: (i + 1) * self.size])
        return True

    def give_back(self, r: Asked) -> None:
        for block in reversed(r.table):
            self.owners[block] -= 1
            if not self.owners[block]:
                (self.free.append if self.caching and block in self.known else self.free.appendleft)(block)
        r.table, r.computed = [], 0

    def preempt(self, r: Asked, victim: Asked, preempted: list[Asked]) -> bool:
        self.give_back(victim)
        self.waiting.appendleft(victim)
        preempted.append(victim)
        return victim is r

    def schedule(self) -> tuple[list, list]:
        plan, preempted, budget = [], [], self.budget
        for r in list(self.running):
            if not budget or r in preempted:
                break
            n = min(len(r.tokens) - r.computed, budget)
            while not self.allocate(r, n):
                if self.preempt(r, self.running.pop(), preempted):
                    break
            else:
                plan.append((r, n))
                budget -= n
        while self.waiting and budget and len(self.running) < self.seats and not preempted:
            r = self.waiting[0]
            hit = self.hit(r)
            n = min(len(r.tokens) - len(hit) * self.size, budget)
            if not self.allocate(r, n, hit, whole=True):
                break
            self.running.append(self.waiting.popleft())
            plan.append((r, n))
            budget -= n
        return plan, preempted

    def carry_out(self, plan: list, next_token: Callable[[list[int]], int]) -> None:
        for r, n in plan:
            r.computed += n
            if r.computed == len(r.tokens):
                r.tokens.append(next_token(r.tokens))
            if len(r.tokens) == r.longest:
                self.running.remove(r)
                self.give_back(r)


class V0(V1):
    """Whole prompts if any fits, else a token for everybody who runs. No text is longer than the budget."""

    def schedule(self) -> tuple[list, list]:
        plan, preempted, budget = [], [], self.budget
        while self.waiting and len(self.running) < self.seats and len(self.waiting[0].tokens) <= budget:
            r = self.waiting[0]
            if not self.allocate(r, len(r.tokens), whole=True):
                break
            self.running.append(self.waiting.popleft())
            plan.append((r, len(r.tokens)))
            budget -= len(r.tokens)
        left = deque([] if plan else self.running)
        while left:
            r = left.popleft()
            while not self.allocate(r, 1):
                victim = left.pop() if left else r
                self.running.remove(victim)
                if self.preempt(r, victim, preempted):
                    break
            else:
                plan.append((r, 1))
        return plan, preempted


def plans(scheduler: V1, asked: list[Asked], next_token: Callable[[list[int]], int]) -> list[tuple[list, list]]:
    """Every step of a second: [(name, tokens computed before, tokens computed now)], and the names of the preempted."""
    steps, now, future = [], 0.0, deque(sorted(asked, key=lambda r: r.arrival))
    while future or scheduler.waiting or scheduler.running:
        if not (scheduler.waiting or scheduler.running):
            now = max(now, future[0].arrival)
        while future and future[0].arrival <= now:
            scheduler.waiting.append(future.popleft())
        plan, preempted = scheduler.schedule()
        steps.append(([(r.name, r.computed, n) for r, n in plan], [r.name for r in preempted]))
        scheduler.carry_out(plan, next_token)
        now += 1
    return steps


def workload(dice: random.Random, alike: float = 0.0) -> list[Asked]:
    """Requests within some twenty steps; a share of the prompts begins alike, for up to as long as they are."""
    common, rush = [dice.randrange(1_000) for _ in range(40)], dice.choice([0, 3, 20])
    made = []
    for i in range(dice.randint(3, 12)):
        length = dice.randint(1, 40)
        same = dice.randint(0, length) if dice.random() < alike else 0
        prompt = common[:same] + [dice.randrange(1_000) for _ in range(length - same)]
        made.append(Asked(str(i), prompt, dice.randint(1, 20), float(dice.randint(0, rush))))
    return made
