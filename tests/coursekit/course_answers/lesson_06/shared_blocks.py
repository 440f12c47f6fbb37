"""Answers to task 06.3, ``SharedBlocks``: wrong ones with the words of their diagnoses, and right ones."""


class Blocks:
    """The bugs of the hunt, mended; each wrong answer below brings one back, or makes a new one."""

    def __init__(self, num_blocks):
        self.unused, self.count = list(range(num_blocks)), [0] * num_blocks

    def num_free(self):
        return len(self.unused)

    def take(self, n):
        if n > len(self.unused):
            raise MemoryError("too few")
        return self.pick(n)

    def pick(self, n):
        blocks = [self.unused.pop(0) for _ in range(n)]
        for block in blocks:
            self.count[block] += 1
        return blocks

    def share(self, blocks):
        for block in blocks:
            self.count[block] += 1

    def release(self, blocks):
        if any(self.count[block] == 0 for block in blocks):
            raise ValueError("freed twice")
        self.drop(blocks)

    def drop(self, blocks):
        for block in blocks:
            self.count[block] -= 1
            if self.count[block] == 0:
                self.unused.append(block)


class LeaksAfterReuse(Blocks):
    """The count is never brought back to 0."""

    def drop(self, blocks):
        for block in blocks:
            if self.count[block] > 1:
                self.count[block] -= 1
            else:
                self.unused.append(block)


class DoubleFree(Blocks):
    def pick(self, n):
        blocks = [self.unused.pop(0) for _ in range(n)]
        for block in blocks:
            self.count[block] = 1
        return blocks

    def release(self, blocks):
        for block in blocks:
            if self.count[block] > 1:
                self.count[block] -= 1
            else:
                self.unused.append(block)


class TakeLeaks(Blocks):
    def take(self, n):
        blocks = []
        for _ in range(n):
            if not self.unused:
                raise MemoryError("no free block")
            blocks += self.pick(1)
        return blocks


class FreesAtOnce(Blocks):
    def drop(self, blocks):
        for block in blocks:
            self.count[block] = 0
            self.unused.append(block)


class ToldTooLate(Blocks):
    def release(self, blocks):
        again = [block for block in blocks if self.count[block] == 0]
        self.unused += again
        if again:
            raise ValueError
        self.drop(blocks)


class ToldMidway(Blocks):
    def release(self, blocks):
        for block in blocks:
            if self.count[block] == 0:
                raise ValueError
            self.drop([block])


class AssertsOnly(Blocks):
    def release(self, blocks):
        assert all(self.count[block] for block in blocks)
        self.drop(blocks)


class ShortTake(Blocks):
    """Gives what there is."""

    def take(self, n):
        return self.pick(min(n, len(self.unused)))


class RaisesIndexError(Blocks):
    def take(self, n):
        kept = list(self.unused), list(self.count)
        try:
            return self.pick(n)
        except IndexError:
            self.unused, self.count = kept
            raise


class BlocksBySet:
    """Right, another way: a dictionary of holders; free is whatever is not in it."""

    def __init__(self, num_blocks):
        self.everything, self.held = range(num_blocks), {}

    def num_free(self):
        return len(self.everything) - len(self.held)

    def take(self, n):
        found = [block for block in self.everything if block not in self.held][:n]
        if len(found) < n:
            raise MemoryError
        self.held |= dict.fromkeys(found, 1)
        return found

    def share(self, blocks):
        for block in blocks:
            self.held[block] += 1

    def release(self, blocks):
        if not all(block in self.held for block in blocks):
            raise ValueError
        self.held |= {block: self.held[block] - 1 for block in blocks}
        self.held = {block: count for block, count in self.held.items() if count}


class OwnErrors(Blocks):
    """Exceptions of its own, built on those that were asked for."""

    def take(self, n):
        try:
            return super().take(n)
        except MemoryError:
            raise type("OutOfBlocks", (MemoryError,), {})(n) from None

    def release(self, blocks):
        try:
            super().release(blocks)
        except ValueError:
            raise type("DoubleFree", (ValueError,), {})(blocks) from None


class GivesOneMore(Blocks):
    def pick(self, n):
        return super().pick(min(n + 1, len(self.unused)))


class RefusesTheLast(Blocks):
    def take(self, n):
        if n >= len(self.unused):
            raise MemoryError
        return self.pick(n)


class GivesFirstAgain(Blocks):
    """Looks at the front of the list, and takes from its end."""

    def pick(self, n):
        blocks = self.unused[:n]
        del self.unused[len(self.unused) - n :]
        for block in blocks:
            self.count[block] += 1
        return blocks


class NumbersFromOne(Blocks):
    def __init__(self, num_blocks):
        self.unused, self.count = list(range(1, num_blocks + 1)), [0] * (num_blocks + 1)


class ShareTakes(Blocks):
    """A share takes as many blocks as it is given."""

    def share(self, blocks):
        super().share(blocks)
        del self.unused[: len(blocks)]


class ShareRaises(Blocks):
    def share(self, blocks):
        if not self.unused:
            raise MemoryError("nothing left to share")
        super().share(blocks)


