"""What ``allocate(name, n)`` has to do to the tables, and what each way of not doing it is called."""

from dataclasses import dataclass, replace

from ...judging.operations import raised_a
from ...task import CANNOT_TELL, Finding
from .pool_change import KEEP_RULE, Change, others_changed

GROW_RULE = "a request holds as many blocks as its tokens need, and no more"
COW_RULE = "who writes into a block that several tables hold gets a copy first, and allocate returns [(old, new)]"
ROOM_RULE = "when the blocks do not suffice, allocate raises MemoryError and changes nothing"


@dataclass(frozen=True)
class Allocation:
    """One call, beside what is known of its request.

    start, end: its tokens before and after. beyond: tokens of its parent that the fork left out.
    forked: blocks that a fork has shared, whoever holds them by now. freed: tokens it had when it was freed before.
    """

    change: Change
    name: str
    start: int
    end: int
    beyond: int
    forked: frozenset[int]
    freed: int = 0

    @property
    def old(self) -> list[int]:
        return self.change.before.get(self.name, [])

    @property
    def first(self) -> int:
        """The index of the block into which the first new token falls."""
        return self.start // self.change.size

    @property
    def shared(self) -> bool:
        """Whether others hold that block too, so that it has to be copied."""
        return self.first < len(self.old) and len(self.change.holders(self.old[self.first])) > 1

    @property
    def need(self) -> int:
        """Free blocks that the call takes."""
        return self.change.blocks_for(self.end) - len(self.old) + self.shared

    @property
    def refused(self) -> bool:
        """Whether it raised, or should have."""
        return self.change.raised is not None or self.need > self.change.free_before


def judge_allocation(a: Allocation) -> Finding | None:
    if a.refused:
        return wrong_refusal(a)
    return wrong_size(a) or written_in_place(a) or others_changed(a.change, a.name) or taken_twice(a) or wrong_copies(a)


def wrong_refusal(a: Allocation) -> Finding | None:
    """Raised without need, not raised, raised something else, or raised too late."""
    change, raised, text = a.change, a.change.raised, a.change.entry.get("text", "")
    if a.need <= change.free_before:
        cause = f"it raised {raised} ({text}), though there is room: needed {a.need}, free {change.free_before}"
        rule = ROOM_RULE if raised_a(change.entry, "MemoryError") else GROW_RULE  # another error is a slip, not a refusal
        return change.wrong(rule, cause, "refuses too early", {"raised": "nothing"})
    if raised is None:
        cause = f"there is too little room (needed {a.need}, free {change.free_before}), yet nothing was raised"
        return change.wrong(ROOM_RULE, cause, "no MemoryError", {"raised": "MemoryError"})
    if not raised_a(change.entry, "MemoryError"):
        cause = f"too few blocks are told by a MemoryError, so that a scheduler can catch it; this was {raised} ({text})"
        return change.wrong(ROOM_RULE, cause, "other exception", {"raised": "MemoryError"})
    if a.shared and change.now != change.before and len(change.now.get(a.name, [])) == len(a.old):
        cause = "the refused call has made its copy all the same: count the copy and the new blocks before you take the first"
        expected = {"tables": change.before, "num_free": change.free_before}
        return change.wrong(ROOM_RULE, cause, "refusal copies", expected)
    if change.now != change.before or change.num_free != change.free_before:
        cause = "the refused call has taken blocks all the same, and nobody will use them: count before you take"
        expected = {"tables": change.before, "num_free": change.free_before}
        return change.wrong(ROOM_RULE, cause, "refusal changes things", expected)
    return None


