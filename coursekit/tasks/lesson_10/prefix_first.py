"""An order of the queue: longest known prefix first, but nobody is overtaken for ever. Judged by runs in the engine."""

import random
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from ...judging.runs import Run, first_step, timeline
from ...judging.scheduling import Bench
from ...task import CANNOT_TELL, Args, Case, Finding, likeliest

BENCH = Bench(enable_prefix_caching=True, block_size=4)
WORK = "who finds most in the cache goes first, so that prefixes are used while they are there"
BOUND = "nobody is overtaken by somebody who came `patience` seconds later, or more"
SHARE = 0.25  # of what longest prefix first saves over first come, first served: so much may be lost

LEFT_OUT = (
    "queue() leaves somebody out: it returns all of self.waiting, in another order. Whoever is not in it cannot start, and "
    "here nobody else is left"
)


def drive(answer: Any, args: Args) -> Run:
    """The run of a learner's class, with the patience of this case."""
    scheduler = answer() if isinstance(answer, type) else answer
    scheduler.patience = args[2]
    return BENCH.drive(scheduler, args)


def tokens_computed(run: Run) -> int:
    return sum(n for step in run["steps"] for _, _, n in step["slices"])


def starts(run: Run) -> list[tuple[int, str]]:
    """(first step, id) of all requests, in the order in which they started."""
    found = [(first_step(run, name), name) for name in run["requests"]]
    return sorted((step, name) for step, name in found if step is not None)


def overtaken(run: Run, patience: float) -> tuple[str, str, int] | None:
    """(who waits, who starts, the step): the first that breaks the bound."""
    began = dict((name, step) for step, name in starts(run))
    arrival = {name: r["arrival"] for name, r in run["requests"].items()}
    for step, name in starts(run):
        for other in began:
            later = began[other] > step and arrival[other] <= run["steps"][step]["start"]
            if later and arrival[name] >= arrival[other] + patience:
                return other, name, step
    return None


# -- what other orders would have done ----------------------------------------------------------------------------------

Key = Callable[[Any, float, Any, float], Any]  # request, now, ledger, patience


def known(request: Any, kv: Any) -> int:
    """Tokens of a waiting request that are in the cache."""
    return kv.shared(request).num_tokens


def waits(request: Any, now: float, patience: float) -> bool:
    return now - request.arrival_time >= patience


# Slip → its order, and what the learner is told; the likeliest first.
ORDERS: dict[str, tuple[Key, str]] = {
    "in order of arrival": (
        lambda r, now, kv, p: 0,
        "the queue stays in order of arrival: ask the ledger what each one finds, kv.shared(r).num_tokens",
    ),
    "no patience": (
        lambda r, now, kv, p: -known(r, kv),
        "the longest prefix always goes first, however long others have waited. As long as popular prefixes keep coming, a rare "
        "one starves",
    ),
    "shortest prefix first": (
        lambda r, now, kv, p: known(r, kv),
        "the shortest prefix goes first: sorted() puts small keys in front, so take the number of tokens with a minus",
    ),
    "overdue among themselves": (
        lambda r, now, kv, p: (not waits(r, now, p), -known(r, kv)),
        "those who have waited long enough are in front, but among themselves the longest prefix goes first again: they go in "
        "order of arrival",
    ),
    "newest overdue first": (
        lambda r, now, kv, p: (not waits(r, now, p), -r.arrival_time if waits(r, now, p) else -known(r, kv)),
        "of those who have waited long enough the newest goes first: the oldest has waited longest",
    ),
    "overdue last": (
        lambda r, now, kv, p: (waits(r, now, p), 0 if waits(r, now, p) else -known(r, kv)),
        "who has waited long enough goes to the end: False sorts before True",
    ),
    "waiting mixed up": (
        lambda r, now, kv, p: (0, -known(r, kv)) if waits(r, now, p) else (1, r.arrival_time),
        "the two halves are mixed up: those who have waited long enough go by arrival, and the others by prefix",
    ),
    "arrival for waiting": (
        lambda r, now, kv, p: (r.arrival_time < p, 0 if r.arrival_time >= p else -known(r, kv)),
        "the time of arrival is compared with patience: how long somebody has waited is now - r.arrival_time",
    ),
    "longest prompt first": (
        lambda r, now, kv, p: -r.num_prompt_tokens,
        "the longest prompt goes first: what counts is the part of it that is in the cache, kv.shared(r).num_tokens",
    ),
    "shortest prompt first": (
        lambda r, now, kv, p: r.num_prompt_tokens,
        "the shortest prompt goes first: what counts is the part that is in the cache, kv.shared(r).num_tokens",
    ),
    "most to compute first": (
        lambda r, now, kv, p: -kv.todo(r),
        "who has most left to compute goes first: that is who finds least in the cache",
    ),
    "newest first": (
        lambda r, now, kv, p: -r.arrival_time,
        "the newest goes first: nobody asks for that, and the oldest starves",
    ),
    "alike side by side": (
        lambda r, now, kv, p: list(r.token_ids),
        "the queue is sorted by the tokens themselves. Equal prefixes stand together, but nobody looks at the clock: who stands "
        "at the end waits for all who come before",
    ),
    "patience too short": (
        lambda r, now, kv, p: (not waits(r, now, p / 10), 0 if waits(r, now, p / 10) else -known(r, kv)),
        "order of arrival rules much sooner than patience says, and prefixes are used less: patience is in seconds",
    ),
    "patience too long": (
        lambda r, now, kv, p: (not waits(r, now, 10 * p), 0 if waits(r, now, 10 * p) else -known(r, kv)),
        "somebody waits much longer than patience says before the order of arrival rules: patience is in seconds",
    ),
}


