"""A batch size that tunes itself: one step of the controller, tried on machines whose load changes."""

import math
import random
from dataclasses import replace
from statistics import mean, median
from typing import Any, NamedTuple

from ...task import CANNOT_TELL, Args, Case, Finding, Task

STEPS, TAIL = 400, 60  # steps of a phase, and how many of its last ones are looked at
START = 8.0
OVER, NEAR = 0.20, 0.25  # share of steps that may break the limit; how far from the best number the last ones may be
BOUNDS = "a target is a number from 1 to most"
LIMIT = f"at most {OVER:.0%} of the steps of a phase take longer than the limit"
BEST = f"in the last {TAIL} steps of a phase as many run as the limit allows, give or take {NEAR:.0%}"
WINDS_UP = "the target grows although nobody waits. When many come, it is far too high: the seats were never tried"
HOLDS = (
    "the target grows only while a step keeps the limit, somebody waits and the seats are taken; it shrinks only at a step "
    "over the limit"
)


class Step(NamedTuple):
    """What the controller was told, in a phase, and what it said then."""

    phase: int
    target: float
    ms: float
    running: int
    waiting: int
    said: Any


def play(said: Any, args: Args) -> list[Step]:
    """The steps of a machine whose controller is ``said(step without an answer)``; they end with an answer that is no number.

    args: (phases, limit in ms, most). A phase is [fixed ms of a step, ms for each request, requests in all, room for so many].
    """
    phases, limit, most = args
    steps: list[Step] = []
    target: Any = START
    for number, (fixed, each, here, room) in enumerate(phases):
        for _ in range(STEPS):
            running = max(1, min(int(target), here, room, most))
            step = Step(number, target, fixed + each * running, running, here - running, None)
            steps.append(step._replace(said=said(step)))
            target = steps[-1].said
            if not usable(target):
                return steps
    return steps


def usable(target: Any) -> bool:
    return isinstance(target, (int, float)) and not isinstance(target, bool) and math.isfinite(target)


def drive(answer: Any, args: Args) -> list[Any]:
    """What the controller said, step after step."""
    _, limit, most = args
    return [s.said for s in play(lambda s: answer(s.target, s.ms, limit, s.running, s.waiting, most), args)]


def judge(args: Args, got: Any) -> Finding | None:
    phases, limit, most = args
    said = iter(got)
    steps = play(lambda step: next(said, None), args)  # the machine is played again: only what was said is believed
    for look in (bounds, direction, over_the_limit, beside_the_best):
        if finding := look(steps, phases, limit, most):
            return finding
    return None


def bounds(steps: list[Step], phases: Any, limit: float, most: int) -> Finding | None:
    for at, s in enumerate(steps):
        if s.said is None:
            return wrong(
                BOUNDS, "it returned None: is there a `return` line on every path?", "returns nothing", "a number", s, at
            )
        if not usable(s.said):
            return wrong(BOUNDS, "this is no target: return one number", "no number", "a number", s, at)
        if s.said < 1:
            return wrong(
                BOUNDS, "below 1 nobody runs, and no step tells you that it may grow again", "below one", "at least 1", s, at
            )
        if s.said > most:
            return wrong(BOUNDS, "there are no more seats than most", "above most", f"at most {most}", s, at)
    return None


