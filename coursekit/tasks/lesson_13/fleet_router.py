"""A router for four replicas: it must look at the loads, at the prompts, and know when to look at which."""

import itertools
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ...plain import to_plain
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest
from .fleet import HEAD, LOADS, REPLICAS, Job, Outcome, Pick, least, serve

SLOWER, HITS = 2.5, 0.65
WAITS = f"the P99 wait for the first token is at most {SLOWER:g} times that of the router that takes the fewest tokens"
FINDS = f"with 24 prefixes at least {HITS:.0%} of the prompt tokens are found in a cache"
PLACE = f"pick returns the place of a replica in loads: a whole number from 0 to {REPLICAS - 1}"
Seen = list[tuple[int, int, int]]  # waiting, running, tokens of each replica


def drive(answer: Any, args: Args) -> dict[str, Any]:
    """The replica of each request. It ends with the first pick that is none."""
    from minieng.parallel.router import Load

    router, bad = answer(), []  # type: Any, list[Any]

    def pick(loads: Seen, prompt: Sequence[int]) -> int:
        if bad:
            return 0
        at = to_plain(router.pick([Load(*load) for load in loads], list(prompt)))
        if not is_place(at):
            bad.append(at)
            return 0
        return int(at)

    return {"picks": serve(jobs_of(args), pick).picks, "bad": bad}


def is_place(at: Any) -> bool:
    return isinstance(at, int) and not isinstance(at, bool) and 0 <= at < REPLICAS


def jobs_of(args: Args) -> list[Job]:
    kind, seed = args
    return LOADS[kind](seed)


# ---------------------------------------------------------------- routers that everybody tries first
def one_by_one() -> Pick:
    turn = itertools.count()
    return lambda loads, prompt: next(turn) % len(loads)


def smallest(weight: Callable[[tuple[int, int, int]], float]) -> Callable[[], Pick]:
    return lambda: lambda loads, prompt: least(map(weight, loads))


def sticky() -> Pick:
    """Where a prefix went first it goes for ever."""
    home: dict[tuple[int, ...], int] = {}
    return lambda loads, prompt: home.setdefault(tuple(prompt[:HEAD]), least(load[2] for load in loads))


fewest_tokens = smallest(lambda load: load[2])
KNOWN: tuple[tuple[str, str, Callable[[], Pick]], ...] = (
    ("one after the other: this looks neither at the loads nor at the prompt", "round robin", one_by_one),
    ("all requests go to one replica", "always one", lambda: lambda loads, prompt: 0),
    ("this takes the replica with the fewest tokens, and never looks at the prompt", "fewest tokens", fewest_tokens),
    (
        "this takes the replica with the fewest requests: a request may be long or short, and the prompt is not looked at",
        "fewest requests",
        smallest(lambda load: load[0] + load[1]),
    ),
    (
        "this takes the replica where fewest wait. Mostly nobody waits anywhere, and so the first one gets all",
        "fewest waiting",
        smallest(lambda load: load[0]),
    ),
    (
        "this takes the replica where fewest run: they stop at the number of seats, while a queue grows behind them",
        "fewest running",
        smallest(lambda load: load[1]),
    ),
    (
        "a prefix stays where it was first, whatever waits there: one that is in demand needs more replicas than one",
        "sticks for ever",
        sticky,
    ),
)  # fmt: skip


@lru_cache(maxsize=512)
def known(kind: str, seed: int) -> tuple[float, list[list[int]]]:
    """The P99 wait of the fewest tokens, and the picks of each router above."""
    jobs = LOADS[kind](seed)
    return serve(jobs, fewest_tokens()).p99(), [serve(jobs, make()).picks for _, _, make in KNOWN]


def judge(args: Args, got: Any) -> Finding | None:
    kind, seed = args
    if got["bad"]:
        return Finding(
            PLACE,
            f"pick returned {str(got['bad'][0])[:80]}: that is no place in loads",
            "no place",
            "0 to 3",
            str(got["bad"][0])[:80],
        )
    seen: list[Seen] = []
    jobs = jobs_of(args)
    if len(got["picks"]) != len(jobs) or not all(map(is_place, got["picks"])):
        raise ValueError("a replica for each request")
    given = iter(got["picks"])
    outcome = serve(jobs, noting(given, seen))
    par, others = known(kind, seed)
    slow, cold = outcome.p99() > SLOWER * par, kind == "24 prefixes" and outcome.hits < HITS
    if not slow and not cold:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        right = {"P99 TTFT": f"at most {SLOWER * par:.0f} ms"} | (
            {"hits": f"at least {HITS:.0%}"} if kind == "24 prefixes" else {}
        )
        mine = {"P99 TTFT": f"{outcome.p99():.0f} ms", "hits": f"{outcome.hits:.0%}"}
        told = f"({kind}: requests of each replica {outcome.sent}, tokens {outcome.work})"
        return Finding(
            FINDS if cold and not slow else WAITS, f"{cause}. {told}", slip, right, {name: mine[name] for name in right}
        )

    made = [(cause, slip) for (cause, slip, _), picks in zip(KNOWN, others) if picks == outcome.picks]
    return likeliest(wrong, made or [reason(jobs, outcome, seen, cold)])


