"""Requests a second that kept a promise: each request by itself, both limits."""

import random
from collections.abc import Sequence
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

RULE = "goodput: the requests that keep both limits, each by itself, divided by the seconds of the run"
Served = Sequence[Any]  # arrival, then a list of the times of its tokens, all in ms


def ttft(request: Served) -> float:
    return request[1][0] - request[0]


def tpot(request: Served) -> float:
    times = request[1]
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0


def keeps(request: Served, first: float, each: float) -> bool:
    return bool(request[1]) and ttft(request) <= first and tpot(request) <= each


def largest_gap(request: Served) -> float:
    return max((b - a for a, b in zip(request[1], request[1][1:])), default=0.0)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def mistakes(requests: Sequence[Served], limits: dict[str, float], seconds: float) -> list[tuple[str, str, float]]:
    """Words, slip, and what an answer with that mistake returns; the likeliest first."""
    first, each = limits["ttft"], limits["tpot"]
    answered = [r for r in requests if r[1]]
    good = [r for r in answered if keeps(r, first, each)]
    together = mean([ttft(r) for r in answered]) <= first and mean([tpot(r) for r in answered]) <= each
    lost = len(requests) - len(answered)

    def count(rule: Any) -> float:
        return sum(map(bool, map(rule, answered))) / seconds

    return [
        (
            "the limits are held against the mean of all requests: one that waited too long is not made good by others",
            "mean of all",
            len(answered) / seconds if together else 0.0,
        ),
        (
            "a time that equals its limit keeps it: compare with <=",
            "strictly below",
            count(lambda r: ttft(r) < first and tpot(r) < each),
        ),
        ("this is the share of good requests: divide by the seconds", "share", len(good) / max(1, len(requests))),
        ("this is how many requests are good: divide by the seconds", "count", float(len(good))),
        ("this counts all requests: that is the throughput, whatever they waited", "throughput", len(requests) / seconds),
        ("this counts all that were answered, whatever they waited", "answered", len(answered) / seconds),
        (
            "only the first token is looked at: the gaps between the others have a limit, too",
            "ttft alone",
            count(lambda r: ttft(r) <= first),
        ),
        ("only the gaps are looked at: the first token has a limit, too", "tpot alone", count(lambda r: tpot(r) <= each)),
        (
            "one limit is enough for your answer: a good request keeps both",
            "either",
            count(lambda r: ttft(r) <= first or tpot(r) <= each),
        ),
        (
            "n tokens have n - 1 gaps between them: you divide by n",
            "divided by n",
            count(lambda r: ttft(r) <= first and (r[1][-1] - r[1][0]) / len(r[1]) <= each),
        ),
        (
            "the wait for the first token is among the gaps: TPOT begins at the first token, not at the arrival",
            "from arrival",
            count(lambda r: ttft(r) <= first and (r[1][-1] - r[0]) / max(1, len(r[1]) - 1) <= each),
        ),
        (
            "the largest gap is held against the limit: TPOT is the mean gap of a request",
            "largest gap",
            count(lambda r: ttft(r) <= first and largest_gap(r) <= each),
        ),
        (
            "the first token's time is taken for its wait: the request's arrival goes off it",
            "not from arrival",
            count(lambda r: r[1][0] <= first and tpot(r) <= each),
        ),
        (
            "a request of one token has no gaps, so it keeps that limit: you leave it out",
            "single token left out",
            count(lambda r: keeps(r, first, each) and len(r[1]) > 1),
        ),
        (
            "a request without a token was never answered, and you count it as good",
            "lost ones are good",
            (len(good) + lost) / seconds,
        ),
        ("this counts tokens of good requests: goodput counts requests", "tokens", sum(len(r[1]) for r in good) / seconds),
        ("the good ones are per millisecond: the run's length is in seconds", "per ms", len(good) / seconds / 1000),
        ("the bad ones are counted", "bad ones", (len(requests) - len(good)) / seconds),
    ]  # fmt: skip


