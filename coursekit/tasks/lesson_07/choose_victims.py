"""Who gives way when blocks run out: the newest, no more of them than needed, and never the oldest."""

import random
from collections.abc import Callable
from typing import Any

from ...judging.operations import raised_a, what_was_raised
from ...plain import answer_to
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Running = list[list[Any]]  # [name, blocks, output], oldest first

ORDER = "the newest goes first, then the next newest, until enough blocks are free, and nobody beyond that"
OLDEST = "the oldest never goes; if all the others are not enough, MemoryError says so"


def drive(answer: Any, args: Args) -> dict[str, Any]:
    """{"value": the list}, or what was raised where that is a MemoryError, which is an answer here."""
    try:
        return {"value": answer_to(answer, args)}
    except MemoryError as problem:
        return what_was_raised(problem)


def walk(line: Running, need: int, free: int) -> list[str] | None:
    """The names along a line of requests until ``need`` blocks are free; None if the line ends before."""
    gone = []
    for name, blocks, _ in line:
        if free >= need:
            break
        gone.append(name)
        free += blocks
    return gone if free >= need else None


def newest_first(running: Running) -> Running:
    return running[:0:-1]


def judge(args: Args, got: Any) -> Finding | None:
    running, need, free = args
    want, raised = walk(newest_first(running), need, free), got.get("raised")
    names = None if raised else got["value"]

    def wrong(cause: str, slip: str, rule: str = ORDER) -> Finding:
        if want is None:  # words beside words
            return Finding(rule, cause, slip, "MemoryError", raised or f"the list {names!r}")
        return Finding(rule, cause, slip, want, "MemoryError" if raised else names)

    if raised and not raised_a(got, "MemoryError"):
        return wrong(f"it raised {raised}: raise MemoryError", "other exception", OLDEST)
    if want is None:
        return None if raised else cannot_be_done(args, names, wrong)
    if raised:
        return likeliest(lambda cause, slip: wrong(cause, slip, OLDEST), given_up(args))
    if names == want:
        return None
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        return wrong("return a list of names, such as ['D', 'C'], and nothing else", "not a list of names")
    if running and running[0][0] in names:
        first = likeliest(wrong, [(cause, slip) for list_, cause, slip in those_with_the_oldest(args) if list_ == names])
        return first or wrong(
            f"{running[0][0]} is the oldest, and it goes. It has waited longest; and as long as the oldest stays, somebody goes "
            "on",
            "the oldest goes",
            OLDEST,
        )
    made = [(cause, slip) for list_, cause, slip in likely_lists(args, want) if list_ == names]
    freed = free + sum(blocks for name, blocks, _ in running if name in names)
    if freed < need:
        unknown = (f"after these are gone {freed} blocks are free, and {need} are needed", "too few go")
    else:
        unknown = (f"{CANNOT_TELL}: enough blocks are free after these, but the newest should go first", "others go")
    return likeliest(wrong, made or [unknown])


def given_up(args: Args) -> list[tuple[str, str]]:
    """Why it raised, though there is a way."""
    running, need, free = args
    made = []
    if walk(newest_first(running), need, 0) is None:
        made.append(
            (f"it raised MemoryError, but {free} blocks are free already: count them before you give up", "free forgotten")
        )
    if free >= need:
        cause = f"it raised MemoryError, but {free} blocks are free already and {need} are needed: nobody has to go"
        return [*made, (cause, "gives up too early")]
    given = free + sum(blocks for _, blocks, _ in running[1:])
    cause = (
        f"it raised MemoryError, but without the oldest the others give enough: with what is free they make {given} blocks, "
        f"and {need} are needed"
    )
    return [*made, (cause, "gives up too early")]


def cannot_be_done(args: Args, names: Any, wrong: Callable[..., Finding]) -> Finding:
    """All but the oldest together are too few, and nothing was raised."""
    running, need, free = args
    rest = [name for name, _, _ in newest_first(running)]
    had = f"with all but the oldest gone, blocks free: {free + sum(r[1] for r in running[1:])}, needed: {need}"
    if running and isinstance(names, list) and running[0][0] in names:
        cause = f"{had}. The oldest is thrown out to make up for it: then nobody is left who is sure to go on. Raise MemoryError"
        return wrong(cause, "the oldest goes", OLDEST)
    if names == []:
        cause = f"{had}. An empty list says that nobody has to go: raise MemoryError"
        return wrong(cause, "empty when impossible", OLDEST)
    if names == rest:
        cause = f"{had}. Everybody but the oldest is sent away, and it still does not suffice: raise MemoryError instead"
        return wrong(cause, "sends all away in vain", OLDEST)
    return wrong(f"{had}: raise MemoryError", "no MemoryError", OLDEST)


Guess = tuple[list[str] | None, str, str]  # what a mistake gives, its cause, its slip


def those_with_the_oldest(args: Args) -> list[Guess]:
    """Lists of mistakes that can send the oldest away."""
    running, need, free = args
    by_blocks = sorted(running, key=lambda r: -r[1])
    return [
        (
            walk(running, need, free),
            "you begin with the oldest: who has waited longest would start over. Begin at the end of the list",
            "oldest first",
        ),
        (
            walk(by_blocks, need, free),
            "you take those who hold most, the oldest among them: fewer have to go, but their work is the largest",
            "largest first",
        ),
        (
            walk(sorted(running, key=lambda r: r[2]), need, free),
            "you sort by the output made so far, and the oldest is among them. The newest goes, whatever it has written",
            "fewest output first",
        ),
        (
            [name for name, _, _ in running[::-1]],
            "everybody goes, the oldest too: one by one, and stop when it is enough",
            "all go",
        ),
    ]


