"""``coursekit new --lesson 07_memory_pressure``: the skeleton of a lesson, its eleven parts in order, and its rows in the map.

The skeleton runs, and keeps what tests/test_lessons.py asks of a lesson: whoever writes goes from green to green.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .build import as_text
from .cells import Book
from .new import CannotBegin, book_of, name_parts
from .setup_cell import SETUP

CHECK, IGNORE = ["nbval-check-output"], ["nbval-ignore-output"]
MINUTES, DIFFICULTY = "45", "3 of 5"
QUESTIONS_HEADER = "| Question | 中文 | Lesson |"
MAP_HEADER = "| Lesson | Minutes | Difficulty | Needs | Afterwards you can | Exercise |"

CARD = """# {n} · {title}

**After this lesson you can do one thing, said in one sentence.**

| Minutes | Difficulty | Needs | Before this |
| --- | --- | --- | --- |
| {minutes} | {difficulty} | what one must know | {before} |

You will be able to

- explain the idea on an example that fits in the head;
- build it by hand, and find it in the engine;
- say when it helps, by how much, and against which baseline."""

PROBLEM = """## The problem

Four requests, single digits, whole numbers. Replace every sentence and every number of this skeleton."""

GUESS_TOTAL = """**Write down your guess:** how many tokens is that together?"""

PREDICT_TOTAL = """from coursekit import predict, reveal

predict("{number}.total", None)  # put your number in place of None"""

TURN_LENGTHS = """# Your turn: change the lengths, and run this cell again.
mine = [2, 2, 2, 2]
print("yours:", sum(mine))"""

BY_HAND = """## Build it by hand

The wrong version first, where it teaches. Then the right one, from nothing but torch."""

STEPS = '''def steps(lengths, seats):
    """Steps until all are done, if nobody may join a batch before it is over."""
    return sum(max(lengths[i : i + seats]) for i in range(0, len(lengths), seats))


for seats in (1, 2):
    print(f"{seats} seats: {steps(lengths, seats)} steps")'''

GUESS_STEPS = """**Write down your guess:** how many steps with four seats?"""

TURN_ORDER = """# Your turn: the same lengths in an order that needs fewer steps with two seats.
order = lengths[::-1]
print("in this order:", steps(order, 2), "steps")"""

IN_MINIENG = """## The same thing in `minieng`

The engine's own source of the idea, never a pasted copy. Then the same on the real model."""

SOURCE = """import inspect

from minieng.scheduler import SCHEDULERS

print(inspect.getsource(SCHEDULERS["static"].ready))"""

RUN = """from minieng import LLM, SamplingParams, viz

with LLM(MODEL, scheduler="static", batch_size=2) as llm:
    llm.generate(["One", "Two"], SamplingParams(max_tokens=4, ignore_eos=True))
    trace = llm.trace
picture = viz.timeline(trace)
viz.in_words(picture)
picture"""

MEASURE = """## Measure

This machine beside what theory says, with the error, and why they differ. The argument rests on counts; times of the clock
stand beside them."""

TIMES = """seconds = sum(step.duration for step in trace)
print(f"{len(trace)} steps in {seconds * 1e3:.0f} ms")"""

AT_SCALE = """## At scale

The same scheduler on the simulator, beside a published figure with its source."""

SIMULATED = """from minieng.workload import Workload


def at_scale(scheduler):
    report = LLM.simulated("llama-7b", "A100-80G", scheduler=scheduler).serve_workload(Workload.preset("ladder", n=20))
    print(f"{scheduler}: {report.metrics.output_throughput:.0f} tokens/s")


at_scale("static")"""

TURN_SCHEDULER = """# Your turn: another scheduler in place of this one.
at_scale("dynamic")"""

FACT_CHECK = """## Fact-check

### "A claim that circulates\""""

VERDICT = """**Verdict: true only if** the condition is named that makes it so.

## Interview corner

**"A question that is asked in interviews?"**

<details>
<summary>A model answer</summary>

The first sentence answers. The second gives the reason. The third says where it ends.

</details>

<details>
<summary>参考回答</summary>

第一句直接回答问题。第二句说明原因。第三句说清楚在什么条件下不再成立。请用中文重新写，不要逐字翻译，标点用全角。

</details>

| English | 中文 |
| --- | --- |
| step | 步 |

## Recap

- What to keep, in three lines.

**What is still wrong.** The one limitation that makes the next lesson necessary.{turn}"""


