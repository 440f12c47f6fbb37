"""A cache that finds the beginning of a text, judged by what it finds, and by what it has room for."""

import random
from typing import Any

from ...judging.operations import Operation, answered, driver, raised_a, scene, well_formed
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .model import REFUSED, SLIPS, played

ARGUMENTS = {"admit": 2, "finish": 1}
RULE = "admit returns the tokens that were found in the cache, or raises MemoryError if the blocks do not suffice"


def judge_cache(args: Args, log: list[dict[str, Any]]) -> Finding | None:
    """The first operation that answers something else than it must; the slip that answers all of them as this class does."""
    (num_blocks, size), operations = args
    entries = answered([["new", num_blocks, size], *operations], log)[1:]
    want = played(num_blocks, size, operations)
    for number, (entry, right) in enumerate(zip(entries, want)):
        finding = strange(entry, right) or wrong(args, entries, number, want)
        if finding:
            return finding
    return None


def strange(entry: dict[str, Any], right: Any) -> Finding | None:
    """An exception that nobody asked for, or an answer that is no number."""
    call = f"{entry['op'][0]}({', '.join(map(repr, entry['op'][1:]))})"
    if "raised" in entry:
        if raised_a(entry, REFUSED) and entry["op"][0] == "admit":
            return None
        if entry["op"][0] == "finish":
            cause = f"finish raised {entry['raised']} ({entry['text']}): a request that was admitted can always finish"
            return Finding(RULE, cause, "finish raises", f"{call}: nothing is raised", f"{call}: {entry['raised']}")
        if right == REFUSED:
            cause = (
                f"there are too few blocks, and {entry['raised']} is raised: that is a MemoryError, before anything has changed"
            )
            return Finding(RULE, cause, "another exception", f"{call}: {REFUSED}", f"{call}: {entry['raised']}")
        cause = f"admit raised {entry['raised']} ({entry['text']})"
        return Finding(RULE, cause, "admit raises", f"{call}: {right}", f"{call}: {entry['raised']}")
    if entry["op"][0] == "admit" and (not isinstance(entry["value"], int) or isinstance(entry["value"], bool)):
        cause = "admit returns a number: how many tokens were found in the cache"
        return Finding(RULE, cause, "no number", f"{call}: {right}", f"{call}: {entry['value']!r}")
    return None


def wrong(args: Args, entries: list[dict[str, Any]], number: int, want: list[Any]) -> Finding | None:
    """A Finding if this operation's answer is not the right one; named by what explains all answers up to here."""
    entry = entries[number]
    if entry["op"][0] != "admit" or outcome(entry) == want[number]:
        return None
    (num_blocks, size), operations = args
    got = [outcome(e) for e in entries]
    made = [
        (cause, slip)
        for slip, cause in SLIPS.items()
        if answers_as(num_blocks, size, operations, slip)[: number + 1] == got[: number + 1]
    ]
    whole = [pair for pair in made if answers_as(num_blocks, size, operations, pair[1]) == got]
    call = f"admit({entry['op'][1]!r}, {entry['op'][2]})"
    expected, have = f"{call}: {words(want[number])}", f"{call}: {words(got[number])}"
    made = whole or made or [(f"{CANNOT_TELL}. {have}, and it must be: {words(want[number])}", "other answer")]
    return likeliest(lambda cause, slip: Finding(RULE, cause, slip, expected, have), made)


def answers_as(num_blocks: int, size: int, operations: list[Operation], slip: str) -> list[Any]:
    """What a cache with this slip answers; whoever it refused by mistake cannot finish."""
    return played(num_blocks, size, operations, slip)


def outcome(entry: dict[str, Any]) -> Any:
    """What an admit answered; None for a finish."""
    if entry["op"][0] == "finish":
        return None
    return REFUSED if "raised" in entry else entry["value"]


def words(answer: Any) -> str:
    return REFUSED if answer == REFUSED else f"{answer} tokens found"


def fair(args: Args) -> bool:
    """A name is admitted when it is not active, and finishes when it is."""
    (num_blocks, size), operations = args
    if not (num_blocks >= 1 and size >= 1 and operations and well_formed(operations, ARGUMENTS)):
        return False
    active: set[str] = set()
    for number, (kind, name, *rest) in enumerate(operations):
        if (kind == "finish") != (name in active) or kind == "admit" and not rest[0]:
            return False
        if kind == "finish":
            active.discard(name)
        elif played(num_blocks, size, operations[: number + 1])[-1] != REFUSED:
            active.add(name)
    return True


def generate_cache(rng: random.Random, size: int) -> tuple:
    """Requests that come and go; most begin as an earlier one did, and the pool is small for them."""
    block, texts = rng.randint(1, 3), [[1]]
    pool = rng.randint(2, 3 + size)
    operations: list[Operation] = []
    active: list[str] = []
    for number in range(3 + 2 * size):
        if active and rng.random() < (0.6 if len(active) > 1 else 0.35):
            name = active.pop(rng.randrange(len(active)))
            operations.append(["finish", name])
            continue
        old = rng.choice(texts)
        cut = rng.choice([len(old), len(old), rng.randint(0, len(old))])
        text = old[:cut] + [rng.choice((1, 2, 3)) for _ in range(rng.randint(0, block + 1))] or [2]
        texts.append(text[: block * pool])
        operations.append(["admit", f"r{number}", texts[-1]])
        if played(pool, block, operations)[-1] != REFUSED:
            active.append(f"r{number}")
    return [pool, block], operations


