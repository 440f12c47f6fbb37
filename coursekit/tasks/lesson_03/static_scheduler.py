"""A static scheduler, judged by the batches it made in a simulated engine."""

import random
from collections import Counter

from ...judging.runs import Run, Step, left_out, sorted_how, timeline
from ...judging.scheduling import Bench, Words, random_jobs
from ...task import Args, Case, Finding, likeliest

BENCH = Bench(max_num_seqs=32, num_blocks=1024)
BATCH_IN = "a batch starts when batch_size requests wait, or when no more can come, and as soon as the last batch has left"
TOGETHER = "batch in, batch out: all rows stay in the rectangle until the longest is done, then all leave"
RECTANGLE = "a static batch runs as a padded rectangle: plan.rows names its rows"
EPS = 1e-6


def rules(args: Args, run: Run) -> Finding | None:
    """Packed? Then batch by batch: who is in it, when it began, and whether it stayed together to its end."""
    steps, size = run["steps"], args[1]["batch_size"]
    if any(step["rows"] is None for step in steps):
        cause = "your batch is packed, not padded: a Plan without rows. Name all its rows in Plan(..., rows=[...])"
        return Finding(RECTANGLE, cause, "no rectangle", "rows in each step", timeline(run))
    begins = [i for i, step in enumerate(steps) if any(before == 0 for _, before, _ in step["slices"])]
    served: list[str] = []
    free_at = 0.0
    for begin, end in zip(begins, [*begins[1:], len(steps)]):
        first = steps[begin]
        finding = who_and_when(run, first, served, size, free_at) or holds_all(run, first)
        finding = finding or stays_together(run, begin, end)
        if finding:
            return finding
        served, free_at = served + first["rows"], steps[end - 1]["start"] + steps[end - 1]["duration"]
    return None


def who_and_when(run: Run, first: Step, served: list[str], size: int, free_at: float) -> Finding | None:
    """The members of a batch, and the moment it began. served: who was in a batch before."""
    wanted = list(run["requests"])[len(served) : len(served) + size]

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(BATCH_IN, cause, slip, f"a batch of {', '.join(wanted)}", timeline(run))

    rows, start = first["rows"], first["start"]
    told = f"{', '.join(rows)} at {start:.3f} s"
    if len(rows) > size:
        return wrong(f"a batch holds more than batch_size = {size} requests: {told}", "batch too large")
    if set(rows) - set(wanted):
        here = [name for name, r in run["requests"].items() if r["arrival"] <= start + EPS and name not in served]
        made = [
            (f"{words}: the batch is {told}. They are served as they came, from the front of self.waiting", slip)
            for words, slip in sorted_how(run, rows, here)
        ]
        overtakes = f"somebody overtakes: the batch is {told}. Take the requests from the front of self.waiting"
        return likeliest(wrong, made or [(overtakes, "overtakes")])
    ready = max(free_at, *(run["requests"][name]["arrival"] for name in wanted))
    if set(rows) < set(wanted):
        if start < ready - EPS:
            return wrong(
                f"a batch starts before it is full: {told}, although more could come. "
                "While self.arrivals_open is True, wait for batch_size requests",
                "starts too early",
            )
        return wrong(
            f"a batch leaves out somebody who waits: {told}. Take batch_size requests, or all there are", "batch too small"
        )
    if start > ready + EPS:
        later = [r["arrival"] for r in run["requests"].values()][len(served) + size :]
        full = f"{told}. It was full at {ready:.3f} s, and that is reason enough"
        made = []
        if later and abs(start - max(free_at, later[0])) <= EPS:
            made.append((f"a full batch waits for one request more: {full}", "one too many"))
        if later and abs(start - max(free_at, later[-1])) <= EPS:
            made.append((f"a full batch waits until nobody else can come: {full}", "waits for the last"))
        if made:
            return likeliest(wrong, made)
        return wrong(f"a batch starts late: {told}, although it could have begun at {ready:.3f} s", "starts late")
    return None


def holds_all(run: Run, first: Step) -> Finding | None:
    """The rectangle is wide enough for the longest prompt and the longest answer."""
    asked = [run["requests"][name] for name in first["rows"]]
    prompt, answer = max(r["prompt"] for r in asked), max(r["output"] for r in asked)
    if first["span"] >= prompt + answer - 1:
        return None
    cause = (
        f"plan.span = {first['span']} holds the prompts, and not the answers: the longest prompt is {prompt} long, the longest "
        f"answer {answer}, and every row keeps its KV until the batch ends. slots_per_row(batch) counts both"
    )
    return Finding(RECTANGLE, cause, "no room for answers", f"span of at least {prompt + answer - 1}", timeline(run))


