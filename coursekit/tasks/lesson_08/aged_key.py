"""A priority that waiting makes up for."""

import math
import random
from collections.abc import Callable
from itertools import combinations
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

FIRST = "the smaller key goes first: a gap of d points is made up after d / ageing seconds of waiting, for everybody alike"
EQUAL = 1e-9  # points: so close, either may go first

# cause, slip, the key that such an answer gives: (priority, arrival, now, ageing). What is likelier stands first.
MISTAKES: tuple[tuple[str, str, Callable[[float, float, float, float], Any]], ...] = (
    (
        "waiting makes your key larger, so who waits falls back: the smallest goes first, so take points off",
        "the sign",
        lambda p, a, now, g: p + g * (now - a),
    ),
    (
        "your largest key belongs to who should go first: the smallest number is the most urgent, as in vLLM",
        "the largest first",
        lambda p, a, now, g: g * (now - a) - p,
    ),
    (
        "priority decides and the wait only among equals. So whoever has a larger number waits as long as others come",
        "the wait among equals only",
        lambda p, a, now, g: (p, a),
    ),
    (
        "you take the time on the clock off, which is the same for all: what counts is how long each has waited, now - arrival",
        "the clock, not the wait",
        lambda p, a, now, g: p - g * now,
    ),
    (
        "you take off one point a second, whatever the ageing: multiply the wait by it",
        "ageing left out",
        lambda p, a, now, g: p - (now - a),
    ),
    (
        "you divide by the ageing: it is points for each second, so multiply the wait by it",
        "divides",
        lambda p, a, now, g: p - (now - a) / g if g else p,
    ),
    (
        "the wait is a factor in your key. At priority 0 a factor changes nothing: subtract",
        "a factor",
        lambda p, a, now, g: p * (1 - g * (now - a)),
    ),
    (
        "you divide the priority by the wait. At priority 0 that changes nothing, and a gap is never made up: subtract",
        "a divisor",
        lambda p, a, now, g: p / (1 + g * (now - a)),
    ),
    (
        "the ageing is a thousand times too strong: arrival and now are in seconds already",
        "milliseconds",
        lambda p, a, now, g: p - 1000 * g * (now - a),
    ),
    (
        "your key stops at 0. Two who have waited long are equal then, although one of them is ahead: keys may be negative",
        "stops at zero",
        lambda p, a, now, g: max(0, p - g * (now - a)),
    ),
    (
        "you round to whole points, and make those equal that are not",
        "rounds",
        lambda p, a, now, g: round(p - g * (now - a)),
    ),
    (
        "only those with a larger number age in your key. The urgent wait, too: all age alike",
        "only some age",
        lambda p, a, now, g: p - g * (now - a) if p > 0 else p,
    ),
    (
        "the priority is left out: this is first come, first served",
        "the priority left out",
        lambda p, a, now, g: a,
    ),
    (
        "your key grows with the square of the wait: a point for every so many seconds, neither faster nor slower later",
        "the square",
        lambda p, a, now, g: p - g * (now - a) ** 2,
    ),
)  # fmt: skip


def drive(answer: Any, args: Args) -> list[Any]:
    """The key of each request."""
    requests, now, ageing = args
    return [answer(priority, arrival, now, ageing) for priority, arrival in requests]


def order_of(x: Any, y: Any) -> int:
    """Who goes first: -1 the first, 1 the second, 0 neither."""
    return (x > y) - (x < y)


def judge(args: Args, got: Any) -> Finding | None:
    requests, now, ageing = args
    if unusable := no_key(got):
        return unusable
    keys = [tuple(k) if isinstance(k, list) else k for k in got]
    aged = [p + ageing * a for p, a in requests]  # all have aged alike: this sorts them, too
    pairs = [(i, j) for i, j in combinations(range(len(requests)), 2) if abs(aged[i] - aged[j]) > EQUAL]
    same = [(i, j) for i, j in combinations(range(len(requests)), 2) if requests[i] == requests[j]]
    wrong_pair = next((p for p in pairs if order_of(keys[p[0]], keys[p[1]]) != order_of(aged[p[0]], aged[p[1]])), None)
    wrong_pair = wrong_pair or next((p for p in same if keys[p[0]] != keys[p[1]]), None)
    if wrong_pair is None:
        return None
    i, j = sorted(wrong_pair, key=lambda n: aged[n])

    def wrong(cause: str, slip: str) -> Finding:
        (p, a), (q, b) = requests[i], requests[j]
        told = f"at {now:g} s, priority {p} has waited {now - a:g} s and is ahead of priority {q} that has waited {now - b:g} s"
        return Finding(
            FIRST, f"{cause}. ({told})", slip, f"the key of r{i} below that of r{j}", f"r{i}: {got[i]}, r{j}: {got[j]}"
        )

    made = [(cause, slip) for cause, slip, key in MISTAKES if gives(key, requests, now, ageing, keys)]
    return likeliest(wrong, made or [(f"{CANNOT_TELL}: two requests are in the wrong order", "another order")])


