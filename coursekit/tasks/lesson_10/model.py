"""What a prefix cache answers, for the judge of 10.2: rightly, or with one slip. It hands out no blocks, it counts them."""

from collections.abc import Hashable
from typing import Any

Text = tuple[int, ...]
REFUSED = "MemoryError"

# A slip → what the learner is told. Where several explain every call, the first is told: those that few calls show come early.
SLIPS = {
    "last token covered": "the hit covers the last token of the text too. Its logits are what the first token of the answer is "
    "chosen from, so it must be computed: of n tokens at most the blocks of the first n - 1 are found",
    "refusal holds": "a refused admit changes something: the blocks that were found stay in use, for nobody. Count first, raise, "
    "and only then change anything",
    "refusal evicts": "a refused admit changes something: blocks were taken and their names forgotten before it was clear that "
    "there are too few. Count first",
    "nothing kept": "finish forgets the blocks. Nobody uses them, but their content stays right until somebody needs the room: "
    "keep their names",
    "known at finish": "blocks are known only when their request finishes. Their keys and values are there as soon as they are "
    "computed: the next admit may find them",
    "own tokens": "a block is found by its own tokens, whatever stands before it: the request would read the keys and values of "
    "another text",
    "part of a block": "a block of which only the first tokens agree is counted: whole blocks are shared or none",
    "blocks, not tokens": "the number of blocks is returned: the hit is counted in tokens",
    "prompt, not hit": "what is left to compute is returned: the hit is what need not be computed",
    "in use evicted": "a block that a request still uses is given to another. Only blocks that nobody uses may be taken",
    "freed for all": "finish gives back blocks that another request uses too: count how many use each, and give it back at 0",
    "never given back": "finish gives nothing back: blocks that nobody uses must be there for others",
    "shared never given back": "a block that two requests had in common is never given back: each finish takes one use off",
    "name stays": "a block is given to another text and its old name stays known: the next one to look for that name reads the "
    "wrong keys and values",
    "head first": "the head of a text goes before its tail. Without the head nobody can find the tail, which then lies there for "
    "nothing: give blocks back tail first",
    "first in, first out": "the block that was computed first goes first, however often it was used since. The one whose last "
    "use lies furthest back must go",
    "newest first": "of the blocks that nobody uses the one used last is taken: take the one whose last use lies furthest back",
    "last admitted": "when a block was last used is noted when its request comes. It is in use until the request finishes: the "
    "order is that of finish",
    "unnamed kept": "blocks without a name, such as a tail that is not full, wait behind the known ones. Nobody can find them, "
    "so they are taken before any known block is",
    "hit not counted": "too few free blocks are seen: those that were found need no room, take them off",
    "found counted as free": "a block that was found and is used by nobody is counted as free too, and it cannot be both",
    "found evicted": "the search finds a block, and the same admit takes it away to make room. Hold what was found first",
    "found stays free": "a block that was found stays among those that may be taken, so that somebody uses it and the next admit "
    "gives it to another text",
    "copy takes over": "of two blocks with the same content the second has taken the name. The first stays known, and the second "
    "has no name",
}