class SharesTheFirst(Blocks):
    def share(self, blocks):
        super().share(blocks[:1])


class AsksForMore(Blocks):
    """More than one holder, or it is a double free."""

    def release(self, blocks):
        if any(self.count[block] <= 1 for block in blocks) and len(self.unused) * 2 > len(self.count):
            raise ValueError("freed twice")
        self.drop(blocks)


class RefusalGivesBack(Blocks):
    """Puts blocks back that it had not taken yet."""

    def take(self, n):
        if n > len(self.unused):
            self.unused += [b for b, count in enumerate(self.count) if count]
            raise MemoryError
        return self.pick(n)


class KeepsOne(Blocks):
    def num_free(self):
        return max(0, len(self.unused) - 1)


class SilentlyNothing(Blocks):
    def take(self, n):
        return self.pick(n) if n <= len(self.unused) else []


class ReleaseIsKeyError(Blocks):
    """Knows only the blocks that are held."""

    def release(self, blocks):
        known = {b: count for b, count in enumerate(self.count) if count}
        for block in blocks:
            known[block]
        self.drop(blocks)


class BlocksByGenerator(Blocks):
    """Right: gives the numbers one after the other, after all of them were taken."""

    def pick(self, n):
        return (block for block in super().pick(n))


class BlocksByStack(Blocks):
    """Right: from the other end, and released in one go."""

    def pick(self, n):
        blocks, self.unused = self.unused[len(self.unused) - n :], self.unused[: len(self.unused) - n]
        for block in blocks:
            self.count[block] = 1
        return tuple(blocks)

    def drop(self, blocks):
        self.count = [count - blocks.count(block) for block, count in enumerate(self.count)]
        self.unused += sorted({block for block in blocks if not self.count[block]})


class BlocksByHolders:
    """Right: the free ones are those without a holder; a holder is a token that is thrown away."""

    def __init__(self, num_blocks):
        self.holders = [[] for _ in range(num_blocks)]

    def spare(self):
        return [block for block, holders in enumerate(self.holders) if not holders]

    def num_free(self):
        return len(self.spare())

    def take(self, n):
        spare = self.spare()
        if n > len(spare):
            raise MemoryError(f"{len(spare)} of {n}")
        self.share(spare[-n:])
        return spare[-n:]

    def share(self, blocks):
        for block in blocks:
            self.holders[block].append(object())

    def release(self, blocks):
        if not all(self.holders[block] for block in blocks):
            raise ValueError("a double free")
        for block in blocks:
            self.holders[block].pop()


class BlocksByNumpy:
    """Right: the counts are an array, and whole lists are counted at once."""

    def __init__(self, num_blocks):
        import numpy as np

        self.np, self.counts = np, np.zeros(num_blocks, int)

    def num_free(self):
        return int((self.counts == 0).sum())

    def take(self, n):
        free = self.np.flatnonzero(self.counts == 0)
        if len(free) < n:
            raise MemoryError
        self.counts[free[:n]] = 1
        return free[:n].tolist()

    def share(self, blocks):
        self.np.add.at(self.counts, blocks, 1)

    def release(self, blocks):
        left = self.counts.copy()
        self.np.subtract.at(left, blocks, 1)
        if left.min() < 0:
            raise ValueError("too often")
        self.counts = left


class BlocksWithUndo(Blocks):
    """Right: does it, and undoes it if it was one too many."""

    def release(self, blocks):
        kept = list(self.unused), list(self.count)
        try:
            for block in blocks:
                if not self.count[block]:
                    raise ValueError(block)
                self.drop([block])
        except ValueError:
            self.unused, self.count = kept
            raise


WRONG = [
    (LeaksAfterReuse, "through its next life"),
    (DoubleFree, "a double free went unnoticed"),
    (TakeLeaks, "take failed halfway"),
    (FreesAtOnce, "free at the first release"),
    (ToldTooLate, "look first, then change"),
    (ToldMidway, "look at all of them"),
    (AssertsOnly, "this was AssertionError"),
    (ShortTake, "give all or none"),
    (RaisesIndexError, "told by a MemoryError"),
    (GivesOneMore, "were given"),
    (RefusesTheLast, "though there is room"),
    (GivesFirstAgain, "that somebody holds"),
    (NumbersFromOne, "what was given is no block"),
    (ShareTakes, "share has changed the number of free blocks"),
    (ShareRaises, "share raised MemoryError"),
    (SharesTheFirst, "does share count all blocks"),
    (AsksForMore, "release raised ValueError"),
    (RefusalGivesBack, "it changes nothing"),
    (KeepsOne, "all blocks of a new pool are free"),
    (SilentlyNothing, "yet nothing was raised"),
    (ReleaseIsKeyError, "told by a ValueError, this was KeyError"),
]

RIGHT = [
    Blocks,
    BlocksBySet,
    OwnErrors,
    BlocksByGenerator,
    BlocksByStack,
    BlocksByHolders,
    BlocksByNumpy,
    BlocksWithUndo,
]
