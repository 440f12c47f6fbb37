"""A bug hunt: the front of a fleet, which loses requests and says tokens twice when a replica dies."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...plain import to_plain
from ...task import Args, Case, Finding, Task, likeliest

# args: (replicas, seats, [[tick, name, prompt, wanted], ...], [[tick, replica], ...])
ONCE = "each client is told the tokens of its answer, each of them once, whoever dies"
ALIVE = "a replica that has died is given nothing any more"
SEATS = "a replica has at most as many requests at a time as it has seats"
ORDER = "an order is [replica, name, text, left]: whom to ask, for whom, prompt and all tokens told so far, tokens still to come"
FORM = "take, token and died return two lists: orders, and what is told"
WORK = "a request goes on where it stood: no token is computed twice"


def next_token(text: list[int]) -> int:
    """What every replica makes of a text."""
    return (sum((place + 1) * token for place, token in enumerate(text)) * 31 + 7) % 97


def answer_to(prompt: list[int], wanted: int) -> list[int]:
    text = list(prompt)
    for _ in range(wanted):
        text.append(next_token(text))
    return text[len(prompt) :]


@dataclass
class World:
    """What is true at a moment. ``told``: what each client has heard. ``given``: of each living replica the requests that it
    works on, with their text and how many tokens are to come.
    """

    replicas: int
    seats: int
    asked: dict[str, tuple[list[int], int]] = field(default_factory=dict)
    told: dict[str, list[int]] = field(default_factory=dict)
    given: list[dict[str, tuple[list[int], int]]] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    lost: dict[str, int] = field(default_factory=dict)  # whom a dead replica was working on: the replica
    queued: dict[str, int] = field(default_factory=dict)  # who was not being worked on when a replica died: that replica
    tick: int = 0
    event: str = ""


Call = Callable[[str, list[Any]], Any]
Look = Callable[[World, Any], Finding | None]


def last_tick(args: Args) -> int:
    """So late that even one replica would be done."""
    _, seats, arrivals, deaths = args
    work = sum(wanted for _, _, _, wanted in arrivals)
    return max([tick for tick, *_ in arrivals] + [tick for tick, _ in deaths], default=0) + work + 2


def play(args: Args, call: Call, look: Look) -> Finding | None:
    """The whole run: in each tick who comes, then a token of everybody who is worked on, then who dies."""
    replicas, seats, arrivals, deaths = args
    world = World(replicas, seats, given=[{} for _ in range(replicas)])

    def tell(method: str, values: list[Any], event: str) -> Finding | None:
        world.event = event
        gave = call(method, values)
        finding = look(world, gave)
        if finding is None:
            carry_out(world, gave)
        return finding

    for world.tick in range(last_tick(args)):
        for name, prompt, wanted in [asked for at, *asked in arrivals if at == world.tick]:
            world.asked[name], world.told[name] = (prompt, wanted), []
            if finding := tell("take", [name, list(prompt), wanted], f"{name} comes"):
                return finding
        for i, name in [(i, name) for i, here in enumerate(world.given) for name in here]:
            if finding := tell("token", [i, name, made(world, i, name)], f"replica {i} sends a token of {name}"):
                return finding
        for i in [i for at, i in deaths if at == world.tick]:
            bury(world, i)
            if finding := tell("died", [i], f"replica {i} dies"):
                return finding
    return at_the_end(world)


def made(world: World, i: int, name: str) -> int:
    """A replica's next token of a request."""
    text, left = world.given[i][name]
    token = next_token(text)
    world.given[i][name] = [*text, token], left - 1
    if left == 1:
        del world.given[i][name]
    return token


def bury(world: World, i: int) -> None:
    """Note whom a replica leaves behind when it dies."""
    world.dead.add(i)
    gone, world.given[i] = world.given[i], {}
    held = {name for here in world.given for name in here}
    waits = [name for name, (_, wanted) in world.asked.items() if len(world.told[name]) < wanted and name not in held]
    world.lost |= dict.fromkeys(gone, i)
    world.queued |= {name: i for name in waits if name not in gone}