def run_in_order(args: Args, key: Key) -> Run:
    """The run of the engine's continuous scheduler with another order of the queue."""
    from minieng.scheduler import ContinuousScheduler

    patience = args[2]

    class Other(ContinuousScheduler):
        def queue(self, now: float, kv: Any) -> Iterable[Any]:
            return sorted(self.waiting, key=lambda r: (key(r, now, kv, patience), r.arrival_time, r.sequence))

    return BENCH.drive(Other(), args)


@lru_cache(maxsize=256)
def limit_of(jobs: str, knobs: str) -> tuple[int, float]:
    """(most tokens that a run may compute, when longest prefix first is done), from the text of a case."""
    import ast

    args = (ast.literal_eval(jobs), ast.literal_eval(knobs), 0.0)
    first, prefix = (run_in_order(args, ORDERS[name][0]) for name in ("in order of arrival", "no patience"))
    least, most = tokens_computed(prefix), tokens_computed(first)
    return max(least, int(least + SHARE * (most - least))), max(r["finish"] for r in prefix["requests"].values())


def rules(args: Args, run: Run) -> Finding | None:
    """The bound on overtaking; and where all come at once and nobody's patience ends, how much is computed."""
    jobs, _, patience = args
    if broken := overtaken(run, patience):
        waiting, name, step = broken
        came = {each: f"{run['requests'][each]['arrival']:g} s" for each in (waiting, name)}
        told = f"{waiting} waits since {came[waiting]}, {name} came at {came[name]}"
        want = f"{waiting} starts before {name} ({told})"
        return named(args, run, BOUND, want, f"step {step}: {name} starts, {waiting} waits on")
    arrivals = {job[0] for job in jobs}
    if len(arrivals) == 1:
        limit, end = limit_of(repr(args[0]), repr(args[1]))
        if end - min(arrivals) < patience and tokens_computed(run) > limit:
            want = f"at most {limit} tokens are computed, all steps together"
            return named(args, run, WORK, want, f"{tokens_computed(run)} tokens are computed")
    return None


def named(args: Args, run: Run, rule: str, expected: str, got: str) -> Finding | None:
    """A Finding, by the order that would have started everybody as this one did."""
    made = [(cause, slip) for slip, (key, cause) in ORDERS.items() if starts(run_in_order(args, key)) == starts(run)]
    told = f"{CANNOT_TELL}. {got[0].upper() + got[1:]}"
    made = made or [(told, "other order")]
    shown = f"{got}\n{timeline(run, starts=True)}"
    return likeliest(lambda cause, slip: Finding(rule, cause, slip, expected, shown), made)


def order_error(args: Args, error: str, text: str) -> str | None:
    """``on_error``: words for what a first order meets."""
    from ...judging.scheduling import scheduler_error

    if error == "TypeError" and "not supported between instances of 'Request'" in text:
        return (
            "two requests with equal keys are compared with each other, and requests have no order: give sorted() a key, and "
            "end it with something that never ties, such as r.sequence"
        )
    if error == "TypeError" and "NoneType" in text and "iterable" in text:
        return "queue() returned None: is there a `return` line, and is it reached on every path?"
    if error == "AttributeError" and "'collections.deque' object has no attribute 'sort'" in text:
        return "self.waiting is the engine's own, and a deque: sorted(self.waiting, key=...) makes a new list"
    return scheduler_error(args, error, text)


# -- cases --------------------------------------------------------------------------------------------------------------


def job(at: float, prefix: int, shared: int, own: int = 2, output: int = 2) -> list[Any]:
    """Arrival, tokens of the prompt and of the answer; the first ``shared`` tokens are those of prefix number ``prefix``."""
    return [at, shared + own, output, {"prefix": [prefix, shared]}]


def knobs(seats: int, blocks: int) -> dict[str, Any]:
    return {"max_num_seqs": seats, "num_blocks": blocks}


BURST = [job(0.0, i % 3, 24) for i in range(9)]  # three prefixes take turns; the cache holds one
LATE_BURST = [[100.0, *rest] for _, *rest in BURST]  # the clock says more than anybody has waited
UNEVEN = [job(0.0, 1, 24), job(0.0, 2, 8, 20), job(0.0, 1, 24), job(0.0, 2, 8, 20), job(0.0, 1, 24), job(0.0, 2, 8, 20)]
LONG_FIRST = [job(0.0, 1, 24, 2), job(0.0, 9, 0, 30), job(0.0, 1, 24, 3), job(0.0, 8, 0, 28), job(0.0, 1, 24, 4)]
STREAM = [job(0.0, 1, 24)] + [job(round(0.01 * i, 3), 9 if i == 2 else 1, 24) for i in range(1, 16)]
TWO_RARE = [job(0.0, 1, 24)] + [job(round(0.01 * i, 3), {2: 0, 5: 9}.get(i, 1), 24) for i in range(1, 20)]
LATE = [[round(at + 3.0, 3), *rest] for at, *rest in TWO_RARE]
BACKLOG = [job(round(0.01 * i, 3), {2: 0, 16: 9}.get(i, 1), 24) for i in range(32)]  # who waits has waited long already
ALIKE = [job(0.0, 1, 0, 6)] * 5
PATIENT = 60.0


