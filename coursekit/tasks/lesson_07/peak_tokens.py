"""The most tokens that requests will ever hold together, if each is told how many steps it has left."""

import random
from typing import Any

from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

Held = list[list[int]]  # [held, left]

RULE = "in every step each live request holds one token more; after its last step it leaves and frees all it holds"


def alive(requests: Held, step: int) -> Held:
    """Those who take part in a step; the first is step 1."""
    return [r for r in requests if r[1] >= step]


def in_step(requests: Held, step: int) -> int:
    """Tokens that are held together in a step."""
    return sum(held + step for held, _ in alive(requests, step))


def peak(requests: Held) -> int:
    """It lies where somebody leaves: before that everybody grows."""
    return max((in_step(requests, left) for _, left in requests), default=0)


def judge(args: Args, got: Any) -> Finding | None:
    (requests,) = args
    want = peak(requests)
    if got == want and not isinstance(got, bool):
        return None

    def wrong(cause: str, slip: str) -> Finding:
        return Finding(RULE, cause, slip, want, got)

    if isinstance(got, list):
        return wrong("return one number, the most tokens that are held in any step", "a list")
    made = [(cause, slip) for value, cause, slip in likely_peaks(requests) if got == value]
    least = max((held + left for held, left in requests), default=0)
    if got < least:
        unknown = (f"one of them alone will hold {least} tokens: the peak is at least that", "below one of them")
    elif got < want:
        step = min(left for _, left in requests if in_step(requests, left) == want)
        unknown = (f"too few: in step {step} {len(alive(requests, step))} are there, and hold {want} together", "too few")
    else:
        unknown = (f"{CANNOT_TELL}: they never hold more than {want} tokens together", "too many")
    return likeliest(wrong, made or [unknown])


def likely_peaks(requests: Held) -> list[tuple[int, str, str]]:
    """What each likely mistake gives, with its words."""
    if not requests:
        return []
    held, left = [h for h, _ in requests], [n for _, n in requests]
    last = max(left)
    return [
        (
            sum(held) + sum(left),
            "you add up what each holds at its own end. They end at different times: whoever leaves early frees all of it",
            "all full at once",
        ),
        (
            sum(held) + last,
            "all the steps of the longest are added, but one token a step: each live request takes one",
            "longest added",
        ),
        (
            sum(held) + last * len(held),
            "nobody leaves: everybody grows until the last one ends. (If you add up in order of the steps left: those with more "
            "steps left are there when one leaves, so begin with them)",
            "nobody leaves",
        ),
        (sum(held), "this is what is held now: they grow before anybody leaves", "only now"),
        (in_step(requests, 1), "this is what is held after the next step. They go on growing", "only the next step"),
        (
            max((sum(h + s for h, n in requests if n >= s - 1) for s in range(1, last + 2)), default=0),
            "who has made its last token is still counted in the step after it",
            "leaves too late",
        ),
        (
            max((sum(h + s for h, n in requests if n > s) for s in range(1, last + 1)), default=0),
            "who takes its last step is not counted in it: it leaves after that step",
            "leaves too early",
        ),
        (max(h + n for h, n in requests), "this is the largest of them alone: others are there beside it", "only the largest"),
        (in_step(requests, last), "this is what is held when the last one ends: the peak may be long before", "only the end"),
        (
            in_step(requests, min(left)),
            "this is what is held when the first one leaves: the peak may come later",
            "only the first end",
        ),
        (
            max(sum(h for h, n in requests if n >= s) + s for s in range(1, last + 1)),
            "in each step one token comes, however many are there: each live request takes one",
            "one token a step",
        ),
        *rarer_peaks(requests),
    ]


def rarer_peaks(requests: Held) -> list[tuple[int, str, str]]:
    held, left = [h for h, _ in requests], [n for _, n in requests]
    last, ends = max(left), sorted({n for _, n in requests})
    return [
        (
            max(sum(held) + s * len(alive(requests, s)) for s in range(1, last + 1)),
            "who leaves frees nothing: all that it held is there for others",
            "nothing is freed",
        ),
        (
            max(sum(h + s for h, n in requests if n >= s) for s in range(last)) if last else 0,
            "the last step is missing: begin with step 1 and count the step of the last one too",
            "last step missing",
        ),
        (
            max(in_step(requests, s) - len(alive(requests, s)) for s in ends),
            "the token of the step itself is missing: in its last step a request holds held + left",
            "last token missing",
        ),
        (
            min((s for s in ends), key=lambda s: (-in_step(requests, s), s)),
            "this is the step of the peak: return the tokens that are held in it",
            "step, not tokens",
        ),
        (sum(in_step(requests, s) for s in range(1, last + 1)), "the steps are added up: take the largest of them", "summed up"),
        (max(held) + last, "the largest text and the longest wait belong to different requests", "two maxima"),
    ]


def on_error(args: Args, error: str, text: str) -> str | None:
    if error == "ValueError" and "empty" in text and not args[0]:
        return "nobody is there: the peak is 0"
    return None


def valid(args: Args) -> bool:
    return all(held >= 0 and left >= 1 for held, left in args[0])


def generate(rng: random.Random, size: int) -> tuple[Any, ...]:
    return ([[rng.randint(0, 3 * size), rng.randint(1, 2 + 2 * size)] for _ in range(rng.randint(1, 1 + size))],)


TASK = Task(
    id="07.3",
    name="peak_tokens",
    title="The most that will ever be held",
    points=20,
    returns="a whole number of tokens",
    cases=(
        Case(([],), 0),
        Case(([[3, 2]],), 5),
        Case(([[3, 2], [3, 2]],), 10),
        Case(([[3, 2], [1, 4]],), 8),
        Case(([[5, 1], [0, 9]],), 9),
        Case(([[5, 3], [4, 3], [1, 6]],), 19),
        Case(([[2, 8], [2, 5], [2, 2]],), 14),
        Case(([[9, 1], [1, 2], [1, 10]],), 14),
    ),
    judge=judge,
    generate=generate,
    valid=valid,
    on_error=on_error,
    hints=(
        "Two requests: one holds 3 tokens and has 2 steps left, one holds 1 and has 4 left. Write down what they hold together "
        "in "
        "steps 1, 2, 3 and 4.",
        "In step s those with left >= s are there, and each holds held + s. The answer is the largest of these sums, over all "
        "steps. "
        "To be quick, look only at the steps in which somebody leaves: in between everybody grows.",
        "peak = 0\n"
        "for each request in the list, with its number of steps `left`:\n"
        "    together = 0\n"
        "    for each request that is still there in step `left`:\n"
        "        together grows by what it holds now, and by `left` more\n"
        "    peak = the larger of peak and together\n"
        "return peak",
    ),
)