def carry_out(world: World, gave: Any) -> None:
    for name, token in gave[1]:
        world.told[name].append(token)
    for i, name, text, left in gave[0]:
        world.given[i][name] = list(text), left
        world.lost.pop(name, None)
        world.queued.pop(name, None)


class Stop(Exception):
    """An order that cannot be carried out: the judge says why."""


def drive(answer: Any, args: Args) -> list[Any]:
    """What each call returned, in order. It ends with the first that cannot be carried out."""
    replicas, seats = args[:2]
    front, log = answer(replicas, seats), []

    def call(method: str, values: list[Any]) -> Any:
        log.append(to_plain(getattr(front, method)(*values)))
        return log[-1]

    def stop(world: World, gave: Any) -> Finding | None:
        finding = look(world, gave)
        if finding:
            raise Stop
        return None

    try:
        play(args, call, stop)
    except Stop:
        pass
    return log


def judge(args: Args, log: Any) -> Finding | None:
    calls = iter(log)
    return play(args, lambda method, values: next(calls, None), look)


# ---------------------------------------------------------------- what may be wrong with an answer to a call
def look(world: World, gave: Any) -> Finding | None:
    if not well_formed(gave):
        cause = (
            f"{told_at(world)}: it returned {str(gave)[:80]}. Return orders and what is told, two lists, even if they are empty"
        )
        return Finding(FORM, cause, "not two lists", "two lists", str(gave)[:80])
    return wrong_words(world, gave[1]) or wrong_orders(world, gave)


def well_formed(gave: Any) -> bool:
    return (
        isinstance(gave, list)
        and len(gave) == 2
        and all(isinstance(part, list) for part in gave)
        and all(isinstance(order, list) and len(order) == 4 and is_order(*order) for order in gave[0])
        and all(
            isinstance(word, list) and len(word) == 2 and isinstance(word[0], str) and isinstance(word[1], int)
            for word in gave[1]
        )
    )


def is_order(replica: Any, name: Any, text: Any, left: Any) -> bool:
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (replica, left))
    return whole and isinstance(name, str) and isinstance(text, list) and all(isinstance(token, int) for token in text)


def told_at(world: World) -> str:
    return f"tick {world.tick}, {world.event}"


def wrong(world: World, rule: str, cause: str, slip: str, expected: Any, got: Any) -> Finding:
    return Finding(rule, f"{told_at(world)}: {cause}", slip, expected, got)


def wrong_words(world: World, words: list[list[Any]]) -> Finding | None:
    heard = {name: list(tokens) for name, tokens in world.told.items()}
    for name, token in words:
        if name not in heard:
            return wrong(world, ONCE, f"{name} has not come", "unknown client", "a client", name)
        prompt, wanted = world.asked[name]
        right, so_far = answer_to(prompt, wanted), heard[name]
        if len(so_far) == wanted:
            cause = f"the answer of {name} has {wanted} tokens, and the client is told one more"
            return wrong(world, ONCE, cause, "told too much", right, [*so_far, token])
        if token != right[len(so_far)]:
            cause, slip = other_word(name, token, so_far, len(world.told[name]), right)
            return wrong(world, ONCE, cause, slip, right[: len(so_far) + 1], [*so_far, token])
        so_far.append(token)
    name = silent(world, heard)
    if name:
        cause = f"a token of {name} has come, and its client is not told: tell it at once"
        return wrong(world, ONCE, cause, "kept back", len(world.told[name]) + 1, len(world.told[name]))
    return None


