"""Scheduler golf: one key, three pars at once, on an engine whose queue is long."""

import random
from collections.abc import Callable
from functools import lru_cache
from json import dumps, loads
from statistics import mean
from typing import Any

from ...judging.runs import Run, goes_on_for_ever, rule_broken
from ...judging.scheduling import Bench
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

SEATS, MEAN, LATE, WAIT = 4, 1.15, 0.10, 2.5
BENCH = Bench(mixed=True, max_num_seqs=SEATS)
PARS = (
    f"mean end-to-end time at most {MEAN:g} x that of order='adaptive'; first tokens after their deadline at most {LATE:.0%} "
    f"of all deadlines more than with the earliest deadline first; the longest wait at most {WAIT:g} x that of first come"
)
Key = Callable[[Any, float], Any]
Score = dict[str, float]


def asked(r: Any) -> int:
    """Tokens of the answer that a request asks for."""
    return r.max_num_tokens - r.num_prompt_tokens


def earliest(r: Any, now: float) -> tuple[bool, float]:
    return r.deadline is None, r.deadline or 0.0


# cause, slip, the key. What is likelier stands first.
KNOWN: tuple[tuple[str, str, Key], ...] = (
    (
        "this is first come, first served: it knows neither lengths nor deadlines",
        "first come",
        lambda r, now: r.arrival_time,
    ),
    (
        "this is the shortest answer first. It has the best mean, and forgets that others have deadlines, and that the long wait",
        "shortest first",
        lambda r, now: asked(r),
    ),
    (
        "this is the shortest prompt first. The work is in the answers here",
        "shortest prompt",
        lambda r, now: r.num_prompt_tokens,
    ),
    (
        "this is the longest first: it keeps seats busy at the end, and makes nearly everybody wait",
        "longest first",
        lambda r, now: -asked(r),
    ),
    (
        "this is the earliest deadline first. It looks at no length: of two who are both in time, the short one should go first",
        "earliest deadline",
        earliest,
    ),
    (
        "this is the latest deadline first: a small key goes first",
        "latest deadline",
        lambda r, now: (r.deadline is None, -(r.deadline or 0.0)),
    ),
    (
        "this is last come, first served: whoever came early waits until the queue is empty",
        "last come",
        lambda r, now: -r.arrival_time,
    ),
    (
        "those without a deadline come first in your key, as if theirs were over: give None a late one",
        "none is early",
        lambda r, now: r.deadline or 0.0,
    ),
)  # fmt: skip


def engine_run(key: Key | str, args: Args) -> Run:
    """The run under an order: a word of the engine's, or a key."""
    return BENCH.reference((args[0], {"order": key}), "continuous")


def drive(answer: Any, args: Args) -> Run:
    return engine_run(answer, args)


def score(run: Run, jobs: list[list[Any]]) -> Score:
    """mean: seconds from arrival to end. late: share of deadlines that the first token missed. wait: the longest, in seconds."""
    requests = list(run["requests"].values())
    due = [(r, job[3]["deadline"]) for r, job in zip(requests, jobs) if len(job) > 3 and job[3].get("deadline") is not None]
    return {
        "mean": mean(r["finish"] - r["arrival"] for r in requests),
        "late": mean(r["first_token"] > deadline for r, deadline in due) if due else 0.0,
        "wait": max(r["first_token"] - r["arrival"] for r in requests),
    }


@lru_cache(maxsize=256)
def known_scores(text: str) -> dict[str, Score]:
    """The scores of the orders that the pars are made of, and of the keys that everybody tries first."""
    args = loads(text)
    named: dict[str, Key | str] = {"adaptive": "adaptive", "fcfs": "fcfs", "edf": earliest}
    return {name: score(engine_run(key, args), args[0]) for name, key in named.items()}


@lru_cache(maxsize=64)
def known_slices(text: str) -> list[list[Any]]:
    """Who computed what in each step under each of the KNOWN keys."""
    args = loads(text)
    return [[step["slices"] for step in engine_run(key, args)["steps"]] for _, _, key in KNOWN]


def pars(args: Args) -> Score:
    known = known_scores(dumps(list(args)))
    return {
        "mean": MEAN * known["adaptive"]["mean"],
        "late": known["edf"]["late"] + LATE,
        "wait": WAIT * known["fcfs"]["wait"],
    }


