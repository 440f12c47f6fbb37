"""How many blocks a request needs, on paper first (``Ledger``) and then for real (``KVCache``).

While a plan is made nothing may change, so blocks are *counted* on a ledger. When the plan is carried out the
cache names them, in an order that makes the count exact: shared prefixes are held first, victims give back
next, new blocks are taken last, request by request in the plan's order.

A newcomer also shares blocks that an earlier request of the same plan fills in this very step: in each layer
all keys and values of a step are stored before any are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from ..plan import Moves
from ..request import Request
from .blocks import ROOT, BlockPool, block_hash

NO_BLOCKS: list[int] = []
# a block that a request fills in the step that is planned: whose, and which of its table
Due = tuple[Request, int]


class Shared(NamedTuple):
    """Blocks that a waiting request would share on admission, and how many of its tokens all of them hold.

    due  those behind ``blocks``: earlier requests of the plan fill them, and they have no names yet
    """

    blocks: list[int]
    num_tokens: int
    due: Sequence[Due] = ()


NOTHING_SHARED = Shared(NO_BLOCKS, 0)


def next_power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def known_length(request: Request) -> int:
    """Tokens of the whole text, for whoever knows the future; the most there can be, if nobody does."""
    script = request.scripted_output
    return request.max_num_tokens if script is None else request.num_prompt_tokens + len(script)


# How many slots of KV a request reserves when it is admitted; 0 means "as it grows" (PagedAttention).
# One less than the tokens of the text: the last is sampled, but nothing comes after it that would read its
# KV.
RESERVATIONS: dict[str, Callable[[Request], int]] = {
    "paged": lambda r: 0,
    "reserve_max": lambda r: r.max_num_tokens - 1,
    "reserve_pow2": lambda r: next_power_of_two(r.max_num_tokens - 1),
    "reserve_oracle": lambda r: known_length(r) - 1,
}


class Ledger:
    """A tentative account of free blocks for one plan. Taking from it changes nothing in the cache."""

    def __init__(self, cache: KVCache) -> None:
        self.cache, self.free = cache, cache.pool.num_free
        self._block_size, self._refs = cache.block_size, cache.pool.refs
        self._delta: dict[int, int] = {}  # block → references added or given back on paper
        self._new: dict[Request, int] = {}  # request → new blocks taken on paper
        self._found: dict[Request, Shared] = {}  # waiting request → what it would share
        self._held: dict[Request, Shared] = {}  # waiting request → what it shares on paper
        self._due: dict[bytes, Due] = {}  # content of a block → who fills such a block in this plan
        self._gone: set[Request] = set()  # victims

    def shared(self, request: Request) -> Shared:
        """What a waiting request would share on admission, or what it shares since it was counted in."""
        found = self._held.get(request) or self._found.get(request)
        if found is None:
            found = self._found[request] = self.cache.lookup(request, self._gone, self._due)
        return found

    def shared_beside(self, request: Request, n: int) -> Shared:
        """What a waiting request would share if it computes ``n`` tokens itself.

        A plan need not know of the blocks that it fills itself: who computes more than ``todo`` shares fewer
        of those.
        """
        found, over = self.shared(request), n - self.todo(request)
        if over <= 0 or not found.due:
            return found
        fewer = min(len(found.due), -(-over // self._block_size))
        due = found.due[: len(found.due) - fewer]
        return Shared(found.blocks, found.num_tokens - fewer * self._block_size, due)

    def todo(self, request: Request) -> int:
        """Tokens that the request has yet to compute, what it would share taken off. Never less than one."""
        remaining = len(request.token_ids) - request.num_computed_tokens
        return remaining if request.block_table else remaining - self.shared(request).num_tokens

    def most(self, request: Request) -> int:
        """Most tokens that the plan may give the request: all but those whose KV is in the cache already."""
        due = 0 if request.block_table else len(self.shared(request).due)
        return self.todo(request) + due * self._block_size

    def need(self, request: Request, n: int, span: int = 0) -> int:
        """Free blocks that ``n`` more tokens of the request would use up.

        ``span``: the request becomes a row of a padded rectangle of that many slots (no prefix is shared
        then).
        """
        table, size = request.block_table, self._block_size
        if table:
            start = request.pad + request.num_computed_tokens
            end = start + n
            missing = -(-(end if end > request.span else request.span) // size) - len(table)
            first = start // size
            copy = first < len(table) and self._refs[table[first]] > 1
            return (missing if missing > 0 else 0) + copy
        if span:
            return -(-span // size)
        blocks, hit, due = self.shared_beside(request, n)
        start = request.num_computed_tokens + hit
        end = max(start + n, self.cache.reservation(request))
        revived = sum(1 for block in blocks if self._refs[block] + self._delta.get(block, 0) == 0)
        copy = start // size < len(blocks)  # the tail of a sibling's prompt, which the sibling keeps
        return -(-end // size) - len(blocks) - len(due) + revived + copy

    def can_take(self, request: Request, n: int, span: int = 0) -> bool:
        return self.need(request, n, span) <= self.free

    def take(self, request: Request, n: int, span: int = 0) -> bool:
        """Count ``n`` more tokens for the request; False, and nothing counted, if the blocks do not suffice.

        Once per request and plan: a second call does not know of the first.
        """
        place = (request.pad + request.num_computed_tokens) % self._block_size
        if n == 1 and place and request.block_table:
            # The common case, a decode inside a block that it has: nothing to count.
            if place == self._block_size - 1 and request.num_computed_tokens < request.num_prompt_tokens:
                self._expect(request, 1)  # not a decode but the last token of a prompt
            return True
        need = self.need(request, n, span)
        if need > self.free:
            return False
        if need:
            self.free -= need
            self._new[request] = need
        if not request.block_table and not span:
            self._hold(request, self.shared_beside(request, n))
        if not span and (n > 1 or not request.block_table):
            self._expect(request, n)
        return True

    def _hold(self, request: Request, shared: Shared) -> None:
        for block in shared.blocks:
            if self._refs[block] + self._delta.get(block, 0) == 0:
                self._new[request] -= 1  # it comes back as a reference, not as a new block
            self._delta[block] = self._delta.get(block, 0) + 1
        self._held[request] = shared

    def _expect(self, request: Request, n: int) -> None:
        """Blocks that the request fills with its next ``n`` tokens are open to who is counted after it."""
        start = request.num_computed_tokens + self._held.get(request, NOTHING_SHARED).num_tokens
        first, end = start // self._block_size, (start + n) // self._block_size
        if first < end and self.cache.enable_prefix_caching and not request.pad:
            for i, key in enumerate(self.cache.hashes(request, end)[first:], first):
                self._due.setdefault(key, (request, i))
            self._found.clear()  # others may find more now

    def give_back(self, request: Request) -> None:
        """A victim: all that it holds in the cache or has taken on this ledger."""
        self._gone.add(request)
        # nobody starts from a sibling that goes, or waits for a block that it would have filled
        self._found.clear()
        self._due = {key: due for key, due in self._due.items() if due[0] is not request}
        self.free += self._new.pop(request, 0)
        for block in request.block_table or self._held.pop(request, NOTHING_SHARED).blocks:
            self._delta[block] = self._delta.get(block, 0) - 1
            self.free += self._refs[block] + self._delta[block] == 0


class KVCache:
    """Block tables of all requests over one pool, with prefix sharing, copy-on-write and swap space.

    reservation       one of RESERVATIONS
    num_host_blocks   blocks of host memory that swapped-out requests may fill (0: no swapping)
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        enable_prefix_caching: bool = True,
        reservation: str = "paged",
        num_host_blocks: int = 0,
    ) -> None:
        self.pool, self.block_size = BlockPool(num_blocks), block_size
        self.enable_prefix_caching, self.reservation = enable_prefix_caching, RESERVATIONS[reservation]
        self.free_host_blocks = list(range(num_host_blocks - 1, -1, -1))

    @property
    def num_slots(self) -> int:
        return self.pool.num_blocks * self.block_size

    def ledger(self) -> Ledger:
        return Ledger(self)

    def never_fits(self, request: Request) -> int | None:
        """Slots the request needs at its longest if that is more than the cache has; None if it fits."""
        longest = max(request.max_num_tokens - 1, request.num_prompt_tokens, self.reservation(request))
        blocks = -(-longest // self.block_size)  # the last token is sampled but never needs KV
        return longest if blocks > self.pool.num_blocks else None

    # -- what a waiting request would share -------------------------------------------------------------

    def lookup(
        self, request: Request, gone: Collection[Request] = (), due: Mapping[bytes, Due] | None = None
    ) -> Shared:
        """All of a sibling's prompt (n > 1), else the longest known prefix; nothing for one that was swapped
        out, or wants to know what the model says of its prompt.

        gone: victims of the same plan, who are no siblings to start from any more.
        due: what will be known of the same plan, by content.
        """
        if request.host_blocks:
            return NOTHING_SHARED
        parent, prompt = request.fork_of, request.num_prompt_tokens
        if parent is not None and parent not in gone and self._can_fork(request):
            return Shared(parent.block_table[: -(-prompt // self.block_size)], prompt - 1)
        if not self.enable_prefix_caching or request.params.prompt_logprobs is not None and parent is None:
            return NOTHING_SHARED  # what the model says of a prompt is not in the cache: it must be computed
        # A hit never covers the last token: its logits are needed, so it must be computed.
        keys = self.hashes(request, (request.num_tokens - 1) // self.block_size)
        blocks = self.pool.longest_prefix(keys)
        more = [due[key] for key in takewhile(due.__contains__, keys[len(blocks) :])] if due else []
        return Shared(blocks, (len(blocks) + len(more)) * self.block_size, more)

    def _can_fork(self, request: Request) -> bool:
        """A sample whose sibling still holds the whole prompt, and which has no output of its own yet."""
        parent = request.fork_of
        return (
            parent is not None
            and not parent.pad
            and parent.num_computed_tokens >= request.num_prompt_tokens == request.num_tokens
            and len(parent.block_table) * self.block_size >= request.num_prompt_tokens
        )

    def hashes(self, request: Request, num_blocks: int) -> list[bytes]:
        """Names of the content of its first blocks."""
        hashes, size = request.block_hashes, self.block_size
        for i in range(len(hashes), num_blocks):
            parent = hashes[-1] if hashes else ROOT
            hashes.append(block_hash(parent, request.token_ids[i * size : (i + 1) * size]))
        return hashes[:num_blocks]

    # -- carrying a plan out ----------------------------------------------------------------------------

    def attach(self, request: Request, shared: Shared) -> None:
        """Admission, first half: hold what is shared, so that nobody can evict it. (See also ``borrow``.)"""
        hit = shared.num_tokens - len(shared.due) * self.block_size
        for block in shared.blocks:
            self.pool.share(block)
        request.block_table = list(shared.blocks)
        request.num_computed_tokens += hit
        if request.admitted_time is None:
            request.num_cached_tokens = shared.num_tokens
        request.num_published = hit // self.block_size
        request.span = self.reservation(request)

    def borrow(self, request: Request, due: Sequence[Due]) -> None:
        """Hold the blocks that others fill in this step, once they have their names."""
        for lender, i in due:
            block = lender.block_table[i]
            self.pool.share(block)
            request.block_table.append(block)
        request.num_computed_tokens += len(due) * self.block_size

    def grow(self, request: Request, n: int, moves: Moves) -> tuple[int, int] | None:
        """Name the blocks for ``n`` more tokens; copy a shared block that is about to be written: (old, new)
        of the copy.
        """
        table, start = request.block_table, request.pad + request.num_computed_tokens
        missing = -(-max(start + n, request.span) // self.block_size) - len(table)
        first, copied = start // self.block_size, None
        if first < len(table) and self.pool.refs[table[first]] > 1:
            copied = table[first], self.pool.take()
            moves.copy.append(copied)
            self.pool.release([table[first]])
            table[first] = copied[1]
        elif first < len(table):
            # taken over from a sibling that went, known for what that one wrote
            self.pool.forget(table[first])
        for _ in range(missing):
            table.append(self.pool.take())
        if request.host_blocks:  # swapped out before: the old content comes back first
            moves.swap_in.extend(zip(request.host_blocks, table, strict=False))
            self.free_host_blocks.extend(request.host_blocks)
            request.host_blocks = []
        return copied

    def publish(self, request: Request) -> None:
        """Blocks that are full by now are open to later prompts; padded rows, not aligned, are not."""
        if not self.enable_prefix_caching or request.pad:
            return
        full = request.num_computed_tokens // self.block_size
        keys = self.hashes(request, full)
        for i in range(request.num_published, full):
            self.pool.publish(request.block_table[i], keys[i])
        request.num_published = full

    def release(self, request: Request) -> None:
        """The request lets go of everything, on the device and on the host."""
        self.pool.release(request.block_table)
        self.free_host_blocks.extend(request.host_blocks)
        request.block_table, request.host_blocks = [], []
        request.num_computed_tokens = request.num_published = request.pad = request.span = 0

    def forget_prefixes(self) -> None:
        """No later prompt will hit what the cache holds now: a cold start."""
        for block in list(self.pool.by_hash.values()):
            self.pool.forget(block)

    def swap_out(self, request: Request, moves: Moves) -> bool:
        """Move a victim's KV to host memory and keep its progress; False if the host has no room for it."""
        used = -(-request.num_computed_tokens // self.block_size)
        if request.pad or not used or used > len(self.free_host_blocks):
            return False
        request.host_blocks = [self.free_host_blocks.pop() for _ in range(used)]
        moves.swap_out.extend(zip(request.block_table, request.host_blocks, strict=False))
        self.pool.release(request.block_table)
        request.block_table, request.span = [], 0
        return True

    def check_invariants(self, requests: Iterable[Request], under_way: Collection[Request] = ()) -> None:
        """Raises AssertionError if a block is lost, or shared where it would be written.

        under_way: whose step is in flight. They may share what they write in it, with others of the same
        step.
        """
        requests = list(requests)
        self.pool.check_invariants([r.block_table for r in requests])
        for r in requests:
            end, slots = r.pad + r.num_computed_tokens, len(r.block_table) * self.block_size
            if r.num_computed_tokens > r.num_tokens:
                raise AssertionError(f"{r} has computed more tokens than it has")
            if end > slots and not r.host_blocks:
                raise AssertionError(f"{r} has computed past its blocks")
            shared = [b for b in r.block_table[end // self.block_size :] if self.pool.refs[b] != 1]
            if shared and r not in under_way:
                raise AssertionError(f"{r.request_id} would write block {shared[0]}, which is shared")
