"""How many batches in flight, and how many tokens in each: found with trials on a simulated pipeline."""

import functools
import random
from typing import Any

from ...judging.questions import Ask, Asking
from ...task import CANNOT_TELL, Args, Case, Finding, Task, likeliest

LOADS: dict[str, tuple[str, str, int, int, tuple[int, int]]] = {  # model, GPU, stages, requests at once, tokens of their prompts
    "Llama-2-70B on 4 A100s, long prompts": ("llama-2-70b", "A100-80G", 4, 16, (64, 2000)),
    "Llama-2-70B on 4 A100s, short prompts": ("llama-2-70b", "A100-80G", 4, 24, (16, 400)),
    "Yi-34B on 2 L40S": ("yi-34b", "L40S", 2, 16, (64, 2000)),
}
LONG, SHORT, TWO = LOADS
SMALLEST, LARGEST, MOST_GROUPS = 64, 2048, 16  # tokens of a budget; batches in flight
ENOUGH = 30  # trials
GOOD = 0.95  # of the best speed of a plain sweep that keeps the limit

CHOICE = "the P99 gap keeps the limit, and no other setting that keeps it is faster by more than a twentieth"
FORM = f"two whole numbers: groups from 1 to {MOST_GROUPS}, and a budget from {SMALLEST} to {LARGEST} tokens"
KNOWN = "the answer is a setting that was tried"
FEW = "each trial serves a whole load: choose what to try"


@functools.cache
def served(name: str, groups: int, budget: int) -> tuple[float, float, float]:
    """Output tokens a second, P99 gap in ms and bubble of a load, its requests all at once."""
    from minieng import LLM
    from minieng.workload import Workload, uniform

    model, gpu, stages, count, prompts = LOADS[name]
    knobs: dict[str, Any] = {"max_num_seqs": count, "enable_prefix_caching": False, "max_num_batched_tokens": budget}
    with LLM.simulated(model, gpu, stages=stages, depth=groups, scheduler="chunked", **knobs) as llm:
        llm.trace.detail = False
        told = llm.serve_workload(Workload.synthetic(count, uniform(*prompts), uniform(8, 24), seed=12)).metrics
    return round(told.output_throughput, 1), round(told.p99_itl_ms, 1), round(told.bubble or 0.0, 3)


def shown(args: Args) -> list[Any]:
    name, limit = args
    return [LOADS[name][2], limit]


def reply(args: Args, question: Any, count: int) -> Any:
    if count > ENOUGH:  # before it is served: so many would outlast the time that the check has
        raise LookupError(
            f"this is trial number {count}, and {ENOUGH} are plenty: each serves a whole load, so choose what to try. "
            "Or does the search not end?"
        )
    wrong = misfit(question)
    if wrong:
        raise LookupError(f"trial({', '.join(map(repr, question))}): {wrong}")
    return list(served(args[0], *question))


def misfit(setting: Any) -> str | None:
    """Why this is no setting."""
    if not isinstance(setting, list) or len(setting) != 2:
        return "a setting is two numbers, (groups, budget)"
    for what, value, low, high in zip(("groups", "budget"), setting, (1, SMALLEST), (MOST_GROUPS, LARGEST)):
        if isinstance(value, float):
            return f"{what} is a whole number: divide with //"
        if type(value) is not int or not low <= value <= high:
            return f"{what} is a whole number from {low} to {high}"
    return None


def run(answer: Any, told: list[Any], ask: Ask) -> Any:
    return answer(lambda groups, budget: tuple(ask([groups, budget])), *told)


ASKING = Asking(shown, reply, run)


def sweep(name: str) -> dict[int, tuple[float, float, float]]:
    """What budgets that double give, with as many groups as stages."""
    return {budget: served(name, LOADS[name][2], budget) for budget in doubling()}