def judge(args: Args, got: Any) -> Finding | None:
    requests, limits, seconds = args
    right = sum(keeps(r, limits["ttft"], limits["tpot"]) for r in requests) / seconds

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(RULE, f"{cause}. {told(args)}", slip, right, got)

    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return wrong("return one number: good requests a second", "not a number")
    if near(got, right):
        return None
    made = [(cause, slip) for cause, slip, value in mistakes(requests, limits, seconds) if near(got, value)]
    return likeliest(wrong, made or [(CANNOT_TELL, "other number")])


def near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9 * max(1.0, abs(b))


def told(args: Args) -> str:
    """What each request waited, in words."""
    requests, limits, seconds = args
    lines = [f"TTFT {ttft(r):g}, TPOT {tpot(r):g}" if r[1] else "never answered" for r in requests[:6]]
    return f"(Limits {limits['ttft']:g} and {limits['tpot']:g} ms; {'; '.join(lines) or 'no request'}; {seconds:g} s)"


def generate(rng: random.Random, size: int) -> tuple:
    first, each = rng.choice([20, 50, 100]), rng.choice([5, 10, 20])
    requests = []
    for _ in range(rng.randint(1, 1 + 2 * size)):
        arrival = rng.randint(0, 400)
        at = arrival + rng.choice([first - 10, first, first, first + 1, first + 30])
        times = [at]
        for _ in range(rng.choice([0, 1, 2, 2, 3, 5])):
            at += rng.choice([each - 2, each, each, each + 2, 3 * each])
            times.append(at)
        requests.append([arrival, times if rng.random() > 0.1 else []])
    return requests, {"ttft": first, "tpot": each}, rng.choice([1, 2, 4, 5])


def valid(args: Args) -> bool:
    requests, limits, seconds = args
    return (
        set(limits) == {"ttft", "tpot"}
        and min(limits.values()) > 0
        and seconds > 0
        and all(times == sorted(times) and (not times or times[0] >= arrival >= 0) for arrival, times in requests)
    )


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "ZeroDivisionError":
        return "n tokens have n - 1 gaps, and a single token has none: it keeps the limit of the gaps"
    if error == "IndexError" and any(not times for _, times in args[0]):
        return "a request that was never answered has no token at all: it is not good"
    return None


TASK = Task(
    id="13.1",
    name="goodput",
    title="Goodput",
    points=15,
    returns="one number, good requests a second",
    cases=(
        Case(([[0, [10]]], {"ttft": 10, "tpot": 5}, 1), 1.0),
        Case(([[0, [11]]], {"ttft": 10, "tpot": 5}, 1), 0.0),
        Case(([[0, []]], {"ttft": 10, "tpot": 5}, 1), 0.0),
        Case(([[5, [15, 20, 25]]], {"ttft": 10, "tpot": 5}, 2), 0.5),
        Case(([[5, [10, 13, 20]]], {"ttft": 10, "tpot": 5}, 2), 0.5),
        Case(([[0, [10, 16]], [3, [5, 9]]], {"ttft": 10, "tpot": 5}, 2), 0.5),
        Case(([[0, [10, 15]], [0, [10, 15]], [0, [30, 35]], [4, [14]]], {"ttft": 10, "tpot": 5}, 2), 1.5),
        Case(([[0, [1, 2]], [0, [1, 2]], [0, [25, 26]]], {"ttft": 10, "tpot": 5}, 1), 2.0),
        Case(([[0, [4, 10]], [0, []], [9, [9, 14, 16, 24]]], {"ttft": 10, "tpot": 5}, 4), 0.25),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "Take one request alone. Which two numbers of it are held against the limits? Which of all the numbers of the run come "
        "in only at the very end?",
        "A request is good or not, whatever others did. It has no gap if it has one token, and no first token if it was never "
        "answered.",
        "good = 0\n"
        "for each request that has a token:\n"
        "    wait = its first token's time - its arrival\n"
        "    gap = (last - first) / (tokens - 1), or 0 for a single token\n"
        "    if both are at most their limits: one more is good\n"
        "good / seconds",
    ),
)
