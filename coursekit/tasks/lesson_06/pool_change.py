"""What one operation did to a pool of blocks, and what has to hold after every operation, whichever it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...task import Finding

Tables = dict[str, list[int]]

COUNT_RULE = "num_free() is the number of blocks that stand in no table"
KEEP_RULE = "what is written stays where it is: an operation changes the table of its own request only"


@dataclass(frozen=True)
class Change:
    """One entry of the log beside what was there before it.

    entry: as ``operations.driver`` wrote it. before, now: the tables that are not empty, before the operation and after.
    free_before: what ``num_free()`` said before. size: slots of a block.
    """

    entry: dict[str, Any]
    num_blocks: int
    size: int
    before: Tables
    now: Tables
    free_before: int

    @property
    def raised(self) -> str | None:
        return self.entry.get("raised")

    @property
    def num_free(self) -> int:
        return self.entry["num_free"]

    def wrong(self, rule: str, cause: str, slip: str, expected: Mapping[str, Any]) -> Finding:
        """expected: by "tables", "num_free", "value", "raised", "blocks of NAME" (how many), or the name of a table."""
        name, *rest = self.entry["op"]
        call = f"{name}({', '.join(map(repr, rest))})"
        got = {key: self.seen(key) for key in expected} | {"tables": self.now, "num_free": self.num_free}
        got |= {key: self.entry[key] for key in ("value", "raised") if self.entry.get(key) is not None}
        return Finding(rule, f"after {call}: {cause}", slip, expected, got)

    def seen(self, key: str) -> Any:
        """What stands under the name that ``expected`` has for it."""
        if key in ("tables", "num_free"):
            return self.now if key == "tables" else self.num_free
        if key in ("value", "raised"):
            return self.entry.get(key, "nothing" if key == "raised" else None)
        table = self.now.get(key.removeprefix("blocks of "), [])
        return len(table) if key.startswith("blocks of ") else table

    def holders(self, block: int) -> list[str]:
        """Whose table the block stood in before the operation."""
        return [name for name, table in self.before.items() if block in table]

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.size)


def strange_ids(change: Change) -> Finding | None:
    """Something in a table that is no block, or a block that is in it twice."""
    for name, table in change.now.items():
        if any(type(block) is not int or not 0 <= block < change.num_blocks for block in table):
            cause = f"the table of {name} holds something that is no block: blocks are 0 to {change.num_blocks - 1}"
            return change.wrong(KEEP_RULE, cause, "no such block", {name: f"blocks from 0 to {change.num_blocks - 1}"})
        if len(set(table)) < len(table):
            cause = f"a block stands twice in the table of {name}: its tokens would overwrite each other"
            return change.wrong(KEEP_RULE, cause, "block twice in a table", {name: "each block once"})
    return None


def others_changed(change: Change, own: str) -> Finding | None:
    """A table that is not ``own``'s, and yet another one than before."""
    for who, table in change.before.items():
        if who == own or change.now.get(who) == table:
            continue
        after, kind = change.now.get(who, []), change.entry["op"][0]
        if kind == "fork":
            cause = f"the table of {who} has changed too. A fork changes nothing of its parent: take the blocks out of a copy"
        elif len(after) < len(table):
            cause = f"{who} has lost blocks, which it still needs: take one holder off them, and leave its table alone"
        else:
            cause = f"the table of {who} has changed too. Do both hold one and the same list? A fork needs a list of its own"
        return change.wrong(KEEP_RULE, cause, "other table changed", {who: table})
    strangers = set(change.now) - set(change.before) - {own}
    if strangers:
        return change.wrong(KEEP_RULE, f"a table appeared for {min(strangers)}", "other table changed", {"tables": change.before})
    return None


def miscounted(change: Change) -> Finding | None:
    """``num_free()`` beside the blocks that stand in no table."""
    held = {block for table in change.now.values() for block in table}
    free, got = change.num_blocks - len(held), change.num_free
    if got == free:
        return None
    expected = {"num_free": free}
    if got < free:
        cause = f"blocks that stand in no table are not free either: they have leaked ({free - got} so far)"
        return change.wrong(COUNT_RULE, cause, "leak", expected)
    several = [block for block in held if len(change.holders(block)) > 1]
    if several and change.entry["op"][0] == "free":
        cause = f"block {several[0]} counts as free, but another request still holds it: count the holders"
        return change.wrong(COUNT_RULE, cause, "shared block freed", expected)
    return change.wrong(COUNT_RULE, "num_free() counts blocks that somebody holds", "counts too many", expected)
