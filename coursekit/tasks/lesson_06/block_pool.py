"""A block pool with copy-on-write, judged by its block tables after every operation."""

import random
from collections.abc import Callable
from typing import Any

from ...judging.operations import Operation, answered, driver, scene, well_formed
from ...task import Args, Case, Finding, Task, likeliest
from .pool_allocate import Allocation, judge_allocation
from .pool_change import KEEP_RULE, Change, Tables, miscounted, others_changed, strange_ids

ARGUMENTS = {"allocate": 2, "fork": 3, "free": 1}
FORK_RULE = "fork takes no block: the child's table names the parent's blocks of the first num_tokens tokens"


def judge_pool(args: Args, log: list[dict[str, Any]]) -> Finding | None:
    """The first operation after which the tables are not what they must be."""
    (num_blocks, size), operations = args
    pool = Watched(num_blocks, size)
    for entry in answered([["new", num_blocks, size], *operations], log):
        finding = pool.look_at(entry)
        if finding:
            return finding
    return None


class Watched:
    """What the judge knows: how many tokens each request has, and the tables as they were reported last."""

    def __init__(self, num_blocks: int, size: int) -> None:
        self.num_blocks, self.size = num_blocks, size
        self.written: dict[str, int] = {}
        self.tables: Tables = {}
        self.num_free = num_blocks
        self.beyond: dict[str, int] = {}  # parent's tokens that a fork left out, by child
        self.forked: set[int] = set()  # blocks that were shared once
        self.freed: dict[str, int] = {}  # tokens of requests that were freed

    def look_at(self, entry: dict[str, Any]) -> Finding | None:
        if not isinstance(entry["tables"], dict):
            cause = "tables() gives something else than a dict: the name of each request, and the list of its blocks"
            return Finding(KEEP_RULE, cause, "no dict of tables", {"tables": self.tables}, {"tables": entry["tables"]})
        now = {name: list(table) for name, table in entry["tables"].items() if table}
        change = Change(entry, self.num_blocks, self.size, self.tables, now, self.num_free)
        finding = strange_ids(change) or self.after(change) or miscounted(change)
        self.tables, self.num_free = now, change.num_free
        return finding

    def after(self, change: Change) -> Finding | None:
        name, *rest = change.entry["op"]
        looks: dict[str, Callable[..., Finding | None]]
        looks = {"allocate": self.after_allocate, "fork": self.after_fork, "free": self.after_free}
        return looks[name](change, *rest) if name in looks else None  # else it is the new pool

    def after_allocate(self, change: Change, name: str, n: int) -> Finding | None:
        start = self.written.get(name, 0)
        freed = self.freed.get(name, 0)
        call = Allocation(change, name, start, start + n, self.beyond.get(name, 0), frozenset(self.forked), freed)
        if not call.refused:
            self.written[name] = call.end
        return judge_allocation(call)

    def after_fork(self, change: Change, parent: str, child: str, num_tokens: int) -> Finding | None:
        self.beyond[child], self.written[child] = self.written[parent] - num_tokens, num_tokens
        self.forked |= set(change.now.get(child, []))
        return judge_fork(change, parent, child, num_tokens)

    def after_free(self, change: Change, name: str) -> Finding | None:
        self.freed[name] = self.written.pop(name)
        self.beyond.pop(name, None)
        return judge_free(change, name)


