"""Answers to task 10.2, ``PrefixCache``: wrong ones with the words of their diagnoses, and right ones."""

from collections import Counter, OrderedDict


class Cache:
    """A right cache, made of small methods, to be spoilt one at a time. Blocks have numbers here."""

    def __init__(self, num_blocks, size):
        self.size = size
        self.queue = list(range(num_blocks))  # blocks that nobody uses; taken from the front
        self.name_of = {}  # block -> name
        self.block_of = {}  # name -> block
        self.users = Counter()  # block -> requests
        self.rows = {}  # request -> its blocks

    def keys(self, tokens):
        return [tuple(tokens[: i + self.size]) for i in range(0, len(tokens) - self.size + 1, self.size)]

    def most(self, tokens):
        return (len(tokens) - 1) // self.size

    def search(self, tokens):
        found = []
        for key in self.keys(tokens)[: self.most(tokens)]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        return found

    def missing(self, tokens, found):
        return -(-len(tokens) // self.size) - len(found)

    def check_room(self, tokens, found):
        if self.missing(tokens, found) > len(self.queue) - sum(block in self.queue for block in found):
            raise MemoryError("too few blocks")

    def hold(self, blocks):
        for block in blocks:
            if block in self.queue:
                self.queue.remove(block)
            self.users[block] += 1

    def pick(self):
        return self.queue.pop(0)

    def forget(self, block):
        name = self.name_of.pop(block, None)
        if name is not None:
            del self.block_of[name]

    def take(self):
        block = self.pick()
        self.forget(block)
        self.users[block] = 1
        return block

    def publish(self, key, block):
        if key not in self.block_of:
            self.block_of[key], self.name_of[block] = block, key

    def answer(self, tokens, found):
        return len(found) * self.size

    def admit(self, name, tokens):
        found = self.search(tokens)
        self.check_room(tokens, found)
        self.hold(found)
        row = found + [self.take() for _ in range(self.missing(tokens, found))]
        for key, block in zip(self.keys(tokens), row):
            self.publish(key, block)
        self.rows[name] = row
        return self.answer(tokens, found)

    def put_back(self, block):
        if block in self.name_of:
            self.queue.append(block)
        else:
            self.queue.insert(0, block)

    def in_order(self, row):
        return row[::-1]

    def let_go(self, block):
        self.users[block] -= 1
        if self.users[block] == 0:
            self.put_back(block)

    def finish(self, name):
        for block in self.in_order(self.rows.pop(name)):
            self.let_go(block)


class LastToken(Cache):
    def most(self, tokens):
        return len(tokens) // self.size


class KeepsNothing(Cache):
    def put_back(self, block):
        self.forget(block)
        super().put_back(block)


class KnownAtFinish(Cache):
    late = True

    def admit(self, name, tokens):
        self.texts, self.late = getattr(self, "texts", {}), True
        self.texts[name] = self.keys(tokens)
        return super().admit(name, tokens)

    def publish(self, key, block):
        if not self.late:
            super().publish(key, block)

    def finish(self, name):
        self.late = False
        for key, block in zip(self.texts.pop(name), self.rows[name]):
            if block not in self.name_of:
                self.publish(key, block)
        super().finish(name)


class OwnTokens(Cache):
    def keys(self, tokens):
        return [tuple(tokens[i : i + self.size]) for i in range(0, len(tokens) - self.size + 1, self.size)]


class PartOfABlock(Cache):
    def answer(self, tokens, found):
        hit = len(found) * self.size
        best = 0
        for key in self.before:
            n = 0
            while n < min(len(key), len(tokens) - 1) and key[n] == tokens[n]:
                n += 1
            best = max(best, n if n < len(key) else 0)
        return max(hit, best)

    def admit(self, name, tokens):
        self.before = [key for key in self.block_of]
        found, before = self.search(tokens), self.before
        result = super().admit(name, tokens)
        return max(result, len(found) * self.size) if before else result


class Blocks(Cache):
    def answer(self, tokens, found):
        return len(found)


class LeftToCompute(Cache):
    def answer(self, tokens, found):
        return len(tokens) - len(found) * self.size


class FreedForAll(Cache):
    def let_go(self, block):
        if block not in self.queue:
            self.users[block] = 0
            self.put_back(block)


class NeverGivenBack(Cache):
    def finish(self, name):
        del self.rows[name]


class SharedStays(Cache):
    """Shared blocks are marked, and never given back."""

    def hold(self, blocks):
        super().hold(blocks)
        self.marked = getattr(self, "marked", set()) | {b for b in blocks if self.users[b] > 1}

    def let_go(self, block):
        if block not in getattr(self, "marked", ()):
            super().let_go(block)


class NameStays(Cache):
    """The names are kept apart from the blocks, and nobody strikes one out."""

    def forget(self, block):
        self.old = getattr(self, "old", set())
        name = self.name_of.pop(block, None)
        if name is not None:
            self.old.add(name)
            del self.block_of[name]

    def search(self, tokens):
        found, old = [], getattr(self, "old", set())
        for key in self.keys(tokens)[: self.most(tokens)]:
            if key in self.block_of:
                found.append(self.block_of[key])
            elif key in old:
                found.append(None)
            else:
                break
        return found

    def check_room(self, tokens, found):
        super().check_room(tokens, found)

    def hold(self, blocks):
        super().hold([b for b in blocks if b is not None])

    def let_go(self, block):
        if block is not None:
            super().let_go(block)

    def publish(self, key, block):
        if block is not None:
            super().publish(key, block)


class HeadFirst(Cache):
    def in_order(self, row):
        return row


class FirstIn(Cache):
    """Blocks go in the order in which they were computed."""

    def publish(self, key, block):
        if key not in self.block_of:
            self.time = getattr(self, "time", 0) + 1
            self.born = getattr(self, "born", {})
            self.born[block] = self.time
        super().publish(key, block)

    def pick(self):
        bare = [b for b in self.queue if b not in self.name_of]
        block = bare[0] if bare else min(self.queue, key=lambda b: self.born[b])
        self.queue.remove(block)
        return block


class NewestFirst(Cache):
    def pick(self):
        bare = [b for b in self.queue if b not in self.name_of]
        return self.queue.pop(self.queue.index(bare[0]) if bare else -1)


class UnnamedKept(Cache):
    def put_back(self, block):
        self.queue.append(block)


class HitNotCounted(Cache):
    def check_room(self, tokens, found):
        if self.missing(tokens, []) > len(self.queue):
            raise MemoryError


class FoundEvicted(Cache):
    """Takes first and holds then."""

    def admit(self, name, tokens):
        found = self.search(tokens)
        self.check_room(tokens, found)
        names = [self.name_of[b] for b in found]
        new = [self.take() for _ in range(self.missing(tokens, found))]
        kept = [b for b, key in zip(found, names) if self.name_of.get(b) == key]
        self.hold(kept)
        for key, block in zip(self.keys(tokens)[len(found) :], new):
            self.publish(key, block)
        self.rows[name] = kept + new
        return self.answer(tokens, found)


class FoundStaysFree(Cache):
    """Whoever is found is used, and nobody takes it out of the queue."""

    def check_room(self, tokens, found):
        if self.missing(tokens, found) > len(self.queue):
            raise MemoryError("too few blocks")

    def hold(self, blocks):
        for block in blocks:
            self.users[block] += 1

    def put_back(self, block):
        if block in self.queue:
            self.queue.remove(block)
        super().put_back(block)


class RefusalHolds(Cache):
    """Holds what it found before it asks for room."""

    def admit(self, name, tokens):
        found = self.search(tokens)
        self.hold(found)
        if self.missing(tokens, found) > len(self.queue):
            raise MemoryError
        row = found + [self.take() for _ in range(self.missing(tokens, found))]
        for key, block in zip(self.keys(tokens), row):
            self.publish(key, block)
        self.rows[name] = row
        return self.answer(tokens, found)


class RefusalEvicts(Cache):
    """Takes block after block until there is none."""

    def admit(self, name, tokens):
        found = self.search(tokens)
        self.hold(found)
        new = []
        while len(new) < self.missing(tokens, found):
            if not self.queue:
                for block in new:
                    self.users[block] = 0
                    self.queue.append(block)
                for block in found[::-1]:
                    self.let_go(block)
                raise MemoryError
            new.append(self.take())
        for key, block in zip(self.keys(tokens), found + new):
            self.publish(key, block)
        self.rows[name] = found + new
        return self.answer(tokens, found)


class CopyTakesOver(Cache):
    def publish(self, key, block):
        other = self.block_of.get(key)
        if other not in (None, block):
            del self.name_of[other]
            if other in self.queue:  # nobody can find it any more
                self.queue.remove(other)
                self.queue.insert(0, other)
        self.block_of[key], self.name_of[block] = block, key


class IndexErrorInstead(Cache):
    def check_room(self, tokens, found):
        pass


class FinishForgetsTheName(Cache):
    def finish(self, name):
        for block in self.rows[name]:
            if block in self.queue:
                raise ValueError("freed twice")
        for block in self.in_order(self.rows[name]):
            self.let_go(block)
        self.name_of = {b: n for b, n in self.name_of.items() if b in self.queue or self.users[b]}
        if len(self.rows) > 1:
            del self.rows[name + "?"]
        del self.rows[name]


class ReturnsARow(Cache):
    def admit(self, name, tokens):
        super().admit(name, tokens)
        return self.rows[name]


class ByNames:
    """No blocks at all: names, and how many blocks have none."""

    def __init__(self, num_blocks, size):
        self.size, self.blank, self.users, self.unused, self.mine = size, num_blocks, {}, OrderedDict(), {}

    def admit(self, name, tokens):
        full = len(tokens) // self.size
        keys = [str(tokens[: (i + 1) * self.size]) for i in range(full)]
        hit = 0
        while hit < (len(tokens) - 1) // self.size and keys[hit] in self.users:
            hit += 1
        need = -(-len(tokens) // self.size) - hit
        room = self.blank + len([key for key in self.unused if key not in keys[:hit]])
        if need > room:
            raise MemoryError(f"{need} blocks, {room} there")
        for key in keys[:hit]:
            self.users[key] += 1
            self.unused.pop(key, None)
        for _ in range(need):
            if self.blank:
                self.blank -= 1
            else:
                del self.users[self.unused.popitem(last=False)[0]]
        fresh = [key for key in keys[hit:] if key not in self.users]
        self.users.update(dict.fromkeys(fresh, 1))
        self.mine[name] = keys[:hit] + fresh, need - len(fresh)
        return hit * self.size

    def finish(self, name):
        keys, others = self.mine.pop(name)
        self.blank += others
        for key in reversed(keys):
            self.users[key] -= 1
            if not self.users[key]:
                self.unused[key] = True


class WithStamps:
    """A list of records with the time of their last use; nothing is ever moved."""

    def __init__(self, num_blocks, size):
        self.size, self.time, self.held = size, 0, {}
        self.all = [{"key": None, "users": 0, "since": -1} for _ in range(num_blocks)]

    def known(self, key):
        return next((b for b in self.all if b["key"] == key), None)

    def admit(self, name, tokens):
        keys = [tuple(tokens[: end + 1]) for end in range(self.size - 1, len(tokens), self.size)]
        found = []
        for key in keys[: (len(tokens) - 1) // self.size]:
            block = self.known(key)
            if block is None:
                break
            found.append(block)
        free = [b for b in self.all if not b["users"] and not any(b is f for f in found)]
        free.sort(key=lambda b: (b["key"] is not None, b["since"]))
        need = -(-len(tokens) // self.size) - len(found)
        if need > len(free):
            raise MemoryError
        new = free[:need]
        for block in new:
            block["key"] = None
        for block, key in zip(new, keys[len(found) :]):
            block["key"] = None if self.known(key) else key
        for block in found + new:
            block["users"] += 1
        self.held[name] = found + new
        return self.size * len(found)

    def finish(self, name):
        for block in reversed(self.held.pop(name)):
            self.time += 1
            block["users"], block["since"] = block["users"] - 1, self.time


class Node:
    """One block in a tree of prefixes."""

    def __init__(self, up=None, tokens=()):
        self.up, self.tokens, self.down, self.users, self.since = up, tokens, {}, 0, 0


class Tree:
    """A radix tree of whole blocks. A node outlives its parent only in name: it hangs on an old one that nobody finds."""

    def __init__(self, num_blocks, size):
        self.free, self.size, self.root, self.time, self.rows = num_blocks, size, Node(), 0, {}

    def nodes(self, node=None):
        for child in list((node or self.root).down.values()):
            yield child
            yield from self.nodes(child)

    def admit(self, name, tokens):
        cut = [tuple(tokens[i : i + self.size]) for i in range(0, len(tokens) - self.size + 1, self.size)]
        node, path = self.root, []
        for part in cut[: (len(tokens) - 1) // self.size]:
            if part not in node.down:
                break
            node = node.down[part]
            path.append(node)
        unused = sorted((n for n in self.nodes() if not n.users and n not in path), key=lambda n: n.since)
        need = -(-len(tokens) // self.size) - len(path)
        if need > self.free + len(unused):
            raise MemoryError
        for gone in unused[: max(0, need - self.free)]:  # tails are older than their heads
            del gone.up.down[gone.tokens]
            self.free += 1
        self.free -= need
        found = len(path)
        for part in cut[found:]:
            if part in node.down:  # known already: this copy stays outside
                node = node.down[part]
            else:
                node.down[part] = Node(node, part)
                node = node.down[part]
                path.append(node)
        for each in path:
            each.users += 1
        self.rows[name] = path, need - (len(path) - found)
        return found * self.size

    def finish(self, name):
        path, outside = self.rows.pop(name)
        self.free += outside
        for node in reversed(path):
            self.time += 1
            node.users, node.since = node.users - 1, self.time


class TwoQueues(Cache):
    """Blocks without a name and those with one wait apart."""

    def __init__(self, num_blocks, size):
        super().__init__(num_blocks, size)
        self.bare, self.named = list(range(num_blocks)), OrderedDict()

    @property
    def queue(self):
        return [*self.bare, *self.named]

    @queue.setter
    def queue(self, value):
        """Made of the two."""

    def hold(self, blocks):
        for block in blocks:
            self.named.pop(block, None)
            self.users[block] += 1

    def pick(self):
        return self.bare.pop() if self.bare else self.named.popitem(last=False)[0]

    def put_back(self, block):
        if block in self.name_of:
            self.named[block] = True
        else:
            self.bare.append(block)


WRONG = [
    (LastToken, "the hit covers the last token"),
    (KeepsNothing, "finish forgets the blocks"),
    (KnownAtFinish, "known only when their request finishes"),
    (OwnTokens, "found by its own tokens"),
    (PartOfABlock, "whole blocks are shared or none"),
    (Blocks, "the number of blocks is returned"),
    (LeftToCompute, "what is left to compute is returned"),
    (FreedForAll, "gives back blocks that another request uses too"),
    (NeverGivenBack, "finish gives nothing back"),
    (SharedStays, "had in common is never given back"),
    (NameStays, "its old name stays known"),
    (HeadFirst, "the head of a text goes before its tail"),
    (FirstIn, "computed first goes first"),
    (NewestFirst, "the one used last is taken"),
    (UnnamedKept, "wait behind the known ones"),
    (HitNotCounted, "too few free blocks are seen"),
    (FoundEvicted, "the same admit takes it away"),
    (FoundStaysFree, "stays among those that may be taken"),
    (RefusalHolds, "stay in use, for nobody"),
    (RefusalEvicts, "blocks were taken and their names forgotten"),
    (CopyTakesOver, "the second has taken the name"),
    (IndexErrorInstead, "that is a MemoryError"),
    (FinishForgetsTheName, "finish raised KeyError"),
    (ReturnsARow, "admit returns a number"),
]

RIGHT = [Cache, ByNames, WithStamps, Tree, TwoQueues]
