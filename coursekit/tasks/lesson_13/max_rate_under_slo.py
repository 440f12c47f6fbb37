"""The highest rate at which a promise is kept, by runs that are never twice the same."""

import random
from contextlib import suppress
from typing import Any

from ...judging.questions import Ask, Asking
from ...task import CANNOT_TELL, Args, Case, Finding, Task

NEAR, MOST = 0.05, 20  # how far from the true rate an answer may be; how many runs it may take
RATE = f"the highest rate from low to high at which the share of good requests is at least want, within {NEAR:.0%}"
TRIED = "a rate is promised only after a run has kept the promise at that rate"
FEW = f"a run costs time: {MOST} are plenty if each one halves the range"
NEVER = "No run gives exactly what is wanted: end when good and bad are near each other"
NONE = "0, if the promise is not even kept at low"

# args: (knee, steep, noise, seed, low, high, want): at rate r a share of 1 / (1 + (r / knee) ** steep) is good, give or take
# ``noise``, and the arrivals of each run are others.


def true_share(args: Args, rate: float) -> float:
    knee, steep = args[:2]
    return 1 / (1 + (rate / knee) ** steep)


def true_rate(args: Args) -> float:
    """Where the share is ``want``."""
    knee, steep, want = args[0], args[1], args[6]
    return knee * ((1 - want) / want) ** (1 / steep)


def shown(args: Args) -> list[Any]:
    return list(args[4:7])


def reply(args: Args, rate: Any, count: int) -> float:
    """What ``attainment(rate)`` is, as the ``count``-th run."""
    _, _, noise, seed, low, high, _ = args
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise LookupError(f"attainment({rate!r}) was asked for: a rate is a number")
    if not low * (1 - 1e-9) <= rate <= high * (1 + 1e-9):
        raise LookupError(f"attainment({rate:g}) was asked for: a rate lies between low and high, here {low:g} and {high:g}")
    if count > 150:
        raise LookupError(f"attainment was asked {count} times and no answer came. {NEVER}")
    luck = random.Random(f"{seed}/{count}/{rate:.6g}").uniform(-noise, noise)
    return round(min(1.0, max(0.0, true_share(args, rate) + luck)), 4)


def run(answer: Any, told: list[Any], attainment: Ask) -> Any:
    return answer(attainment, *told)


ASKING = Asking(shown, reply, run)
Runs = list[tuple[float, float]]  # rate and share of each run, in order


def runs_of(args: Args, asked: list[Any]) -> Runs:
    """Those that were made; a question that is none got no answer."""
    made = []
    for count, rate in enumerate(asked, 1):
        with suppress(LookupError):
            made.append((rate, reply(args, rate, count)))
    return made


def judge(args: Args, got: Any) -> Finding | None:
    low, high, want = args[4:7]
    value, runs = got["value"], runs_of(args, got["asked"])
    right = 0 if true_share(args, low) < want else min(true_rate(args), high)

    def wrong(cause: str, slip: str, rule: str = RATE) -> Finding:
        tried = ", ".join(f"{rate:.3g}: {share:.1%}" for rate, share in runs[-6:]) or "none"
        return Finding(rule, f"{cause}. (want {want:.0%}; your last runs: {tried})", slip, right, value)

    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return wrong("return the rate, one number", "not a number")
    if len(runs) > MOST:
        last = [rate for rate, _ in runs[-5:]]
        if max(last) <= 1.001 * min(last) and len(set(last)) > 1:
            return wrong(f"you took {len(runs)} runs, the last ones at {last[-1]:.4g}. {NEVER}", "exactly want", FEW)
        return wrong(f"you took {len(runs)} runs. Do not try one rate after the other: halve the range", "too many runs", FEW)
    if right == 0:
        return wrong(*none_holds(args, value, runs), rule=NONE) if value or not tried_low(args, runs) else None
    if value == 0:
        return wrong("you return 0, which says that the promise is not even kept at low. It is", "gives up")
    return untried(args, value, runs, wrong) or off(args, value, right, runs, wrong)


