"""A dynamic scheduler, judged by the batches it made in a simulated engine and the moments they began at."""

import random
from typing import Any

from ...judging.runs import Run, left_out, sorted_how, timeline
from ...judging.scheduling import Bench, Words, random_jobs
from ...task import Args, Case, Finding, likeliest
from .moments import EPS, early_causes, late_causes, moments

BENCH = Bench(max_num_seqs=32, num_blocks=1024)
STARTS = "a batch starts when it is full or when its oldest request has waited wait_window, as soon as the machine is free"
TOGETHER = "the rows of a batch run side by side until the longest is done"
SERVED = "a batch holds the first batch_size of those who wait, or all of them if they are fewer"


def rules(args: Args, run: Run) -> Finding | None:
    """Batch by batch: who is in it, and whether it began at its moment."""
    steps, knobs = run["steps"], args[1]
    if any(step["rows"] is None for step in steps):
        cause = "your batch is packed, not padded: a Plan without rows. self.new_rectangle(now) makes a padded one"
        return Finding(
            "a dynamic batch runs as a padded rectangle", cause, "no rectangle", "rows in each step", timeline(run, starts=True)
        )
    begins = [i for i, step in enumerate(steps) if any(before == 0 for _, before, _ in step["slices"])]
    waiting, free = {name: r["arrival"] for name, r in run["requests"].items()}, 0.0
    for begin, end in zip(begins, [*begins[1:], len(steps)]):
        start, rows = steps[begin]["start"], steps[begin]["rows"]
        finding = members(run, waiting, start, rows, knobs) or moment(run, waiting, free, start, rows, knobs)
        if finding:
            return finding
        if found := left_out(run, begin, end):
            i, name = found
            cause = f"{name} makes no token in step {i}, though it is not done: the rows of a batch run side by side, all of them"
            return Finding(TOGETHER, cause, "leaves out a row", f"a token for {name}", timeline(run, starts=True))
        waiting = {name: at for name, at in waiting.items() if name not in rows}
        free = steps[end - 1]["start"] + steps[end - 1]["duration"]
    return None


def members(run: Run, waiting: dict[str, float], start: float, rows: list[str], knobs: dict[str, Any]) -> Finding | None:
    """Too many, somebody who came later, or a seat left empty while somebody waits."""
    size, told = knobs["batch_size"], f"{', '.join(rows)} at {start:.4f} s"
    present = [name for name, at in waiting.items() if at <= start + EPS]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(SERVED, cause, slip, f"a batch of {', '.join(present[:size])}", timeline(run, starts=True))

    if len(rows) > size:
        return wrong(f"a batch holds more than batch_size = {size} requests: {told}", "batch too large")
    if set(rows) - set(present[:size]):
        how = sorted_how(run, rows, present)
        made = [(f"{words}: the batch is {told}. They are served as they came", slip) for words, slip in how]
        overtakes = f"somebody overtakes: the batch is {told}. Serve the waiting in order of arrival"
        return likeliest(wrong, made or [(overtakes, "overtakes")])
    if len(rows) < min(size, len(present)):
        due = min(waiting.values()) + knobs["wait_window"]
        if due < start and rows == [name for name in present if waiting[name] <= due + EPS][:size]:
            late = present[len(rows)]
            return wrong(
                f"{late} came after the window of the oldest was over, and before the batch began. The batch is open until it "
                f"starts: {told}",
                "closed at due",
            )
        return wrong(f"a batch leaves out somebody who waits, although a seat is free: {told}", "batch too small")
    return None


def moment(
    run: Run, waiting: dict[str, float], free: float, start: float, rows: list[str], knobs: dict[str, Any]
) -> Finding | None:
    """Too early or too late. At the very end of the jobs both are right: to start, or to wait for the window."""
    window, times, told = knobs["wait_window"], list(waiting.values()), f"{', '.join(rows)} at {start:.4f} s"
    full, due = moments(times, knobs["batch_size"], window)
    latest = max(free, min(full, due))
    earliest = max(free, min(full, due, times[-1]))
    if earliest - EPS <= start <= latest + EPS:
        return None
    if start < earliest:
        causes = early_causes(times, free, start, knobs["batch_size"], window)
        made = [(f"{cause}. {told}. Return Plan(wait_until=...) instead", slip) for cause, slip in causes]
        return likeliest(
            lambda cause, slip: Finding(STARTS, cause, slip, f"not before {earliest:.4f} s", timeline(run, starts=True)), made
        )
    made = [(f"{cause}: {told}", slip) for cause, slip in late_causes(times, free, start, knobs["batch_size"], window)]
    return likeliest(lambda cause, slip: Finding(STARTS, cause, slip, f"at {latest:.4f} s", timeline(run, starts=True)), made)


