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


WRONG = [
    (LeaksAfterReuse, "they have leaked"),
    (DoubleFree, "a double free went unnoticed"),
    (TakeLeaks, "take failed halfway"),
    (FreesAtOnce, "free at the first release"),
    (ToldTooLate, "look first, then change"),
    (ToldMidway, "look at all of them"),
    (AssertsOnly, "told by a ValueError"),
    (ShortTake, "blocks were asked for, "),
    (RaisesIndexError, "told by a MemoryError"),
]

RIGHT = [Blocks, BlocksBySet, OwnErrors]
