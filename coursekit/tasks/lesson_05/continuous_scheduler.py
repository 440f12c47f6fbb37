"""A continuous scheduler, judged by what happened at every step of a simulated engine."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...judging.runs import Run, sorted_how, timeline
from ...judging.scheduling import Bench, Words, random_jobs
from ...task import Args, Case, Finding, likeliest

BENCH = Bench(max_num_seqs=4, num_blocks=256, block_size=4)
PACKED = "a continuous batch is packed: a Plan without rows"
WHOLE = "a newcomer computes its whole prompt in its first step"
GO_ON = "whoever runs goes on in every step: newcomers join, nobody pauses for them"
IN_ORDER = "the waiting enter in order of arrival"
COME_IN = "whoever waits enters at the next step, if a seat and the blocks for its prompt are free"
CLOSED = "in a step that preempts, nobody comes in"
NEEDED = "nobody is preempted who could have stayed: one gives way, the others go on with its blocks"
EPS = 1e-6


def rules(args: Args, run: Run) -> Finding | None:
    """Step by step: packed, whole prompts, in order, nobody pauses, nobody waits without a reason."""
    knobs = {**BENCH.knobs, **(args[1] if len(args) > 1 else {})}
    left: set[str] = set()
    begun: list[str] = []
    for i in range(len(run["steps"])):
        finding = (
            packed_and_whole(run, i)
            or closed_while_preempting(run, i)
            or in_order(run, i, begun, left, knobs)
            or nobody_pauses(run, i, left, knobs)
            or preempts_in_need(run, i, knobs)
            or nobody_waits(run, i, left, knobs)
        )
        if finding:
            return finding
        step = run["steps"][i]
        begun += [name for name, _, _ in step["slices"] if name not in begun]
        left = (left | {name for name, _, _ in step["slices"]}) - set(step["finished"]) - set(step["preempted"])
    return None


def packed_and_whole(run: Run, i: int) -> Finding | None:
    step = run["steps"][i]
    if step["rows"] is not None:
        cause = f"step {i} is a padded rectangle. Leave rows out of the Plan: a packed batch has no padding"
        return Finding(PACKED, cause, "padded", "a Plan without rows", timeline(run))
    for name, before, n in step["slices"]:
        prompt = run["requests"][name]["prompt"]
        if before == 0 and n < prompt:
            cause = f"{name} computes {n} of its {prompt} prompt tokens in step {i}. Give it r.num_remaining_tokens at once"
            return Finding(WHOLE, cause, "cuts prompts", f"{prompt} tokens", timeline(run))
    return None


def closed_while_preempting(run: Run, i: int) -> Finding | None:
    """Somebody enters in the step in which another is thrown out."""
    step = run["steps"][i]
    new = [name for name, before, _ in step["slices"] if before == 0]
    if not step["preempted"] or not new:
        return None
    out = step["preempted"][0]
    cause = (
        f"{new[0]} comes in in step {i}, in which {out} is preempted: it takes the memory that {out} had to give up, and "
        "overtakes it. Let nobody in if plan.preempt is not empty"
    )
    return Finding(CLOSED, cause, "enters while preempting", "nobody enters", timeline(run))


def preempts_in_need(run: Run, i: int, knobs: dict[str, Any]) -> Finding | None:
    """All who were sent back would have found room after the step: then one of them at least went for nothing."""
    gone = run["steps"][i]["preempted"]
    if not gone:
        return None
    done = {name: before + n for step in run["steps"][:i] for name, before, n in step["slices"]}
    need = [blocks(done.get(name, 0) + 1, knobs) for name in gone]
    left = spare(run, i, knobs)
    if left < max(need):
        return None
    if len(gone) == 1:
        cause = (
            f"step {i} sends {gone[0]} back, and {left} blocks are free after it: more than it needs. Nobody had to go. Is a "
            "token counted twice on the ledger? self.make_room(plan, kv, r, n) counts it, kv.take(r, n) counts it once more"
        )
        return Finding(NEEDED, cause, "preempts without need", f"{gone[0]} goes on", timeline(run))
    cause = (
        f"step {i} sends {' and '.join(gone)} back, and {left} blocks are free after it: more than each of them needs. When one "
        "gives way, the next can have its blocks: self.make_room(plan, kv, r, n) counts them, your own preemption does not"
    )
    return Finding(NEEDED, cause, "preempts too many", f"{gone[0]} or another goes on", timeline(run))


def arrived(run: Run, i: int) -> list[str]:
    """Who has come by the start of step i, oldest first."""
    start = run["steps"][i]["start"]
    return [name for name, r in run["requests"].items() if r["arrival"] <= start + EPS]


def in_order(run: Run, i: int, begun: list[str], running: set[str], knobs: dict[str, Any]) -> Finding | None:
    """Nobody enters for the first time before somebody who came earlier."""
    new = [name for name, _, _ in run["steps"][i]["slices"] if name not in begun]
    queue = [name for name in arrived(run, i) if name not in begun]
    if not new or new == queue[: len(new)]:
        return None
    passed = next((name for name in queue if name not in new), queue[0])
    overtaker = new[0] if passed == queue[0] and new[0] != passed else new[-1]
    later = [name for name in new if name not in queue[: queue.index(passed)]]
    if blocks(run["requests"][passed]["prompt"], knobs) > spare(run, i, knobs, without=later):
        cause = (
            f"{overtaker} enters in step {i} while {passed}, which came earlier, still lacks memory. Stop at the first who "
            "does not fit: if small ones always slip past, a big one waits for ever"
        )
        return Finding(IN_ORDER, cause, "skips the big one", f"{passed} first", timeline(run))
    told = f"{overtaker} enters in step {i} before {passed}, which came earlier"
    made = [(f"{told}: {words}. Go through self.waiting from its front", slip) for words, slip in sorted_how(run, new, queue)]
    return likeliest(
        lambda cause, slip: Finding(IN_ORDER, cause, slip, f"{passed} first", timeline(run)),
        made or [(f"{told}. Go through self.waiting from its front", "overtakes")],
    )


def nobody_pauses(run: Run, i: int, running: set[str], knobs: dict[str, Any]) -> Finding | None:
    step = run["steps"][i]
    given = {name for name, _, _ in step["slices"]}
    idle = sorted(running - given - set(step["preempted"]))
    if not idle:
        return None
    made = sum(idle[0] in s["emitted"] for s in run["steps"][:i])
    if made == run["requests"][idle[0]]["output"]:
        cause = (
            f"{idle[0]} has all its tokens and still sits there in step {i}. leavers(done) decides who goes: return done, or "
            "leave the method out"
        )
        return Finding(COME_IN, cause, "keeps who is done", f"{idle[0]} leaves after its last token", timeline(run))
    if step["preempted"]:
        out = step["preempted"][0]
        cause = (
            f"{idle[0]} gets nothing in step {i}, in which {out} is preempted. One gives way so that all the others can go on: "
            "go through all of self.running, and only then look at plan.preempt"
        )
        return Finding(GO_ON, cause, "stops at a preemption", f"a token for {idle[0]}", timeline(run))
    newcomers = [name for name, before, _ in step["slices"] if before == 0]
    if newcomers:
        cause = (
            f"{idle[0]} pauses in step {i} while the prompt of {newcomers[0]} is computed. Put both into one plan: that is "
            "what selective batching is for"
        )
        return Finding(GO_ON, cause, "pauses for prompts", f"a token for {idle[0]}", timeline(run))
    done = {name: before + n for s in run["steps"][:i] for name, before, n in s["slices"]}
    held = sum(blocks(done[name], knobs) for name in idle)
    if blocks(done[idle[0]] + 1, knobs) > blocks(done[idle[0]], knobs) and spare(run, i, knobs) <= held:
        cause = (
            f"{idle[0]} stands still in step {i}, because it needs one more block and none is free. It keeps what it has, so "
            "two of them can wait for each other for ever. self.make_room(plan, kv, r, n) sends somebody back instead"
        )
        return Finding(GO_ON, cause, "stuck without memory", "somebody is preempted", timeline(run))
    cause = f"{idle[0]} runs, but gets nothing in step {i}. Go through all of self.running"
    return Finding(GO_ON, cause, "leaves out a runner", f"a token for {idle[0]}", timeline(run))


def nobody_waits(run: Run, i: int, running: set[str], knobs: dict[str, Any]) -> Finding | None:
    """The first in the queue has a reason: no seat, no blocks, or a preemption in this step."""
    step = run["steps"][i]
    given = [name for name, _, _ in step["slices"]]
    gone = {name for s in run["steps"][:i] for name in s["finished"]} | set(step["preempted"])
    queue = [name for name in arrived(run, i) if name not in given and name not in gone]
    if given and (finding := stood_still(run, i)):
        return finding
    if not queue or step["preempted"] or len(given) >= knobs["max_num_seqs"]:
        return None
    first, fresh = queue[0], run["requests"][queue[0]]["preemptions"] == 0
    if not fresh or blocks(run["requests"][first]["prompt"], knobs) > spare(run, i, knobs):
        return None
    seats, taken, asked = knobs["max_num_seqs"], len(given), run["requests"][first]
    if blocks(asked["prompt"] + asked["output"], knobs) > spare(run, i, knobs):
        cause = (
            f"{first} waits in step {i}, although its prompt fits: room for its whole answer is not needed yet. Count the "
            "tokens of this step alone, r.num_remaining_tokens; when KV runs short later, somebody is preempted"
        )
        return Finding(COME_IN, cause, "reserves the answer", f"{first} enters in step {i}", timeline(run))
    if not any(before == 0 for _, before, _ in step["slices"]):
        cause = (
            f"{first} waits in step {i}, although only {taken} of {seats} seats are taken. A batch need not end before "
            "others enter"
        )
        return Finding(COME_IN, cause, "waits for the batch", f"{first} enters in step {i}", timeline(run))
    if taken == seats - 1 and all(len(s["slices"]) < seats for s in run["steps"]):
        cause = (
            f"{first} waits in step {i}, although {taken} of {seats} seats are taken: the last seat stays empty in every step. "
            "There are self.max_num_seqs of them"
        )
        few = f"{first} waits in step {i}, although a seat is free and its prompt fits. Let in as many as fit"
        found = Finding(COME_IN, cause, "one seat empty", f"{first} enters in step {i}", timeline(run))
        return replace(found, instead=[(few, "lets in too few")])
    cause = f"{first} waits in step {i}, although {taken} of {seats} seats are taken and its prompt fits. Let in as many as fit"
    return Finding(COME_IN, cause, "lets in too few", f"{first} enters in step {i}", timeline(run))


def stood_still(run: Run, i: int) -> Finding | None:
    """A pause of the whole machine before step i, although somebody was there."""
    step = run["steps"][i]
    end = run["steps"][i - 1]["start"] + run["steps"][i - 1]["duration"] if i else 0.0
    early = [n for n, c, _ in step["slices"] if c == 0 and run["requests"][n]["arrival"] < step["start"] - EPS]
    if step["start"] <= end + EPS or not early:
        return None
    cause = f"the machine stands still before step {i}, although {early[0]} is there. Somebody who waits is reason enough to plan"
    return Finding(COME_IN, cause, "stands still", f"{early[0]} starts when it comes", timeline(run))


def blocks(tokens: int, knobs: dict[str, Any]) -> int:
    return -(-tokens // knobs["block_size"])


def spare(run: Run, i: int, knobs: dict[str, Any], without: Sequence[str] = ()) -> int:
    """Blocks that are free beside those whom step i computes."""
    held = sum(blocks(before + n, knobs) for name, before, n in run["steps"][i]["slices"] if name not in without)
    return run["steps"][i]["blocks_total"] - held


def idle_words(run: Run) -> str:
    """Words for an empty plan where somebody waits or runs."""
    running = {name for step in run["steps"] for name, _, _ in step["slices"]}
    for step in run["steps"]:
        running -= {*step["finished"], *step["preempted"]}
    if not running:
        return (
            "your plan is empty, although somebody waits and nobody runs: let the first in, its prompt fits into an empty cache"
        )
    names = ", ".join(sorted(running))
    if run["steps"][-1]["blocks_free"] == 0:
        return (
            f"your plan is empty, although {names} runs: it needs one more block and none is free. Then somebody has to go: "
            "self.make_room(plan, kv, r, n) sends somebody back"
        )
    return f"your plan is empty, although {names} runs and blocks are free: whoever runs gets its next token in every step"


OWN_WORDS: Words = {
    "rule: at most max_num_seqs requests run": "more requests than seats: your plan lets in everybody who waits. There are "
    "self.max_num_seqs seats, and len(self.running) of them are taken",
    "rule: never idle without a reason": idle_words,
    "rule: no more tokens than are left": "your plan gives a request more tokens than it has left, which is one for whoever "
    "writes: its next token needs the one before. r.num_remaining_tokens says how many",
    "rule: no more KV than there is": "your plan takes more KV blocks than are free. Let a newcomer in only if "
    "kv.take(r, n) says True, and give a running request its token only if self.make_room(plan, kv, r, n) does",
}


JUDGED = BENCH.judge(rules, OWN_WORDS)


def judge(args: Args, got: Any) -> Finding | None:
    """A padded step is told first: its rows break rules of the engine too, and those would say less."""
    padded = next((packed_and_whole(got, i) for i, step in enumerate(got["steps"]) if step["rows"] is not None), None)
    return padded or JUDGED(args, got)


def generate(rng: random.Random, size: int) -> tuple:
    """Half of the time with room for everybody, half of the time with a cache that hardly holds the longest."""
    if rng.random() < 0.5:
        return random_jobs(rng, size), {"max_num_seqs": rng.randint(1, 4)}
    jobs: list[list[Any]] = [[0.0, rng.choice([1, 2, 3, 9, 13]), rng.randint(1, 12)] for _ in range(2 + size // 2)]
    longest = max(blocks(prompt + output, BENCH.knobs) for _, prompt, output in jobs)
    return jobs, {"max_num_seqs": rng.randint(2, 4), "num_blocks": longest + rng.randint(0, 1)}


def valid(args: Args) -> bool:
    jobs, knobs = args
    size = BENCH.knobs["block_size"]
    room = all(-(-(j[1] + j[2]) // size) <= knobs.get("num_blocks", 256) for j in jobs)
    return BENCH.valid(args) and knobs.get("max_num_seqs", 0) >= 1 and room


SIX = [[0.0, 3, 3], [0.0, 3, 7], [0.0, 3, 2], [0.0, 3, 5], [0.0, 3, 4], [0.0, 3, 3]]
TIGHT = [[0.0, 4, 6], [0.0, 13, 2], [0.0, 2, 2], [0.0, 3, 3]]
GROWS = [[0.0, 4, 9], [0.0, 4, 9], [0.0, 2, 3]]
FOUR = [[0.0, 4, 9]] * 4  # eight blocks hold two for each, and all need a third in the same step
LATE = [[0.0, 4, 9], [0.0, 4, 9], [0.03, 6, 3]]  # the third fits only into what a preempted one gives up
AGAIN = [[0.0, 4, 9], [0.0, 4, 9], [0.105, 2, 2]]  # the third comes when the preempted one runs again, and there is room

TASK = BENCH.task(
    like="continuous",
    id="05.3",
    name="ContinuousScheduler",
    title="A continuous scheduler",
    points=45,
    cases=(
        Case(([[0.0, 2, 1]], {"max_num_seqs": 1}), None),
        Case(([[0.0, 2, 3], [0.0, 4, 1]], {"max_num_seqs": 2}), None),
        Case(([[0.0, 2, 1], [0.0, 2, 4], [0.0, 3, 2]], {"max_num_seqs": 2}), None),
        Case(([[0.0, 2, 8], [0.03, 4, 3], [5.0, 1, 2]], {"max_num_seqs": 3}), None),
        Case((SIX, {"max_num_seqs": 4}), None),
        Case((TIGHT, {"max_num_seqs": 4, "num_blocks": 4}), None),
        Case((GROWS, {"max_num_seqs": 3, "num_blocks": 5}), None),
        Case((FOUR, {"max_num_seqs": 4, "num_blocks": 8}), None),
        Case((LATE, {"max_num_seqs": 3, "num_blocks": 5}), None),
        Case((AGAIN, {"max_num_seqs": 3, "num_blocks": 5}), None),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    hints=(
        "A plan has two parts: those who go on, and those who come in. For each part: which list holds them, how many tokens "
        "does each compute, and what could be missing?",
        "self.running first: one token each (r.num_remaining_tokens is 1 there), with make_room for memory. Then self.waiting "
        "from its front: the whole prompt, as long as a seat is free and kv.take says True. Stop at the first who does not get "
        "in. If make_room has preempted somebody, let nobody in.",
        "plan = an empty Plan, kv = self.kv.ledger()\n"
        "for each running r:\n"
        "    if self.make_room(plan, kv, r, r.num_remaining_tokens): add (r, r.num_remaining_tokens) to plan.extend\n"
        "if plan.preempt is empty:\n"
        "    for each waiting r, from the front:\n"
        "        stop if all self.max_num_seqs seats are taken\n"
        "        stop if kv.take(r, its remaining tokens) is False\n"
        "        add it to plan.extend\n"
        "return plan",
    ),
)
