"""A bug hunt: a pool of counted blocks that leaks, and that frees a block twice."""

import random
from collections.abc import Mapping
from typing import Any

from ...judging.operations import Log, answered, raised_a, what_was_raised
from ...plain import to_plain
from ...task import Args, Case, Finding, Task, likeliest

Entry = dict[str, Any]

ARGUMENTS = {"take": 2, "share": 1, "release": 1}
LEAK_RULE = "a block that nobody holds is free again"
OWNED_RULE = "a block that somebody holds is given to nobody else"
TWICE_RULE = "releasing more often than was taken and shared raises ValueError, and changes nothing"
ROOM_RULE = "take raises MemoryError when there are too few free blocks, and changes nothing"


def drive_blocks(answer: Any, args: Args) -> Log:
    """["take", "x", 2] keeps the blocks under the name x; share and release hand them in again.

    ["together", "x", "y"] releases the blocks of both in one call.
    """
    num_blocks, operations = args
    pool = answer(num_blocks)
    kept: dict[str, list[int]] = {}
    log: Log = [{"op": ["new", num_blocks], "num_free": to_plain(pool.num_free())}]
    for op in operations:
        kind, name, *rest = op
        entry: Entry = {"op": op}
        try:
            if kind == "take":
                kept[name] = list(pool.take(*rest))
                entry["value"] = to_plain(kept[name])
            elif kind == "together":
                pool.release([block for key in (name, *rest) for block in kept.get(key, [])])
            elif name in kept:
                getattr(pool, kind)(list(kept[name]))
        except NotImplementedError:
            raise
        except Exception as problem:  # noqa: BLE001 (whatever it raises is what it did)
            entry |= what_was_raised(problem)
        log.append(entry | {"num_free": to_plain(pool.num_free())})
    return log


def judge_blocks(args: Args, log: Log) -> Finding | None:
    num_blocks, operations = args
    held, free = [0] * num_blocks, num_blocks
    kept: dict[str, list[int]] = {}
    for entry in answered([["new", num_blocks], *operations], log):
        kind, name, *rest = entry["op"]
        if kind == "take":
            finding = judge_take(entry, rest[0], held, free)
            if not finding and "raised" not in entry:
                kept[name] = entry["value"]
                for block in kept[name]:
                    held[block] = 1
        elif kind == "together":
            finding = judge_return(entry, [block for key in (name, *rest) for block in kept.get(key, [])], held)
        elif name in kept:
            finding = judge_return(entry, kept[name], held)
        else:
            finding = None
        free = held.count(0)
        finding = finding or judge_count(entry, free, len(kept.get(name, [])))
        if finding:
            return finding
    return None


def wrong(rule: str, cause: str, slip: str, expected: Mapping[str, Any], entry: Entry) -> Finding:
    kind, *rest = entry["op"]
    nothing = {"raised": "nothing"} if "raised" in expected else {}
    shown = nothing | {key: value for key, value in entry.items() if key not in ("op", "caught_by")}
    call = f"release {' + '.join(rest)}" if kind == "together" else f"{kind} {' '.join(map(str, rest))}"
    return Finding(rule, f"after {call}: {cause}", slip, expected, shown)


def judge_take(entry: Entry, count: int, held: list[int], free: int) -> Finding | None:
    raised = entry.get("raised")
    if count > free:
        if raised is None and len(entry["value"]) == free:
            cause = (
                f"{count} blocks were asked for, and the {free} that are free were given: give all or none. MemoryError says so"
            )
            return wrong(ROOM_RULE, cause, "gives what there is", {"raised": "MemoryError"}, entry)
        if raised is None:
            cause = f"{count} blocks were asked for, {free} are free, yet nothing was raised"
            return wrong(ROOM_RULE, cause, "no MemoryError", {"raised": "MemoryError"}, entry)
        if not raised_a(entry, "MemoryError"):
            cause = f"too few blocks are told by a MemoryError, this was {raised}"
            return wrong(ROOM_RULE, cause, "other exception", {"raised": "MemoryError"}, entry)
        if entry["num_free"] > free:
            cause = "the refused take has made blocks free that somebody holds: it changes nothing"
            return wrong(ROOM_RULE, cause, "refusal frees", {"num_free": free}, entry)
        if entry["num_free"] < free:
            cause = (
                f"take failed halfway, and what it had taken by then is lost ({free - entry['num_free']} of {free} free blocks). "
                "Look whether there are enough before the first one is taken"
            )
            return wrong(ROOM_RULE, cause, "failed take leaks", {"num_free": free}, entry)
        return None
    if raised is not None:
        cause = f"it raised {raised}, though there is room: asked for {count}, free {free}"
        return wrong(ROOM_RULE, cause, "refuses too early", {"raised": "nothing"}, entry)
    blocks = entry["value"]
    if len(blocks) != count:
        cause = f"{count} blocks were asked for, and {len(blocks)} were given"
        return wrong(OWNED_RULE, cause, "other count", {"value": f"{count} block numbers"}, entry)
    if any(type(block) is not int or not 0 <= block < len(held) for block in blocks):
        cause = f"what was given is no block: blocks are 0 to {len(held) - 1}"
        return wrong(OWNED_RULE, cause, "no such block", {"value": f"{count} block numbers"}, entry)
    if len(set(blocks)) < count or any(held[block] for block in blocks):
        cause = "a block was given out that somebody holds: two requests would overwrite each other"
        return wrong(OWNED_RULE, cause, "block given twice", {"value": f"{count} different free blocks"}, entry)
    return None