def likely_lists(args: Args, want: list[str]) -> list[Guess]:
    """What each likely mistake gives, with its words."""
    running, need, free = args
    line = newest_first(running)
    rest = running[1:]
    enough = [r for r in line if free + r[1] >= need]
    return [
        (
            walk(rest, need, free),
            "the oldest but one goes first: after the oldest it has waited longest. Begin at the end of the list",
            "oldest first",
        ),
        (
            walk(line, need + 1, free) or [r[0] for r in line],
            f"one goes too many: {need} free blocks are enough when {need} are needed",
            "one too many",
        ),
        (walk(line, need, 0), f"{free} blocks are free already: count them before you send anybody away", "free forgotten"),
        (
            [line[0][0]] if line and free < need else [],
            "only one goes, and its blocks are not enough: go on until they are",
            "only one goes",
        ),
        (
            walk(sorted(rest, key=lambda r: -r[1]), need, free),
            "those who hold most go first: fewer have to go, but their work is the largest. The newest goes, whatever it holds",
            "largest first",
        ),
        (
            walk(sorted(rest, key=lambda r: r[2]), need, free),
            "those with the fewest output go first, as in SGLang. Here it is the newest, whatever it has written",
            "fewest output first",
        ),
        (
            [name for name, _, _ in line[: max(0, need - free)]],
            "as many go as blocks are missing: count the blocks that each of them holds",
            "one block each",
        ),
        ([name for name, _, _ in line], "everybody but the oldest goes: stop as soon as enough blocks are free", "all go"),
        (want[::-1], "the right ones, in the wrong order: the newest goes first, so it is named first", "reversed"),
        *rarer_lists(args, want, enough),
    ]


def rarer_lists(args: Args, want: list[str], enough: Running) -> list[Guess]:
    running, need, free = args
    line = newest_first(running)
    return [
        (
            [min(enough, key=lambda r: r[1])[0]] if enough and free < need else [],
            "you look for one who holds just enough. The newest go, one after the other",
            "best fit",
        ),
        (want[:-1], "one goes too few: the blocks of those who go must reach what is needed", "one too few"),
        (
            walk([[r[0], 1, r[2]] for r in line], need, free),
            "each is counted as one block: add what it holds",
            "one block each",
        ),
        ([], f"nobody goes, and only {free} of {need} blocks are free", "nobody goes"),
    ]


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "IndexError" and "list" in text:
        return "a list is empty, and you take something from it: all others may be gone, or only one may run"
    return None


def valid(args: Args) -> bool:
    running, need, free = args
    names = [name for name, _, _ in running]
    return (
        bool(running)
        and len(set(names)) == len(names)
        and all(names)
        and min(blocks for _, blocks, _ in running) >= 1
        and min(output for _, _, output in running) >= 0
        and need >= 1
        and free >= 0
    )


def generate(rng: random.Random, size: int) -> tuple[Any, ...]:
    count = rng.randint(1, 2 + size)
    running: Running = [[chr(65 + i), rng.randint(1, 5), rng.randint(0, 9)] for i in range(count)]
    free = rng.choice([0, 0, 1, 2, 3])
    others = free + sum(blocks for _, blocks, _ in running[1:])
    need = rng.choice([rng.randint(1, others + 2), rng.randint(1, max(1, others)), others + rng.randint(0, 1) or 1])
    return running, need, free


FOUR = [["A", 3, 5], ["B", 3, 4], ["C", 2, 3], ["D", 1, 3]]

TASK = Task(
    id="07.1",
    name="choose_victims",
    title="Who gives way",
    points=20,
    returns="a list of names, in the order in which they go; or MemoryError",
    cases=(
        Case(([["A", 2, 1], ["B", 2, 1]], 1, 0), None),
        Case(([["A", 2, 1], ["B", 2, 1]], 2, 2), None),
        Case((FOUR, 1, 0), None),
        Case((FOUR, 3, 0), None),
        Case((FOUR, 3, 1), None),
        Case((FOUR, 6, 0), None),
        Case((FOUR, 7, 0), None),
        Case(([["A", 4, 9], ["B", 1, 0], ["C", 5, 2]], 4, 1), None),
        Case(([["A", 5, 2]], 1, 0), None),
    ),
    drive=drive,
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    scene=lambda args: f"choose_victims({args[0]}, need={args[1]}, free={args[2]})",
    hints=(
        "Four run, A the oldest. One block is needed, none is free. Who goes? And if three are needed? Write the names down "
        "before "
        "you write code.",
        "Go through the list from its end, and add the blocks of each to what is free. Stop before you look at the first of the "
        "list: the oldest stays. Ask whether it is enough before you send anybody, also the first time.",
        "gone = []\n"
        "for each request from the last to the second:\n"
        "    if enough is free: stop\n"
        "    it goes: its name into gone, its blocks are free\n"
        "if it is still not enough: raise MemoryError\n"
        "return gone",
    ),
)