def generate(rng: random.Random, size: int) -> tuple:
    """Half of the time all come at once, with prefixes that the cache cannot hold together; else one after the other."""
    groups, shared = rng.randint(2, 3), 4 * rng.randint(3, 6)
    count = 2 + size
    seats = rng.randint(1, 2)
    if rng.random() < 0.5:
        jobs = [job(0.0, rng.randrange(groups), shared, rng.randint(1, 4), rng.randint(1, 3)) for _ in range(2 * groups + count)]
        return jobs, knobs(seats, seats * longest(jobs) + rng.randint(0, 2)), PATIENT
    at, jobs = 0.0, []
    for i in range(3 * count):
        rare = i and rng.random() < 0.2
        number = rng.choice([i, 100 + i]) if rare else 50 + rng.randrange(groups - 1)
        jobs.append(job(round(at, 3), number, shared, rng.randint(1, 4), rng.randint(1, 3)))
        at += rng.choice([0.0, 0.005, 0.01])
    return jobs, knobs(seats, seats * longest(jobs) + shared // 4), rng.choice([0.03, 0.05, 0.1])


def longest(jobs: list[list[Any]]) -> int:
    """Blocks of the longest request."""
    return max(-(-(prompt + output) // 4) for _, prompt, output, *_ in jobs)


def valid(args: Args) -> bool:
    """Everybody who has a seat has blocks to the end, so that nobody is ever preempted."""
    jobs, settings, patience = args
    if not (BENCH.valid(args) and patience > 0 and {"max_num_seqs", "num_blocks"} <= settings.keys()):
        return False
    prefixed = all(len(j) == 4 and 0 <= j[3].get("prefix", [0, -1])[1] <= j[1] for j in jobs)
    return prefixed and settings["max_num_seqs"] >= 1 and settings["num_blocks"] >= settings["max_num_seqs"] * longest(jobs)


def scene(args: Args) -> str:
    """The call in words."""
    jobs, settings, patience = args
    told = "; ".join(
        f"r{i} at {at:g} s, {prompt} tokens, {d['prefix'][1]} of them prefix {d['prefix'][0]}"
        for i, (at, prompt, _, d) in enumerate(jobs[:12])
    )
    more = f"; ... {len(jobs)} in all" if len(jobs) > 12 else ""
    return f"{told}{more}; seats: {settings['max_num_seqs']}, {settings['num_blocks']} blocks of 4, patience {patience:g} s"


TASK = BENCH.task(
    id="10.3",
    name="PrefixFirst",
    title="Longest prefix first, with bounded patience",
    points=30,
    may_use=("ContinuousScheduler",),
    returns="a subclass of ContinuousScheduler with a method queue(self, now, kv) that returns a list of requests",
    drive=drive,
    rules=rules,
    words={"rule: never idle without a reason": LEFT_OUT, "never ends": LEFT_OUT},
    cases=(
        Case((BURST, knobs(1, 8), PATIENT), None),
        Case((BURST, knobs(2, 16), PATIENT), None),
        Case((LATE_BURST, knobs(1, 8), PATIENT), None),
        Case((UNEVEN, knobs(1, 8), PATIENT), None),
        Case((LONG_FIRST, knobs(1, 9), PATIENT), None),
        Case((ALIKE, knobs(2, 8), PATIENT), None),
        Case((ALIKE[:2], knobs(4, 16), PATIENT), None),
        Case((STREAM, knobs(1, 14), 0.1), None),
        Case((TWO_RARE, knobs(1, 14), 0.1), None),
        Case((LATE, knobs(1, 14), 0.1), None),
        Case((BACKLOG, knobs(1, 14), 0.05), None),
        Case((BACKLOG, knobs(2, 14), 0.03), None),
    ),
    generate=generate,
    valid=valid,
    scene=scene,
    on_error=order_error,
    rounds=16,
    hints=(
        "Twelve people wait. Which of them costs least to serve now? And who has waited so long that this must not matter?",
        "Two groups: who has waited patience seconds or longer, and who has not. The first goes first, in order of arrival. "
        "The second goes by what it finds in the cache, most first. sorted() with a key that is a tuple does both at once.",
        "queue(now, kv):\n"
        "    for each request r in self.waiting:\n"
        "        late = it has waited patience seconds or longer\n"
        "        its key: (0, its arrival) if late, else (1, minus the tokens it finds)\n"
        "    the requests, sorted by that key; what ties stays in order of arrival",
    ),
)
