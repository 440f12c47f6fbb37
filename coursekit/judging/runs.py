"""What a rule can ask of a run: plain data that a scheduler left behind (see scheduling.py). Nothing here runs an engine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..task import Finding

Step = dict[str, Any]

Run = dict[str, Any]

FAIR = "every request gets all of its tokens"

RULES = {
    "plan() returns a Plan": "plan() must return a Plan on every path, also when there is nothing to do",
    "a plan changes nothing": "plan() moved requests between waiting and running. It only decides; the engine moves them later",
    "never idle without a reason": "your plan is empty although requests wait or run, and nothing will wake the engine again",
    "one batch at a time": "your plan names a request that is in flight with another group: plan for self.running",
    "only running requests are preempted": "your plan preempts a request that holds no KV",
    "no more KV than there is": "your plan takes more KV blocks than are free. Ask the ledger first: plan a request only if "
    "kv.take(request, n) says True",
    "at most max_num_seqs requests run": "your plan admits more requests than there are seats: max_num_seqs, less those running",
    "the token budget": "your plan computes more tokens in one step than the budget allows",
    "a rectangle is one block of rows": "the rows of your padded batch do not form one rectangle",
    "only known requests": "your plan names a request that the engine does not know",
    "no finished requests": "your plan names a request that is finished: it has nothing left to compute",
    "a slice has at least one token": "your plan gives a request no token at all: leave such a request out of plan.extend",
    "no more tokens than are left": "your plan gives a request more tokens than it has left (request.num_remaining_tokens)",
}

TWICE = {  # of "one slice per request", in the engine's words: the cause and the slip
    "is computed twice": (
        "plan.extend holds one request twice. Each that computes has one pair there, (request, tokens)",
        "computed twice",
    ),
    "is preempted and computed": (
        "your plan sends a request back and computes for it too. Who is preempted computes nothing in that step: "
        "plan.drop(r) takes it out of plan.extend",
        "preempted and computed",
    ),
    "is preempted twice": (
        "plan.preempt holds one request twice: choose the next victim among those who are not in it yet",
        "preempted twice",
    ),
}


def rule_broken(run: Run) -> Finding | None:
    """A Finding when a plan broke one of the engine's rules, else None."""
    if not run["broken"]:
        return None
    rule, text = run["broken"]["rule"], run["broken"]["text"]
    if rule == "plan() returns a Plan" and "returned None" not in text:
        what = text.partition(" returned ")[2]
        cause = f"plan() returned {what}: return a Plan with these in its fields, not the fields themselves"
        return Finding(f"the engine's rule: {rule}", cause, "returns no Plan", "a Plan", timeline(run))
    when = f"In step {len(run['steps'])}, counted from 0" if run["steps"] else "In the first step"
    cause, slip = RULES.get(rule, f"your plan breaks the rule: {rule}"), f"rule: {rule}"
    cause, slip = next((told for words, told in TWICE.items() if words in text), (cause, slip))
    return Finding(f"the engine's rule: {rule}", f"{cause}. {when}: {text}", slip, "a plan that keeps the rule", timeline(run))


def goes_on_for_ever(run: Run) -> Finding | None:
    """A Finding when the run was stopped, with the requests that starved, else None."""
    if not run["endless"]:
        return None
    names = ", ".join(starved(run)) or "nobody"
    cause = f"the schedule comes to no end: {run['endless']}. Still unfinished: {names}"
    return Finding(FAIR, cause, "never ends", "all requests finished", timeline(run))


def starved(run: Run) -> list[str]:
    """The requests that never finished."""
    return [name for name, r in run["requests"].items() if r["finish"] is None]


def finished_late(run: Run, limits: Mapping[str, float]) -> dict[str, float | None]:
    """{id: its finish} of the requests that finished later than ``limits[id]`` seconds, or not at all."""
    times = {name: run["requests"][name]["finish"] for name in limits}
    return {name: end for name, end in times.items() if end is None or end > limits[name] + 1e-9}


def steps_used(run: Run) -> int:
    return len(run["steps"])


def last_finish(run: Run) -> float | None:
    """When the last request finished, in seconds; None if one never did."""
    return None if starved(run) else max(r["finish"] for r in run["requests"].values())


def idle_seats(run: Run, seats: int) -> int:
    """Seats that computed nothing for anybody, added up over the steps: ``seats`` in each, less the requests given tokens."""
    return sum(seats - len(step["slices"]) for step in run["steps"])


def most_tokens(run: Run) -> tuple[int, int]:
    """(tokens, step) of the step that computed most, padding not counted."""
    return max(((sum(n for _, _, n in step["slices"]), i) for i, step in enumerate(run["steps"])), default=(0, 0))