def judge(args: Args, got: Run) -> Finding | None:
    run = BENCH.replayed(args, got)
    if finding := rule_broken(run) or goes_on_for_ever(run):
        return finding
    par, own = pars(args), score(run, args[0])
    missed = [name for name in par if own[name] > par[name] + 1e-9]
    if not missed:
        return None
    mine = [step["slices"] for step in run["steps"]]

    def wrong(cause: str, slip: str) -> Finding:
        over = ", ".join(TOLD[name](run, args[0], own, par) for name in missed)
        return Finding(PARS, f"{cause}. ({over})", slip, in_words(par), in_words(own))

    made = [(cause, slip) for (cause, slip, _), slices in zip(KNOWN, known_slices(dumps(list(args)))) if mine == slices]
    return likeliest(wrong, made or [(WHICH[missed[0]], "misses " + " and ".join(missed))])


WHICH = {
    "mean": f"{CANNOT_TELL}: short requests wait too long behind long ones",
    "late": f"{CANNOT_TELL}: requests in haste wait behind others that have time",
    "wait": f"{CANNOT_TELL}: somebody starves. What makes a request go first, however long it is, once it has waited enough?",
}
TOLD: dict[str, Callable[[Run, list[list[Any]], Score, Score], str]] = {
    "mean": lambda run, jobs, own, par: f"mean {own['mean']:.2f} s, par {par['mean']:.2f} s",
    "late": lambda run, jobs, own, par: f"{own['late']:.0%} of the deadlines missed, par {par['late']:.0%}",
    "wait": lambda run, jobs, own, par: f"{unluckiest(run)} waited {own['wait']:.1f} s, par {par['wait']:.1f} s",
}


def unluckiest(run: Run) -> str:
    """The request that waited longest for its first token, and what it asked for."""
    name, r = max(run["requests"].items(), key=lambda item: item[1]["first_token"] - item[1]["arrival"])
    return f"{name} ({r['output']} tokens)"


def in_words(score: Score) -> dict[str, str]:
    return {"mean": f"{score['mean']:.2f} s", "late": f"{score['late']:.0%}", "longest wait": f"{score['wait']:.1f} s"}


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "TypeError" and "NoneType" in text:
        return "a deadline may be None: such a request is in no haste. Give it one of your own, some seconds after its arrival"
    if error == "TypeError" and "not supported between" in text:
        return "two keys cannot be compared: give a number for every request, or a tuple of the same length and kinds"
    if error == "ZeroDivisionError":
        return "a wait, or the time to a deadline, may be 0"
    return None


def random_workload(rng: random.Random, n: int) -> list[list[Any]]:
    """More than four seats can serve: a queue builds up, and empties. A third has a deadline near, a third one far off."""
    at, jobs = 0.0, []
    for _ in range(n):
        at += rng.expovariate(60.0)
        output = min(60, max(2, round(rng.lognormvariate(2.3, 0.9))))
        deadline = rng.choice([0.4, 2.0, None])
        jobs.append(
            [round(at, 3), rng.randint(8, 64), output, {"deadline": None if deadline is None else round(at + deadline, 3)}]
        )
    return jobs


def generate(rng: random.Random, size: int) -> tuple[list[list[Any]]]:
    return (random_workload(rng, 48),)


def valid(args: Args) -> bool:
    return len(args[0]) >= 40 and BENCH.valid(args)  # with fewer, chance decides


def scene(args: Args) -> str:
    jobs = args[0]
    told = "; ".join(
        f"r{i} at {j[0]:g} s, answer {j[2]}, deadline {dict(*j[3:]).get('deadline')}" for i, j in enumerate(jobs[:4])
    )
    return f"{len(jobs)} requests on {SEATS} seats: {told}; ..."


TASK = Task(
    id="08.4",
    name="key",
    title="Scheduler golf: one key, three pars",
    points=35,
    returns="a number, or a tuple of numbers",
    cases=tuple(Case(generate(random.Random(f"golf {i}"), 8), None) for i in range(3)),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    rounds=4,
    hints=(
        "Shortest first has the mean, the earliest deadline first the deadlines, first come the waits. What do the three share?",
        "Each is a point in time, or can be made one: when it must begin at the latest. A long answer may wait, not for ever.",
        "due: the deadline; without one, the arrival and some seconds\n"
        "the key: due, plus so many seconds for each token of the answer",
    ),
)