def judge_return(entry: Entry, blocks: list[int], held: list[int]) -> Finding | None:
    """share or release of blocks that were taken under this name."""
    raised, kind = entry.get("raised"), entry["op"][0]
    if kind == "share":
        if raised is None:
            for block in blocks:
                held[block] += 1
            return None
        return wrong(OWNED_RULE, f"share raised {raised} ({entry['text']})", "share raises", {"raised": "nothing"}, entry)
    if all(held[block] for block in blocks):
        if raised is None:
            for block in blocks:
                held[block] -= 1
            return None
        cause = f"release raised {raised} ({entry['text']}), though the blocks are held"
        return wrong(TWICE_RULE, cause, "release raises", {"raised": "nothing"}, entry)
    if raised is None:
        cause = (
            "a double free went unnoticed. The blocks were free already; put into the free list a second time, "
            "they would be given to two requests. Say so with a ValueError"
        )
        return wrong(TWICE_RULE, cause, "double free", {"raised": "ValueError"}, entry)
    if not raised_a(entry, "ValueError"):
        return wrong(
            TWICE_RULE,
            f"a double free is told by a ValueError, this was {raised}",
            "other error",
            {"raised": "ValueError"},
            entry,
        )
    if kind == "together" and entry["num_free"] != held.count(0):
        cause = "the double free is told, but by then some of the blocks had been released: look at all of them, then change any"
        return wrong(TWICE_RULE, cause, "told midway", {"num_free": held.count(0)}, entry)
    if entry["num_free"] != held.count(0):
        cause = "the double free is told, but only after the blocks went into the free list again: look first, then change"
        return wrong(TWICE_RULE, cause, "told too late", {"num_free": held.count(0)}, entry)
    return None


def judge_count(entry: Entry, free: int, named: int) -> Finding | None:
    """``num_free()`` after an operation on ``named`` blocks."""
    got = entry["num_free"]
    if got == free:
        return None
    kind = entry["op"][0]
    expected = {"num_free": free}
    if len(entry["op"]) == 2 and entry["op"][0] == "new":
        cause = "all blocks of a new pool are free"
        return wrong(LEAK_RULE, cause, "not free at first", expected, entry)
    if kind == "share":
        cause = "share has changed the number of free blocks: one holder more for each of them, and nothing else"
        return wrong(OWNED_RULE, cause, "share moves blocks", expected, entry)
    if kind == "take":
        cause = "take changes the number of free blocks by as many as it gives"
        return wrong(OWNED_RULE, cause, "take miscounts", expected, entry)
    if got > free and kind == "release":
        cause = "a shared block became free at the first release, while another request still holds it"
        made = [(cause, "shared block freed")]
        if got - free == named - 1:
            one = "one of the blocks is still held and the others are free: does share count all blocks that it is given?"
            made.insert(0, (one, "shares one only"))
        return likeliest(lambda cause, slip: wrong(OWNED_RULE, cause, slip, expected, entry), made)
    if got > free:
        return wrong(OWNED_RULE, "num_free() counts blocks that somebody holds", "counts too many", expected, entry)
    cause = (
        f"blocks that nobody holds are not free: they have leaked ({free - got} so far). Follow the count of one block from "
        "take to release, and through its next life"
    )
    return wrong(LEAK_RULE, cause, "leak", expected, entry)


