"""A bug hunt: the stage of a pipeline as interview notes print it."""

import gc
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...plain import to_plain
from ...task import Args, Case, Finding, Task
from .stage_faults import FORM, Moment, Rows, Talk, kept, look, made_of

SPARE = 4  # ticks after the last answer, in which nothing may happen


def ticks(args: Args) -> int:
    """So many that every request could be answered, and some more."""
    stages, arrivals = args
    ends = [tick + stages * wanted for tick, new in enumerate(arrivals) for _, wanted in new.values()]
    return max(ends, default=0) + 1 + SPARE


def drive(answer: Any, args: Args) -> Any:
    """Two lists. One entry a tick: for each stage what ``step`` returned, and how often it called ``compute``.
    Then, for each stage, whose names it still holds when all is over.
    """
    stages, arrivals = args
    calls = [0] * stages
    makers: list[Any] = [answer(number, stages, counted(number, calls)) for number in range(stages)]
    inbox: list[Any] = [{} for _ in range(stages)]  # of the first stage: tokens that come back
    log: list[Any] = []
    names: list[list[str]] = [[] for _ in range(stages)]
    for tick in range(ticks(args)):
        row = []
        for number, stage in enumerate(makers):
            calls[number] = 0
            new = {name: list(asked) for name, asked in arrivals[tick].items()} if number == 0 and tick < len(arrivals) else {}
            message, feedback = ({}, inbox[0]) if number == 0 else (inbox[number], {})
            given = [handed(each, names[number]) for each in (new, message, feedback)]
            row.append([without_names(stage.step(*given)), calls[number]])
        log.append(row)
        if not all(well_formed(gave) for gave, _ in row):
            break
        inbox = [row[-1][0][1], *(gave[0] for gave, _ in row[:-1])]
    given = []
    return [log, [held(each) for each in names]]


