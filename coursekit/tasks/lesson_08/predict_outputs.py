"""Learn from requests that were served how long the answers of new ones will be."""

import math
import random
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import mean
from typing import Any

from ...judging.questions import Asking
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

SERVED, NEW = 1000, 400  # requests in the history, requests to come
KINDS = ((10, 60), (50, 260), (220, 1200))  # shortest and longest prompt of three kinds, which overlap
ANSWERS = ((20, 500, 100), (100, 20, 500), (100, 500, 20), (500, 20, 100))  # mean answer of each kind: never rising throughout
SPREAD = 1.3  # of the logarithm of an answer, within a kind
SHARE = 0.68  # of the tau of somebody who knows each request's kind
ENOUGH = "of all pairs of new requests, most are put in the right order: Kendall's tau is at least the bar"


def requests(args: Args) -> tuple[list[list[int]], list[int], list[int], list[int]]:
    """(history, prompts, the answers these really get, what somebody who knows the kinds would say), from (seed, answers)."""
    seed, which = args
    rng, answers = random.Random(f"requests {seed}"), ANSWERS[which]
    rows = []
    for _ in range(SERVED + NEW):
        kind = rng.randrange(3)
        low, high = KINDS[kind]
        prompt = round(math.exp(rng.uniform(math.log(low), math.log(high))))
        rows.append((prompt, max(1, round(answers[kind] * math.exp(rng.gauss(0.0, SPREAD)))), answers[kind]))
    new = rows[SERVED:]
    return [[p, o] for p, o, _ in rows[:SERVED]], [r[0] for r in new], [r[1] for r in new], [r[2] for r in new]


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def tau(said: Sequence[float], really: Sequence[float]) -> float:
    """The share of pairs in the right order, less the share in the wrong one."""
    order = 0
    seen: list[float] = []  # what those really got that were said to be shorter, in order
    for _, equal in groupby(sorted(zip(said, really)), key=lambda pair: pair[0]):
        values = [y for _, y in equal]
        order += sum([bisect_left(seen, y) + bisect_right(seen, y) - len(seen) for y in values])
        for y in values:
            insort(seen, y)
    return 2 * order / (len(said) * (len(said) - 1))


def nearest(history: list[list[int]], prompts: list[int]) -> list[set[int]]:
    """For each prompt the answers of the served requests whose prompts were nearest to it."""
    answers: dict[int, set[int]] = {}
    for p, o in history:
        answers.setdefault(p, set()).add(o)
    gaps = {prompt: min(abs(p - prompt) for p in answers) for prompt in set(prompts)}
    return [answers.get(q - gaps[q], set()) | answers.get(q + gaps[q], set()) for q in prompts]


def on_a_line(prompts: list[int], said: list[float]) -> bool:
    """Whether the predictions lie on one straight line over the prompts."""
    (x0, y0), (x1, y1) = min(zip(prompts, said)), max(zip(prompts, said))
    slope = (y1 - y0) / (x1 - x0)
    return all(abs(y0 + slope * (x - x0) - y) <= 1e-6 * max(1.0, abs(y)) for x, y in zip(prompts, said))


def one_way(prompts: list[int], said: list[float]) -> bool:
    """Whether a longer prompt never gets less, or never more."""
    values = [y for _, y in sorted(zip(prompts, said))]
    ups = {sign(b - a) for a, b in zip(values, values[1:])} - {0}
    return len(ups) == 1


Look = Callable[[list[list[int]], list[int], list[float], float], bool]

# cause, slip, whether the predictions look so: (history, prompts, said, bar). In this order: what explains less stands first.
LOOKS: tuple[tuple[str, str, Look], ...] = (
    (
        "everybody gets the same number: however good it is in the mean, it puts nobody in front of anybody",
        "one number for all",
        lambda h, p, s, bar: len(set(s)) == 1,
    ),
    (
        "these are the lengths of the prompts. A longer prompt does not mean a longer answer: look at the history",
        "the prompts themselves",
        lambda h, p, s, bar: s == p,
    ),
    (
        "these are the numbers of buckets, not lengths. Return what the bucket's requests were answered with, in the mean",
        "bucket numbers",
        lambda h, p, s, bar: all(x == int(x) for x in s) and set(s) == set(range(len(set(s)))) and one_way(p, s),
    ),
    (
        "your predictions lie on one straight line. The history does not: short, middle and long prompts go up and down",
        "a straight line",
        lambda h, p, s, bar: on_a_line(p, s),
    ),
    (
        "a longer prompt always gets more in your answer, or always less. The history goes up and down: let neighbours speak",
        "one way only",
        lambda h, p, s, bar: one_way(p, s) and len(set(s)) > 2,
    ),
    (
        "there are only two different numbers: that orders a short from a long prompt, and no more. Cut finer",
        "two numbers",
        lambda h, p, s, bar: len(set(s)) == 2,
    ),
    (
        "many requests get the very same number. Hardly a prompt has exactly the length of a served one: take those near it",
        "exact lengths only",
        lambda h, p, s, bar: Counter(s).most_common(1)[0][1] > len(s) // 6,
    ),
    (
        "this is the answer of one request, the one with the nearest prompt. A single answer says little: take the mean of many",
        "a single neighbour",
        lambda h, p, s, bar: sum(x in near for x, near in zip(s, nearest(h, p))) >= 0.9 * len(s),
    ),
    (
        "your predictions come in order of size, the prompts do not. Give them back in the order of the prompts: the first "
        "number belongs to the first prompt",
        "another order",
        lambda h, p, s, bar: s in (sorted(s), sorted(s, reverse=True)) and p not in (sorted(p), sorted(p, reverse=True)),
    ),
    (
        "the prompts are in your numbers: prompt and answer together. Take the answer alone, the second number of a pair",
        "prompt and answer",
        lambda h, p, s, bar: min(x - y for x, y in zip(s, p)) > 0 and few_steps([x - y for x, y in zip(s, p)], p),
    ),
    (
        "your numbers are as long as prompts, not as answers: the first of a pair is the prompt, the second the answer",
        "the wrong column",
        lambda h, p, s, bar: len(set(s)) < 40 and abs(mean(s) - mean(q for q, _ in h)) < 0.1 * mean(s),
    ),
)  # fmt: skip


