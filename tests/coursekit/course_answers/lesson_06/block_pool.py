"""Answers to task 06.2, ``BlockPool``: wrong ones with the words of their diagnoses, and right ones."""

import itertools
import math
from collections import Counter


class Pool:
    """A right pool, made of small methods, to be spoilt one at a time."""

    def __init__(self, num_blocks, block_size):
        self.size, self.unused = block_size, list(range(num_blocks))
        self.holders, self.rows, self.lengths = Counter(), {}, {}

    def num_free(self):
        return len(self.unused)

    def tables(self):
        return self.rows

    def take(self):
        block = self.unused.pop()
        self.holders[block] = 1
        return block

    def missing(self, name, n):
        return math.ceil((self.lengths.get(name, 0) + n) / self.size) - len(self.rows.get(name, []))

    def to_copy(self, name):
        row, first = self.rows.get(name, []), self.lengths.get(name, 0) // self.size
        return first < len(row) and self.holders[row[first]] > 1

    def check_room(self, name, n):
        if self.missing(name, n) + self.to_copy(name) > len(self.unused):
            raise MemoryError("too few blocks")

    def pair(self, old, new):
        return (old, new)

    def allocate(self, name, n):
        self.check_room(name, n)
        copies, missing = [], self.missing(name, n)
        if self.to_copy(name):
            row, first = self.rows[name], self.lengths[name] // self.size
            old, row[first] = row[first], self.take()
            self.holders[old] -= 1
            copies = [self.pair(old, row[first])]
        self.rows.setdefault(name, []).extend(self.take() for _ in range(missing))
        self.lengths[name] = self.lengths.get(name, 0) + n
        return copies

    def part(self, row, num_tokens):
        return row[: math.ceil(num_tokens / self.size)]

    def fork(self, parent, child, num_tokens):
        self.rows[child], self.lengths[child] = self.part(self.rows[parent], num_tokens), num_tokens
        self.holders.update(self.rows[child])

    def free(self, name):
        del self.lengths[name]
        self.let_go(self.rows.pop(name))

    def let_go(self, row):
        for block in row:
            self.holders[block] -= 1
            if not self.holders[block]:
                self.unused.append(block)


class FreesShared(Pool):
    def let_go(self, row):
        self.unused += [block for block in row if block not in self.unused]


class Leaks(Pool):
    """The last block, often not full, never comes back."""

    def let_go(self, row):
        super().let_go(row[:-1])


class WritesShared(Pool):
    def to_copy(self, name):
        return False


class ForkCopies(Pool):
    def fork(self, parent, child, num_tokens):
        self.allocate(child, num_tokens)


class TooEarly(Pool):
    def missing(self, name, n):
        return (self.lengths.get(name, 0) + n) // self.size + 1 - len(self.rows.get(name, []))


class EachCall(Pool):
    def missing(self, name, n):
        return math.ceil(n / self.size)


class RefusesHalfway(Pool):
    """Takes blocks until there are none, then raises."""

    def check_room(self, name, n):
        missing = self.missing(name, n)
        if missing > len(self.unused):
            while self.unused:
                self.take()
            raise MemoryError


class SameList(Pool):
    def part(self, row, num_tokens):
        return row if math.ceil(num_tokens / self.size) == len(row) else super().part(row, num_tokens)


class SharesAll(Pool):
    def part(self, row, num_tokens):
        return list(row)


