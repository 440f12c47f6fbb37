"""Who is next in the queue, and who goes when memory runs out.

An order is a key (smaller first) with ties broken by arrival, so that it is total. A victim key is larger for
the request that goes first. If no victim is named, the order says who goes (``Order.last``).
"""

from __future__ import annotations

import inspect
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from heapq import heappop, heappush
from typing import Any

from ..config import look_up
from ..kv.allocator import Ledger
from ..plan import Plan
from ..request import Request
from ..warn import warn
from .queues import Queues

Predictor = Callable[[Request], float]

VICTIMS: dict[str, Callable[[Request], tuple]] = {
    "newest": lambda r: (r.arrival_time, r.sequence),
    "fewest_output": lambda r: (-r.num_output_tokens, r.num_prompt_tokens, r.arrival_time, r.sequence),
    "lowest_priority": lambda r: (r.priority, r.arrival_time, r.sequence),
}


def asked_length(request: Request) -> float:
    """The predictor for want of a better one: as many output tokens as the request may make."""
    return request.max_num_tokens - request.num_prompt_tokens


class Line:
    """Things that stand in order, each at a place of its own: a tuple; the smallest is in front.

    To put one in its place or take it out is a search of log(n) steps and a move of memory.
    """

    def __init__(self) -> None:
        self.places: list[tuple] = []
        self.place_of: dict[Hashable, tuple] = {}

    def __iter__(self) -> Iterator[tuple]:
        return iter(self.places)

    def put(self, thing: Hashable, place: tuple) -> None:
        """Where it belongs, wherever it stood before."""
        self.take(thing)
        insort(self.places, place)
        self.place_of[thing] = place

    def take(self, thing: Hashable) -> None:
        """Out of the line, if it is there."""
        place = self.place_of.pop(thing, None)
        if place is not None:
            at = bisect_left(self.places, place)
            if self.places[at : at + 1] != [place]:  # a key that is no number (NaN) stands anywhere
                at = self.places.index(place)
            del self.places[at]


class Order:
    """First come, first served. Preempted requests stand in front, where the scheduler put them.

    blind  of an order that goes by lengths, what it comes to where no length is known: all ask for the same
    """

    blind = ""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self.predict: Predictor = queues.config.predictor or asked_length

    def sort(self, now: float, kv: Ledger) -> Iterable[Request]:
        """Who waits, in order."""
        return self.queues.waiting

    def last(self, request: Request) -> tuple:
        """The victim's key if no victim is named, larger for who goes first: the newest,
        as vLLM's "fcfs" has it.

        An order that says otherwise must rank two running requests the same way at all times. Else they could
        drive each other out in turns, and neither would be done.
        """
        return VICTIMS["newest"](request)

    def arrived(self, request: Request) -> None:
        """A new one is about to join the queue."""
        self.waits(request)

    def waits(self, request: Request) -> None:
        """It joins the queue: new, or preempted."""

    def leaves(self, request: Request) -> None:
        """It starts, or is finished or aborted, waiting or running."""

    def served(self, plan: Plan) -> None:
        """A step is over."""

    def line_up(self) -> None:
        """Somebody has meddled with the queue: this is who waits."""

    def in_words(self) -> str:
        """Its name, and what it comes to if it goes by lengths and has no predictor."""
        config = self.queues.config
        if not self.blind or config.predictor:
            return str(config.order)
        return f"{config.order} by the length asked for (no predictor: {self.blind}, if all ask for the same)"


class KeyOrder(Order):
    """Sorted by ``key(request, now)``; ties go to the earlier arrival. A key may look at ``self.ledger``.

    Each is asked for its key at each step with a free seat: 10,000 of them cost milliseconds.
    """

    ledger: Ledger  # of the plan that is being made

    def sort(self, now: float, kv: Ledger) -> Iterable[Request]:
        self.ledger = kv
        return sorted(self.queues.waiting, key=lambda r: (self.key(r, now), r.arrival_time, r.sequence))

    def key(self, request: Request, now: float) -> Any:
        raise NotImplementedError


class StandingOrder(KeyOrder):
    """A key that ranks two waiting requests the same way at all times: asked once, when one joins the queue,
    so that no step sorts.
    """

    def __init__(self, queues: Queues) -> None:
        super().__init__(queues)
        self.line = Line()

    def sort(self, now: float, kv: Ledger) -> Iterator[Request]:
        return (request for *_, request in self.line)

    def waits(self, request: Request) -> None:
        self.line.put(request, (self.key(request, 0.0), request.arrival_time, request.sequence, request))

    def leaves(self, request: Request) -> None:
        self.line.take(request)

    def line_up(self) -> None:
        self.line = Line()
        for request in self.queues.waiting:
            self.waits(request)