def tried_low(args: Args, runs: Runs) -> bool:
    return any(rate <= args[4] * (1 + 1e-9) for rate, _ in runs)


def none_holds(args: Args, value: float, runs: Runs) -> tuple[str, str]:
    if not value:
        return "you return 0, and low was never tried: without that run nobody can know", "0 untried"
    if not tried_low(args, runs):
        return (
            f"you return {value:.3g}, and nobody has tried whether low, {args[4]:g}, keeps the promise. It does not",
            "low not tried",
        )
    return f"not even low, {args[4]:g}, keeps the promise: say so by returning 0, not {value:.3g}", "nothing holds"


def untried(args: Args, value: float, runs: Runs, wrong: Any) -> Finding | None:
    """Whether a run has kept the promise at this very rate."""
    want = args[6]
    here = [share for rate, share in runs if abs(rate - value) <= 1e-9 * abs(value)]
    if here and here[-1] >= want:
        return None
    if most_good(value, runs):
        return wrong(MOST_GOOD, "most good ones")
    if turned(args, runs):
        return wrong(TURNED, "turned round")
    if here:
        return wrong(
            f"at {value:.3g} the promise was broken ({here[-1]:.1%} good): return the end of the range that keeps it",
            "the end that breaks",
            TRIED,
        )
    if any(abs(share - value) <= 1e-9 for _, share in runs):
        return wrong("this is a share of good requests: return the rate", "a share")
    if value in (args[4], args[5]):
        return wrong(f"{value:g} is an end of the range, and it was never tried", "an end untried", TRIED)
    if round(value) == value and any(round(rate) == value for rate, _ in runs):
        return wrong(f"{value:g} is a rounded rate: it was never tried. Return the rate as it is", "rounded", TRIED)
    return wrong(f"no run was made at {value:.4g}: return a rate that was tried, and kept the promise", "never tried", TRIED)


MOST_GOOD = "this is where rate times share is largest: there are most good requests a second, and the promise is about the share"


def most_good(value: float, runs: Runs) -> bool:
    """Whether it went from low to high, and took the rate at which most requests a second are good."""
    rates = [rate for rate, _ in runs]
    return len(runs) > 5 and rates[-6:] == sorted(rates[-6:]) and value == max(runs, key=lambda each: each[0] * each[1])[0]


TURNED = "the search turns the wrong way: after a run that keeps the promise go up, after one that breaks it go down"


def turned(args: Args, runs: Runs) -> bool:
    """Whether it went on above a rate that clearly broke the promise, or below one that clearly kept it, again and again."""
    want, noise = args[6], args[2]
    broke = kept = 0
    for i, (rate, share) in enumerate(runs[:-1]):
        step = runs[i + 1][0] - rate
        broke += share < want - noise and step > 0 and rate > args[4] * (1 + 1e-9)
        kept += share > want + noise and step < 0 and rate < args[5] * (1 - 1e-9)
    return broke + kept > len(runs) / 2 and len(runs) > 3


def off(args: Args, value: float, right: float, runs: Runs, wrong: Any) -> Finding | None:
    """A rate that kept the promise in a run: is it the highest?"""
    want = args[6]
    if abs(value - right) <= NEAR * right:
        return None
    if most_good(value, runs):
        return wrong(MOST_GOOD, "most good ones")
    if value > right:
        return wrong(f"a lucky run: at {value:.3g} a share of {true_share(args, value):.1%} is good in the long run", "lucky run")
    if turned(args, runs):
        return wrong(TURNED, "turned round")
    kept = max(rate for rate, share in runs if share >= want)
    if kept > value * (1 + 1e-9):
        return wrong(f"your own run at {kept:.3g} kept the promise: {value:.3g} is not the highest", "a higher one held")
    if all(float(rate).is_integer() for rate, _ in runs[1:]) and len(runs) > 2:
        return wrong("only whole rates are tried: a rate may lie between them", "whole rates")
    above = min((rate for rate, share in runs if rate > value and share < want), default=args[5])
    if above > value * (1 + NEAR):
        cause = f"the search stops too early: {value:.3g} keeps the promise, {above:.3g} does not, and nothing between was tried"
        return wrong(cause, "too early")
    return wrong(f"{CANNOT_TELL}: {value:.3g} keeps the promise, and so does {right:.3g}", "too low")