def handed(rows: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The same rows under names that are objects of their own, noted in ``names``: whoever keeps one is found out."""
    fresh = ["".join([*name, ""]) for name in rows]
    names += fresh
    return dict(zip(fresh, rows.values()))


def without_names(gave: Any) -> Any:
    """What a stage returned as plain data, with none of the objects that it was handed."""
    return json.loads(json.dumps(to_plain(gave)))


def held(names: list[str]) -> list[str]:
    """Those that somebody still refers to, beside the list."""

    def found() -> list[str]:
        return sorted({names[i] for i in range(len(names)) if sys.getrefcount(names[i]) > 2})  # the list, and the argument

    if found():
        gc.collect(1)  # what only refers to itself in a circle is not kept; all of it is young, and a whole collection takes long
    return found()


def counted(number: int, calls: list[int]) -> Callable[[int], int]:
    def compute(value: int) -> int:
        calls[number] += 1
        return made_of(value, number)

    return compute


def well_formed(gave: Any) -> bool:
    return isinstance(gave, list) and len(gave) == 3 and all(isinstance(part, dict) for part in gave)


def judge(args: Args, got: Any) -> Finding | None:
    """The first thing that a stage gives and should not have, or does not give and should have; then what it keeps."""
    stages, arrivals = args
    log, held_at_the_end = got
    if len(log) > ticks(args) or any(len(row) != stages for row in log):
        raise ValueError("an entry for each tick, and in it one for each stage")
    live: dict[str, Talk] = {}
    old: dict[str, list[int]] = {}
    over: dict[str, int] = {}  # when a request was answered
    sent: list[Rows] = [{} for _ in range(stages)]
    inbox: list[Rows] = [{} for _ in range(stages)]
    for tick, row in enumerate(log):
        new = arrivals[tick] if tick < len(arrivals) else {}
        for number, (gave, calls) in reversed(list(enumerate(row))):  # a later stage that does nothing comes first
            if not well_formed(gave):
                cause = f"tick {tick}, stage {number}: step returned {str(gave)[:120]}"
                return Finding(FORM, cause, "not three dicts", "three dicts", str(gave)[:120])
            came, last = inbox[number], number == stages - 1
            if number == 0:
                right = first_stage(new, came, live)
            else:
                out = {name: made_of(value, number) for name, value in came.items()}
                right = [{}, out, {}] if last else [out, {}, {}]
            moment = Moment(tick, number, last, new if number == 0 else {}, came, gave, right, sent[number], live, old, calls)
            finding = look(moment)
            if finding:
                return finding
            sent[number] |= right[1] if last else right[0]
        for name, text in row[0][0][2].items():
            old[name], over[name] = text, tick
            live.pop(name, None)
        inbox = [row[-1][0][1], *(gave[0] for gave, _ in row[:-1])]
    if len(log) < ticks(args):
        raise ValueError("the log ends before the last tick")
    newest = max((tick for tick, new in enumerate(arrivals) if new), default=0)
    return kept(held_at_the_end, over, newest, len(log) - 1)


def first_stage(new: Mapping[str, Sequence[int]], came: Rows, live: dict[str, Talk]) -> list[Any]:
    """What the first stage has to give; notes in ``live`` who has come and what each has got."""
    out, results = {}, {}
    for name, token in came.items():
        talk = live[name]
        talk.text.append(token)
        if len(talk.text) == talk.wanted:
            results[name] = list(talk.text)
        else:
            out[name] = made_of(token, 0)
    for name, asked in new.items():
        live[name] = Talk(asked[0], asked[1])
        out[name] = made_of(asked[0], 0)
    return [out, {}, results]


def generate(rng: random.Random, size: int) -> tuple:
    """Requests that come at any tick; now and then a name is used again, long after it was answered."""
    stages, arrivals, over = rng.randint(2, 4), [], {}  # type: tuple[int, list[dict[str, list[int]]], dict[str, int]]
    for tick in range(rng.randint(1, 2 + 2 * size)):
        new = {}
        for name in (f"r{i}" for i in range(1 + size // 2)):
            if rng.random() < 0.35 and over.get(name, -1) < tick:
                new[name] = [rng.randint(1, 900), rng.randint(1, 1 + size // 2)]
                over[name] = tick + stages * new[name][1]
        arrivals.append(new)
    return stages, arrivals


def valid(args: Args) -> bool:
    """Whether somebody comes, and no name is used while its last request is under way."""
    stages, arrivals = args
    over: dict[str, int] = {}
    for tick, new in enumerate(arrivals):
        for name, asked in new.items():
            token, wanted = asked
            if token < 1 or wanted < 1 or over.get(name, -1) >= tick:
                return False
            over[name] = tick + stages * wanted
    return 2 <= stages <= 6 and bool(over)


def scene(args: Args) -> str:
    stages, arrivals = args
    came = [
        f"{name} at tick {tick} (token {token}, wants {wanted})"
        for tick, new in enumerate(arrivals)
        for name, (token, wanted) in new.items()
    ]
    return f"{stages} stages; {', '.join(came[:8])}{', ...' if len(came) > 8 else ''}"


TASK = Task(
    id="12.3",
    name="Stage",
    title="Bug hunt: the stage that forgets nothing",
    points=30,
    returns="a class whose step returns three dicts",
    cases=(
        Case((2, [{"r0": [10, 1]}]), None),
        Case((2, [{"r0": [10, 2]}]), None),
        Case((2, [{"r0": [10, 3], "r1": [20, 1]}]), None),
        Case((2, [{"r0": [10, 3]}, {"r1": [20, 2]}, {"r2": [30, 2]}]), None),
        Case((3, [{"r0": [10, 2]}, {}, {"r1": [20, 2]}, {"r2": [30, 1]}]), None),
        Case((2, [{"r0": [10, 1]}, {}, {}, {"r1": [20, 1]}]), None),
        Case((2, [{"r0": [10, 1]}, {}, {}, {"r0": [20, 2]}]), None),
        Case((4, [{"r0": [10, 3]}, {"r1": [20, 1]}, {"r2": [30, 2], "r3": [40, 3]}]), None),
    ),
    drive=drive,
    judge=judge,
    scene=scene,
    generate=generate,
    valid=valid,
    exact=False,
    hints=(
        "Follow r0 alone through two stages, tick by tick, on paper. What is in `message`, in `feedback` and in `self.active` of "
        "each stage at tick 1? Which of them does the code look at?",
        "There are four bugs. What must a later stage remember of a request, once it has sent its value on? And the first one: "
        "which numbers must it keep to know that a request is over? Everything else that is kept is a bug.",
        "first stage, in a step:\n"
        "    for each token that came back: put it to the text of its request\n"
        "        if the text is as long as was wanted: it is an answer, forget the request\n"
        "        else: compute the token, it goes on\n"
        "    for each new request: note how many tokens are wanted, compute its token, it goes on\n"
        "later stage: compute what is in the message, nothing else; the last one gives it back instead of on",
    ),
)