def other_word(name: str, token: int, heard: list[int], before: int, right: list[int]) -> tuple[str, str]:
    """(cause, slip) of a token that is not the client's next one. before: how many it had heard before this call."""
    if len(heard) > before and token == heard[-1]:
        return f"{name} is told {token} twice in one call: a token is passed on once", "told twice"
    if token in heard:
        return f"{name} is told {token} again: its answer begins anew, in the middle of the text", "answer begins anew"
    return f"{name} is told {token}, and its next token is {right[len(heard)]}: is one left out?", "told another"


def silent(world: World, heard: dict[str, list[int]]) -> str:
    """Whose token has just come and was not passed on."""
    if " sends a token of " not in world.event:
        return ""
    name = world.event.rpartition(" ")[2]
    return name if len(heard[name]) == len(world.told[name]) < world.asked[name][1] else ""


def wrong_orders(world: World, gave: Any) -> Finding | None:
    orders, words = gave
    held: dict[str, int] = {name: i for i, here in enumerate(world.given) for name in here}
    counts = [len(here) for here in world.given]
    told = {name: world.told[name] + [token for whom, token in words if whom == name] for name in world.told}
    for replica, name, text, left in orders:
        if not 0 <= replica < world.replicas:
            return wrong(world, ALIVE, f"there is no replica {replica}", "no replica", f"0 to {world.replicas - 1}", str(replica))
        if name not in world.asked:
            return wrong(world, ORDER, f"{name} has not come", "unknown client", "a client", name)
        finding = wrong_order(world, replica, name, text, left, told[name], held)
        if finding:
            return finding
        held[name] = replica
        counts[replica] += 1
        if counts[replica] > world.seats:
            cause = f"replica {replica} has {world.seats} seats, and is given {name} as one more: let it wait"
            return wrong(world, SEATS, cause, "too many", world.seats, counts[replica])
    return None


def wrong_order(
    world: World, replica: int, name: str, text: list[int], left: int, told: list[int], held: dict[str, int]
) -> Finding | None:
    prompt, wanted = world.asked[name]
    if replica in world.dead:
        cause = (
            f"{name} goes to replica {replica}, which is dead: it has no requests, and so looks the least loaded for ever. "
            "(Or its number is a place in a list of the living alone: that is another number)"
        )
        return wrong(world, ALIVE, cause, "given to the dead", "a living replica", f"replica {replica}")
    if len(told) == wanted:
        cause = f"{name} is complete, and it is asked for again: forget who is done"
        return wrong(world, WORK, cause, "complete ones again", "no order", f"{name}, {left} tokens")
    if name in held:
        cause = f"replica {held[name]} works on {name} already: two replicas on one request say everything twice"
        return wrong(world, ONCE, cause, "two at once", f"replica {held[name]} alone", f"replica {replica}, too")
    if text == prompt and told:
        cause = f"{name} begins anew, with its prompt alone: its client has {len(told)} tokens, hand them over as well"
        return wrong(world, WORK, cause, "begins anew", [*prompt, *told], text)
    if text != [*prompt, *told]:
        return wrong(
            world,
            ORDER,
            f"the text of {name} is its prompt and what was told, no more and no less",
            "another text",
            [*prompt, *told],
            text,
        )
    if left != wanted - len(told):
        cause = f"{name} wants {wanted} tokens, {len(told)} are told: {wanted - len(told)} are still to come"
        return wrong(world, ORDER, cause, "tokens to come", wanted - len(told), left)
    return None


def at_the_end(world: World) -> Finding | None:
    """Nothing more will happen: who has no whole answer waits for ever."""
    for name, (prompt, wanted) in world.asked.items():
        told = world.told[name]
        if len(told) == wanted:
            continue
        right = answer_to(prompt, wanted)
        if name in world.lost:
            cause = f"{name} was being worked on when replica {world.lost[name]} died, and nobody goes on: give it to another one"
            return Finding(ONCE, cause, "lost from a seat", right, told)
        cause = (
            f"{name} waits for ever, with {len(told)} of {wanted} tokens. When a request is complete its seat is free: "
            "who waits takes it"
        )
        made = [(cause, "waits for ever")]
        if name in world.queued:
            cause = (
                f"{name} was waiting when replica {world.queued[name]} died, and waits for ever: those in the queue of a dead "
                "replica need another one, too"
            )
            made.insert(0, (cause, "lost from the queue"))
        return likeliest(partial(ending, right, told), made)
    return None


