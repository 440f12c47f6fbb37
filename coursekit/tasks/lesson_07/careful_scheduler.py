"""A scheduler that nobody is ever thrown out of: it lets in whom it can feed to the end."""

import random
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from ...judging.runs import Run, goes_on_for_ever, rule_broken, timeline
from ...judging.scheduling import Bench, parts, random_jobs
from ...task import CANNOT_TELL, Args, Case, Finding, likeliest
from .doors import Cache, Fits, Load, likely_doors

NEVER = "nobody who runs is ever thrown out: let in only who fits at the peak to come"
EARLY = "whoever is first in the queue enters at once, if there is a seat and everybody fits at the peak to come"
GOES_ON = "everybody who runs gets one token in every step"
TURN = "requests enter in order of arrival, and nobody who waits is passed by"
WHOLE = "a newcomer computes its whole prompt in its first step"

BENCH = Bench(max_num_seqs=8, num_blocks=16, block_size=4)


class View(NamedTuple):
    """A step as the scheduler found it, and what it planned."""

    at: int
    running: dict[str, Load]
    waiting: dict[str, Load]  # in order of arrival
    given: dict[str, int]
    preempted: list[str]


def judge(args: Args, got: Any) -> Finding | None:
    """Our own rules first: whoever lets in too many breaks a rule of the engine only later.

    Nobody is asked to count on the ledger: it is thrown away with the plan, the engine counts each plan on one of its own, and
    who fits at the peak to come fits now.
    """
    run = BENCH.replayed(args, got)
    return rules(args, run) or nobody_enters(run) or rule_broken(run) or goes_on_for_ever(run)


def nobody_enters(run: Run) -> Finding | None:
    """An empty plan, while nobody runs and somebody waits."""
    if not run["broken"] or run["broken"]["rule"] != "never idle without a reason":
        return None
    now = max((s["start"] + s["duration"] for s in run["steps"]), default=0.0)
    begun = {name for step in run["steps"] for name, _, _ in step["slices"]}
    left = [name for name, r in run["requests"].items() if r["finish"] is None and r["arrival"] <= now]
    if not left or begun & {*left}:
        return None
    cause = (
        f"nobody runs, {left[0]} waits, and your plan is empty, so it will wait for ever. Alone everybody fits: let the first in "
        "when nobody is there, whatever your peak says"
    )
    return Finding(EARLY, cause, "nobody enters", f"{left[0]} enters", timeline(run))


def rules(args: Args, run: Run) -> Finding | None:
    jobs, knobs = parts(args)
    limits = {**BENCH.knobs, **knobs}
    cache, seats = Cache(limits["num_blocks"], limits["block_size"]), limits["max_num_seqs"]
    views = list(views_of(run, jobs))
    for view in views:
        for look in (someone_stands_still, cut_prompt, out_of_turn):
            if problem := look(view):
                return told(view, run, *problem)
        if door := wrong_door(view, views, cache, seats):
            return told_with_others(view, run, door)
        if view.preempted:
            cause = f"{view.preempted[0]} is thrown out, although everybody fits: in this step and to the end"
            return told(view, run, NEVER, cause, "preempts without need", "nobody in plan.preempt")
    return None


def told(view: View, run: Run, rule: str, cause: str, slip: str, expected: str) -> Finding:
    return Finding(rule, f"step {view.at}: {cause}", slip, expected, timeline(run))


def views_of(run: Run, jobs: Sequence[Sequence[Any]]) -> Iterator[View]:
    """Each step as the scheduler found it."""
    asked = {}
    for i, (_, prompt, output, *rest) in enumerate(jobs):
        most = (rest[0] if rest else {}).get("max_tokens") or 0
        asked[f"r{i}"] = prompt + max(output, most)
    done: dict[str, int] = {}  # tokens with KV of those who run
    text = {name: r["prompt"] for name, r in run["requests"].items()}
    over: set[str] = set()
    for at, step in enumerate(run["steps"]):
        here = [n for n, r in run["requests"].items() if r["arrival"] <= step["start"] and n not in over]
        loads = {n: Load(text[n] - 1, asked[n] - text[n], text[n] - run["requests"][n]["prompt"]) for n in here}
        running = {n: loads[n] for n in here if n in done}
        given = {name: n for name, _, n in step["slices"]}
        yield View(at, running, {n: loads[n] for n in here if n not in done}, given, list(step["preempted"]))
        for name in step["preempted"]:
            done.pop(name, None)
        done |= {name: before + n for name, before, n in step["slices"]}
        text |= {name: text[name] + 1 for name in step["emitted"]}
        over |= set(step["finished"])
        done = {name: n for name, n in done.items() if name not in over}