def doubling() -> list[int]:
    return [SMALLEST << i for i in range((LARGEST // SMALLEST).bit_length())]


def judge(args: Args, got: Any) -> Finding | None:
    name, limit = args
    best = max((row for row in sweep(name).values() if row[1] <= limit), key=lambda row: row[0])
    setting, asked = got["value"], got["asked"]
    wrong = misfit(setting)
    if wrong:
        if isinstance(setting, list) and misfit(setting[::-1]) is None:
            wrong = "the two numbers are the wrong way round: groups first, then the budget"
        return Finding(FORM, wrong, "no setting", "(groups, budget)", f"{setting}")
    told = served(name, *setting)

    def finding(cause: str, slip: str) -> Finding:
        return Finding(CHOICE, cause, slip, view((best[0], f"at most {limit:g}")), view(told))

    if told[1] > limit:
        return likeliest(finding, breaks(name, limit, setting, told))
    if told[0] < GOOD * best[0]:
        return likeliest(finding, slow(name, limit, setting, told))
    if setting not in asked:
        cause = f"the answer is right, but trial({setting[0]}, {setting[1]}) was never called, and without it nobody can know"
        return Finding(KNOWN, cause, "not asked", f"a trial of {setting}", f"{len(asked)} others")
    if len(asked) > ENOUGH:
        cause = f"the answer is right, but trial was called {len(asked)} times; {ENOUGH} are plenty"
        return Finding(FEW, cause, "too many trials", ENOUGH, len(asked))
    return None


def view(told: Any) -> dict[str, Any]:
    """What a setting gives; or the best speed there is, and the limit."""
    return {"tokens a second": told[0], "P99 gap in ms": told[1]}


def breaks(name: str, limit: float, setting: list[int], told: tuple[float, float, float]) -> list[tuple[str, str]]:
    """Why a setting has longer gaps than the limit allows, in words, and the slip."""
    (groups, budget), stages, rows = setting, LOADS[name][2], sweep(name)
    head = f"groups {groups}, budget {budget}: the P99 gap is {told[1]:g} ms, and {limit:g} ms are allowed"
    if groups > stages:
        cause = "A request waits until all groups had their turn, and there are more of them than stages"
        return [(f"{head}. {cause}", "more groups than stages")]
    fits = [b for b in rows if rows[b][1] <= limit]
    made = []
    if budget == next((b for b in rows if rows[b][1] > limit), 0):
        cause = f"This is the first budget that breaks the limit; {fits[-1]} is the last that keeps it"
        made.append((f"{head}. {cause}", "first that breaks"))
    if budget == max(rows, key=lambda b: rows[b][0]):
        made.append((f"{head}. It is the fastest of all, but the limit comes first", "no limit"))
    if budget == LARGEST:
        made.append(
            (f"{head}. It is the largest budget there is: a step that computes so much keeps everybody waiting", "largest")
        )
    return made or [(f"{head}. Where a step may compute so many tokens, everybody waits for them", "breaks the limit")]


def slow(name: str, limit: float, setting: list[int], told: tuple[float, float, float]) -> list[tuple[str, str]]:
    """Why a setting keeps the limit and is slow, in words, and the slip."""
    (groups, budget), stages, rows = setting, LOADS[name][2], sweep(name)
    head = f"groups {groups}, budget {budget}: {told[0]:g} tokens a second"
    if groups == 1:
        return [(f"{head}. One batch is in flight: one stage works, and the other {stages - 1} wait for it", "one group")]
    if groups < stages:
        return [(f"{head}. {groups} batches are in flight for {stages} stages: some have nothing to do", "too few groups")]
    if groups > stages:
        cause = f"More batches in flight than the {stages} stages makes each smaller, and each reads all weights"
        return [(f"{head}. {cause}", "more groups than stages")]
    fits = [b for b in rows if rows[b][1] <= limit]
    fastest = max(fits, key=lambda b: rows[b][0])
    if budget > fastest:
        cause = (
            "It is the largest budget that keeps the limit, but batches so large are unequal, and stages wait: try smaller ones"
        )
        return [(f"{head}. {cause}", "largest that keeps it")]
    made = []
    if rows[fastest][1] == limit:
        made.append(
            (f"{head}. Budget {fastest} has a gap of just {limit:g} ms: a gap that equals the limit keeps it", "strictly below")
        )
    if budget == SMALLEST:
        cause = "It is the smallest budget there is: all weights are read for few tokens, and shorter gaps are not asked"
        made.append((f"{head}. {cause}", "smallest budget"))
    if told[2] <= min(rows[b][2] for b in fits[1:]):
        cause = "It has the smallest bubble, but stages that are busy reading weights make no tokens: look at the speed"
        made.append((f"{head}. {cause}", "smallest bubble"))
    cause = "A larger budget keeps the limit too, and reads the weights less often"
    return [*made, (f"{head}. {cause}", "too small")] if budget < fastest else [(f"{CANNOT_TELL}: {head}", "too slow")]


def on_error(args: Args, error: str, text: str) -> str | None:
    return text.partition(": ")[2] if "trial" in text and error == "LookupError" else None


def generate(rng: random.Random, size: int) -> tuple:
    name = rng.choice(list(LOADS))
    gaps = [row[1] for row in sweep(name).values()]
    return name, rng.choice([limit for gap in gaps[1:] for limit in (gap, round(gap * rng.uniform(1.01, 1.2)))])


def valid(args: Args) -> bool:
    name, limit = args
    return name in LOADS and any(row[1] <= limit for row in sweep(name).values())


def scene(args: Args) -> str:
    name, limit = args
    return f"micro_batches(trial, stages={LOADS[name][2]}, limit={limit:g}), where trial serves {name}"


TASK = Task(
    id="12.4",
    name="micro_batches",
    title="Groups and chunks",
    points=25,
    returns="two whole numbers, (groups, budget)",
    cases=(
        Case((LONG, 210), None),
        Case((LONG, 140), None),
        Case((LONG, 1200), None),
        Case((SHORT, 200), None),
        Case((SHORT, 800), None),
        Case((TWO, 150), None),
        Case((TWO, 400), None),
    ),
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
        "Two questions hide in this one. How many batches must be in flight so that no stage waits for want of a batch? And what "
        "does a batch cost that is too small, or too large?",
        "With fewer groups than stages some stage has no batch; with more, batches get smaller and gaps longer. So only the "
        "budget is left to be found. The speed rises with it, while weights are read less often, "
        "and falls again where batches get unequal.",
        "for each budget, from 64 to 2048, doubling:\n"
        "    try it with as many groups as stages\n"
        "    if its gap keeps the limit and it is faster than the best so far: it is the best\n"
        "return the groups and the best budget",
    ),
)
