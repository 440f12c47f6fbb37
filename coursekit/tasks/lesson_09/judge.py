"""What a chunked schedule looks like, step by step, and what each departure from it is called."""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ...judging.runs import Run, goes_on_for_ever, rule_broken, timeline
from ...judging.scheduling import Bench, random_jobs
from ...task import Args, Finding

View = dict[str, Any]  # a step as a scheduler saw it
Problem = tuple[str, str, str, str]  # rule, cause, slip, what was expected

BENCH = Bench()
BUDGET = "no step computes more than max_num_batched_tokens tokens, decodes and chunks together"
DECODES = "whoever is writing gets one token in every step, before any prompt does"
BEGUN = "a prompt that has begun goes on before a new one starts"
ORDER = "new prompts start in order of arrival, and nobody who waits is skipped"
NEEDED = "nobody is thrown out who could have stayed"
GIVEN_WAY = "a step that preempts somebody lets nobody in"
MISFIT = "It does not fit whole, so it is skipped and starves: give it what is left of the budget"
FULL = "a step uses its whole budget as long as somebody has tokens left to compute"


def judge(args: Args, got: Any) -> Finding | None:
    """The engine's rules, with our own words for an empty plan; then those of this exercise."""
    run = BENCH.replayed(args, got)
    return nothing_planned(args, run) or rule_broken(run) or goes_on_for_ever(run) or rules(args, run)


def rules(args: Args, run: Run) -> Finding | None:
    """The gravest departure from the order: decodes, begun prompts, new prompts, until the budget is spent."""
    from minieng import EngineConfig

    knobs = {"block_size": EngineConfig().block_size, **args[1]}
    budget, views = knobs["max_num_batched_tokens"], list(views_of(run, knobs["max_num_seqs"], knobs["block_size"]))
    looks = [over_budget, lets_in_and_throws_out, decodes_missing, small_chunk, begun_starves, wrong_order, left_over]
    if "num_blocks" in knobs:  # where KV is short, how much each gets is the scheduler's own business
        looks = [over_budget, lets_in_and_throws_out, decodes_missing, preempts_in_need, passes_by]
    for look in looks:
        for view in views:
            problem = look(view, views, budget)
            if problem:
                rule, cause, slip, expected = problem
                return Finding(rule, f"step {view['at']}: {cause}", slip, expected, timeline(run))
    return None


def nothing_planned(args: Args, run: Run) -> Finding | None:
    """An empty plan because KV has run out, or in the face of a prompt that is larger than the budget."""
    if not run["broken"] or run["broken"]["rule"] != "never idle without a reason":
        return None
    if "num_blocks" in args[1] and run["steps"]:
        cause = (
            "KV has run out: nobody who runs gets a block, so your plan is empty, and it will stay so. Ask self.make_room for "
            "running requests: it makes somebody give way"
        )
        return Finding(FULL, cause, "nobody gives way", "somebody in plan.preempt", timeline(run))
    budget, now = args[1]["max_num_batched_tokens"], max((s["start"] + s["duration"] for s in run["steps"]), default=0.0)
    for name, r in run["requests"].items():
        begun = sum(n for step in run["steps"] for other, _, n in step["slices"] if other == name)
        if r["finish"] is None and 0 < begun < r["prompt"]:
            cause = (
                f"your plan is empty although {name} has begun its prompt: {begun} of {r['prompt']} tokens are computed. Who has "
                "begun is in self.running, and goes on from there"
            )
            return Finding(BEGUN, cause, "never goes on", f"{min(budget, r['prompt'] - begun)} tokens for {name}", timeline(run))
        if r["finish"] is None and r["arrival"] <= now and r["prompt"] > budget:
            cause = (
                f"your plan is empty although {name} has a prompt of {r['prompt']} tokens to compute, "
                f"and the budget is {budget}. {MISFIT}"
            )
            return Finding(ORDER, cause, "skips", f"{budget} tokens for {name}", timeline(run))
    return None