Problem = tuple[str, str, str, str]  # rule, cause, slip, what was expected


def someone_stands_still(view: View) -> Problem | None:
    still = [name for name in view.running if name not in view.given and name not in view.preempted]
    if not still:
        return None
    name, new = still[0], [n for n in view.given if n in view.waiting]
    if new:
        cause = f"{name} runs and gets no token, while {new[0]} computes its prompt. Both belong into one step"
        return GOES_ON, cause, "prompts alone", f"one token for {', '.join(still)}"
    return GOES_ON, f"{name} runs and gets no token", "stands still", f"one token for {', '.join(still)}"


def cut_prompt(view: View) -> Problem | None:
    for name, load in view.waiting.items():
        n = view.given.get(name, load.held + 1)
        if n != load.held + 1:
            cause = f"{name} is let in with {n} of its {load.held + 1} prompt tokens: give it r.num_remaining_tokens"
            return WHOLE, cause, "cut prompt", f"{load.held + 1} tokens for {name}"
    return None


def out_of_turn(view: View) -> Problem | None:
    queue = list(view.waiting)
    new = [name for name in queue if name in view.given]
    if new == queue[: len(new)]:
        return None
    first = next(name for name in queue if name not in view.given)
    passing = next(name for name in new if queue.index(name) > queue.index(first))
    cause = (
        f"{passing} is let in, and {first}, which came before it, waits. If the first does not fit, let nobody in: small "
        "requests "
        "would pass a large one for ever"
    )
    return TURN, cause, "passes by", f"nobody before {first}"


def entering(view: View, seats: int, fits: Fits) -> list[str]:
    """Who gets in by a rule, in order of arrival, until the first that does not."""
    new: list[str] = []
    for name in list(view.waiting)[: max(0, seats - len(view.running))]:
        if not fits(list(view.running.values()), [view.waiting[n] for n in new], view.waiting[name]):
            break
        new.append(name)
    return new


class Door(NamedTuple):
    """Somebody entered who does not fit, or waits who does."""

    rule: str
    cause: str
    slip: str
    expected: str
    made: list[tuple[str, str]]


def wrong_door(view: View, views: list[View], cache: Cache, seats: int) -> Door | None:
    """Compares who entered with who may, and who must: what lies between is the scheduler's own business."""
    new = entered(view)

    def alone_or(fits: Fits) -> Fits:
        return lambda old, others, one: not (old or others) or fits(old, others, one)

    may = entering(view, seats, alone_or(lambda old, others, one: cache.peak([*old, *others, one]) <= cache.blocks))
    must = entering(view, seats, alone_or(lambda old, others, one: cache.careful_peak([*old, *others, one]) <= cache.blocks))
    if len(must) <= len(new) <= len(may):
        return None
    made = explanations(view, views, cache, seats)
    if len(new) > len(may):
        name = new[len(may)]
        loads = [*view.running.values(), *(view.waiting[n] for n in new[: len(may) + 1])]
        cause = (
            f"{CANNOT_TELL}: {name} is let in, and the peak will be {cache.peak(loads)} blocks of {cache.blocks}: somebody will "
            "be "
            "thrown out"
        )
        return Door(NEVER, cause, "lets in too many", f"{name} waits", made)
    name = must[len(new)]
    loads = [*view.running.values(), *(view.waiting[n] for n in must[: len(new) + 1])]
    cause = f"{name} waits, though the peak with it is only {cache.peak(loads)} blocks of {cache.blocks}, and a seat is free"
    return Door(EARLY, cause, "lets in too few", f"{view.waiting[name].held + 1} tokens for {name}", made)


def entered(view: View) -> list[str]:
    return [name for name in view.waiting if name in view.given]


def explanations(view: View, views: list[View], cache: Cache, seats: int) -> list[tuple[str, str]]:
    """(cause, slip) of the mistakes that let in the very same, in this step and in all until somebody is thrown out."""
    calm = list(takewhile(lambda v: not v.preempted, views))

    def with_room(fits: Fits) -> Fits:  # whatever somebody computes, a prompt that finds no blocks does not get in
        return lambda old, new, one: cache.now([*old, *new, one]) <= cache.blocks and fits(old, new, one)

    likely = [(cause, slip, with_room(fits)) for cause, slip, fits in likely_doors(cache)]
    doors = [door for door in likely if entering(view, seats, door[2]) == entered(view)]
    always = [door for door in doors if all(entering(v, seats, door[2]) == entered(v) for v in calm)]
    return [(cause, slip) for cause, slip, _ in always or doors]