def scene_blocks(args: Args) -> str:
    num_blocks, operations = args
    words = {"take": "{1} = p.take({2})", "share": "p.share({1})", "release": "p.release({1})"}
    words["together"] = "p.release({1} + {2})"
    calls = [words[op[0]].format(*op) for op in operations]
    return "; ".join([f"p = SharedBlocks({num_blocks})", *calls])


def fair_blocks(args: Args) -> bool:
    """Every name is taken once, before it is shared or released; once it has been freed it is at most freed once more."""
    num_blocks, operations = args
    known = all(op and op[0] in ARGUMENTS and len(op) == 1 + ARGUMENTS[op[0]] for op in operations)
    if not (known and num_blocks >= 1 and operations):
        return False
    held: dict[str, int] = {}  # holders of what was taken under a name; 0 when it is free, or was refused
    counts: dict[str, int] = {}
    free = num_blocks
    for kind, name, *rest in operations:
        if kind == "take":
            if name in held or not 1 <= rest[0]:
                return False
            fits = rest[0] <= free
            held[name], counts[name] = int(fits), rest[0]
            free -= rest[0] * fits
        elif not held.get(name):
            return False
        elif kind == "share":
            held[name] += 1
        else:
            held[name] -= 1
            free += counts[name] * (held[name] == 0)
    return True


def valid_blocks(args: Args) -> bool:
    """Fair up to its last operation, which may release once too often, also several names together."""
    num_blocks, operations = args
    if fair_blocks(args):
        return True
    *before, last = operations
    taken = {op[1] for op in before if op[0] == "take"}
    once_more = last[0] == "release" and len(last) == 2 or last[0] == "together" and len(last) >= 2
    return once_more and {*last[1:]} <= taken and fair_blocks((num_blocks, before))


def generate_blocks(rng: random.Random, size: int) -> tuple:
    """Takes, shares and releases that pair up; now and then one release too many as the very last call."""
    num_blocks = free = rng.randint(1, 2 + size)
    operations: list[list[Any]] = []
    holders: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for number in range(3 + 2 * size):
        live, draw = [name for name, count in holders.items() if count], rng.random()
        if not live or draw < 0.4:
            name, count = f"x{number}", rng.randint(1, 3)
            operations.append(["take", name, count])
            if count <= free:
                holders[name], sizes[name], free = 1, count, free - count
        elif draw < 0.55:
            name = rng.choice(live)
            operations.append(["share", name])
            holders[name] += 1
        else:
            name = rng.choice(live)
            operations.append(["release", name])
            holders[name] -= 1
            free += sizes[name] * (holders[name] == 0)
    gone = [op[1] for op in operations[-1:] if op[0] == "release" and not holders[op[1]]]
    return num_blocks, operations + [["release", name] for name in gone]


TASK = Task(
    id="06.3",
    name="SharedBlocks",
    title="Bug hunt: the leak and the double free",
    points=30,
    returns="a class; take returns a list of block numbers, num_free() a number",
    cases=(
        Case((2, [["take", "x", 2], ["release", "x"]]), None),
        Case((2, [["take", "x", 1], ["release", "x"], ["take", "y", 2], ["release", "y"]]), None),
        Case((1, [["take", "x", 1], ["release", "x"], ["take", "y", 1], ["release", "y"], ["take", "z", 1]]), None),
        Case((3, [["take", "x", 2], ["share", "x"], ["release", "x"], ["take", "y", 1], ["release", "x"]]), None),
        Case((2, [["take", "x", 1], ["take", "y", 2], ["take", "z", 1]]), None),
        Case((2, [["take", "x", 1], ["release", "x"], ["release", "x"]]), None),
        Case((3, [["take", "x", 2], ["share", "x"], ["release", "x"], ["release", "x"], ["release", "x"]]), None),
        Case((2, [["take", "x", 1], ["take", "y", 1], ["release", "y"], ["together", "x", "y"]]), None),
    ),
    judge=judge_blocks,
    generate=generate_blocks,
    valid=valid_blocks,
    exact=False,
    drive=drive_blocks,
    scene=scene_blocks,
    hints=(
        "There are three bugs. Follow block 0 of a pool of one block through two lives: take, release, take, release. Write "
        "down its count after every line.",
        "A count is 0 while a block is free, 1 when it is taken, one more with every share, one less with every release. "
        "Where does the code break that? And what should release do when a count is 0 already?",
        "take:    enough free? else MemoryError, before anything is taken; every count of a new block is 1\n"
        "release: is a count 0? ValueError, before anything is changed\n"
        "         then, for each block: one less; at 0 it goes back to the free list",
    ),
)