class ShortestJob(StandingOrder):
    """Fewest predicted output tokens first (SJF); what it has made already is taken off."""

    blind = "first come, first served"

    def key(self, request: Request, now: float) -> float:
        return self.predict(request) - request.num_output_tokens

    def last(self, request: Request) -> tuple:
        return self.key(request, 0.0), *super().last(request)


class Priority(StandingOrder):
    """Smallest ``priority`` number first, as in vLLM. ``ageing`` takes that many points off for each second
    of waiting, so a gap of d points is overtaken after d / ageing seconds; 0 lets the unlucky starve.
    """

    def key(self, request: Request, now: float) -> float:
        return request.priority - self.queues.config.ageing * (now - request.arrival_time)

    def last(self, request: Request) -> tuple:
        # all age alike, so any moment ranks them as now does
        return self.key(request, 0.0), *super().last(request)


class HighestResponseRatio(KeyOrder):
    """Largest (wait + service) / service first; service is predicted from the time a token takes here, for
    all tokens that are not in the cache.
    """

    blind = "first come, first served among prompts of one length"

    def key(self, request: Request, now: float) -> float:
        tokens = self.ledger.todo(request) + max(1.0, self.predict(request) - request.num_output_tokens)
        service = max(1e-9, tokens * self.queues.seconds_per_token)
        return -(now - request.arrival_time + service) / service


class ShortestPrefill(KeyOrder):
    """Fewest tokens left to compute first, what is in the cache taken off. Long prompts may starve."""

    def key(self, request: Request, now: float) -> int:
        return self.ledger.todo(request)


class LongestPrefix(Order):
    """Longest cached prefix first (SGLang's lpm); plain arrival order, with a warning, when the queue is too
    long to look at. Who shares nothing may starve.
    """

    LONGEST_QUEUE = 128
    warned = False

    def sort(self, now: float, kv: Ledger) -> Iterable[Request]:
        waiting = self.queues.waiting
        if len(waiting) > self.LONGEST_QUEUE:
            if not self.warned:
                warn(
                    f"order 'lpm': {len(waiting)} requests wait, and it looks at {self.LONGEST_QUEUE} at "
                    "most: first come, first served as long as more do. Refuse some "
                    "(max_num_queued_reqs), or choose another order"
                )
            self.warned = True
            return waiting
        return sorted(waiting, key=lambda r: (-kv.shared(r).num_tokens, r.arrival_time, r.sequence))