def generate(rng: random.Random, size: int) -> tuple:
    low = rng.choice([0.1, 0.25, 0.5, 1.0])
    high = low * rng.choice([8, 16, 32, 64])
    want, steep = rng.choice([0.8, 0.9, 0.95]), rng.choice([5, 6, 8, 12])
    kind = rng.random()
    share = rng.uniform(0.3, 0.95)
    top = low * 0.6 if kind < 0.12 else high * 1.4 if kind < 0.24 else low * (high / low) ** share
    knee = top / ((1 - want) / want) ** (1 / steep)
    noise = 0.0 if size < 3 else 0.003
    return round(knee, 4), steep, noise, rng.randint(0, 99), low, high, want


def valid(args: Args) -> bool:
    """Whether it is clear what keeps the promise: at low, at high, and somewhere between where it turns steeply."""
    knee, steep, noise, _, low, high, want = args
    if not (knee > 0 and 5 <= steep <= 12 and 0 <= noise <= 0.003 and 0 < low and high >= 4 * low and want in (0.8, 0.9, 0.95)):
        return False
    top = true_rate(args)
    return top < 0.7 * low or 1.2 * low < top < 0.95 * high or top > 1.3 * high


def on_error(args: Args, error: str, text: str) -> str | None:
    return text.partition(": ")[2] if "attainment" in text and error == "LookupError" else None


def scene(args: Args) -> str:
    low, high, want = args[4:7]
    kept = 0.0 if true_share(args, low) < want else min(true_rate(args), high)
    told = f"the promise is kept up to {kept:.3g}/s" if kept else "it is kept nowhere"
    return (
        f"max_rate_under_slo(attainment, low={low:g}, high={high:g}, want={want:g}), where {told}, and runs vary by {args[2]:.1%}"
    )


def named(top: float, want: float, low: float, high: float, steep: int = 6, noise: float = 0.003, seed: int = 1) -> tuple:
    """A call whose answer is ``top``."""
    return top / ((1 - want) / want) ** (1 / steep), steep, noise, seed, low, high, want


TASK = Task(
    id="13.2",
    name="max_rate_under_slo",
    title="The highest rate under a promise",
    points=25,
    returns="one number, a rate",
    cases=(
        Case(named(5.3, 0.9, 1.0, 16.0, noise=0.0), None),
        Case(named(1.4, 0.9, 1.0, 16.0, noise=0.0), None),
        Case(named(0.5, 0.9, 1.0, 16.0, noise=0.0), None),
        Case(named(40.0, 0.9, 1.0, 16.0, noise=0.0), None),
        Case(named(0.73, 0.95, 0.25, 16.0), None),
        Case(named(11.7, 0.8, 0.5, 32.0, seed=2), None),
        Case(named(2.15, 0.9, 0.1, 6.4, seed=3), None),
    ),
    drive=ASKING.drive,
    asking=ASKING,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    on_error=on_error,
    exact=False,
    hints=(
        "low keeps the promise, high breaks it. You may make one run. At which rate do you learn most?",
        "Keep two rates: one at which a run has kept the promise, and one at which a run has broken it. Each run replaces one of "
        "them. Rates from 0.1 to 6.4 differ by factors, so the middle is sqrt(a * b). End when the two are near each other, not "
        "when a run gives exactly what is wanted: it never will.",
        "if a run at low breaks the promise: 0\n"
        "if a run at high keeps it: high\n"
        "good, bad = low, high\n"
        "while bad is more than 2 % above good:\n"
        "    middle = the square root of good * bad\n"
        "    if a run at middle keeps the promise: good = middle\n"
        "    else: bad = middle\n"
        "good",
    ),
)
