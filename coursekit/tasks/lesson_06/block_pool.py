"""A block pool with copy-on-write, judged by its block tables after every operation."""

from ...judging.operations import driver, scene, well_formed
from ...task import Case, Finding, Task

ARGUMENTS = {"allocate": 2, "fork": 3, "free": 1}
COUNT_RULE = "num_free() is the number of blocks that stand in no table"
GROW_RULE = "a request holds as many blocks as its tokens need, and no more"
KEEP_RULE = "what is written stays where it is: an operation changes the table of its own request only"
COW_RULE = "who writes into a block that several tables hold gets a copy first, and allocate returns [(old, new)]"
ROOM_RULE = "when the blocks do not suffice, allocate raises MemoryError and changes nothing"
FORK_RULE = "fork takes no block: the child's table names the parent's blocks of the first num_tokens tokens"


def judge_pool(args, log):
    """The first operation after which the tables are not what they must be."""
    (num_blocks, size), _ = args
    pool = Watched(num_blocks, size)
    for entry in log:
        finding = pool.look_at(entry)
        if finding:
            return finding
    return None


class Watched:
    """What the judge knows: how many tokens each request has, and the tables as they were reported last."""

    def __init__(self, num_blocks, size):
        self.num_blocks, self.size = num_blocks, size
        self.written, self.tables, self.num_free = {}, {}, num_blocks
        self.beyond, self.forked = {}, set()  # parent's tokens that a fork left out, by child; blocks that were shared once

    def look_at(self, entry):
        self.entry = entry
        self.now = {name: list(table) for name, table in entry["tables"].items() if table}
        name, *rest = entry["op"]
        finding = self.strange_ids() or (name != "new" and getattr(self, "after_" + name)(*rest)) or self.miscounted()
        self.tables, self.num_free = self.now, entry["num_free"]
        return finding or None

    def wrong(self, rule, cause, slip, expected):
        name, *rest = self.entry["op"]
        call = f"{name}({', '.join(map(repr, rest))})"
        got = {"tables": self.now, "num_free": self.entry["num_free"]}
        got |= {key: self.entry[key] for key in ("value", "raised") if self.entry.get(key) is not None}
        return Finding(rule, f"after {call}: {cause}", slip, expected, got)

    def holders(self, block, tables):
        return [name for name, table in tables.items() if block in table]

    # -- each operation -----------------------------------------------------------------------------------------------

    def after_allocate(self, name, n):
        old, start = self.tables.get(name, []), self.written.get(name, 0)
        first, end = start // self.size, start + n
        shared = first < len(old) and len(self.holders(old[first], self.tables)) > 1
        need = -(-end // self.size) - len(old) + shared
        if "raised" in self.entry or need > self.num_free:
            return self.refused(need)
        self.written[name] = end
        return (
            self.wrong_size(name, start, end)
            or self.written_in_place(name, first, old, shared)
            or self.others_changed(name)
            or self.taken_twice(name)
            or self.wrong_copies(name, first, old, shared)
        )

    def refused(self, need):
        """It raised, or should have."""
        raised, text = self.entry.get("raised"), self.entry.get("text", "")
        if need <= self.num_free:
            cause = f"it raised {raised} ({text}), though there is room: needed {need}, free {self.num_free}"
            rule = ROOM_RULE if raised == "MemoryError" else GROW_RULE  # another error is a slip, not a refusal
            return self.wrong(rule, cause, "refuses too early", "no exception")
        if raised is None:
            cause = f"there is too little room (needed {need}, free {self.num_free}), yet nothing was raised"
            return self.wrong(ROOM_RULE, cause, "no MemoryError", "MemoryError")
        if raised != "MemoryError":
            cause = f"too few blocks are told by a MemoryError, so that a scheduler can catch it; this was {raised} ({text})"
            return self.wrong(ROOM_RULE, cause, "other exception", "MemoryError")
        if self.now != self.tables or self.entry["num_free"] != self.num_free:
            cause = "the refused call has taken blocks all the same, and nobody will use them: count before you take"
            return self.wrong(ROOM_RULE, cause, "refusal changes things", {"tables": self.tables, "num_free": self.num_free})
        return None

    def wrong_size(self, name, start, end):
        held, need = len(self.now.get(name, [])), -(-end // self.size)
        expected = {f"blocks of {name}": need}
        if held < need:
            cause = f"{name} has {end} tokens and slots for {held * self.size}: its last tokens have no block"
            return self.wrong(GROW_RULE, cause, "too few blocks", expected)
        if held == need:
            return None
        beyond = self.beyond.get(name, 0)
        if beyond and held == -(-(end + beyond) // self.size):
            cause = (
                f"{name} has {end} tokens, but blocks for {end + beyond}: a fork begins with num_tokens, not all of the parent's"
            )
            return self.wrong(GROW_RULE, cause, "parent's length", expected)
        if end % self.size == 0 and held == need + 1:
            cause = "you take the next block when the last one is full. Nobody needs it before the next token comes"
            return self.wrong(GROW_RULE, cause, "a block too early", expected)
        if start % self.size:
            cause = "the last block still had empty slots: you begin a new block with every call"
            return self.wrong(GROW_RULE, cause, "new block each call", expected)
        return self.wrong(GROW_RULE, f"{name} holds more blocks than its {end} tokens need", "too many blocks", expected)

    def written_in_place(self, name, first, old, shared):
        now, kept = self.now[name][: len(old)], old[:first]
        if shared and now[first] == old[first]:
            others = [who for who in self.holders(old[first], self.tables) if who != name]
            cause = f"{name} writes into block {old[first]}, which {' and '.join(others)} still reads: copy it first"
            return self.wrong(COW_RULE, cause, "shared block written", "another block in its place")
        if now == old or shared and now[:first] == kept:
            return None
        if now[:first] == kept:
            cause = f"{name} alone holds block {old[first]}: copying it is wasted work"
            if old[first] in self.forked:
                cause += ". It was shared before: whoever leaves a block, by a copy too, makes one holder less"
            return self.wrong(COW_RULE, cause, "needless copy", {name: old})
        cause = f"blocks that {name} had filled are no longer in their places: its keys would be lost"
        return self.wrong(KEEP_RULE, cause, "table rewritten", {f"{name} begins with": kept})

    def others_changed(self, name):
        for who, table in self.tables.items():
            if who == name or self.now.get(who) == table:
                continue
            cause = f"the table of {who} has changed too. Do both hold one and the same list? A fork needs a list of its own"
            return self.wrong(KEEP_RULE, cause, "other table changed", {who: table})
        strangers = set(self.now) - set(self.tables) - {name}
        if strangers:
            return self.wrong(KEEP_RULE, f"a table appeared for {min(strangers)}", "other table changed", self.tables)
        return None

    def taken_twice(self, name):
        fresh = set(self.now[name]) - set(self.tables.get(name, []))
        taken = [block for block in fresh if self.holders(block, self.tables)]
        if taken:
            owner = self.holders(taken[0], self.tables)[0]
            cause = f"block {taken[0]} was given to {name}, but {owner} still holds it: it was not free"
            return self.wrong(KEEP_RULE, cause, "block given twice", "a free block")
        return None

    def wrong_copies(self, name, first, old, shared):
        value = self.entry.get("value")
        want = [[old[first], self.now[name][first]]] if shared else []
        if value == want:
            return None
        if value is None:
            cause = "allocate returned None: it returns the list of copies, and [] when nothing has to be copied"
            return self.wrong(COW_RULE, cause, "returns None", {"value": want})
        if shared and value == [want[0][::-1]]:
            cause = "the pair is the wrong way round: (old, new), copy from the first to the second"
            return self.wrong(COW_RULE, cause, "pair reversed", {"value": want})
        if shared and value == []:
            cause = "the table names a new block, but nobody is told to copy: the tokens shared so far would be lost"
            return self.wrong(COW_RULE, cause, "copy not told", {"value": want})
        return self.wrong(COW_RULE, "the list of copies is another one", "other copies", {"value": want})

    def after_fork(self, parent, child, num_tokens):
        if "raised" in self.entry:
            cause = f"it raised {self.entry['raised']} ({self.entry['text']}), though a fork needs no free block"
            return self.wrong(FORK_RULE, cause, "fork raises", "no exception")
        whole, need = self.tables[parent], -(-num_tokens // self.size)
        got, expected = self.now.get(child, []), {child: whole[:need]}
        self.beyond[child], self.written[child] = self.written[parent] - num_tokens, num_tokens
        self.forked |= set(got)
        if got == whole[:need]:
            return self.others_changed(child)
        if got == whole[: num_tokens // self.size]:
            cause = "the last block of the prompt is missing: share it too, although it is not full"
            return self.wrong(FORK_RULE, cause, "tail not shared", expected)
        if not set(got) & set(whole):
            cause = "the child holds blocks of its own: that is a copy of everything, where a fork shares"
            return self.wrong(FORK_RULE, cause, "fork copies", expected)
        if got[:need] == whole[:need]:
            cause = f"the child shares more blocks than hold the first {num_tokens} tokens"
            return self.wrong(FORK_RULE, cause, "shares too much", expected)
        cause = "the child's table does not name the parent's blocks in their order"
        return self.wrong(FORK_RULE, cause, "other blocks", expected)

    def after_free(self, name):
        if "raised" in self.entry:
            cause = f"it raised {self.entry['raised']} ({self.entry['text']})"
            return self.wrong(KEEP_RULE, cause, "free raises", "no exception")
        del self.written[name]
        self.beyond.pop(name, None)
        if name in self.now:
            cause = f"{name} is done, but tables() still shows blocks for it"
            return self.wrong(KEEP_RULE, cause, "table stays", "no table for it")
        return self.others_changed(name)

    # -- after every operation ------------------------------------------------------------------------------------------

    def strange_ids(self):
        for name, table in self.now.items():
            if any(type(block) is not int or not 0 <= block < self.num_blocks for block in table):
                cause = f"the table of {name} holds something that is no block: blocks are 0 to {self.num_blocks - 1}"
                return self.wrong(KEEP_RULE, cause, "no such block", "block numbers")
            if len(set(table)) < len(table):
                cause = f"a block stands twice in the table of {name}: its tokens would overwrite each other"
                return self.wrong(KEEP_RULE, cause, "block twice in a table", "different blocks")
        return None

    def miscounted(self):
        held = {block for table in self.now.values() for block in table}
        free, got = self.num_blocks - len(held), self.entry["num_free"]
        if got == free:
            return None
        expected = {"num_free": free}
        if got < free:
            cause = f"blocks that stand in no table are not free either: they have leaked ({free - got} so far)"
            return self.wrong(COUNT_RULE, cause, "leak", expected)
        several = [block for block in held if len(self.holders(block, self.tables)) > 1]
        if several and self.entry["op"][0] == "free":
            cause = f"block {several[0]} counts as free, but another request still holds it: count the holders"
            return self.wrong(COUNT_RULE, cause, "shared block freed", expected)
        return self.wrong(COUNT_RULE, "num_free() counts blocks that somebody holds", "counts too many", expected)


def fair(args):
    """Names are used in order, and it is plain from the lengths alone which allocations have to be refused.

    Without a fork the tokens say how many blocks are held. With one, there must be room even if nothing were shared.
    """
    (num_blocks, size), operations = args
    if not (num_blocks >= 1 and size >= 1 and operations and well_formed(operations, ARGUMENTS)):
        return False
    lengths, forked = {}, False
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
        elif forked:
            return False
    return True


def most_blocks(lengths, size):
    return sum(-(-n // size) for n in lengths.values())


def generate_pool(rng, size):
    """Random operations on up to four requests; some pools are too small for them, those without forks."""
    while True:
        block, forks = rng.randint(1, 4), rng.random() < 0.7
        operations = some_operations(rng, 2 + 2 * size, forks)
        args = [rng.randint(2, 12) if forks else rng.randint(1, 5), block], operations
        if fair(args):
            return args


def some_operations(rng, count, forks):
    operations, lengths = [], {}
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
            operations.append(["allocate", name, rng.randint(1, 4)])
            lengths[name] = lengths.get(name, 0) + operations[-1][2]
    return operations


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
        Case(([5, 2], [["allocate", "a", 6], ["fork", "a", "b", 2], ["allocate", "b", 1], ["free", "b"]]), None),
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