def judge_fork(change: Change, parent: str, child: str, num_tokens: int) -> Finding | None:
    """The child's table is the beginning of its parent's, and nothing else has changed."""
    if change.raised:
        cause = f"it raised {change.raised} ({change.entry['text']}), though a fork needs no free block"
        return change.wrong(FORK_RULE, cause, "fork raises", {"raised": "nothing"})
    whole, need, got = change.before[parent], change.blocks_for(num_tokens), change.now.get(child, [])
    expected = {child: whole[:need]}
    if got == whole[:need]:
        return others_changed(change, child)
    if got == whole[: num_tokens // change.size]:
        cause = "the last block of the prompt is missing: share it too, although it is not full"
        return change.wrong(FORK_RULE, cause, "tail not shared", expected)
    made = []
    if len(got) == need and got[:-1] == whole[: need - 1]:
        cause = "the last block of the child is one of its own: share it too, it is copied when somebody writes into it"
        made.append((cause, "copies too early"))
    if not set(got) & set(whole):
        cause = "the child holds blocks of its own: that is a copy of everything, where a fork shares"
        made.insert(0, (cause, "fork copies"))
    if made:
        return likeliest(lambda cause, slip: change.wrong(FORK_RULE, cause, slip, expected), made)
    if got[:need] == whole[:need]:
        cause = f"the child shares more blocks than hold the first {num_tokens} tokens"
        return change.wrong(FORK_RULE, cause, "shares too much", expected)
    cause = "the child's table does not name the parent's blocks in their order"
    return change.wrong(FORK_RULE, cause, "other blocks", expected)


def judge_free(change: Change, name: str) -> Finding | None:
    """The table is gone, and nobody else's has changed."""
    if change.raised:
        cause = f"it raised {change.raised} ({change.entry['text']})"
        return change.wrong(KEEP_RULE, cause, "free raises", {"raised": "nothing"})
    if name in change.now:
        cause = f"{name} is done, but tables() still shows blocks for it"
        return change.wrong(KEEP_RULE, cause, "table stays", {name: []})
    return others_changed(change, name)


def fair(args: Args) -> bool:
    """Names are used in order, and it is plain from the lengths alone which allocations have to be refused.

    Without a fork the tokens say how many blocks are held. With one, there must be room even if nothing were shared.
    """
    (num_blocks, size), operations = args
    if not (num_blocks >= 1 and size >= 1 and operations and well_formed(operations, ARGUMENTS)):
        return False
    lengths: dict[str, int] = {}
    forked = False
    for op, name, *rest in operations:
        after = dict(lengths)
        if op == "allocate":
            after[name] = after.get(name, 0) + rest[0]
            possible = rest[0] >= 1
        elif op == "fork":
            child, n = rest
            possible = name in lengths and child not in lengths and 1 <= n <= lengths[name]
            after[child], forked = n, True
        else:
            possible = name in lengths
            after.pop(name, None)
        if not possible:
            return False
        if most_blocks(after, size) <= num_blocks:
            lengths = after
        elif forked and op == "allocate" and -(-after[name] // size) > num_blocks:
            continue  # more than the whole pool for one request: to be refused whatever is shared
        elif forked:
            return False
    return True


def most_blocks(lengths: dict[str, int], size: int) -> int:
    return sum(-(-n // size) for n in lengths.values())


def generate_pool(rng: random.Random, size: int) -> tuple:
    """Random operations on up to four requests; some pools are too small for them, those without forks."""
    while True:
        block, forks = rng.randint(1, 4), rng.random() < 0.7
        operations = some_operations(rng, 2 + 2 * size, forks)
        args = [rng.randint(2, 12) if forks else rng.randint(1, 5), block], operations
        if fair(args):
            return args


def some_operations(rng: random.Random, count: int, forks: bool) -> list[Operation]:
    operations: list[Operation] = []
    lengths: dict[str, int] = {}
    for _ in range(count):
        kind, names = rng.random(), sorted(lengths)
        fresh = [name for name in "abcd" if name not in lengths]
        if names and kind < 0.2:
            name = rng.choice(names)
            operations.append(["free", name])
            del lengths[name]
        elif forks and names and fresh and kind < 0.5:
            parent, child = rng.choice(names), fresh[0]
            lengths[child] = rng.randint(1, lengths[parent])
            operations.append(["fork", parent, child, lengths[child]])
        else:
            name = rng.choice(names + fresh[:1])
            huge = forks and rng.random() < 0.1  # more than any of these pools holds
            operations.append(["allocate", name, 99 if huge else rng.randint(1, 4)])
            lengths[name] = lengths.get(name, 0) + operations[-1][2] * (not huge)
            if not lengths[name]:
                del lengths[name]
    return operations


FAMILY = [["fork", "a", "b", 1], ["fork", "a", "c", 1]]  # three hold one block: the first two copies leave it to the last

TASK = Task(
    id="06.2",
    name="BlockPool",
    title="A block pool with copy-on-write",
    points=50,
    returns="a class; allocate returns a list of pairs, tables() a dict of lists, num_free() a number",
    cases=(
        Case(([2, 4], [["allocate", "a", 3]]), None),
        Case(([2, 4], [["allocate", "a", 4], ["allocate", "a", 1]]), None),
        Case(([2, 4], [["allocate", "a", 3], ["allocate", "a", 1], ["free", "a"], ["allocate", "b", 8]]), None),
        Case(([2, 2], [["allocate", "a", 3], ["allocate", "b", 1], ["free", "a"], ["allocate", "b", 1]]), None),
        Case(([2, 2], [["allocate", "a", 1], ["allocate", "b", 5], ["allocate", "b", 2]]), None),
        Case(([4, 4], [["allocate", "a", 6], ["fork", "a", "b", 6], ["allocate", "b", 1], ["allocate", "a", 1]]), None),
        Case(([4, 4], [["allocate", "a", 6], ["fork", "a", "b", 5], ["free", "a"], ["allocate", "b", 1], ["free", "b"]]), None),
        Case(([3, 4], [["allocate", "a", 1], *FAMILY, ["allocate", "b", 1], ["allocate", "a", 1], ["allocate", "c", 1]]), None),
        Case(([5, 2], [["allocate", "a", 6], ["fork", "a", "b", 2], ["allocate", "b", 1], ["free", "b"]]), None),
        Case(([3, 4], [["allocate", "a", 6], ["fork", "a", "b", 6], ["allocate", "b", 99]]), None),
        Case(([1, 4], [["allocate", "a", 2], ["fork", "a", "b", 2], ["allocate", "b", 1], ["free", "a"]]), None),
    ),
    judge=judge_pool,
    generate=generate_pool,
    valid=fair,
    exact=False,
    drive=driver(watch=("num_free", "tables")),
    scene=scene("BlockPool"),
    hints=(
        "Three things are enough to remember: which blocks are free, how many tables hold each block, and for each request "
        "its table and its number of tokens. Play allocate('a', 6), fork('a', 'b', 6), allocate('b', 1) on paper, blocks of 4.",
        "A request of n tokens holds n / block_size blocks, rounded up. The next token is written at position n. Only the block "
        "of that position can need a copy, and only if it is in the table already and more than one table holds it. Count all "
        "blocks that a call needs before you take the first.",
        "allocate(name, n):\n"
        "    first = the index of the block that the next token falls into\n"
        "    copy  = that block exists already, and others hold it too\n"
        "    new   = blocks for (tokens so far + n), rounded up, less the blocks it has\n"
        "    too few free for new + copy?  MemoryError\n"
        "    copy: one holder less for the old block, a free block takes its place, remember the pair\n"
        "    append new free blocks\n"
        "fork: the same block numbers in a list of its own, one holder more for each\n"
        "free: one holder less for each; a block without holders is free again",
    ),
)