def views_of(run: Run, seats: int, size: int) -> Iterator[View]:
    """Each step as a scheduler saw it: who was writing, who was reading its prompt, who waited; and what each got."""
    done: dict[str, int] = {}
    finished: set[str] = set()
    tokens = {name: r["prompt"] for name, r in run["requests"].items()}  # to be computed; one more with each that is written

    def writes(name: str, computed: int) -> bool:
        """One token at a time; not so one that was preempted and computes again what it had."""
        return tokens[name] > run["requests"][name]["prompt"] and tokens[name] - computed == 1

    come: set[str] = set()
    waiting: list[str] = []  # as the scheduler finds it: in order of arrival, but who is preempted goes to the front
    for at, step in enumerate(run["steps"]):
        new = [n for n, r in run["requests"].items() if r["arrival"] <= step["start"] and n not in come]
        come, waiting = come | {*new}, waiting + new
        given = {name: n for name, _, n in step["slices"]}
        done |= {name: before for name, before, _ in step["slices"]}
        gone = {name: done.pop(name, 0) for name in step["preempted"]}
        running = [name for name in done if name not in finished and (done[name] or name not in given)]
        here = [n for n, r in run["requests"].items() if r["arrival"] <= step["start"] and n not in finished]
        after = done | {name: before + n for name, before, n in step["slices"]}
        # None among the needed: one whose prompt was not finished, who may have asked for a large chunk
        yield {
            "at": at,
            "given": given,
            "preempted": list(step["preempted"]),
            "free": step["blocks_total"] - sum(-(-n // size) for name, n in after.items() if name not in finished),
            "needed": {name: -(-(n + 1) // size) if writes(name, n) else None for name, n in gone.items()},
            "started": [name for name, before, _ in step["slices"] if not before],
            "writing": [name for name in running if writes(name, done[name])],
            "reading": [name for name in running if not writes(name, done[name])],
            "new": [name for name in waiting if name not in running][: max(0, seats - len(running))],
            "size": size,
            "left": {name: tokens[name] - done.get(name, 0) for name in here},
        }
        waiting = [*step["preempted"][::-1], *(name for name in waiting if name not in given)]
        done = after
        tokens |= {name: tokens[name] + 1 for name in step["emitted"]}
        finished |= set(step["finished"])


def over_budget(view: View, views: list[View], budget: int) -> Problem | None:
    total, most = sum(view["given"].values()), max(view["given"].values(), default=0)
    if total <= budget:
        return None
    name = next(n for n, tokens in view["given"].items() if tokens == most)
    if most > budget:
        cause = f"{name} computes {most} tokens in one piece, the budget is {budget}. Everybody else waits for that step: cut it"
        return BUDGET, cause, "whole prompt", f"at most {budget} tokens"
    decodes = [name for name in view["writing"] if name in view["given"]]
    if total - len(decodes) <= budget:
        cause = (
            f"it computes {total} tokens, the budget is {budget}: your prompts fill it, and {len(decodes)} decodes come on top. "
            "What they take is gone for the prompts"
        )
        return BUDGET, cause, "decodes on top", f"at most {budget} tokens"
    cause = (
        f"it computes {total} tokens, the budget is {budget}. No single request gets more than that, but the budget is for "
        "the step: what one takes is gone for the next"
    )
    return BUDGET, cause, "budget for each", f"at most {budget} tokens"


def lets_in_and_throws_out(view: View, views: list[View], budget: int) -> Problem | None:
    if not view["preempted"] or not view["started"]:
        return None
    gone, name = view["preempted"][0], view["started"][0]
    cause = f"KV is so short that {gone} is thrown out, and yet {name} is let in. Admit nobody in a step that preempts somebody"
    return GIVEN_WAY, cause, "admits while preempting", f"no tokens for {name}"


def preempts_in_need(view: View, views: list[View], budget: int) -> Problem | None:
    """All who were thrown out were writing and would have found room after the step: one at least went for nothing."""
    need = view["needed"]
    if not need or None in need.values() or view["free"] < max(need.values()):
        return None
    if len(need) == 1:
        name = next(iter(need))
        cause = (
            f"{name} had to go, and {view['free']} blocks are free after the step: more than it needs. Is a token counted twice "
            "on the ledger? self.make_room counts it, kv.take counts it once more"
        )
        return NEEDED, cause, "preempts without need", f"{name} goes on"
    cause = (
        f"{' and '.join(need)} had to go, and {view['free']} blocks are free after the step: more than each of them needs. "
        "When one gives way, the next can have its blocks: self.make_room counts them, your own preemption does not"
    )
    return NEEDED, cause, "preempts too many", f"{next(iter(need))} or another goes on"


def passes_by(view: View, views: list[View], budget: int) -> Problem | None:
    for place, name in enumerate(view["new"]):
        later = next((n for n in view["new"][place + 1 :] if n in view["given"]), None)
        if later and name not in view["given"]:
            share = max(1, fair_share(view, budget)[name])
            behind = sum(-(-view["given"].get(n, 0) // view["size"]) for n in view["new"][place + 1 :])
            if -(-share // view["size"]) <= view["free"] + behind:
                cause = f"{later} is let in, and {name} gets nothing, though it fits. It came first: a newcomer overtakes it"
                return ORDER, cause, "overtakes", f"{share} tokens for {name}"
            cause = (
                f"{later} is let in, and {name}, which came before it, gets nothing. Where the ledger has no room for the first "
                "who waits, let nobody in: if you go on to the next, small requests pass a large one again and again"
            )
            return ORDER, cause, "passes by", f"nobody let in before {name}"
    return None


def decodes_missing(view: View, views: list[View], budget: int) -> Problem | None:
    missing = [name for name in view["writing"] if name not in view["given"]]
    if not missing:
        return None
    name, total = missing[0], sum(view["given"].values())
    if view["preempted"]:
        cause = (
            f"{name} is writing and gets no token in a step that throws {view['preempted'][0]} out. One gives way so that all "
            "the others can go on: go through everybody who runs"
        )
        return DECODES, cause, "stops at a preemption", f"one token for {', '.join(missing)}"
    if total + len(missing) > budget:
        cause = f"{name} is writing and gets no token, because prompts have taken the budget. Serve those who write first"
        return DECODES, cause, "prompts first", f"one token for {', '.join(missing)}"
    if not set(view["given"]) - set(view["writing"]):
        cause = f"{name} is writing and gets no token, though the step has room: go through all of self.running"
        return DECODES, cause, "leaves out a writer", f"one token for {', '.join(missing)}"
    cause = f"{name} is writing and gets no token, though the step has room: a chunk and the decodes belong into the same step"
    return DECODES, cause, "not fused", f"one token for {', '.join(missing)}"


def fair_share(view: View, budget: int) -> dict[str, int]:
    """What the prompts get when what the decodes leave is given out in order."""
    room = budget - len(view["writing"])
    share: dict[str, int] = {}
    for name in [*view["reading"], *view["new"]]:
        share[name] = max(0, min(room, view["left"][name]))
        room -= share[name]
    return share


def passed_over(view: View, budget: int) -> tuple[str, int, int, str] | None:
    """(name, what it got, its share, who is behind it and got tokens), for the first prompt that is passed over."""
    given, share = view["given"], fair_share(view, budget)
    queue = [*view["reading"], *view["new"]]
    for place, name in enumerate(queue):
        first = next((n for n in queue[place + 1 :] if given.get(n)), None)
        if given.get(name, 0) < share[name] and first:
            return name, given.get(name, 0), share[name], first
    return None


def begun_starves(view: View, views: list[View], budget: int) -> Problem | None:
    found = passed_over(view, budget)
    if not found or found[0] not in view["reading"]:
        return None
    name, got, share, first = found
    if split := evenly(view, budget):
        return BEGUN, split, "split evenly", f"{share} tokens for {name}"
    cause = (
        f"{name} has begun its prompt and gets {got} of the {share} tokens it could have, while {first} gets "
        f"{view['given'][first]}. It holds KV and starves while others keep coming. Finish what is begun"
    )
    return BEGUN, cause, "begun starves", f"{share} tokens for {name}"


def evenly(view: View, budget: int) -> str | None:
    """The cause, where all prompts of a step get about the same number of tokens."""
    parts = [view["given"].get(name, 0) for name in [*view["reading"], *view["new"]]]
    used_up = budget - sum(view["given"].values()) < len(parts)
    if not used_up or len(parts) < 2 or min(parts) < 1 or max(parts) - min(parts) > 1 or max(parts) < 2:
        return None
    return (
        f"the budget is split evenly, {' and '.join(map(str, parts))} tokens. All prompts go on, and all end late: the first "
        "gets what it lacks, the next what is left"
    )


def wrong_order(view: View, views: list[View], budget: int) -> Problem | None:
    found = passed_over(view, budget)
    if not found:
        return None
    name, got, share, first = found
    if split := evenly(view, budget):
        return ORDER, split, "split evenly", f"{share} tokens for {name}"
    told = f"{name} gets {got} of the {share} tokens it could have, while {first} behind it gets {view['given'][first]}"
    if got == 0 and not cuts(views):
        return ORDER, f"{told}. {MISFIT}", "skips", f"{share} tokens for {name}"
    return ORDER, f"{told}. It came first: a newcomer overtakes it", "overtakes", f"{share} tokens for {name}"


def cuts(views: list[View]) -> bool:
    """Whether a prompt was ever given a part of what it had left."""
    return any(v["given"].get(n, v["left"][n]) < v["left"][n] for v in views for n in [*v["reading"], *v["new"]])


def idle_room(view: View, budget: int) -> tuple[int, str] | None:
    """(free tokens, the first prompt that could use them) of a step; None if there is nothing left over."""
    room = budget - sum(view["given"].values())
    hungry = [n for n in [*view["reading"], *view["new"]] if view["given"].get(n, 0) < view["left"][n]]
    return (room, hungry[0]) if room > 0 and hungry else None


def small_chunk(view: View, views: list[View], budget: int) -> Problem | None:
    found = idle_room(view, budget)
    if not found or found[1] not in view["given"]:
        return None
    room, name = found
    got, left = view["given"][name], view["left"][name]
    if split := evenly(view, budget):
        return FULL, split, "split evenly", f"{min(left, got + room)} tokens for {name}"
    cause = (
        f"{name} has {left} tokens of its prompt to compute and gets {got}, though {room} more are left of the budget. "
        "A chunk is as large as what is left"
    )
    return FULL, cause, "chunk too small", f"{min(left, got + room)} tokens for {name}"


def left_over(view: View, views: list[View], budget: int) -> Problem | None:
    """Room in the budget although a prompt could use it: what kind of restraint is it?"""
    found = idle_room(view, budget)
    if not found:
        return None
    room, name = found
    told = f"{room} tokens of the budget are left, and {name} has {view['left'][name]} tokens of its prompt to compute"
    want = f"{min(view['left'][name], room)} tokens for {name}"
    idle = [(v, i) for v in views if (i := idle_room(v, budget))]
    if not cuts(views) and all(v["left"][hungry] > free for v, (free, hungry) in idle):
        return FULL, f"{told}. {MISFIT}", "skips", want
    if any(n in view["given"] for n in [*view["reading"], *view["new"]]):
        return FULL, f"{told}. One prompt a step is not the limit, the budget is: go on to the next", "one prompt a step", want
    return FULL, f"{told}, but this step holds decodes only: prompts starve as long as anybody writes", "prompts starve", want


def generate(rng: random.Random, size: int) -> tuple:
    """Two times in three with room for everybody, else with a cache that hardly holds the longest."""
    seats = rng.randint(2, 4)
    knobs = {"max_num_batched_tokens": rng.randint(seats + 1, 12), "max_num_seqs": seats}
    jobs = random_jobs(rng, size, spread=0.03, prompt=26, output=9)
    if rng.random() < 0.67:
        return jobs, knobs
    return jobs, {**knobs, "num_blocks": most_blocks(jobs, 4) + rng.randint(0, 2), "block_size": 4}


def most_blocks(jobs: Sequence[Sequence[Any]], size: int) -> int:
    """Blocks of the longest request."""
    return max(-(-(prompt + output) // size) for _, prompt, output, *_ in jobs)


def valid(args: Args) -> bool:
    from minieng import EngineConfig

    jobs, knobs = args
    seats, size = knobs.get("max_num_seqs", 0), knobs.get("block_size", EngineConfig().block_size)
    room = size >= 1 and ("num_blocks" not in knobs or most_blocks(jobs, size) <= knobs["num_blocks"])
    return BENCH.valid(args) and room and 1 <= seats < knobs.get("max_num_batched_tokens", 0)


scheduler_task = partial(BENCH.task, like="chunked", judge=judge, generate=generate, valid=valid)