def idle_words(run: Run) -> str:
    """Words for an empty plan where somebody waits or runs, and no time to wake up lies ahead."""
    text = run["broken"]["text"]
    begun = {name for step in run["steps"] for name, _, _ in step["slices"]}
    left = {name for step in run["steps"] for name in step["finished"]}
    if begun - left:
        names = ", ".join(sorted(begun - left))
        return (
            f"your plan is empty although {names} runs, and nothing will wake the engine. While a batch runs, the plan is its "
            "next step: self.next_rectangle_step()"
        )
    if "wait_until=None" in text:
        return (
            "your plan is empty although requests wait, and nothing will wake the engine: nobody else can come. Start the batch "
            "when self.arrivals_open is False, or give the plan a wait_until that lies ahead"
        )
    return (
        "your plan waits until a time that is over, although requests wait. Beware of rounding: 0.6 - 0.5 >= 0.1 is False. "
        "Compute due = arrival + window once, wait until due, and start when now >= due"
    )


def endless_words(run: Run) -> str:
    """Words for a schedule that was stopped; mostly no plan ever starts a batch that is not full."""
    if run["steps"]:
        return f"the schedule comes to no end: {run['endless']}"
    return (
        "your plans only wait, each until a later time, and no batch ever starts. The window runs from the arrival of the "
        "oldest, not from the moment you are asked: once now has reached its end, return a new rectangle, full or not"
    )


OWN_WORDS: Words = {"rule: never idle without a reason": idle_words, "never ends": endless_words}


def scene(args: Args) -> str:
    """The jobs and what a dynamic scheduler goes by; the other knobs of the bench play no part here."""
    jobs, knobs = args
    return f"{Bench().scene((jobs,))}; batch_size={knobs['batch_size']}; wait_window={knobs['wait_window']:g} s"


def generate(rng: random.Random, size: int) -> tuple:
    knobs = {"batch_size": rng.randint(1, 4), "wait_window": rng.choice([0.0305, 0.1205, 0.4105])}
    return random_jobs(rng, size, spread=rng.choice([0.06, 0.2, 0.6])), knobs


def valid(args: Args) -> bool:
    jobs, knobs = args
    fair = knobs.get("batch_size", 0) >= 1 and knobs.get("wait_window", -1) >= 0.01
    return fair and BENCH.valid(args)


SPREAD = [[0.0, 3, 2], [0.02, 2, 3], [0.04, 4, 1], [0.9, 2, 2], [3.0, 3, 2]]
RUSH = [[0.0, 3, 9], [0.011, 2, 9], [0.022, 4, 9], [0.033, 2, 9], [0.044, 3, 9], [0.055, 2, 9], [5.0, 1, 1]]

CROWD = [[0.0, 2, 1], [0.0, 2, 1], [0.0, 3, 1], [5.0, 1, 1]]  # more than fit, and arrivals stay open: nothing is flushed

TASK = BENCH.task(
    like="dynamic",
    id="04.1",
    name="DynamicScheduler",
    title="A dynamic scheduler",
    points=45,
    may_use=("StaticScheduler",),
    cases=(
        Case(([[0.0, 2, 1]], {"batch_size": 1, "wait_window": 0.1}), None),
        Case(([[0.0, 2, 1], [0.03, 2, 1]], {"batch_size": 2, "wait_window": 0.1}), None),
        Case(([[0.0, 2, 1], [0.5, 2, 1]], {"batch_size": 2, "wait_window": 0.1}), None),
        Case(([[0.0, 2, 1], [0.06, 2, 1], [0.5, 2, 1]], {"batch_size": 3, "wait_window": 0.1}), None),
        Case((CROWD, {"batch_size": 2, "wait_window": 0.2}), None),
        Case((SPREAD, {"batch_size": 3, "wait_window": 0.2}), None),
        Case((SPREAD, {"batch_size": 8, "wait_window": 0.03}), None),
        Case((RUSH, {"batch_size": 4, "wait_window": 0.02}), None),
    ),
    scene=scene,
    rules=rules,
    words=OWN_WORDS,
    generate=generate,
    valid=valid,
    hints=(
        "plan(now) is asked again and again. There are four situations: a batch runs; nobody waits; somebody waits and the "
        "moment has come; somebody waits and it has not. What is the right Plan for each?",
        "The moment has come when batch_size requests wait, or nobody else can come (self.arrivals_open is False), or now "
        "has reached the arrival_time of the oldest plus self.config.wait_window. Until then the plan says when to ask again.",
        "if somebody runs: return the next step of the rectangle\n"
        "if nobody waits: return an empty Plan\n"
        "due = arrival of the oldest + window\n"
        "if enough wait, or nobody else can come, or due has come: return a new rectangle\n"
        "return a Plan that waits until due",
    ),
)