def few_steps(values: list[float], prompts: list[int]) -> bool:
    """Whether few different numbers are left, as when a staircase was put on top of the prompts."""
    return len({round(v, 6) for v in values}) <= len(set(prompts)) // 2


def judge(args: Args, got: Any) -> Finding | None:
    history, prompts, really, kinds = requests(args)
    said = got["value"]
    if unusable := not_numbers(said, prompts):
        return unusable
    bar, reached = SHARE * tau(kinds, really), tau(said, really)
    if reached >= bar:
        return None

    def wrong(cause: str, slip: str) -> Finding:
        expected = {"tau": f"at least {bar:.2f}", "for these prompts": prompts[:6], "answers were": really[:6]}
        found = {"tau": f"{reached:.2f}", "for these prompts": prompts[:6], "answers were": [brief(x) for x in said[:6]]}
        return Finding(ENOUGH, cause, slip, expected, found)

    made = [(cause, slip) for cause, slip, looks_so in LOOKS if looks_so(history, prompts, said, bar)]
    if -reached >= bar:
        turned = "the order is turned round: whoever you say is longest is shortest. Is there a minus, or a rank from the top?"
        made.insert(0, (turned, "turned round"))
    if not made and -0.1 < reached < 0.1:
        made = [("it orders the new requests no better than chance would", "chance")]
    return likeliest(wrong, made or [(f"{CANNOT_TELL}: too many pairs are in the wrong order", "too weak")])


def brief(x: float) -> float:
    return round(x, 1)


def not_numbers(said: Any, prompts: list[int]) -> Finding | None:
    """A Finding unless there is a finite number for each prompt."""
    rule = "one number for each prompt, in the same order"

    def wrong(cause: str, slip: str, found: Any) -> Finding:
        return Finding(rule, cause, slip, f"{len(prompts)} numbers", str(found)[:120])

    if said is None:
        return wrong("it returned None: is there a `return` line, and is it reached?", "returns nothing", "None")
    if not isinstance(said, list):
        return wrong("this is no list: return a list with a number for each prompt", "no list", type(said).__name__)
    if len(said) != len(prompts):
        per = "the history" if len(said) == SERVED else "something else"
        return wrong(
            f"there are {len(said)} numbers for {len(prompts)} prompts: one for each of {per}", "another count", len(said)
        )
    for x in said:
        if isinstance(x, bool) or not isinstance(x, (int, float)):
            cause = "a prediction is one number, and this is none. Of a pair, return the length alone"
            return wrong(cause, "no numbers", x)
        if not math.isfinite(x):
            return wrong("a prediction is not finite: is there a bucket with nobody in it?", "not finite", x)
    return None


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "IndexError":
        return (
            "a list is shorter than your index. New prompts may be shorter or longer than all that were served: give those the "
            "first or the last bucket"
        )
    if error == "KeyError":
        return "a new prompt has a length that no served one had: do not look it up, ask for those near it"
    if error in ("ZeroDivisionError", "StatisticsError"):
        return "the mean of nobody: a bucket is empty. Cut by rank, as many requests in each, or widen the neighbourhood"
    return None


def scene(args: Args) -> str:
    history, prompts, really, _ = requests(args)
    served = ", ".join(map(str, history[:5]))
    return f"{len(history)} served requests, [prompt, answer]: {served}, ...; {len(prompts)} new prompts: {prompts[:6]}, ..."


def generate(rng: random.Random, size: int) -> tuple[int, int]:
    return rng.randint(100, 10**6), rng.randrange(len(ANSWERS))


def valid(args: Args) -> bool:
    return args[0] >= 1 and args[1] in range(len(ANSWERS))


def nothing_to_ask(args: Args, question: Any, count: int) -> Any:
    raise LookupError("there is nothing to ask for")


# What the new requests really got stays with the judge.
ASKING = Asking(
    shown=lambda args: list(requests(args)[:2]),
    reply=nothing_to_ask,
    run=lambda answer, told, ask: answer(*told),
)

TASK = Task(
    id="08.1",
    name="predict_outputs",
    title="Predict the length of an answer",
    points=25,
    returns="a list with a number for each prompt",
    cases=(Case((1, 0), None), Case((2, 1), None), Case((3, 2), None), Case((4, 3), None)),
    drive=ASKING.drive,
    asking=ASKING,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    rounds=12,
    hints=(
        "You are asked how long an answer to a prompt of 70 tokens will be. Which of the served requests do you look at?",
        "Those with prompts of about that length. One of them says little, all of them say the same for everybody. Some fifty "
        "of them, in the mean, say a lot.",
        "sort the history by prompt\n"
        "cut it into about ten parts, as many requests in each\n"
        "for each part: note where it begins, and the mean of its answers\n"
        "for each new prompt: the mean of the last part that begins at or before it; of the first part if none does",
    ),
)