class SharesFull(Pool):
    def part(self, row, num_tokens):
        return row[: num_tokens // self.size]


class CopiesAlways(Pool):
    def to_copy(self, name):
        return self.lengths.get(name, 0) // self.size < len(self.rows.get(name, [])) and bool(self.unused)


class TellsNothing(Pool):
    def allocate(self, name, n):
        super().allocate(name, n)


class TellsEmpty(Pool):
    def allocate(self, name, n):
        super().allocate(name, n)
        return []


class Reversed(Pool):
    def pair(self, old, new):
        return (new, old)


class OtherError(Pool):
    """Finds out by popping from an empty list."""

    def check_room(self, name, n):
        pass


class ReturnsFalse(Pool):
    def allocate(self, name, n):
        try:
            return super().allocate(name, n)
        except MemoryError:
            return False


class KeepsTable(Pool):
    def free(self, name):
        del self.lengths[name]
        self.let_go(self.rows[name])


class CountsAll(Pool):
    def num_free(self):
        return len(self.unused) + len(self.rows)


class NoTail(Pool):
    """Rounds down: the tokens of the last block have no room."""

    def missing(self, name, n):
        return max(0, (self.lengths.get(name, 0) + n) // self.size - len(self.rows.get(name, [])))


class ParentsLength(Pool):
    def fork(self, parent, child, num_tokens):
        super().fork(parent, child, num_tokens)
        self.lengths[child] = self.lengths[parent]


class KeepsHolder(Pool):
    """A copy does not let go of the old block."""

    def allocate(self, name, n):
        pairs = super().allocate(name, n)
        self.holders.update(old for old, _ in pairs)
        return pairs


class ByOwners:
    """Right, another way: for each block the set of its owners, and nothing else is counted."""

    def __init__(self, num_blocks, block_size):
        self.owners = [set() for _ in range(num_blocks)]
        self.block_size, self.requests = block_size, {}

    def spare(self):
        return [block for block, owners in enumerate(self.owners) if not owners]

    def num_free(self):
        return len(self.spare())

    def tables(self):
        return {name: tuple(table) for name, (table, _) in self.requests.items()}

    def allocate(self, name, n):
        table, tokens = self.requests.get(name, ([], 0))
        wanted, copies = [], []
        for position in range(tokens, tokens + n):
            index = position // self.block_size
            if index >= len(table) or len(self.owners[table[index]]) > 1:
                wanted.append(index)
        wanted, spare = sorted(set(wanted)), self.spare()[::-1]
        if len(wanted) > len(spare):
            raise MemoryError
        table = list(table)
        for index, block in zip(wanted, spare):
            if index < len(table):
                copies.append([table[index], block])
                self.owners[table[index]].remove(name)
                table[index] = block
            else:
                table.append(block)
            self.owners[block].add(name)
        self.requests[name] = table, tokens + n
        return copies

    def fork(self, parent, child, num_tokens):
        table = self.requests[parent][0][: (num_tokens + self.block_size - 1) // self.block_size]
        self.requests[child] = table, num_tokens
        for block in table:
            self.owners[block].add(child)

    def free(self, name):
        self.requests.pop(name)
        for owners in self.owners:
            owners.discard(name)


class RefusedCopies(Pool):
    """Makes the copy, and looks only then whether there is room for the rest."""

    def allocate(self, name, n):
        if self.to_copy(name) and self.unused and self.missing(name, n) + 1 > len(self.unused):
            row, first = self.rows[name], self.lengths[name] // self.size
            self.holders[row[first]] -= 1
            row[first] = self.take()
        return super().allocate(name, n)


class OutOfBlocks(MemoryError):
    """No free block."""


class OwnError(Pool):
    def check_room(self, name, n):
        if self.missing(name, n) + self.to_copy(name) > len(self.unused):
            raise OutOfBlocks(name)


class TotalNotMore(Pool):
    """Takes n for the new length."""

    def missing(self, name, n):
        return max(0, math.ceil(n / self.size) - len(self.rows.get(name, [])))


class WholeTables(Pool):
    """Copies every shared block of the table, not only the one that is written."""

    def allocate(self, name, n):
        pairs, row = [], self.rows.get(name, [])
        for i, block in enumerate(row):
            if self.holders[block] > 1 and self.unused:
                row[i] = self.take()
                self.holders[block] -= 1
                pairs.append((block, row[i]))
        return pairs + super().allocate(name, n)


class OneBlockMore(Pool):
    """One block for itself from the beginning."""

    def missing(self, name, n):
        return super().missing(name, n) + (name not in self.rows)


class Turns(Pool):
    """Counts round and round, without a look at who holds a block."""

    def __init__(self, num_blocks, block_size):
        super().__init__(num_blocks, block_size)
        self.turn = itertools.cycle(range(num_blocks))

    def take(self):
        self.unused.pop()
        block = next(self.turn)
        self.holders[block] = 1
        return block


class NumbersFromOne(Pool):
    def __init__(self, num_blocks, block_size):
        super().__init__(num_blocks, block_size)
        self.unused = [block + 1 for block in self.unused]


class TellsNumbers(Pool):
    def allocate(self, name, n):
        super().allocate(name, n)
        return list(self.rows[name])


class TellsOnlyNew(Pool):
    def allocate(self, name, n):
        return [new for _, new in super().allocate(name, n)]


class ForkReturnsNew(Pool):
    """Takes a block of its own for the last, not full one at once."""

    def fork(self, parent, child, num_tokens):
        super().fork(parent, child, num_tokens)
        row = self.rows[child]
        if num_tokens % self.size and self.unused:
            self.holders[row[-1]] -= 1
            row[-1] = self.take()


class ForkRefuses(Pool):
    def fork(self, parent, child, num_tokens):
        if len(self.rows[parent]) > len(self.unused):
            raise MemoryError("too few blocks for a child")
        super().fork(parent, child, num_tokens)


class MovesTheParent(Pool):
    def fork(self, parent, child, num_tokens):
        super().fork(parent, child, num_tokens)
        self.rows[child], self.rows[parent] = self.rows[child], list(self.rows[parent])[::-1]


class FreesTheFamily(Pool):
    """Frees the blocks for everybody who holds them."""

    def free(self, name):
        row = self.rows.pop(name)
        del self.lengths[name]
        for other in self.rows:
            self.rows[other] = [block for block in self.rows[other] if block not in row]
        self.holders = Counter(block for table in self.rows.values() for block in table)
        self.unused = [b for b in range(len(self.unused) + 99) if b in {*self.unused, *row} and not self.holders[b]]


class FreeTwice(Pool):
    def free(self, name):
        del self.lengths[name]
        self.let_go(self.rows.pop(name))
        self.let_go(self.rows[name])


class RefusesLastBlock(Pool):
    """Keeps one block for a rainy day."""

    def check_room(self, name, n):
        if self.missing(name, n) + self.to_copy(name) >= len(self.unused) + (not self.rows):
            raise MemoryError("too few blocks")


class RewritesTables(Pool):
    """Sorts the blocks of a table."""

    def allocate(self, name, n):
        copies = super().allocate(name, n)
        self.rows[name].sort()
        return copies


class NoTables:
    """Nothing but a number so far."""

    def __init__(self, num_blocks, block_size):
        self.num_free = lambda: num_blocks


class ByRecords:
    """Right, another way: a free list as a stack, a record for each request, counts in a list."""

    def __init__(self, num_blocks, block_size):
        self.stack, self.count, self.slots = list(reversed(range(num_blocks))), [0] * num_blocks, block_size
        self.records = {}

    def num_free(self):
        return self.count.count(0)

    def tables(self):
        return {name: iter(record["blocks"]) for name, record in self.records.items()}

    def fresh(self):
        block = self.stack.pop()
        self.count[block] += 1
        return block

    def drop(self, block):
        self.count[block] -= 1
        if not self.count[block]:
            self.stack.append(block)

    def allocate(self, name, n):
        record = self.records.get(name, {"blocks": [], "tokens": 0})
        blocks, tokens = record["blocks"], record["tokens"]
        more = max(0, (tokens + n + self.slots - 1) // self.slots - len(blocks))
        shared = tokens % self.slots > 0 and self.count[blocks[tokens // self.slots]] > 1
        if len(self.stack) < more + shared:
            raise MemoryError(name)
        moved = []
        if shared:
            old = blocks[-1]
            blocks[-1] = self.fresh()
            self.drop(old)
            moved = [[old, blocks[-1]]]
        blocks.extend(self.fresh() for _ in range(more))
        self.records[name] = {"blocks": blocks, "tokens": tokens + n}
        return iter(moved)

    def fork(self, parent, child, num_tokens):
        blocks = [b for i, b in enumerate(self.records[parent]["blocks"]) if i * self.slots < num_tokens]
        for block in blocks:
            self.count[block] += 1
        self.records[child] = {"blocks": blocks, "tokens": num_tokens}

    def free(self, name):
        for block in self.records.pop(name)["blocks"]:
            self.drop(block)


class ByTokens:
    """Right, another way: the block of every single token is written down; all else is found out from that."""

    def __init__(self, num_blocks, block_size):
        self.blocks, self.size, self.places = range(num_blocks), block_size, {}

    def tables(self):
        return {name: list(dict.fromkeys(places)) for name, places in self.places.items()}

    def held(self, besides=None):
        return {block for name, places in self.places.items() if name != besides for block in places}

    def num_free(self):
        return len(self.blocks) - len(self.held())

    def allocate(self, name, n):
        old = self.places.get(name, [])
        new, copies = list(old), []
        spare = [block for block in self.blocks if block not in self.held()]
        try:
            if len(old) % self.size and old[-1] in self.held(besides=name):
                copies = [(old[-1], spare.pop())]
                new = [copies[0][1] if block == old[-1] else block for block in old]
            for _ in range(n):
                new.append(new[-1] if len(new) % self.size else spare.pop())
        except IndexError:
            raise MemoryError("no block is free") from None
        self.places[name] = new
        return tuple(copies)

    def fork(self, parent, child, num_tokens):
        self.places[child] = self.places[parent][:num_tokens]

    def free(self, name):
        self.places.pop(name)


class TriesFirst(Pool):
    """Right: does it on a copy of everything, and keeps the copy if it went well."""

    def check_room(self, name, n):
        if super().missing(name, n) + super().to_copy(name) > self.num_free():
            raise MemoryError

    def allocate(self, name, n):
        kept = dict(self.__dict__)
        self.unused, self.holders = list(self.unused), Counter(self.holders)
        self.rows, self.lengths = {k: list(v) for k, v in self.rows.items()}, dict(self.lengths)
        try:
            return super().allocate(name, n)
        except MemoryError:
            self.__dict__ |= kept
            raise


class LowestFirst(Pool):
    """Right: always the free block with the lowest number; tables are handed out as tuples, the longest first."""

    def take(self):
        block = min(self.unused)
        self.unused.remove(block)
        self.holders[block] = 1
        return block

    def tables(self):
        return {name: tuple(self.rows[name]) for name in sorted(self.rows, key=lambda name: -len(self.rows[name]))}


class LengthStays(Pool):
    """Forgets to forget how long a freed request was."""

    def free(self, name):
        self.let_go(self.rows.pop(name))


class ListsTables(Pool):
    def tables(self):
        return list(self.rows.values())


class OfTheClass(Pool):
    """What belongs to one pool is kept by all."""

    rows = {}
    lengths = {}

    def __init__(self, num_blocks, block_size):
        self.size, self.unused, self.holders = block_size, list(range(num_blocks)), Counter()


class PairsAsLists(Pool):
    """Right: lists of two, and tables that are copies."""

    def pair(self, old, new):
        return [old, new]

    def tables(self):
        return {name: tuple(row) for name, row in self.rows.items()}


WRONG = [
    (FreesShared, "another request still holds it"),
    (Leaks, "they have leaked"),
    (WritesShared, "still reads: copy it first"),
    (ForkCopies, "where a fork shares"),
    (TooEarly, "Nobody needs it before the next token comes"),
    (EachCall, "you begin a new block with every call"),
    (RefusesHalfway, "count before you take"),
    (SameList, "A fork needs a list of its own"),
    (SharesAll, "shares more blocks than hold"),
    (SharesFull, "share it too, although it is not full"),
    (CopiesAlways, "copying it is wasted work"),
    (KeepsHolder, "makes one holder less"),
    (ParentsLength, "not all of the parent's"),
    (TellsNothing, "allocate returned None"),
    (TellsEmpty, "nobody is told to copy"),
    (Reversed, "the wrong way round"),
    (OtherError, "told by a MemoryError"),
    (ReturnsFalse, "yet nothing was raised"),
    (KeepsTable, "still shows blocks for it"),
    (CountsAll, "counts blocks that somebody holds"),
    (NoTail, "its last tokens have no block"),
    (RefusedCopies, "has made its copy all the same"),
    (TotalNotMore, "you read n as the new total"),
    (WholeTables, "wasted work: nothing is written into"),
    (Turns, "it was not free"),
    (OneBlockMore, "holds more blocks than its"),
    (NumbersFromOne, "that is no block"),
    (TellsNumbers, "the whole table"),
    (TellsOnlyNew, "a pair for each copy"),
    (ForkReturnsNew, "the last block of the child is one of its own"),
    (ForkRefuses, "a fork needs no free block"),
    (MovesTheParent, "A fork changes nothing of its parent"),
    (FreesTheFamily, "has lost blocks"),
    (FreeTwice, "it raised KeyError"),
    (RefusesLastBlock, "though there is room"),
    (RewritesTables, "no longer in their places"),
    (NoTables, "something that the task asks for is not there"),
    (LengthStays, "you still count the"),
    (ListsTables, "something else than a dict"),
    (OfTheClass, "remembers the calls before"),
]

RIGHT = [Pool, ByOwners, OwnError, ByRecords, ByTokens, TriesFirst, LowestFirst, PairsAsLists]