A, B, C, D = [1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7], [1, 2, 9, 9], [1, 2, 3, 4]
X, Y, Z = [1, 1, 1], [2, 2, 2], [3, 3, 3]  # a block and a tail each


def run(*words: str | tuple[str, list[int]]) -> list[Operation]:
    """("a", A) admits, "a" finishes."""
    return [["finish", w] if isinstance(w, str) else ["admit", *w] for w in words]


TASK = Task(
    id="10.2",
    name="PrefixCache",
    title="A cache that forgets what was unused longest",
    points=45,
    returns="a class; admit returns a number of tokens, finish returns nothing",
    cases=(
        Case(([8, 2], run(("a", A), ("b", B))), None),
        Case(([16, 2], run(("a", A), "a", ("b", B), "b", ("c", C), "c", ("d", D), "d")), None),
        Case(([8, 2], run(("a", D), ("b", D))), None),
        Case(([8, 2], run(("a", [1, 2, 5, 6]), ("b", [3, 4, 5, 6, 7]))), None),
        Case(([8, 2], run(("a", [5, 6, 7, 8, 1]), ("b", [3, 4, 7, 8, 1]), ("c", [7, 8, 1]))), None),
        Case(([2, 2], run(("a", X), ("b", Y), "a", ("b", Y))), None),
        Case(([3, 2], run(("a", X), ("b", X), ("c", Y))), None),
        Case(([2, 1], run(("a", [1]), "a", ("b", [2]), "b", ("c", [1, 3]), "c", ("d", [3, 2]))), None),
        # three known blocks, one is used again, then room is needed for one: the other of the first two goes
        Case(
            (
                [4, 2],
                run(
                    ("a", X), "a", ("b", Y), "b", ("c", X), "c", ("d", Z), "d", ("e", [4, 4, 4, 4]), "e", ("f", X), "f", ("g", Y)
                ),
            ),
            None,
        ),  # fmt: skip
        Case(([4, 2], run(("a", A), "a", ("b", [6, 6, 6, 6]), "b", ("c", A))), None),
        Case(
            (
                [4, 2],
                run(
                    ("a", [1, 1, 2, 2, 3]),
                    "a",
                    ("b", [1, 1, 2, 2, 4, 4, 5, 5, 6, 6]),
                    ("c", [7, 7, 7, 7, 8]),
                    "c",
                    ("d", [1, 1, 2, 2, 3]),
                ),
            ),
            None,
        ),  # fmt: skip
        Case(([3, 2], run(("a", A), "a", ("b", D + [8]), ("c", [9]))), None),
        Case(([3, 1], run(("a", [1, 2]), ("b", [1, 3]), "a", "b", ("c", [4, 5, 6]))), None),
        Case(([3, 2], run(("a", X), "a", ("b", [2, 2, 2, 2, 5, 5, 5]), ("c", X))), None),
        Case(([4, 2], run(("a", X), "a", ("b", Y), ("c", [3, 3, 3, 3, 3]), ("d", X))), None),
        Case(([6, 2], run(("a", D), ("b", D), "b", ("c", [7, 7, 7, 7, 7, 7]), "a", "c", ("d", A))), None),
        Case(([6, 2], run(("a", D), "a", ("b", D), ("c", [7, 7, 7, 7, 7, 7]), "b", "c", ("d", A))), None),
        Case(([3, 2], run(("a", X), "a", ("b", Y), "b", ("c", [4]), ("d", X))), None),
        Case(([4, 2], run(("a", X), ("b", Y), "a", "b", ("c", [4]), ("d", [5]), ("e", X), ("f", Y))), None),
        Case(([4, 2], run(("a", D), ("b", D), "a", ("c", [5, 5]), "c", "b", ("d", A))), None),
        Case(([5, 2], run(("a", D), ("b", D), ("c", [8]), "c", "a", "b", ("d", [7, 7, 7, 7]), "d", ("e", A))), None),
    ),
    judge=judge_cache,
    generate=generate_cache,
    valid=fair,
    exact=False,
    rounds=80,
    drive=driver(),
    scene=scene("PrefixCache"),
    hints=(
        "Nobody asks for numbers of blocks, so you need none: count. How many blocks hold nothing, which names are known, how "
        "many requests use each, and in which order did the unused ones become unused?",
        "admit has four parts, in this order: search (at most the full blocks of all tokens but the last); count whether the new "
        "blocks fit, where a found block that nobody uses is no room any more; hold what was found; take the new blocks, first "
        "those that hold nothing, then the known one that is unused longest. Only the second part may raise.",
        "admit(name, tokens):\n"
        "    names = a name for each full block\n"
        "    found = the first of them that are known, at most (tokens - 1) / size\n"
        "    need  = blocks for all tokens, rounded up, less those found\n"
        "    room  = blocks that hold nothing + unused names that are not among the found\n"
        "    need > room?  MemoryError\n"
        "    found: one user more; no longer unused\n"
        "    need times: take a block that holds nothing, else forget the name that is unused longest\n"
        "    names behind the found that are not known by now: known, one user\n"
        "    remember for the request: its names, and how many of its blocks have none\n"
        "finish(name):\n"
        "    blocks without a name hold nothing again\n"
        "    its names from the last to the first: one user less; without users, to the end of the unused",
    ),
)