def direction(steps: list[Step], phases: Any, limit: float, most: int) -> Finding | None:
    """It grows and shrinks for no other reasons than those of the task."""
    for at, s in enumerate(steps):
        if s.ms > limit and s.said > s.target:
            cause = "the target grows at a step over the limit"
            return wrong(HOLDS, cause, "grows over the limit", "a smaller target", s, at)
        if s.ms <= limit and s.said < s.target and s.said >= 1:
            if s.ms == limit:
                cause = "the step takes just as long as the limit, and keeps it: shrink above it only"
                return wrong(HOLDS, cause, "at the limit", f"{s.target:g} or more", s, at)
            if s.waiting and s.running >= int(s.target):
                cause = "there is time, somebody waits, and it shrinks: the comparison is the wrong way round"
                return wrong(HOLDS, cause, "the wrong way round", f"{s.target:g} or more", s, at)
            why = "seats are free" if s.waiting else "nobody waits"
            cause = f"the target shrinks although {why} and the step keeps the limit: it would have to climb again"
            found = wrong(HOLDS, cause, "shrinks in time", f"{s.target:g} or more", s, at)
            return replace(
                found,
                instead=[("it shrinks whenever there is time: the comparison is the wrong way round", "the wrong way round")],
            )
        if s.said > s.target and not s.waiting:
            return wrong(HOLDS, WINDS_UP, "winds up", f"{s.target:g}", s, at)
        if s.said > s.target and s.running < int(s.target):
            cause = "the target grows although seats are free. Somebody waits for memory, say: more seats do not help"
            found = wrong(HOLDS, cause, "seats are free", f"{s.target:g}", s, at)
            return replace(found, instead=[(WINDS_UP, "winds up")])
    return None


def over_the_limit(steps: list[Step], phases: Any, limit: float, most: int) -> Finding | None:
    for number, (fixed, each, _, _) in enumerate(phases):
        part = [s for s in steps if s.phase == number]
        late = [s for s in part if s.ms > limit]
        if fixed + each > limit or fixed + 2 * each > limit or len(late) <= OVER * len(part):
            continue  # where one alone, or two, are too many, steps over the limit cannot be helped
        slip = slip_of(part, late, most)
        expected, found = f"at most {OVER * len(part):.0f} of {len(part)} steps over {limit:g} ms", f"{len(late)} of {len(part)}"
        return Finding(LIMIT, f"phase {number}: {TOO_LONG.get(slip, OTHER)}", slip, expected, found)
    return None


OTHER = f"{CANNOT_TELL}: too many steps are over the limit"
TOO_LONG = {
    "never shrinks": "steps are over the limit, and the target never shrinks",
    "takes the queue": "the target jumps by as many as wait. A long queue says nothing about what a step can hold: feel your way",
    "doubles": "the target grows by half or more at once, and is over the limit every few steps: grow by a little",
    "shrinks by one": "it comes down as slowly as it goes up, so it is over the limit every other step: give up a share at once",
    "shrinks too little": "it gives up so little that it stays over the limit for long: a tenth at once would do",
}


def slip_of(part: list[Step], late: list[Step], most: int) -> str:
    """Why so many steps are over the limit, in two or three words."""
    ups = [s for s in part if s.said > s.target]
    downs = [s for s in late if s.said < s.target]
    if not downs:
        return "never shrinks"
    if ups and all(abs(s.said - min(most, s.target + s.waiting)) < 1.5 for s in ups):
        return "takes the queue"
    if ups and median(s.said / s.target for s in ups) >= 1.4:
        return "doubles"
    up, down = median(s.said - s.target for s in ups) if ups else 0.0, median(s.target - s.said for s in downs)
    if ups and up >= 0.5 and down <= 1.2 * up:
        return "shrinks by one"
    return "shrinks too little" if down < 0.05 * median(s.target for s in downs) else "over the limit"


def beside_the_best(steps: list[Step], phases: Any, limit: float, most: int) -> Finding | None:
    for number, (fixed, each, here, room) in enumerate(phases):
        best = max(1, min(int((limit - fixed) / each + 1e-9), here, room, most))
        part = [s for s in steps if s.phase == number]
        ran = mean(s.running for s in part[-TAIL:])
        if best < 15:  # one seat more or less is a large share there: it must have come down to it
            if min(s.running for s in part[-TAIL:]) > best:
                cause = "it never comes down to where a step keeps the limit"
                return Finding(
                    BEST, f"phase {number}: {cause}", "stays above", f"{best} run at times", f"{ran:.1f} run in the mean"
                )
            continue
        if abs(ran - best) <= NEAR * best:
            continue
        ups, downs = [s for s in part if s.said > s.target], [s for s in part if s.said < s.target]
        if ran > best:
            cause, slip = "it stays above the number that the limit allows", "stays above"
        elif not ups and not downs:
            cause, slip = (
                "the target never moves, although the machine could hold more. Is a fraction cut off each time?",
                "never moves",
            )
        elif not ups:
            cause, slip = "the target never grows again. Is a fraction cut off each time, as int() does?", "never grows"
        elif downs and median(s.said / s.target for s in downs) < 0.6:
            cause, slip = (
                "it gives up half or more at one step over the limit, and needs long to come back: a tenth would do",
                "falls too far",
            )
        elif not downs:
            cause, slip = "it is still on its way up at the end of the phase: grow faster", "grows too slowly"
        else:
            cause, slip = "it stays below the number that the limit allows: it gives up more than it wins back", "stays below"
        return Finding(BEST, f"phase {number}: {cause}", slip, f"about {best} run", f"{ran:.1f} run in the mean")
    return None


