"""Who waits and who runs: the state on which a scheduler, its order and its admission rule look."""

from __future__ import annotations

from collections import deque

from ..config import EngineConfig
from ..kv.allocator import KVCache
from ..plan import Moves
from ..request import Request, Status


class Queues:
    """The requests of one engine. They move between the queues here, together with their KV,
    and nowhere else.

    waiting            requests without KV, in order of arrival; a preempted one stands in front
    running            requests with KV, in order of admission
    group              those of them whose turn it is: all, but where batches are in flight in a pipeline
    members            both, whatever anybody does to the two lists
    arrivals_open      whether more requests can still come (the engine keeps it true to the facts)
    seconds_per_token  moving average over steps, for orders that weigh waiting against work
    """

    def __init__(self, kv: KVCache, config: EngineConfig) -> None:
        self.kv, self.config = kv, config
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.members: set[Request] = set()
        self.arrivals_open = False
        self.seconds_per_token = 0.0
        self.turn, self.num_groups = 0, 1
        self.group_of: dict[Request, int] = {}  # running request → its group: who is in one batch with it

    @property
    def group(self) -> list[Request]:
        if self.num_groups == 1:
            return self.running
        return [r for r in self.running if self.group_of[r] == self.turn]

    def add(self, request: Request, front: bool = False) -> None:
        self.members.add(request)
        if front:
            self.waiting.appendleft(request)
        else:
            self.waiting.append(request)

    def start(self, request: Request, now: float) -> None:
        """From waiting to running."""
        self._take_from_waiting(request)
        self.running.append(request)
        self.group_of[request] = self.turn
        request.status = Status.RUNNING
        if request.admitted_time is None:
            request.admitted_time = now

    def preempt(self, request: Request, moves: Moves | None = None) -> None:
        """From running back to the front of waiting. Its KV goes to the host if the configuration says so,
        ``moves`` is there to note it in, and there is room; else it is dropped and computed again.
        """
        request.high_water = max(request.high_water, request.num_computed_tokens)
        if moves is None or self.config.preemption != "swap" or not self.kv.swap_out(request, moves):
            self.kv.release(request)
        request.num_preemptions += 1
        request.status = Status.WAITING
        self.running.remove(request)
        self.group_of.pop(request, None)
        self.waiting.appendleft(request)

    def remove(self, request: Request) -> None:
        """Finished or aborted: gone from its queue, its blocks given back."""
        self.kv.release(request)
        request.status = Status.FINISHED
        self.members.discard(request)
        self.group_of.pop(request, None)
        if request in self.running:
            self.running.remove(request)
        else:
            self._take_from_waiting(request)

    def snapshot(self) -> tuple[list[Request], list[Request]]:
        """Who waits and who runs now, in order."""
        return list(self.waiting), list(self.running)

    def restore(self, before: tuple[list[Request], list[Request]]) -> None:
        """The queues as they were (somebody has meddled with them): order and status too.
        Whoever lost its KV waits.
        """
        waiting, running = before
        bare = [r for r in running if not r.block_table]
        self.waiting, self.running = deque([*bare, *waiting]), [r for r in running if r.block_table]
        for request in self.waiting:
            if request.status is Status.RUNNING and not request.num_preemptions:
                request.admitted_time = None
            request.status = Status.WAITING
        for request in self.running:
            request.status = Status.RUNNING
        self.members = {*self.waiting, *self.running}

    def note_speed(self, tokens: int, seconds: float) -> None:
        """A step computed so many tokens in so many seconds."""
        if tokens:
            old, new = self.seconds_per_token, seconds / tokens
            self.seconds_per_token = 0.9 * old + 0.1 * new if old else new

    def _take_from_waiting(self, request: Request) -> None:
        if self.waiting[0] is request:  # nearly always, and then the whole queue need not be searched
            self.waiting.popleft()
        else:
            self.waiting.remove(request)