def told_with_others(view: View, run: Run, door: Door) -> Finding | None:
    return likeliest(
        lambda cause, slip: told(view, run, door.rule, cause, slip, door.expected), door.made or [(door.cause, door.slip)]
    )


def generate(rng: random.Random, size: int) -> tuple[Any, ...]:
    block = rng.choice([1, 1, 2, 4])
    jobs = random_jobs(rng, size, spread=0.05, prompt=8, output=12)
    for job in jobs:
        if rng.random() < 0.25:
            job.append({"max_tokens": job[2] + rng.randint(1, 4)})
    longest = max(job[1] + max(job[2], (job[3]["max_tokens"] if len(job) > 3 else 0)) for job in jobs)
    blocks = -(-longest // block) + rng.randint(0, 4 + size // block)
    return jobs, {"num_blocks": blocks, "block_size": block, "max_num_seqs": rng.choice([2, 3, 8])}


def valid(args: Args) -> bool:
    jobs, knobs = parts(args)
    limits = {**BENCH.knobs, **knobs}
    slots = limits["num_blocks"] * limits["block_size"]
    if not BENCH.valid(args) or min(limits["num_blocks"], limits["block_size"], limits["max_num_seqs"]) < 1:
        return False
    return all(job[1] + max(job[2], (job[3] if len(job) > 3 else {}).get("max_tokens") or 0) <= slots for job in jobs)


def small(blocks: int, block: int = 1, seats: int = 8) -> dict[str, int]:
    return {"num_blocks": blocks, "block_size": block, "max_num_seqs": seats}


SHORT_AND_LONG = [[0.0, 2, 4], [0.0, 2, 8]]  # ends hold 5 and 9, the peak is 10
EVEN = [[0.0, 2, 8], [0.0, 2, 8]]
QUEUE = [[0.0, 2, 4], [0.0, 9, 4], [0.0, 1, 2]]
STREAM = [[0.0, 3, 6], [0.0, 3, 6], [0.02, 3, 3], [0.04, 6, 2], [0.06, 2, 5]]
ASKS_MORE = [[0.0, 2, 3, {"max_tokens": 9}], [0.0, 2, 9]]
ROUNDED = [[0.0, 5, 4], [0.0, 5, 4], [0.0, 5, 4], [0.0, 5, 4]]
CRUMBS = [[0.0, 9, 9], [0.02, 1, 8]]  # never more than 24 tokens together, but 4 blocks of 8
ALIKE = [[0.0, 3, 4]] * 6
FILLS = [[0.0, 9, 7], [0.0, 1, 2]]  # the first ends with 15 tokens: alone it fits into 16 slots, its last block not full

TASK = BENCH.task(
    id="07.4",
    name="CarefulScheduler",
    title="A scheduler that never throws anybody out",
    points=35,
    cases=(
        Case(([[0.0, 3, 4]], small(6)), None),
        Case((SHORT_AND_LONG, small(10)), None),
        Case((SHORT_AND_LONG, small(9)), None),
        Case((EVEN, small(12)), None),
        Case((QUEUE, small(12)), None),
        Case((STREAM, small(16)), None),
        Case((ASKS_MORE, small(14)), None),
        Case((ROUNDED, small(6, 4)), None),
        Case((CRUMBS, small(3, 8)), None),
        Case((FILLS, small(4, 4)), None),
        Case((ALIKE, small(40, 1, 3)), None),
        Case((ALIKE, small(12, 2)), None),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    hints=(
        "r0 holds 2 tokens and will hold 5, r1 wants in with 2 and will hold 9. The cache has 10 slots. Write down, step by "
        "step, "
        "what both hold together. Do they fit? Reserving for both ends would need 14.",
        "Everybody who runs goes on by one token: that always fits, if you let in only who fits at the peak. For the peak take "
        "[held, "
        "left] of each: held is r.num_tokens - 1, left is r.max_num_tokens - r.num_tokens, for those who run, for the newcomer, "
        "and "
        "for those whom the same plan has let in. Round what each holds up to whole blocks.",
        "for each running request: it and one token into the plan\n"
        "there = the running ones\n"
        "for each waiting request, as long as there are seats:\n"
        "    if the peak of those there and this one is more than all blocks, and somebody is there: stop\n"
        "    it and its whole prompt into the plan; it is there now\n"
        "the peak: for each way to end (a value of left), the sum of the blocks of those with no less left, each with held + "
        "that "
        "many tokens, rounded up; the largest of these sums",
    ),
)
