"""Exercise 09: chunked prefill. What each task asks, how it is judged, what each mistake looks like."""

from ..task import Case, Task
from .lesson_09_budget import LARGEST_BUDGET
from .lesson_09_steps import BENCH, generate, judge, valid
from .scheduling import scheduler_error

TITLE = "Chunked prefill"

# ---------------------------------------------------------------- 09.1 ChunkedScheduler, 09.3 MendedScheduler

ALONE = [[0.0, 12, 3]]
LATER = [[0.0, 1, 9], [0.0, 1, 9], [0.02, 20, 2]]
THREE = [[0.0, 3, 6], [0.0, 14, 2], [0.0, 2, 4]]
STREAM = [[0.0, 2, 6], [0.01, 30, 2], [0.02, 3, 4], [0.03, 3, 4], [0.04, 3, 4], [0.05, 3, 4], [0.06, 3, 4]]
TIGHT = [[0.0, 12, 12], [0.0, 12, 12], [0.0, 12, 12]]

WAITS = [[0.0, 12, 12], [0.0, 8, 12], [0.0, 20, 12], [0.02, 2, 4]]
LARGE = [[0.0, 8, 6], [0.0, 8, 4], [0.0, 2, 4]]  # in step 1 one block is left: not enough for the second, enough for the third


def knobs(budget, seats, **more):
    return {"max_num_batched_tokens": budget, "max_num_seqs": seats, **more}


CASES = (
    Case((ALONE, knobs(16, 4)), None),
    Case((ALONE, knobs(5, 4)), None),
    Case((LATER, knobs(7, 4)), None),
    Case((THREE, knobs(8, 4)), None),
    Case((THREE, knobs(5, 2)), None),
    Case((STREAM, knobs(6, 4)), None),
)

CHUNKED_SCHEDULER = Task(
    id="09.1",
    name="ChunkedScheduler",
    title="A chunked scheduler",
    points=50,
    returns="a subclass of minieng.Scheduler",
    cases=(
        *CASES,
        Case((TIGHT, knobs(8, 4, num_blocks=3)), None),
        Case((WAITS, knobs(8, 4, num_blocks=4)), None),
        Case((LARGE, knobs(8, 4, num_blocks=4, block_size=4)), None),
    ),
    drive=BENCH.drive,
    judge=judge,
    scene=BENCH.scene,
    generate=generate,
    valid=valid,
    exact=False,
    on_error=scheduler_error,
    rounds=24,
    hints=(
        "Three are writing, one has read 4 of its 20 prompt tokens, two have just come, and the budget is 8. Who gets how many "
        "tokens? Write it down before you write code.",
        "There is one loop over the running requests, those with is_decode first, and one over the waiting. Each takes "
        "n = the smaller of what the request has left and what is left of the budget. Who gets nothing is not in the plan.",
        "left = the budget\n"
        "for each running request, decodes before unfinished prompts:\n"
        "    n = the smaller of what it has left and what is left\n"
        "    if n is not 0 and make_room says yes: into the plan\n"
        "    what is left: the budget less the tokens of the plan (a victim gives its tokens back)\n"
        "if nobody was preempted:\n"
        "    for each waiting request, as long as there are seats and budget:\n"
        "        n as above; if the ledger cannot take it: stop\n"
        "        into the plan",
    ),
)

MENDED_SCHEDULER = Task(
    id="09.3",
    name="MendedScheduler",
    title="Bug hunt: the prompt that starves",
    points=25,
    returns="a subclass of minieng.Scheduler",
    cases=CASES,
    drive=BENCH.drive,
    judge=judge,
    scene=BENCH.scene,
    generate=generate,
    valid=valid,
    exact=False,
    on_error=scheduler_error,
    rounds=24,
    hints=(
        "Take the seven requests of the picture and a budget of 6. In which steps could r1 have been given tokens? Which line of "
        "the code took it out, and is it the same line each time?",
        "There are two bugs. One decides what happens to a prompt that is larger than what is left, the other who comes first. "
        "The second shows only when the first is mended: until then no prompt ever begins without ending.",
        "prompts, in this order: those that have begun, then the waiting in order of arrival; no sorting by size\n"
        "for each of them:\n"
        "    n = the smaller of what it has left and what is left of the budget, instead of all or nothing\n"
        "    stop when n is 0",
    ),
)

TASKS = [CHUNKED_SCHEDULER, LARGEST_BUDGET, MENDED_SCHEDULER]