class Fair(Order):
    """The user who was served least goes first: virtual token counter (Sheng et al., OSDI'24).

    A user pays 1 for a prompt token and 2 for an output token. Who comes back after a pause is lifted to the
    smallest counter of those who are here, so that idling saves nothing up.

    lines  what each user has in the queue, the oldest first
    heads  the users who have something there: whose counter is smallest, and of equals whose oldest is
    """

    PROMPT, OUTPUT = 1.0, 2.0
    MOST_USERS = 1_024  # whose counters are kept while they are away; the least served are forgotten first

    def __init__(self, queues: Queues) -> None:
        super().__init__(queues)
        self.counter: dict[str, float] = {}
        self.line_up()

    def line_up(self) -> None:
        self.lines: dict[str, Line] = {}
        self.heads = Line()
        for request in self.queues.waiting:
            self.waits(request)

    def sort(self, now: float, kv: Ledger) -> Iterator[Request]:
        """The heads, and behind each of them the user's next request where that belongs."""
        heads, later = iter(self.heads), list[tuple]()
        head = next(heads, None)
        while head or later:
            if head is None or later and later[0] < head:
                *_, request, at = heappop(later)
            else:
                *_, request, at = head
                head = next(heads, None)
            yield request
            if at + 1 < len(self.lines[request.user].places):
                heappush(later, self.place(request.user, at + 1))

    def place(self, user: str, at: int) -> tuple:
        """Of a user's waiting request number ``at`` among all that wait."""
        arrival, sequence, request = self.lines[user].places[at]
        return self.counter[user], arrival, sequence, request, at

    def arrived(self, request: Request) -> None:
        running, user = {r.user for r in self.queues.running}, request.user
        if user not in running and user not in self.lines:
            here = [self.counter[u] for u in running] + [counter for counter, *_ in self.heads.places[:1]]
            self.counter[user] = max(self.counter.get(user, 0.0), min(here, default=0.0))
            if len(self.counter) > self.MOST_USERS + len(self.lines) + len(running):
                self._forget(self.counter.keys() - self.lines.keys() - running - {user})
        self.waits(request)

    def waits(self, request: Request) -> None:
        line = self.lines.setdefault(request.user, Line())
        line.put(request, (request.arrival_time, request.sequence, request))
        self.heads.put(request.user, self.place(request.user, 0))

    def leaves(self, request: Request) -> None:
        user = request.user
        if user in self.lines:
            self.lines[user].take(request)
            self.heads.take(user)
            if self.lines[user].places:
                self.heads.put(user, self.place(user, 0))
            else:
                del self.lines[user]

    def _forget(self, away: set[str]) -> None:
        """Half of the users who are away: they lose what they were served beyond the smallest counter."""
        for user in sorted(away, key=lambda u: (self.counter[u], u))[: -(-len(away) // 2)]:
            del self.counter[user]

    def served(self, plan: Plan) -> None:
        """Charge for the step: an emitted token is an output token, anything else computed is prompt."""
        for request, n in plan.extend:
            emitted = request.num_computed_tokens == request.num_tokens - 1 and request.num_output_tokens > 0
            # a decode computes the output token before
            prompt = n - (emitted and request.num_output_tokens > 1)
            self.counter[request.user] += self.PROMPT * prompt + self.OUTPUT * emitted
        for user in {request.user for request, _ in plan.extend} & self.lines.keys():
            self.heads.put(user, self.place(user, 0))


class Adaptive(KeyOrder):
    """Urgent first, then short, then what ends with the others. Each term lies between 0 and 1.

    urgency   share of the time to the deadline that is used up (without a deadline: of ``PATIENCE`` seconds)
    length    predicted output against the mean of those who run
    balance   distance of the predicted end from the mean end of those who run
    """

    URGENCY, LENGTH, BALANCE, PATIENCE = 2.0, 1.0, 0.5, 10.0
    blind = "first come, first served but for deadlines"

    def sort(self, now: float, kv: Ledger) -> Iterable[Request]:
        ends = [max(0.0, self.predict(r) - r.num_output_tokens) for r in self.queues.running]
        self.mean = sum(ends) / len(ends) if ends else 1.0  # nobody runs: the shorter, the better
        return super().sort(now, kv)

    def key(self, request: Request, now: float) -> float:
        waited = now - request.arrival_time
        allowed = (
            self.PATIENCE if request.deadline is None else max(1e-9, request.deadline - request.arrival_time)
        )
        left = max(0.0, self.predict(request) - request.num_output_tokens)
        urgency = min(1.0, waited / allowed)
        length = left / (left + self.mean) if left + self.mean else 0.0
        balance = abs(left - self.mean) / max(left, self.mean, 1.0)
        return -self.URGENCY * urgency + self.LENGTH * length + self.BALANCE * balance


class OwnKey(KeyOrder):
    """The user's own function ``key(request, now)``, or ``key(request, now, ledger)`` if it needs three."""

    def __init__(self, queues: Queues, key: Callable[..., Any]) -> None:
        super().__init__(queues)
        self.given, self.sees_ledger = key, takes(key, 3) and not takes(key, 2)

    def key(self, request: Request, now: float) -> Any:
        return self.given(request, now, self.ledger) if self.sees_ledger else self.given(request, now)


def takes(function: Callable, count: int) -> bool:
    """Whether it can be called with so many arguments; False where Python cannot tell."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


ORDERS: dict[str, type[Order]] = {
    "fcfs": Order,
    "sjf": ShortestJob,
    "priority": Priority,
    "adaptive": Adaptive,
    "lpm": LongestPrefix,
    "hrrn": HighestResponseRatio,
    "fair": Fair,
    "spf": ShortestPrefill,
}


def find_order(order: str | Callable[..., Any]) -> Callable[[Queues], Order]:
    """An order, still without queues, from its name or from the user's own key.
    Raises ValueError with the names there are.
    """
    if callable(order):
        return partial(OwnKey, key=order)
    return look_up("order", order, ORDERS, ", or pass a function")


def make_order(order: str | Callable[..., Any], queues: Queues) -> Order:
    return find_order(order)(queues)


def make_victim(victim: str | Callable[[Request], Any]) -> Callable[[Request], tuple]:
    """A victim's key from its name, or from the user's own: larger for who goes first, of equals the newest.

    Like ``Order.last``, a key of one's own must rank two running requests the same way at all times.
    Raises ValueError with the names there are.
    """
    if callable(victim):
        return lambda request: (victim(request), *VICTIMS["newest"](request))
    return look_up("victim", victim, VICTIMS, ", or pass a function")
