"""A bug hunt: the chunked scheduler under which a long prompt starves."""

from .cases import CASES
from .judge import scheduler_task

TASK = scheduler_task(
    id="09.3",
    name="MendedScheduler",
    title="Bug hunt: the prompt that starves",
    points=25,
    cases=CASES,
    hints=(
        "Take the seven requests of the picture and a budget of 6. In which steps could r1 have been given tokens? Which line of "
        "the code took it out, and is it the same line each time?",
        "There are three bugs. One decides what happens to a prompt that is larger than what is left, one who comes first, and "
        "one what happens when the cache is short. The second shows only when the first is mended: until then no prompt ever "
        "begins without ending.",
        "prompts, in this order: those that have begun, then the waiting in order of arrival; no sorting by size\n"
        "for each of them:\n"
        "    n = the smaller of what it has left and what is left of the budget, instead of all or nothing\n"
        "    stop when n is 0\n"
        "    one that has begun: self.make_room, so that somebody gives way; nobody new in such a step\n"
        "    a new one that the ledger cannot take: stop, nobody passes it by",
    ),
)