def gives(key: Callable[..., Any], requests: list[list[float]], now: float, ageing: float, keys: list[Any]) -> bool:
    """Whether such a key sorts every two of these requests as the answer's keys do, and leaves the same ones equal."""
    own = [key(p, a, now, ageing) for p, a in requests]
    return all(order_of(own[i], own[j]) == order_of(keys[i], keys[j]) for i, j in combinations(range(len(own)), 2))


def no_key(got: list[Any]) -> Finding | None:
    """A Finding unless each key is a number, or several for one after the other."""
    rule = "a key is a number, or a tuple of numbers"
    for key in got:
        parts = key if isinstance(key, list) else [key]
        if key is None:
            return Finding(
                rule, "it returned None: is there a `return` line, and is it reached?", "returns nothing", "a number", "None"
            )
        if not parts or any(isinstance(x, bool) or not isinstance(x, (int, float)) for x in parts):
            return Finding(rule, "this is no key: return a number, the smaller the sooner", "no number", "a number", str(key))
        if any(math.isnan(x) for x in parts):
            return Finding(rule, "nan cannot be sorted: is there 0 / 0 in your key?", "nan", "a number", "nan")
    if len({len(key) if isinstance(key, list) else 0 for key in got}) > 1:
        return Finding(
            rule,
            "some keys are numbers and some are tuples: one cannot be sorted beside the other",
            "mixed",
            "keys of one form",
            str(got),
        )
    return None


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "ZeroDivisionError":
        return "ageing, or a wait, may be 0: multiply and subtract, and nothing can go wrong"
    return None


def generate(rng: random.Random, size: int) -> tuple[list[list[float]], float, float]:
    """Arrivals in quarters of a second; the ageing is a power of two, so that sums are exact."""
    now = float(rng.randint(4, 20))
    people = [[rng.choice([0, 0, 1, 2, 3, 5]), rng.randint(0, int(4 * now)) / 4] for _ in range(2 + size)]
    return people, now, rng.choice([0.25, 0.5, 0.5, 1.0, 2.0, 0.0])


def valid(args: Args) -> bool:
    requests, now, ageing = args
    return len(requests) >= 2 and all(p >= 0 and 0 <= a <= now for p, a in requests) and ageing >= 0


def scene(args: Args) -> str:
    requests, now, ageing = args
    people = "; ".join(f"r{i}: priority {p}, came at {a:g} s" for i, (p, a) in enumerate(requests))
    return f"{people}; now {now:g} s, ageing {ageing:g}"


TASK = Task(
    id="08.2",
    name="aged_key",
    title="A priority that waiting makes up for",
    points=20,
    returns="a number, or a tuple of numbers",
    cases=(
        Case(([[0, 2.0], [0, 1.0]], 4.0, 0.5), None),
        Case(([[0, 4.0], [2, 1.0]], 4.0, 0.5), None),
        Case(([[0, 7.0], [2, 1.0]], 8.0, 0.5), None),
        Case(([[0, 0.0], [5, 0.0], [0, 0.0]], 9.0, 0.0), None),
        Case(([[0, 6.0], [3, 1.0], [1, 2.0]], 10.0, 1.0), None),
        Case(([[0, 3.0], [3, 2.0], [0, 9.5], [5, 1.0]], 10.0, 2.0), None),
        Case(([[1, 5.0], [1, 4.75], [2, 0.0], [0, 9.0]], 10.0, 0.25), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "Somebody with priority 3 has waited 4 s, ageing is 0.5 points a second. Is it before a newcomer with priority 0?",
        "It has made up 2 of its 3 points, so it is behind by one. After 6 s they are level. What is subtracted from what?",
        "wait = now less arrival\nthe key: the priority, less ageing times the wait",
    ),
)