def wrong(rule: str, cause: str, slip: str, expected: str, s: Step, at: int) -> Finding:
    told = f"step {at}: target {s.target:g}, {s.running} ran, {s.waiting} waited, {s.ms:g} ms"
    return Finding(rule, f"{cause}. ({told})", slip, expected, str(s.said))


def scene(args: Args) -> str:
    phases, limit, most = args
    told = "; then ".join(
        f"a step takes {fixed:g} + {each:g} x running ms, {here} requests, memory for {room}"
        for fixed, each, here, room in phases
    )
    return f"{told}; limit {limit:g} ms, most {most}, {STEPS} steps each, the target begins at {START:g}"


def generate(rng: random.Random, size: int) -> tuple[list[list[float]], float, int]:
    """Phases with a best number of at least 15, or with little to do; half of the time with two of them."""
    limit = float(rng.choice([20, 30, 50]))
    phases = []
    for _ in range(1 + (size > 3)):
        fixed = rng.choice([4.0, 8.0, 9.0])
        best = rng.randint(16, 90)
        each = round((limit - fixed) / best, 3)
        here = rng.choice([400, 400, 400, 12])
        room = rng.choice([400, 400, 10]) if here == 400 else 400
        phases.append([fixed, each, here, room])
    return phases, limit, rng.choice([128, 256])


def valid(args: Args) -> bool:
    phases, limit, most = args
    return (
        bool(phases)
        and all(len(p) == 4 and p[0] > 0 and p[1] > 0 and p[2] >= 1 and p[3] >= 1 for p in phases)
        and limit > 0
        and most >= 2
    )


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "ZeroDivisionError":
        return "nobody may be waiting: waiting can be 0"
    return None


TASK = Task(
    id="08.3",
    name="next_target",
    title="A batch that tunes itself",
    points=20,
    returns="the new target, a number",
    cases=(
        Case(([[10.0, 1.0, 400, 400]], 30.0, 256), None),
        Case(([[9.0, 0.25, 400, 400], [9.0, 1.3, 400, 400]], 30.0, 256), None),
        Case(([[9.0, 1.3, 400, 400], [9.0, 0.25, 400, 400]], 30.0, 256), None),
        Case(([[9.0, 0.25, 12, 400], [9.0, 0.25, 400, 400]], 30.0, 256), None),
        Case(([[9.0, 0.25, 400, 10]], 30.0, 256), None),
        Case(([[4.0, 0.05, 400, 400]], 50.0, 32), None),
        Case(([[40.0, 1.0, 400, 400], [9.0, 0.5, 400, 400]], 30.0, 256), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    rounds=16,
    hints=(
        "A step was too long. How many seats do you give up? A step was short, somebody waits. How many do you add?",
        "Add a little at a time, a fraction of a seat; give up a share at once, such as a tenth. In all other cases leave the "
        "target as it is. It is never below 1 and never above most.",
        "if the step took longer than the limit:\n"
        "    a tenth less, but not below 1\n"
        "else if somebody waits and as many run as the target says:\n"
        "    a quarter of a seat more, but not above most\n"
        "else: the target as it is",
    ),
)