def ending(right: list[int], told: list[int], cause: str, slip: str) -> Finding:
    return Finding(ONCE, cause, slip, right, told)


def generate(rng: random.Random, size: int) -> tuple:
    replicas, seats = rng.randint(2, 4), rng.randint(1, 3)
    ticks = 2 + 2 * size
    arrivals = [
        [rng.randrange(ticks), f"r{i}", [rng.randint(1, 90) for _ in range(rng.randint(1, 3))], rng.randint(1, 2 + size)]
        for i in range(rng.randint(1, 2 + 2 * size))
    ]
    mortal = rng.sample(range(replicas), rng.randint(0, replicas - 1) if size < 3 else replicas - 1)
    return replicas, seats, sorted(arrivals), [[rng.randrange(ticks), i] for i in mortal]


def valid(args: Args) -> bool:
    """Whether names are different, somebody stays alive, and answers tell a repetition from a step on."""
    replicas, seats, arrivals, deaths = args
    names, dead = [name for _, name, _, _ in arrivals], [i for _, i in deaths]
    return (
        1 <= replicas <= 6
        and seats >= 1
        and len(set(names)) == len(names)
        and len(set(dead)) == len(dead) < replicas
        and all(0 <= i < replicas and tick >= 0 for tick, i in deaths)
        and all(tick >= 0 and prompt and min(prompt) >= 1 and wanted >= 1 for tick, _, prompt, wanted in arrivals)
    )


def scene(args: Args) -> str:
    replicas, seats, arrivals, deaths = args
    came = [f"{name} at tick {tick} wants {wanted}" for tick, name, _, wanted in arrivals]
    died = [f"replica {i} dies at tick {tick}" for tick, i in deaths]
    more = ", ..." if len(came) > 8 else ""
    return f"{replicas} replicas with {seats} seats: {', '.join(came[:8])}{more}; {', '.join(died) or 'nobody dies'}"


TASK = Task(
    id="13.4",
    name="Front",
    title="Bug hunt: the front that loses and doubles",
    points=25,
    returns="a class whose methods return orders, and what is told",
    cases=(
        Case((1, 1, [[0, "r0", [5], 2]], []), None),
        Case((1, 1, [[0, "r0", [5], 2], [0, "r1", [6], 1]], []), None),
        Case((2, 1, [[0, "r0", [5], 3]], [[0, 0]]), None),
        Case((2, 1, [[0, "r0", [5], 3]], [[1, 0]]), None),
        Case((2, 1, [[0, "r0", [5], 3], [0, "r1", [6], 3], [0, "r2", [7], 1]], [[1, 0]]), None),
        Case((2, 2, [[0, "r0", [5], 1], [0, "r1", [6], 4]], [[2, 0]]), None),
        Case((2, 1, [[0, "r0", [5], 1], [3, "r1", [6], 2], [4, "r2", [7], 2]], [[2, 0]]), None),
        Case((3, 2, [[0, f"r{i}", [5 + i], 4] for i in range(9)], [[1, 1], [3, 0]]), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    exact=False,
    hints=(
        "Follow one request whose replica dies after two tokens. Which text is the next replica handed, and what does its client "
        "hear? Then follow one that was still waiting there.",
        "There are four bugs, all of them in who is remembered: who waits on a dead replica, who is complete, what was told "
        "already, and which replicas are alive.",
        "an order's text: the prompt and what was told; left: what is wanted less what was told\n"
        "when a token was the last: take the request off its replica, fill the seat\n"
        "when a replica dies: note it; those it worked on and those that waited there are placed again\n"
        "place: the least loaded of the living",
    ),
)