class Count:
    """The cache of the task, by names: a known block is what it stands for, the rest is a number.

    slip: one of SLIPS, or "" for the right answers.
    """

    def __init__(self, num_blocks: int, size: int, slip: str = "") -> None:
        self.size, self.slip = size, slip
        self.nameless = num_blocks  # blocks that hold nothing anybody could find
        self.uses: dict[Hashable, int] = {}  # known block → requests that use it
        self.idle: list[Hashable] = []  # known blocks that nobody uses; the first is taken first
        self.born: list[Hashable] = []  # known blocks in the order in which they were computed
        self.ghosts: set[Hashable] = set()  # names that should have been forgotten
        self.stuck: set[Hashable] = set()  # blocks that were shared once
        self.taken_late = 0  # nameless blocks that wait behind the known ones
        self.active: dict[str, tuple[list[Hashable], int]] = {}  # request → known blocks, number of others

    def has(self, slip: str) -> bool:
        return self.slip == slip

    # -- admit ------------------------------------------------------------------------------------------------------

    def admit(self, name: str, tokens: list[int]) -> Any:
        """Tokens found, or REFUSED."""
        text, size = tuple(tokens), self.size
        keys = [self.key(text, i) for i in range(len(text) // size)]
        found = self.search(text, keys)
        real = [key for key in found if key in self.uses]
        missing = -(-len(text) // size) - len(found)
        if not self.fits(missing, len(found), real):
            return self.refuse(real)
        if not self.has("found evicted"):
            self.hold(real)
        self.make_room(missing)
        self.hold([key for key in real if key in self.uses] if self.has("found evicted") else [])
        mine, others = self.name_new(keys, found, missing)
        self.active[name] = (real + mine, others)
        return self.answer(text, keys, found)

    def key(self, text: Text, i: int) -> Hashable:
        end = (i + 1) * self.size
        return text[end - self.size : end] if self.has("own tokens") else text[:end]

    def search(self, text: Text, keys: list[Hashable]) -> list[Hashable]:
        most = len(text) // self.size if self.has("last token covered") else (len(text) - 1) // self.size
        found = []
        for key in keys[:most]:
            if key in self.uses or key in self.ghosts:
                found.append(key)
            else:
                break
        return found

    def fits(self, missing: int, hits: int, real: list[Hashable]) -> bool:
        revived = sum(self.uses[key] == 0 for key in real)
        room = self.nameless + self.taken_late + len(self.idle)
        if self.has("in use evicted"):
            room += sum(1 for uses in self.uses.values() if uses)
        if self.has("hit not counted"):
            return missing + hits <= room
        if self.has("found counted as free") or self.has("found stays free"):
            return missing <= room
        return missing <= room - revived

    def refuse(self, real: list[Hashable]) -> str:
        if self.has("refusal holds"):
            self.hold(real)
        if self.has("refusal evicts"):
            gone = [key for key in self.idle if key not in real]
            for key in gone:
                self.forget(key)
            self.nameless += len(gone)
            self.idle = [key for key in reversed(real) if key in self.idle]
        return REFUSED

    def hold(self, keys: list[Hashable]) -> None:
        for key in keys:
            self.uses[key] += 1
            self.stuck |= {key} if self.uses[key] > 1 else set()
            if key in self.idle and not self.has("found stays free"):
                self.idle.remove(key)

    def make_room(self, missing: int) -> None:
        for _ in range(missing):
            if self.nameless:
                self.nameless -= 1
            elif self.taken_late and not self.idle:
                self.taken_late -= 1
            elif self.idle or self.has("in use evicted"):
                self.evict()

    def evict(self) -> None:
        if self.has("in use evicted") and self.born:
            key = self.born[0]
        elif self.has("first in, first out"):
            key = next(k for k in self.born if k in self.idle)
        else:
            key = self.idle[-1 if self.has("newest first") else 0]
        if key in self.idle:
            self.idle.remove(key)
        self.forget(key)
        if self.has("name stays"):
            self.ghosts.add(key)

    def forget(self, key: Hashable) -> None:
        del self.uses[key]
        self.born.remove(key)

    def name_new(self, keys: list[Hashable], found: list[Hashable], missing: int) -> tuple[list[Hashable], int]:
        """Known blocks that are new, and how many of the new blocks have no name."""
        mine: list[Hashable] = []
        for key in keys:
            if key in found or key in mine:
                continue
            if self.has("copy takes over") and key in self.uses:
                self.lose_name(key)
            if key not in self.uses and not self.has("known at finish"):
                self.uses[key] = 1
                self.born.append(key)
                self.ghosts.discard(key)
                mine.append(key)
            elif self.has("known at finish"):
                mine.append(key)
        return mine, missing - len(mine)

    def lose_name(self, key: Hashable) -> None:
        """A block that somebody uses, or nobody, holds nothing with a name from now on."""
        holders = [name for name, (known, _) in self.active.items() if key in known]
        for number, name in enumerate(holders):
            known, others = self.active[name]
            self.active[name] = [k for k in known if k != key], others + (number == 0)
        if not holders:
            self.idle.remove(key)
            self.nameless += 1
        self.forget(key)

    def answer(self, text: Text, keys: list[Hashable], found: list[Hashable]) -> int:
        hit = len(found) * self.size
        if self.has("blocks, not tokens"):
            return len(found)
        if self.has("prompt, not hit"):
            return len(text) - hit
        if self.has("part of a block"):
            known = [key for key in self.uses if isinstance(key, tuple) and len(key) > hit and key not in keys]
            return hit + max(
                (agree(text[hit:-1], key[hit : hit + self.size]) for key in known if key[:hit] == text[:hit]), default=0
            )
        return hit

    # -- finish -----------------------------------------------------------------------------------------------------

    def finish(self, name: str) -> None:
        known, others = self.active.pop(name, ([], 0))  # whom a slip has refused is not there
        if self.has("never given back"):
            return
        if self.has("unnamed kept"):
            self.taken_late += others
        else:
            self.nameless += others
        if self.has("known at finish"):
            self.publish_late(known)
        for key in known if self.has("head first") else reversed(known):
            self.let_go(key)

    def publish_late(self, known: list[Hashable]) -> None:
        for key in list(known):
            if key not in self.uses:
                self.uses[key] = 1
                self.born.append(key)

    def let_go(self, key: Hashable) -> None:
        if key not in self.uses:  # evicted while it was in use
            return
        if key in self.idle:  # given back already, or never taken out
            if not self.has("found stays free"):
                return
            self.idle.remove(key)
        if self.has("shared never given back") and key in self.stuck:
            return
        self.uses[key] = 0 if self.has("freed for all") else self.uses[key] - 1
        if self.uses[key] <= 0:
            self.uses[key] = 0
            if self.has("nothing kept"):
                self.forget(key)
                self.nameless += 1
            else:
                self.idle.append(key)
                if self.has("last admitted"):
                    self.idle.sort(key=self.born.index)


def agree(one: Text, other: Text) -> int:
    """How many of their first tokens are the same."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def played(num_blocks: int, size: int, operations: list[list[Any]], slip: str = "") -> list[Any]:
    """What each operation answers: tokens found, REFUSED, or None for a finish."""
    cache = Count(num_blocks, size, slip)
    return [getattr(cache, kind)(*rest) for kind, *rest in operations]