def first_step(run: Run, name: str) -> int | None:
    """The number of the step in which a request was first given tokens, or None."""
    return next((i for i, step in enumerate(run["steps"]) if any(s[0] == name for s in step["slices"])), None)


def waited(run: Run) -> dict[str, float | None]:
    """{id: seconds between arrival and the start of its first step}; None for a request that never began."""
    firsts = {name: first_step(run, name) for name in run["requests"]}
    return {
        name: None if at is None else run["steps"][at]["start"] - run["requests"][name]["arrival"] for name, at in firsts.items()
    }


def largest_gap(run: Run) -> tuple[float, str | None]:
    """(seconds, id) of the longest time between two tokens of one request; (0.0, None) if nobody has two."""
    gaps = [
        (b - a, name)
        for name, r in run["requests"].items()
        for a, b in zip(r["token_times"], r["token_times"][1:])
    ]  # fmt: skip
    return max(gaps, default=(0.0, None))


def left_out(run: Run, begin: int, end: int) -> tuple[int, str] | None:
    """(step, request) of the first row that is not done and computes nothing, in the steps from ``begin`` up to ``end``."""
    made: Counter[str] = Counter()
    for i in range(begin, end):
        step = run["steps"][i]
        given = {name for name, _, _ in step["slices"]}
        for name in step["rows"]:
            if name not in given and made[name] < run["requests"][name]["output"]:
                return i, name
        made.update(step["emitted"])
    return None


def sorted_how(run: Run, rows: Sequence[str], present: Sequence[str]) -> list[tuple[str, str]]:
    """(words, slip) of each order, other than that of arrival, in which these are the first of those present."""
    prompt = {name: run["requests"][name]["prompt"] for name in present}
    orders = (
        ("the newest come first", "newest first", list(present)[::-1]),
        ("the waiting are sorted by length", "sorted by length", sorted(present, key=lambda name: prompt[name])),
        ("the longest come first", "longest first", sorted(present, key=lambda name: -prompt[name])),
    )
    return [(words, slip) for words, slip, order in orders if {*rows} == {*order[: len(rows)]}]


def blocks_used(run: Run) -> int:
    """The most KV blocks that were held after a step."""
    return max((step["blocks_total"] - step["blocks_free"] for step in run["steps"]), default=0)


STARTS = "at s"
NO_STEP = "(not one step was carried out)"
SIGNS = {"=": "done, its row computes on", "-": "runs, given nothing", ".": "waits"}


def timeline(run: Run, columns: int = 16, rows: int = 10, first: int | None = None, starts: bool = False) -> str:
    """The last steps, or those from ``first`` on, as a text: a row for each request and a column for each step.

    starts: with a line that says when each step began, in seconds. A key below it explains the signs that are in it: ``=``,
    ``-``, ``.``; a number says how many tokens were computed.
    """
    steps = run["steps"]
    if not steps:
        return NO_STEP
    first = max(0, len(steps) - columns) if first is None else min(first, len(steps) - 1)
    steps = steps[: first + columns]
    names = list(run["requests"])[:rows]
    grid = [[str(i) for i in range(first, len(steps))]]
    for name in names:
        grid.append([sign(steps, i, name, run["requests"][name]) for i in range(first, len(steps))])
    if starts:
        grid.insert(1, [f"{step['start']:.3f}".rstrip("0").rstrip(".") for step in steps[first:]])
    width = max((len(x) for row in grid for x in row), default=1)
    heads = ["step", *([STARTS] if starts else []), *names]
    left = max(map(len, heads))
    lines = [f"{head.ljust(left)}  {' '.join(x.rjust(width) for x in row)}".rstrip() for head, row in zip(heads, grid)]
    signs = {sign: f"({sign} {says})" for sign, says in SIGNS.items() if any(sign in row for row in grid)}
    key = ["(numbers: tokens computed)", *signs.values()]
    return "\n".join(lines + (["..."] if len(run["requests"]) > rows else []) + key)


def sign(steps: list[Step], at: int, name: str, request: dict[str, Any]) -> str:
    """What step ``at`` was for one request, in one word."""
    step = steps[at]
    for other, _, n in step["slices"]:
        if other == name:
            return str(n)
    if name in (step["rows"] or ()):
        return "="
    if request["arrival"] > step["start"] or any(name in s["finished"] for s in steps[:at]):
        return ""
    last = next((s for s in reversed(steps[: at + 1]) if name in s["preempted"] or any(x[0] == name for x in s["slices"])), None)
    return "." if last is None or name in last["preempted"] else "-"
