"""Ready-made situations, at least one a lesson: two choices for one workload, and what to look at.

Each sentence of ``look`` is about counts or virtual time that the table below the pictures shows; the tests
hold it to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..job import Job
from ..workload import Workload
from ..workload_file import text_of_jobs
from .choice import Choice


class Situation(NamedTuple):
    """A workload and two choices.

    name    in links and in ``playground("name")``
    lesson  of the course, by its number
    look    what is to be seen
    jobs    requests, in order of arrival
    """

    name: str
    lesson: str
    title: str
    look: str
    jobs: tuple[Job, ...]
    left: Choice
    right: Choice

    @property
    def workload(self) -> Workload:
        return Workload(self.name, self.jobs)

    @property
    def text(self) -> str:
        """The jobs as the text box has them, and ``workload_file`` reads them."""
        return text_of_jobs(self.jobs)


def at_once(*lengths: tuple[int, int]) -> tuple[Job, ...]:
    """Requests of (prompt, output) tokens that all come at 0."""
    return tuple(Job(0.0, prompt, output) for prompt, output in lengths)


def every(seconds: float, *lengths: tuple[int, int]) -> tuple[Job, ...]:
    """One after the other, so far apart."""
    return tuple(Job(round(i * seconds, 6), *pair) for i, pair in enumerate(lengths))


def sharing(name: str, shared: int, own: int, output: int, count: int) -> tuple[Job, ...]:
    """Requests whose prompts begin alike."""
    return (Job(0.0, shared + own, output, parts=((name, shared),)),) * count


BY_LENGTH = '''\
class ByLength(StaticScheduler):
    """Static batching, the rows of a batch of about one length."""

    def queue(self, now, kv):
        return sorted(self.waiting, key=lambda r: r.num_prompt_tokens)
'''
LONG_AND_SHORT = at_once(*[(20, 4), (300, 4)] * 8)
FREEZE = (*at_once(*[(20, 60)] * 3), Job(0.15, 6000, 4))
SITUATIONS = (
    Situation(
        "alone-or-together", "00", "One at a time, or together",
        "Eight requests. With one seat they run one after the other, with eight they share each step: as "
        "many tokens are computed, in less than a fifth of the steps.",
        at_once(*[(16, 24)] * 8),
        Choice("continuous", "max_num_seqs=1"), Choice("continuous", "max_num_seqs=8"),
    ),
    Situation(
        "company-is-cheap", "01", "Company costs next to nothing",
        "A decode step reads all weights, for one request as for eight. Together the eight are done in "
        "less than a seventh of the time that they take one by one.",
        at_once(*[(8, 64)] * 8),
        Choice("continuous", "max_num_seqs=1"), Choice("continuous", "max_num_seqs=8"),
    ),
    Situation(
        "one-long-row", "02", "One long row pads all others",
        "Four prompts of 10, 10, 10 and 200 tokens. The rectangle holds 570 positions of padding, more than "
        "twice the tokens; packed there are none.",
        at_once((10, 8), (10, 8), (10, 8), (200, 8)),
        Choice("static", "batch_size=4"), Choice("continuous"),
    ),
    Situation(
        "sorted-rows", "02", "Rows of one length",
        "Short and long prompts take turns. Batches in order of arrival pad every short one; sorted by "
        "length there is no padding at all. Edit the class: it is the scheduler that ran.",
        LONG_AND_SHORT,
        Choice("static", "batch_size=4, num_blocks=256"),
        Choice("own", "batch_size=4, num_blocks=256", BY_LENGTH),
    ),
    Situation(
        "slowest-row", "03", "Static waits for its slowest",
        "Three answers of 4 tokens and one of 64. The static batch computes 180 positions for rows that are "
        "done, and nobody behind it starts before the longest has ended.",
        at_once((16, 4), (16, 4), (16, 4), (16, 64), (16, 4), (16, 4), (16, 4), (16, 4)),
        Choice("static", "batch_size=4"), Choice("continuous"),
    ),
    Situation(
        "waiting-for-company", "04", "A full batch, or a time limit",
        "A request every 30 ms, batches of eight. Static starts when the eighth is there; dynamic starts "
        "once the first has waited 50 ms, so its mean time to first token is less than half.",
        every(0.03, *[(16, 8)] * 8),
        Choice("static", "batch_size=8, max_num_seqs=8"),
        Choice("dynamic", "batch_size=8, max_num_seqs=8, wait_window=0.05"),
    ),
    Situation(
        "seat-taken-over", "05", "A seat is taken over at once",
        "Short and long answers take turns. Continuous batching gives a seat away in the next step: fewer "
        "steps, and no position for rows that are done.",
        at_once(*[(16, 4), (16, 40)] * 6),
        Choice("static", "batch_size=4"), Choice("continuous"),
    ),
    Situation(
        "orca-mixes", "05", "Prompts beside decodes",
        "With mixed=False no step holds both, and decodes pause for each newcomer's prompt. With mixed=True "
        "they share the step: fewer steps for the same tokens.",
        every(0.05, *[(64, 24)] * 8),
        Choice("continuous", "mixed=False"), Choice("continuous", "mixed=True"),
    ),
    Situation(
        "reserved-for-the-worst", "06", "Room for the longest answer, or a block at a time",
        "Answers of 160 tokens in a cache of 32 blocks. Whoever reserves for the whole answer lets two "
        "run at a time; with blocks as they are needed at least four run.",
        at_once(*[(16, 160)] * 8),
        Choice("continuous", "admission=reserve_max, num_blocks=32, max_num_seqs=8"),
        Choice("continuous", "admission=full_prompt, num_blocks=32, max_num_seqs=8"),
    ),
    Situation(
        "large-blocks", "06", "Blocks too large",
        "The same cache of 512 tokens in blocks of 128 and of 16. Each request needs 30 tokens: four "
        "blocks of 128 let four run, small ones let sixteen.",
        at_once(*[(20, 11)] * 16),
        Choice("continuous", "block_size=128, num_blocks=4, max_num_seqs=16"),
        Choice("continuous", "block_size=16, num_blocks=32, max_num_seqs=16"),
    ),
    Situation(
        "thrown-out", "07", "Everybody in, then somebody out",
        "Eight answers grow until the cache is full. Where only the prompt must fit, four are preempted "
        "and their tokens computed again; new_token_ratio lets four run at a time and preempts nobody.",
        at_once(*[(32, 96)] * 8),
        Choice("continuous", "num_blocks=32, max_num_seqs=8"),
        Choice("continuous", "num_blocks=32, max_num_seqs=8, admission=new_token_ratio"),
    ),
    Situation(
        "swap-or-recompute", "07", "Away to the host, or thrown away",
        "The same victims. Recompute computes their tokens again; swap computes none again and moves "
        "blocks to the host and back.",
        at_once(*[(32, 96)] * 8),
        Choice("continuous", "num_blocks=32, max_num_seqs=8, preemption=recompute"),
        Choice("continuous", "num_blocks=32, max_num_seqs=8, preemption=swap"),
    ),
    Situation(
        "short-behind-long", "08", "The short one behind the long ones",
        "One seat, long answers first. Shortest job first answers the short ones before: the mean time to "
        "first token falls to less than half, and the steps are the same.",
        at_once((16, 120), (16, 120), (16, 6), (16, 6), (16, 6), (16, 6)),
        Choice("continuous", "max_num_seqs=1, order=fcfs"), Choice("continuous", "max_num_seqs=1, order=sjf"),
    ),
    Situation(
        "lpm-starves", "08", "Longest prefix first starves the rare one",
        "Request 1 shares its beginning with nobody, all others with each other. Under fcfs it comes "
        "second; under lpm everybody whose prefix is in the cache goes before it, and it comes last.",
        (*sharing("popular", 128, 16, 8, 1), Job(0.0, 144, 8), *sharing("popular", 128, 16, 8, 8)),
        Choice("continuous", "max_num_seqs=1, enable_prefix_caching=True, order=fcfs"),
        Choice("continuous", "max_num_seqs=1, enable_prefix_caching=True, order=lpm"),
    ),
    Situation(
        "one-user-floods", "08", "One user floods the queue",
        "Ten requests of ann, then one of bob. First come, first served lets bob wait for all of them; with "
        "fair he comes among the first three.",
        (*(Job(0.0, 32, 16, user="ann"),) * 10, Job(0.0, 32, 16, user="bob")),
        Choice("continuous", "max_num_seqs=1, order=fcfs"),
        Choice("continuous", "max_num_seqs=1, order=fair"),
    ),
    Situation(
        "prompt-freezes-all", "09", "The prompt that freezes everybody",
        "Three requests write, then a prompt of 6,000 tokens comes. Computed whole it is a gap in "
        "everybody's answer; in chunks of 512 the longest gap is less than a fifth.",
        FREEZE,
        Choice("continuous", "model='llama-3-8b', num_blocks=512, max_prefill_tokens=8192"),
        Choice("chunked", "model='llama-3-8b', num_blocks=512, max_num_batched_tokens=512"),
    ),
    Situation(
        "small-budget", "09", "A budget too small",
        "The same prompt in chunks of 512 and of 64 tokens. Small chunks cut the longest gap to less "
        "than a third, but need more than three times the steps that hold prompts and decodes: the mean "
        "time to first token more than doubles.",
        FREEZE,
        Choice("chunked", "model='llama-3-8b', num_blocks=512, max_num_batched_tokens=512"),
        Choice("chunked", "model='llama-3-8b', num_blocks=512, max_num_batched_tokens=64"),
    ),
    Situation(
        "computed-once", "10", "One system prompt for all",
        "Eight prompts begin with the same 512 tokens. With the prefix cache seven of them find these "
        "tokens: less than a third is computed.",
        sharing("system", 512, 32, 8, 8),
        Choice("continuous", "num_blocks=512"),
        Choice("continuous", "num_blocks=512, enable_prefix_caching=True"),
    ),
    Situation(
        "host-in-the-way", "11", "The host between two steps",
        "The same plans, step by step. 15 ms on the host for each step, as in eager code, or none, as "
        "with CUDA graphs: the time until the last answer differs by 15 ms a step.",
        at_once(*[(16, 32)] * 4),
        Choice("continuous", "host=0.015"), Choice("continuous", "host=0.0"),
    ),
    Situation(
        "bubbles", "12", "Bubbles in a pipeline",
        "Four stages. With one batch in flight three quarters of the stages' time is empty; with four in "
        "flight it is less than a tenth, and the mean time to first token falls to less than half.",
        at_once(*[(64, 24)] * 16),
        Choice("continuous", "model='llama-2-70b', stages=4, depth=1, max_num_seqs=16, num_blocks=256"),
        Choice("continuous", "model='llama-2-70b', stages=4, depth=4, max_num_seqs=16, num_blocks=256"),
    ),
    Situation(
        "served-not-good", "13", "Served is not good",
        "16 requests a second. The A100 answers fewer: the queue grows as long as they come, and more than "
        "half of the answers are too late. On an H100 nobody waits for a seat, and no answer is late.",
        every(0.0625, *[(600, 10), (1800, 20)] * 20),
        Choice("chunked", "gpu='A100-80G', max_num_seqs=16, block_size=64, num_blocks=256"),
        Choice("chunked", "gpu=H100, max_num_seqs=16, block_size=64, num_blocks=256"),
    ),
    Situation(
        "hidden-queue", "14", "A closed loop hides its queue",
        "Eleven requests a second. Four seats are a client that has four requests on their way and sends the "
        "next after an answer: it sees gaps as short as with sixteen, and no queue. Counted from when each "
        "was due, as here, the mean time to first token is more than ten times as long, and more than half "
        "of the answers are late.",
        every(0.09, *[(100, 40), (300, 80)] * 10),
        Choice("chunked", "max_num_seqs=4, num_blocks=192"),
        Choice("chunked", "max_num_seqs=16, num_blocks=192"),
    ),
)  # fmt: skip


def situation(name: str) -> Situation:
    """By its name. Raises ValueError with the names there are."""
    for each in SITUATIONS:
        if each.name == name:
            return each
    raise ValueError(f"no situation {name!r}: choose one of {', '.join(each.name for each in SITUATIONS)}")


def of_lesson(lesson: str) -> Iterator[Situation]:
    return (each for each in SITUATIONS if each.lesson == lesson)