def begin_lesson(root: str | Path, name: str, say: Callable[[str], Any] = print) -> None:
    """Write the skeleton of lesson ``name`` under ``root`` and its rows in the map; refuses to overwrite anything."""
    number, title = name_parts(name)
    folder = Path(root) / "notebooks"
    path, page = folder / f"{name}.ipynb", folder / "README.md"
    if not page.exists() or MAP_HEADER not in page.read_text(encoding="utf-8"):
        raise CannotBegin(f"{page} has no table {MAP_HEADER!r}: run this in the folder of the course, or name it with --root")
    there = sorted(str(old) for old in folder.glob(f"{number}_*.ipynb"))
    if there:
        raise CannotBegin(f"already there: {', '.join(there)}; move it away or choose another number")
    exercise = f"../exercises/{name}.ipynb" if (Path(root) / "solutions" / f"{name}.ipynb").exists() else None
    earlier = [old for old in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if old.name < path.name]
    text = with_row(page.read_text(encoding="utf-8"), name, number, title, exercise, earlier[-1].name[:2] if earlier else "–")
    path.write_text(as_text(skeleton(name, number, title, earlier[-1].stem if earlier else None, exercise)), encoding="utf-8")
    page.write_text(with_question(text, name, number), encoding="utf-8")
    say(f"✓ {path}")
    say(f"✓ its rows in {page}")
    say("Now write it (docs/AUTHORING.md), then: coursekit notebooks run, and pytest tests/test_lessons.py -k " + number)


def skeleton(name: str, number: str, title: str, before: str | None, exercise: str | None) -> Book:
    """The notebook, not yet run. before, exercise: the lesson before it and its exercise, if there are any."""
    link = "–" if before is None else f"[{before[3:].replace('_', ' ').capitalize()}]({before}.ipynb)"
    card = CARD.format(n=int(number), title=title, minutes=MINUTES, difficulty=DIFFICULTY, before=link)
    turn = f"\n\nNow it is your turn: [exercise {int(number)}]({exercise}) asks you for it." if exercise else ""
    return book_of(name, [
        ("markdown", [], card),
        ("code", IGNORE, SETUP),
        ("markdown", [], PROBLEM),
        ("code", CHECK, 'lengths = [3, 1, 4, 2]  # tokens of four requests\nprint("tokens:", lengths)'),
        ("markdown", [], GUESS_TOTAL),
        ("code", IGNORE, PREDICT_TOTAL.format(number=number)),
        ("code", CHECK, 'print("together:")\nprint(sum(lengths), "tokens")\n' + f'reveal("{number}.total", sum(lengths))'),
        ("code", CHECK, TURN_LENGTHS),
        ("markdown", [], BY_HAND),
        ("code", CHECK, STEPS),
        ("markdown", [], GUESS_STEPS),
        ("code", IGNORE, f'predict("{number}.steps", None)  # put your number in place of None'),
        ("code", CHECK, f'print("with four seats:")\nreveal("{number}.steps", steps(lengths, 4))'),
        ("code", CHECK, TURN_ORDER),
        ("markdown", [], IN_MINIENG),
        ("code", CHECK, SOURCE),
        ("code", IGNORE, RUN),
        ("markdown", [], MEASURE),
        ("code", IGNORE, TIMES),
        ("markdown", [], AT_SCALE),
        ("code", CHECK, SIMULATED),
        ("code", CHECK, TURN_SCHEDULER),
        ("markdown", [], FACT_CHECK),
        ("code", CHECK, 'print("one seat:", steps(lengths, 1), "steps; as many as tokens:", sum(lengths))'),
        ("markdown", [], VERDICT.format(turn=turn)),
    ])  # fmt: skip


def with_row(page: str, name: str, number: str, title: str, exercise: str | None, needs: str) -> str:
    """The map with the lesson's row, in order; a row that said "to come" is replaced, and its words are kept."""
    before, _, after = page.partition(MAP_HEADER)
    ruler, *lines = after.lstrip("\n").split("\n")
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    rows, goal = {row_number(line): line for line in lines[:end]}, "do what the lesson promises"
    if number in rows:
        _, _, _, needs, goal, _ = (cell.strip() for cell in rows[number].strip("|").split("|"))
    link = f"[{number}]({exercise})" if exercise else "–"
    cells = [f"[{number} · {title}]({name}.ipynb)", MINUTES, DIFFICULTY, needs, goal.removeprefix("*to come:* "), link]
    rows[number] = f"| {' | '.join(cells)} |"
    return "\n".join([before + MAP_HEADER, ruler, *(rows[key] for key in sorted(rows)), *lines[end:]])


def with_question(page: str, name: str, number: str) -> str:
    """The page with the skeleton's question as the last row of the table of questions, if there is one."""
    before, header, after = page.partition(QUESTIONS_HEADER)
    if not header:
        return page
    lines = after.split("\n")
    end = next(i for i, line in enumerate(lines) if i and not line.startswith("|"))
    row = f"| A question that is asked in interviews? | 面试里会问的问题？ | [{number}]({name}.ipynb) |"
    return before + header + "\n".join([*lines[:end], row, *lines[end:]])


def row_number(line: str) -> str:
    """ "07" of "| [07 · Memory pressure](…) | …", with or without a link."""
    found = re.match(r"\| \[?(\d\d) · ", line)
    if not found:
        raise CannotBegin(f"notebooks/README.md has a row that begins with no lesson's number: {line!r:.80}")
    return found[1]