def wrong_size(a: Allocation) -> Finding | None:
    """Fewer blocks than the tokens need, or more."""
    change, name, size = a.change, a.name, a.change.size
    held, need = len(change.now.get(name, [])), change.blocks_for(a.end)
    expected = {f"blocks of {name}": need}
    if a.start and held == max(len(a.old), change.blocks_for(a.end - a.start)) < need:
        cause = f"allocate adds {a.end - a.start} tokens to the {a.start} that {name} has: you read n as the new total"
        return change.wrong(GROW_RULE, cause, "n read as total", expected)
    if held < need:
        cause = f"{name} has {a.end} tokens and slots for {held * size}: its last tokens have no block"
        return change.wrong(GROW_RULE, cause, "too few blocks", expected)
    if held == need:
        return None
    if a.beyond and held == change.blocks_for(a.end + a.beyond):
        begins = "a fork begins with num_tokens, not all of the parent's"
        cause = f"{name} has {a.end} tokens, but blocks for {a.end + a.beyond}: {begins}"
        return change.wrong(GROW_RULE, cause, "parent's length", expected)
    if a.freed and not a.start and held == change.blocks_for(a.freed + a.end):
        cause = f"{name} was freed and begins anew with {a.end} tokens: you still count the {a.freed} it had before"
        return change.wrong(GROW_RULE, cause, "length stays", expected)
    made = []
    if a.end % size == 0 and held == need + 1:
        cause = "you take the next block when the last one is full. Nobody needs it before the next token comes"
        made.append(change.wrong(GROW_RULE, cause, "a block too early", expected))
    if a.start % size:
        cause = "the last block still had empty slots: you begin a new block with every call"
        made.append(change.wrong(GROW_RULE, cause, "new block each call", expected))
    if made:
        return replace(made[0], instead=[(other.cause, other.slip) for other in made[1:]])
    return change.wrong(GROW_RULE, f"{name} holds more blocks than its {a.end} tokens need", "too many blocks", expected)


def written_in_place(a: Allocation) -> Finding | None:
    """A shared block must be another one afterwards, and every other block the same."""
    change, name, first, old = a.change, a.name, a.first, a.old
    now, kept = change.now[name][: len(old)], old[:first]
    if a.shared and now[first] == old[first]:
        others = [who for who in change.holders(old[first]) if who != name]
        cause = f"{name} writes into block {old[first]}, which {' and '.join(others)} still reads: copy it first"
        return change.wrong(COW_RULE, cause, "shared block written", {name: [*kept, "a new block"]})
    if now == old or a.shared and now[:first] == kept:
        return None
    elsewhere = next((i for i, (x, y) in enumerate(zip(old, now)) if x != y and len(change.holders(x)) > 1 and i != first), None)
    if elsewhere is not None:
        cause = (
            f"{name} got a copy of block {old[elsewhere]}, which others hold too. That is wasted work: nothing is written into "
            "it, only into the block of the next token"
        )
        return change.wrong(COW_RULE, cause, "copies others", {name: old})
    if now[:first] == kept:
        cause = f"{name} alone holds block {old[first]}: copying it is wasted work"
        if old[first] in a.forked:
            cause += ". It was shared before: whoever leaves a block, by a copy too, makes one holder less"
        return change.wrong(COW_RULE, cause, "needless copy", {name: old})
    cause = f"blocks that {name} had filled are no longer in their places: its keys would be lost"
    return change.wrong(KEEP_RULE, cause, "table rewritten", {name: [*kept, "..."]})


def taken_twice(a: Allocation) -> Finding | None:
    """A new block that was not free."""
    fresh = set(a.change.now[a.name]) - set(a.old)
    taken = [block for block in fresh if a.change.holders(block)]
    if taken:
        owner = a.change.holders(taken[0])[0]
        cause = f"block {taken[0]} was given to {a.name}, but {owner} still holds it: it was not free"
        return a.change.wrong(KEEP_RULE, cause, "block given twice", {a.name: [*a.old, "a free block"]})
    return None


def wrong_copies(a: Allocation) -> Finding | None:
    """What was returned beside the copies that the tables show."""
    change, value = a.change, a.change.entry.get("value")
    want = [[a.old[a.first], change.now[a.name][a.first]]] if a.shared else []
    if value == want:
        return None
    if value is None:
        cause = "allocate returned None: it returns the list of copies, and [] when nothing has to be copied"
        return change.wrong(COW_RULE, cause, "returns None", {"value": want})
    if a.shared and value == [want[0][::-1]]:
        cause = "the pair is the wrong way round: (old, new), copy from the first to the second"
        return change.wrong(COW_RULE, cause, "pair reversed", {"value": want})
    if a.shared and value == []:
        cause = "the table names a new block, but nobody is told to copy: the tokens shared so far would be lost"
        return change.wrong(COW_RULE, cause, "copy not told", {"value": want})
    if value == change.now[a.name]:
        cause = "allocate returned the whole table: it returns the copies that have to be made, as pairs (old, new), or []"
    elif isinstance(value, list) and not any(isinstance(pair, list) for pair in value):
        cause = "what allocate returned are no pairs: there is a pair for each copy, (old, new), and [] without one"
    else:
        cause = f"{CANNOT_TELL}: the tables show {len(want)} copies, and allocate returned others"
    return change.wrong(COW_RULE, cause, "other copies", {"value": want})
