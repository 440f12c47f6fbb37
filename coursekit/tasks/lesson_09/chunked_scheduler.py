"""A chunked scheduler: decodes first, then as much of the prompts as the budget leaves."""

from .cases import CASES
from .judge import scheduler_task

TASK = scheduler_task(
    id="09.1",
    name="ChunkedScheduler",
    title="A chunked scheduler",
    points=50,
    cases=CASES,
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
