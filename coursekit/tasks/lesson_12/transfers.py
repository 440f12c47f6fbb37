"""Two stages that send each other messages: in which order, so that none of them waits for ever."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from ...plain import to_plain
from ...task import Args, Case, Finding, Task, likeliest

Lists = Sequence[Sequence[Sequence[Any]]]  # for each rank its operations, [what, message]

OPERATIONS = ("send", "recv", "isend", "irecv", "wait")
STARTS = {"send": "out", "isend": "out", "recv": "in", "irecv": "in"}
FORM = "each operation is a pair such as ('isend', 'x0'), and every message is sent by one rank and received by the other"
WAITED = "what is started with isend or irecv is waited for, once"
ORDER = "messages of one direction come in the order in which they were sent"
MADE = "stage 1 can send the tokens t0 when the activations x0 are there"
DEPTH = "at most `depth` batches are out: x of batch i is sent when the tokens of batch i - depth are here"
HANG = "nobody waits for ever"
BUSY = "`depth` batches are under way as long as there are so many"


def drive(answer: Any, args: Args) -> Any:
    batches, depth = args
    return [to_plain(answer(rank, batches, depth)) for rank in (0, 1)]


def judge(args: Args, got: Any) -> Finding | None:
    batches, depth = args
    looks: tuple[Callable[[Lists, int, int], Finding | None], ...]
    looks = (misshapen, left_out, not_waited, out_of_order, not_there_yet, too_many_out, hangs, half_asleep)
    for look in looks:
        finding = look(got, batches, depth)
        if finding:
            return finding
    return None


def direction(rank: int, message: str) -> str:
    """Whether a message goes out of this rank or comes in: x from 0 to 1, t from 1 to 0."""
    return "out" if (message[0] == "x") == (rank == 0) else "in"


def told(operation: Sequence[Any]) -> str:
    return f"{operation[0]} {operation[1]}"


def listed(operations: Sequence[Sequence[Any]]) -> str:
    text = ", ".join(told(o) for o in operations[:10])
    return f"{text}{', ...' if len(operations) > 10 else ''}" or "nothing"


def misshapen(got: Lists, batches: int, depth: int) -> Finding | None:
    names = {f"{kind}{i}" for kind in "xt" for i in range(batches)}
    for rank, operations in enumerate(got):
        if not isinstance(operations, list):
            return Finding(FORM, f"rank {rank} gave no list of operations", "no list", "a list of pairs", f"{operations}")
        for each in operations:
            if not isinstance(each, list) or len(each) != 2 or each[0] not in OPERATIONS:
                cause = f"{each} is no operation: a pair of one of {', '.join(OPERATIONS)} and the name of a message"
                return Finding(FORM, cause, "no operation", "a list of pairs", f"{each}")
            if each[1] not in names:
                cause = f"rank {rank} names a message {each[1]!r}; for {batches} batches they are x0 to x{batches - 1} and t0 to "
                cause += f"t{batches - 1}: is a loop one too long?"
                return Finding(FORM, cause, "unknown message", f"x0 to t{batches - 1}", f"{each[1]}")
            if each[0] in STARTS and STARTS[each[0]] != direction(rank, each[1]):
                said = "comes from the other one" if STARTS[each[0]] == "out" else "is its own"
                cause = f"rank {rank} cannot {each[0]} {each[1]}, which {said}: x goes from 0 to 1, t from 1 to 0"
                return Finding(FORM, cause, "wrong direction", "the other direction", told(each))
    return None


def started(operations: Sequence[Sequence[Any]], way: str = "") -> list[str]:
    """Messages in the order in which they are started, of one direction or of both."""
    return [name for what, name in operations if what in STARTS and way in ("", STARTS[what])]


def left_out(got: Lists, batches: int, depth: int) -> Finding | None:
    """A message that one rank does not send or receive, or does twice."""
    for rank, operations in enumerate(got):
        names = started(operations)
        for kind in "xt":
            way = direction(rank, kind)
            verb = "sends" if way == "out" else "receives"
            missing = [f"{kind}{i}" for i in range(batches) if f"{kind}{i}" not in names]
            if missing:
                return lacks(rank, operations, kind, verb, missing, batches, depth)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            cause = f"rank {rank} starts {twice} {names.count(twice)} times: a message goes over once"
            return Finding(FORM, cause, "twice", f"{twice} once", listed(operations))
    return None


def lacks(
    rank: int, operations: Sequence[Sequence[Any]], kind: str, verb: str, missing: list[str], batches: int, depth: int
) -> Finding | None:
    """What a list without some message is told. With few batches the last ones are all there are."""

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(FORM, cause, slip, f"{missing[0]} in the list of rank {rank}", listed(operations))

    if kind == "x":
        never = "there is no pipeline without them"
    elif verb == "receives":
        never = "a group's next batch begins with them, so what comes back must be taken"
    else:
        never = "what it computes must go back to rank 0"
    what = "activations" if kind == "x" else "tokens"
    made = [(f"rank {rank} never {verb} {what}: {never}", f"never {verb} {kind}")] * (len(missing) == batches)
    if len(missing) <= depth:
        cause = f"rank {rank} never {verb} {missing[0]}: are the last batches still out when the list ends?"
        made.append((cause, "the last are left out"))
    cause = f"rank {rank} never {verb} {missing[0]}, though it {verb} others"
    return likeliest(wrong, made or [(cause, "some are left out")])


def not_waited(got: Lists, batches: int, depth: int) -> Finding | None:
    for rank, operations in enumerate(got):
        open_, done = set(), set()
        for what, name in operations:
            if what in ("isend", "irecv"):
                open_.add(name)
            elif what == "wait" and name in open_:
                open_.discard(name)
                done.add(name)
            elif what == "wait":
                before = "it was waited for before" if name in done else "neither isend nor irecv has started it before"
                cause = f"rank {rank} waits for {name}, and {before}"
                return Finding(WAITED, cause, "waits for nothing", f"no wait {name} there", listed(operations))
        if open_:
            name = next(n for n in started(operations) if n in open_)
            if direction(rank, name) == "in":
                cause = f"rank {rank} starts to receive {name} and never waits for it: until then nobody knows what is in it"
                return Finding(WAITED, cause, "received, not waited", f"wait {name}", listed(operations))
            cause = f"rank {rank} starts to send {name} and never waits for it: until then its memory may not be used again"
            return Finding(WAITED, cause, "sent, not waited", f"wait {name}", listed(operations))
    return None


def out_of_order(got: Lists, batches: int, depth: int) -> Finding | None:
    for kind in "xt":
        ways = [started(operations, direction(rank, kind)) for rank, operations in enumerate(got)]
        right = [f"{kind}{i}" for i in range(batches)]
        for rank, names in enumerate(ways):
            if names != right:
                at = next(i for i in range(batches) if names[i] != right[i])
                cause = (
                    f"rank {rank} has {names[at]} where {right[at]} is next. The first message that comes is the first that was "
                    "sent, whatever you call it: keep the order of the batches"
                )
                return Finding(
                    ORDER, cause, "order of messages", listed([["", n] for n in right]), listed([["", n] for n in names])
                )
    return None


def place(operations: Sequence[Sequence[Any]], name: str, end: bool) -> int:
    """Where a message is started, or where it is done: at a recv or a send, or at its wait."""
    ways = ("send", "recv", "wait") if end else tuple(STARTS)
    return next(i for i, (what, n) in enumerate(operations) if n == name and what in ways)


def not_there_yet(got: Lists, batches: int, depth: int) -> Finding | None:
    for i in range(batches):
        if place(got[1], f"t{i}", end=False) < place(got[1], f"x{i}", end=True):
            cause = f"rank 1 sends t{i} before x{i} is there: tokens are computed from activations. Receive or wait first"
            return Finding(MADE, cause, "sent before it is made", f"t{i} after x{i}", listed(got[1]))
    return None


def too_many_out(got: Lists, batches: int, depth: int) -> Finding | None:
    for i in range(depth, batches):
        if place(got[0], f"x{i}", end=False) < place(got[0], f"t{i - depth}", end=True):
            out = max(
                1 + sum(place(got[0], f"t{j}", end=True) > place(got[0], f"x{k}", end=False) for j in range(k))
                for k in range(batches)
            )
            if out > depth + 1:
                cause = f"rank 0 sends whatever it has: {out} batches are out, and {depth} may be"
                slip = "no bound"
            else:
                cause = f"one batch too many is out: x{i} is sent while {depth} are under way, as many as may be"
                slip = "one too many"
            cause += f". x{i} is the next batch of the group whose tokens are t{i - depth}: it begins with them"
            return Finding(DEPTH, cause, slip, f"x{i} after t{i - depth}", listed(got[0]))
    return None


def carried_out(got: Lists) -> list[int]:
    """How far each rank comes. A send ends when the other rank has begun to receive it: nothing is stored in between."""
    at, begun = [0, 0], [set(), set()]  # type: tuple[list[int], list[set[str]]]
    progress = True
    while progress:
        progress = False
        for rank in (0, 1):
            if at[rank] == len(got[rank]):
                continue
            what, name = got[rank][at[rank]]
            if what in STARTS and name not in begun[rank]:
                begun[rank].add(name)
                progress = True
            if what in ("isend", "irecv") or name in begun[1 - rank]:
                at[rank] += 1
                progress = True
    return at


def hangs(got: Lists, batches: int, depth: int) -> Finding | None:
    """Both ranks sit in a send, or both wait for what the other has not begun: all messages are there, and in order."""
    at = carried_out(got)
    if at == [len(operations) for operations in got]:
        return None
    stuck = [got[rank][at[rank]] for rank in (0, 1)]
    words = " and ".join(f"rank {rank} sits in {told(each)}" for rank, each in enumerate(stuck))
    (what, name), number = stuck[0], stuck[0][1][1:]
    if direction(0, name) == "out":
        cause = f"{words}: a send ends when the other begins to receive, and neither does. Start to receive first"
        slip = "both send"
    elif what == "recv":
        cause = f"{words}: each waits for what the other has yet to send. irecv listens and does not sit there"
        slip = "both receive"
    else:
        cause = f"{words}: {name} is waited for too soon, it is made of x{number}, which is not on its way yet"
        slip = "waits too soon"
    return Finding(HANG, cause, slip, "both lists come to their end", words)


def half_asleep(got: Lists, batches: int, depth: int) -> Finding | None:
    for i in range(1, batches):
        early = [
            j for j in range(max(0, i - depth + 1), i) if place(got[0], f"t{j}", end=True) < place(got[0], f"x{i}", end=False)
        ]
        if early:
            out = i - early[-1]
            if out == 1:
                cause = (
                    f"correct, but half asleep: rank 0 waits for t{early[-1]} before it sends x{i}, so that one batch is "
                    f"under way and {depth} may be. While one stage works, the other has nothing to do"
                )
                return Finding(BUSY, cause, "one at a time", f"x{i} before t{early[-1]} is waited for", listed(got[0]))
            cause = f"only {out} batches are under way when x{i} is sent, and {depth} may be: it need not wait for t{early[-1]}"
            return Finding(BUSY, cause, "too few out", f"x{i} before t{early[-1]} is waited for", listed(got[0]))
    return None


def generate(rng: random.Random, size: int) -> tuple:
    return rng.randint(1, 4 + 4 * size), rng.randint(1, 6)


def valid(args: Args) -> bool:
    batches, depth = args
    return batches >= 1 and 1 <= depth <= 8


def scene(args: Args) -> str:
    batches, depth = args
    return f"transfers(0, {batches}, {depth}) on one side and transfers(1, {batches}, {depth}) on the other"


TASK = Task(
    id="12.2",
    name="transfers",
    title="Messages that cannot hang",
    points=20,
    returns="a list of pairs (operation, message)",
    cases=tuple(Case(args, None) for args in ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (4, 2), (5, 3), (7, 4), (2, 4))),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    exact=False,
    hints=(
        "Two people at two telephones, and each can only talk to somebody who listens. Both want to talk first. Which of your "
        "operations says: from now on I listen, but I do not sit here?",
        "Rank 0 starts to receive t of a batch before it sends the batch's x. Before x of batch i it waits for the tokens of "
        "batch i - depth, and for no later ones. What is still out at the end is waited for there.",
        "rank 0, for each batch i:\n"
        "    if i is at least depth: wait for t and x of batch i - depth\n"
        "    start to receive t of i\n"
        "    start to send x of i\n"
        "  then wait for the last `depth` batches, oldest first\n"
        "rank 1, for each batch i: receive x, send t",
    ),
)
