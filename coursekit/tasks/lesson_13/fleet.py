"""A small fleet in virtual time: replicas that step as an engine does, for the router of task 13.3.

A replica has SEATS seats and a queue. A step computes at most BUDGET tokens of prompts, first come first served, and one token of
each answer under way; it takes STEP ms and TOKEN ms for each token of a prompt that is computed. Prompts that begin with the same
HEAD tokens share the KV of them; a replica keeps the last HEADS of these.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

REPLICAS, SEATS, BUDGET, STEP, TOKEN = 4, 16, 512, 10.0, 0.08
HEAD, HEADS = 512, 10
Job = list[Any]  # arrival in ms, prompt, tokens of the answer


@dataclass
class Piece:
    """A request on a replica."""

    number: int
    arrival: float
    prompt: Sequence[int]
    answer: int
    todo: int = 0  # tokens of the prompt that are not computed yet
    made: int = 0
    first: float = -1.0


@dataclass
class Replica:
    now: float = 0.0
    waiting: deque[Piece] = field(default_factory=deque)
    running: list[Piece] = field(default_factory=list)
    heads: dict[tuple[int, ...], None] = field(default_factory=dict)  # the newest last
    found: int = 0

    def work(self, until: float) -> None:
        """Steps that begin before ``until``."""
        while (self.waiting or self.running) and self.now < until:
            self.step()
        self.now = max(self.now, until) if not (self.waiting or self.running) else self.now

    def step(self) -> None:
        while self.waiting and len(self.running) < SEATS:
            self.seat(self.waiting.popleft())
        left = BUDGET
        for piece in self.running:
            if piece.todo:
                part = min(left, piece.todo)
                piece.todo -= part
                left -= part
        self.now += STEP + TOKEN * (BUDGET - left)
        for piece in self.running:
            if not piece.todo:
                piece.first = self.now if not piece.made else piece.first
                piece.made += 1
        self.running = [piece for piece in self.running if piece.made < piece.answer]

    def seat(self, piece: Piece) -> None:
        head = tuple(piece.prompt[:HEAD])
        known = len(head) == HEAD and head in self.heads
        piece.todo = len(piece.prompt) - (HEAD if known else 0)
        self.found += HEAD if known else 0
        if len(head) == HEAD:
            self.heads.pop(head, None)
            self.heads[head] = None
            while len(self.heads) > HEADS:
                del self.heads[next(iter(self.heads))]
        self.running.append(piece)

    def load(self) -> tuple[int, int, int]:
        """waiting, running, tokens: what ``minieng.parallel.router.Load`` holds."""
        here = [*self.waiting, *self.running]
        return len(self.waiting), len(self.running), sum(len(piece.prompt) + piece.made for piece in here)


@dataclass
class Outcome:
    """picks: the replica of each request. ttft: what each waited for its first token, ms. hits: share of prompt tokens found."""

    picks: list[int]
    ttft: list[float]
    hits: float
    sent: list[int]  # requests of each replica
    work: list[int]  # tokens of each, prompts and answers

    def p99(self) -> float:
        return sorted(self.ttft)[int(0.99 * (len(self.ttft) - 1))]


Pick = Callable[[list[tuple[int, int, int]], Sequence[int]], int]


def serve(jobs: Sequence[Job], pick: Pick) -> Outcome:
    """All jobs, each to the replica that ``pick(loads, prompt)`` names as it arrives."""
    fleet = [Replica() for _ in range(REPLICAS)]
    pieces, picks = [], []
    for number, (arrival, prompt, answer) in enumerate(jobs):
        for replica in fleet:
            replica.work(arrival)
        at = pick([replica.load() for replica in fleet], prompt)
        picks.append(at)
        piece = Piece(number, arrival, prompt, answer)
        fleet[at].waiting.append(piece)
        pieces.append(piece)
    for replica in fleet:
        replica.work(float("inf"))
    total = sum(len(piece.prompt) for piece in pieces)
    own = [[piece for piece, at in zip(pieces, picks) if at == i] for i in range(REPLICAS)]
    return Outcome(
        picks,
        [piece.first - piece.arrival for piece in pieces],
        sum(replica.found for replica in fleet) / max(1, total),
        [len(each) for each in own],
        [sum(len(piece.prompt) + piece.answer for piece in each) for each in own],
    )


# ---------------------------------------------------------------- loads
def poisson(rng: random.Random, count: int, rate: float) -> list[float]:
    """Arrivals in whole ms, ``rate`` of them a second."""
    return [round(1000 * at) for at in accumulate(rng.expovariate(rate) for _ in range(count))]


def own(rng: random.Random, tokens: int) -> list[int]:
    """A prompt that nobody else begins with."""
    return [rng.randint(100, 10**6), *([7] * (tokens - 1))]


def chat(seed: int) -> list[Job]:
    """Prompts and answers of many lengths, all different."""
    rng = random.Random(f"chat {seed}")
    return [
        [at, own(rng, min(1500, int(rng.lognormvariate(5, 0.8)) + 20)), min(300, int(rng.lognormvariate(3.6, 0.7)) + 4)]
        for at in poisson(rng, 240, 40)
    ]


def fourth(seed: int) -> list[Job]:
    """Every fourth is long, as if a script sent three questions and a document in turn."""
    rng = random.Random(f"fourth {seed}")
    gap = 25
    return [[gap * i, own(rng, 1500 if i % 4 == 3 else 50), 160 if i % 4 == 3 else 16] for i in range(240)]


def heads(seed: int) -> list[Job]:
    """Twenty-four prefixes, each as likely."""
    rng = random.Random(f"heads {seed}")
    return [[at, [rng.randrange(24)] * HEAD + own(rng, 40), 24] for at in poisson(rng, 300, 60)]


def hot(seed: int) -> list[Job]:
    """Eight prefixes, and most requests begin with one of them."""
    rng = random.Random(f"hot {seed}")
    return [[at, [0 if rng.random() < 0.7 else rng.randrange(1, 8)] * HEAD + own(rng, 40), 48] for at in poisson(rng, 300, 60)]


LOADS: dict[str, Callable[[int], list[Job]]] = {
    "chat": chat,
    "every fourth is long": fourth,
    "24 prefixes": heads,
    "one hot prefix": hot,
}


def least(weights: Iterable[float]) -> int:
    """The place of the smallest."""
    values = list(weights)
    return values.index(min(values))