def stays_together(run: Run, begin: int, end: int) -> Finding | None:
    """Nobody leaves before the last step of the batch, and no row is dropped from the rectangle."""
    rows = run["steps"][begin]["rows"]
    if found := left_out(run, begin, end):
        i, name = found
        cause = f"{name} makes no token in step {i}, though it is not done: the rows of a batch run side by side, all of them"
        return Finding(TOGETHER, cause, "leaves out a row", f"a token for {name}", timeline(run))
    for i in range(begin, end):
        step = run["steps"][i]
        if step["finished"] and i < end - 1 or set(step["rows"]) != set(rows):
            gone = ", ".join(step["finished"] or sorted(set(rows) - set(step["rows"])))
            if step["finished"]:
                cause, slip = (
                    f"{gone} left in step {i} while its batch ran on. Batch out means that all leave together: "
                    "leavers(done) returns nobody until every request in self.running is_done, then all of them",
                    "leaves early",
                )
            else:
                cause, slip = (
                    f"the row of {gone} is gone from the rectangle in step {i}. A row that is done is given no tokens, "
                    "but it stays in plan.rows until the batch is over",
                    "drops done rows",
                )
            return Finding(TOGETHER, cause, slip, "all rows until the end", timeline(run))
    if not run["steps"][end - 1]["finished"]:
        cause = (
            f"leavers(done) lets nobody go after step {end - 1}, although every row is done. "
            "Once each request in self.running is_done, it returns all of them"
        )
        return Finding(TOGETHER, cause, "never leaves", "all leave after the last step", timeline(run))
    kept = sorted(set(rows) - set(run["steps"][end - 1]["finished"]))
    if kept:
        cause = (
            f"leavers(done) lets some go after step {end - 1}, and keeps {', '.join(kept)}, though their tokens are all made. "
            "`done` holds only those whose last token came in this step: return all of self.running"
        )
        return Finding(TOGETHER, cause, "leave one by one", "all leave after the last step", timeline(run))
    return None


def leaver_words(run: Run) -> str:
    """Words for a request that is let go too early: because one beside it is done, or although nobody is."""
    made = Counter(name for step in run["steps"] for name in step["emitted"])
    gone = {name for step in run["steps"] for name in step["finished"]}
    told = "leavers(done) lets a request go that has tokens left to make."
    if any(made[name] == r["output"] - 1 for name, r in run["requests"].items() if name not in gone):
        return f"{told} One of them was done in this step, which is no reason for the others: ask whether all of self.running are"
    often = "It is asked after every step, and `done` is often empty: all(...) over an empty list is True"
    return f"{told} {often}. Ask about self.running"


OWN_WORDS: Words = {
    "rule: never idle without a reason": "your plan is empty although requests wait, and nobody else will come: the batch never "
    "fills. When self.arrivals_open is False, start with what is there",
    "rule: no more tokens than are left": "your plan gives a row more than one token while it writes. Each token needs the one "
    "before it: (r, 1) for every row that is not done",
    "rule: no more KV than there is": "plan.span is more than the cache holds for so many rows: slots_per_row(batch) is enough",
    "rule: no finished requests": "your plan gives a token to a row that is done. Leave requests with is_done out of "
    "plan.extend, and keep them in plan.rows",
    "rule: a request leaves when it is done": leaver_words,
}


def scene(args: Args) -> str:
    """The jobs and the batch size; the other knobs of the bench play no part here."""
    jobs, knobs = args
    return f"{Bench().scene((jobs,))}; batch_size={knobs['batch_size']}"


def generate(rng: random.Random, size: int) -> tuple:
    return random_jobs(rng, size), {"batch_size": rng.randint(1, 4)}


def valid(args: Args) -> bool:
    jobs, knobs = args
    return BENCH.valid(args) and knobs.get("batch_size", 0) >= 1


SIX = [[0.0, 3, 2], [0.0, 3, 8], [0.0, 3, 3], [0.0, 3, 5], [0.001, 3, 1], [0.001, 3, 3]]
SLOW = [[0.0, 4, 2], [1.0, 2, 4], [2.0, 5, 1], [9.0, 1, 3]]

TASK = BENCH.task(
    like="static",
    id="03.3",
    name="StaticScheduler",
    title="A static scheduler",
    points=50,
    cases=(
        Case(([[0.0, 2, 1]], {"batch_size": 1}), None),
        Case(([[0.0, 2, 3], [0.0, 4, 1]], {"batch_size": 2}), None),
        Case(([[0.0, 2, 3], [0.5, 4, 1]], {"batch_size": 2}), None),
        Case(([[0.0, 2, 3], [0.0, 4, 2], [0.0, 1, 2]], {"batch_size": 2}), None),
        Case((SIX, {"batch_size": 4}), None),
        Case((SLOW, {"batch_size": 3}), None),
        Case((SLOW, {"batch_size": 1}), None),
    ),
    scene=scene,
    rules=rules,
    words=OWN_WORDS,
    generate=generate,
    valid=valid,
    rounds=16,
    hints=(
        "plan(now) is asked before every step, and there are three situations: a batch runs; a batch can start; neither. "
        "Which Plan belongs to each? And who may leave when r0 is done, but r1 is not?",
        "While a batch runs, extend holds one token for each request that is not done, and rows holds all of self.running. "
        "A new batch is the front of self.waiting: every request computes its whole prompt, r.num_remaining_tokens. "
        "It can start when it is full or when self.arrivals_open is False. An empty Plan() means: ask me when somebody comes.",
        "plan:\n"
        "    if somebody runs:\n"
        "        return a Plan: extend = (r, 1) for each running r that is not done, rows = all running\n"
        "    if fewer than self.config.batch_size wait, and arrivals are open: return an empty Plan\n"
        "    batch = the first batch_size of the waiting\n"
        "    return a Plan: extend = (r, r.num_remaining_tokens) for each, rows = batch, span = slots_per_row(batch)\n"
        "leavers:\n"
        "    everybody who runs, if all of them are done; else nobody",
    ),
)