def noting(given: Any, seen: list[Seen]) -> Pick:
    """The picks as they were made, with what was to be seen at each."""

    def pick(loads: Seen, prompt: Sequence[int]) -> int:
        seen.append(loads)
        return int(next(given))

    return pick


def reason(jobs: Sequence[Job], outcome: Outcome, seen: list[Seen], cold: bool) -> tuple[str, str]:
    """Why a router that is none of the well-known ones misses its aim."""
    share = max(outcome.sent) / len(jobs)
    if share > 0.9:
        return f"one replica of four gets {share:.0%} of the requests", "always one"
    fullest = sum(loads[at][2] == max(load[2] for load in loads) > 0 for loads, at in zip(seen, outcome.picks)) / len(jobs)
    blind = f"the fullest replica is chosen in {fullest:.0%} of all cases: look at the loads", "loads ignored"
    homes: dict[tuple[int, ...], set[int]] = {}
    for (_, prompt, _), at in zip(jobs, outcome.picks):
        homes.setdefault(tuple(prompt[:HEAD]), set()).add(at)
    if len(homes) < len(jobs) / 2:  # prefixes come again
        if all(len(places) == 1 for places in homes.values()):
            return KNOWN[-1][:2]
        if cold and outcome.hits > 0.45:
            return (
                "a prefix leaves its replica at the least difference in load, and is computed anew elsewhere",
                "leaves too early",
            )
        if cold and fullest <= 0.15:
            return (
                "requests that begin alike go to all replicas, and each computes the beginning again: look at the prompt",
                "prompt ignored",
            )
        if not cold and share > 0.28:
            return (
                f"it stays with a prefix too long: one replica gets {share:.0%} of the requests, and a queue grows there",
                "leaves too late",
            )
    return blind if fullest > 0.15 else (f"{CANNOT_TELL}: some wait too long", "too slow")


def generate(rng: random.Random, size: int) -> tuple:
    return rng.choice(list(LOADS)), rng.randrange(1000)


def valid(args: Args) -> bool:
    kind, seed = args
    return kind in LOADS and isinstance(seed, int) and 0 <= seed < 1000


def scene(args: Args) -> str:
    kind, seed = args
    jobs = jobs_of(args)
    told = "; ".join(f"at {at} ms a prompt of {len(prompt)}, answer {answer}" for at, prompt, answer in jobs[:4])
    return f"{REPLICAS} replicas, {len(jobs)} requests, {kind} (seed {seed}): {told}; ..."


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "TypeError" and "Load" in text:
        return "a load is no list: it has waiting, running and tokens, as in loads[i].tokens"
    if error == "IndexError":
        return f"loads holds {REPLICAS} replicas, from 0 to {REPLICAS - 1}"
    return None


TASK = Task(
    id="13.3",
    name="FleetRouter",
    title="A router for four replicas",
    points=35,
    returns="a class whose pick(loads, prompt) returns the place of a replica",
    cases=tuple(Case((kind, seed), None) for seed in (1, 2) for kind in LOADS),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    engine=True,
    rounds=16,
    hints=(
        "Two replicas: one has computed this beginning and is busy, the other is idle. What does each choice cost, in tokens?",
        "Remember which replicas were sent a beginning (the first hundred tokens are enough to know it by). Of those take the "
        "least loaded, unless it has several requests more than the idlest of all; then go there, and remember that, too. A "
        "beginning that nobody knows goes where the fewest tokens are.",
        "key: the first tokens of the prompt, as a tuple\n"
        "requests of a replica: waiting + running\n"
        "homes: the replicas that were sent this key\n"
        "at: of homes, the one with fewest requests\n"
        "if there is none, or it has more than a handful of requests more than the idlest replica:\n"
        "    at: of all, the one with fewest tokens\n"
        "at is a home of the key from now on",
    ),
)
