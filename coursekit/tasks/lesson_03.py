"""Exercise 03: static batching. What each task asks, how it is judged, what each mistake looks like."""

from ..task import Case, Finding, Task
from .lesson_03_scheduler import STATIC_SCHEDULER

TITLE = "Static batching"


def batches_of(items, batch_size):
    """In order of arrival, ``batch_size`` at a time; the last batch may be smaller."""
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)


# ---------------------------------------------------------------- 03.1 idle_fraction
IDLE_RULE = "idle share = slots that make no token / all slots; a batch has batch_size slots in each of its steps"


def judge_idle(args, got):
    lengths, size = args
    batches = batches_of(lengths, size)
    slots, used = sum(size * max(batch) for batch in batches), sum(lengths)

    def wrong(cause, slip):
        return Finding(IDLE_RULE, cause, slip, f"{slots - used} idle of {slots} slots", got)

    def near(x):
        return abs(got - x) < 1e-9

    if not is_number(got):
        return wrong("the answer is one number between 0 and 1", "not a number")
    if not lengths:
        return None if near(0) else wrong("without a request there is no batch, and nothing is idle: 0.0", "no request")
    if near((slots - used) / slots):
        return None
    whole = [b for b in batches if len(b) == size]
    if len(whole) < len(batches) and near(1 - sum(map(sum, whole)) / max(1, sum(size * max(b) for b in whole))):
        return wrong("the last batch is not full, but it runs as well: count it", "last batch lost")
    for value, cause, slip in likely_shares(lengths, size, used, slots):
        if near(value):
            return wrong(cause, slip)
    return wrong("count, batch by batch: steps = the longest answer, slots = batch_size times steps, tokens", "other number")


def likely_shares(lengths, size, used, slots):
    """What each likely mistake gives, with its words."""
    batches = batches_of(lengths, size)
    rows = sum(len(batch) * max(batch) for batch in batches)
    in_order = batches_of(sorted(lengths), size)
    idle = slots - used
    return (
        (used / slots, "this is the busy share, the utilisation: idle is what is left of 1", "busy share"),
        (100 * idle / slots, "this is a percentage: return a share between 0 and 1", "percent"),
        (idle, "this is the number of idle slots: divide it by the number of all slots", "count, not share"),
        (
            1 - used / (len(lengths) * max(lengths)),
            "you put all requests into one batch: at most batch_size of them run together, then the next ones",
            "one big batch",
        ),
        (
            1 - used / rows,
            "the last batch has fewer requests than batch_size, and you left its empty slots out: they are idle too",
            "empty slots forgotten",
        ),
        (
            sum(1 - sum(b) / (size * max(b)) for b in batches) / len(batches),
            "you took the mean of the batches' shares. A batch with more steps weighs more: add up slots first, divide once",
            "mean of shares",
        ),
        (
            1 - used / sum(size * max(batch) for batch in in_order),
            "you sorted the requests by length. Nobody knows the lengths in advance: batches form in order of arrival",
            "sorted by length",
        ),
    )


def generate_idle(rng, size):
    return [rng.randint(1, 2 * size) for _ in range(rng.randint(1, 2 * size))], rng.randint(1, size)


def idle_error(args, error, text):
    if error in ("ZeroDivisionError", "ValueError") and not args[0]:
        return "there may be no request at all, and then there is nothing to divide by: the answer is 0.0"
    return None


IDLE_FRACTION = Task(
    id="03.1",
    name="idle_fraction",
    title="How much of the machine is idle?",
    points=25,
    returns="one number between 0 and 1",
    cases=(
        Case(([4], 1), 0.0),
        Case(([1, 2], 2), 0.25),
        Case(([3], 4), 0.75),
        Case(([2, 8, 3, 5], 4), 0.4375),
        Case(([2, 8, 3, 5, 1, 3], 4), 0.5),
        Case(([1, 4, 2, 4], 2), 0.3125),
        Case(([50, 100, 200, 500], 4), 0.575),
        Case(([], 4), 0.0),
    ),
    judge=judge_idle,
    generate=generate_idle,
    valid=lambda args: args[1] >= 1 and all(n >= 1 for n in args[0]),
    on_error=idle_error,
    hints=(
        "Draw answers of 2, 8, 3 and 5 tokens as four rows of boxes, eight steps wide. How many boxes are there, how many "
        "hold a token? Then draw the next batch behind them: answers of 1 and 3 tokens, still on four slots.",
        "A batch takes as many steps as its longest answer, and each of its steps has batch_size slots, whoever is in them. "
        "All tokens together fill sum(lengths) slots. Add up over the batches, and divide once, at the end.",
        "if there is no request: return 0.0\n"
        "slots = 0\n"
        "for each batch (the next batch_size lengths):\n"
        "    slots += batch_size x its largest length\n"
        "return (slots - sum of all lengths) / slots",
    ),
)

# ---------------------------------------------------------------- 03.2 fill_wait
FILL_RULE = "a request waits until the last one of its batch has come; nobody comes after the last arrival"


def judge_fill(args, got):
    arrivals, size = args
    batches = batches_of(arrivals, size)
    want = [batch[-1] - a for batch in batches for a in batch]

    def wrong(cause, slip):
        return Finding(FILL_RULE, cause, slip, want, got)

    def alike(values):
        return len(values) == len(got) and all(abs(x - y) < 1e-9 for x, y in zip(values, got))

    if not isinstance(got, list) or any(isinstance(x, list) for x in got):
        return wrong("return one flat list: the wait of each request, in order of arrival", "not a list")
    if any(not is_number(x) or abs(x) == float("inf") for x in got):
        return wrong(
            "some request waits for ever. After the last arrival nobody else can come: the last batch starts then, full or not",
            "never starts",
        )
    full = len(arrivals) - len(arrivals) % size
    if len(got) == full < len(arrivals):
        return wrong("the last batch is not full, and its requests are missing: they are served too", "last batch lost")
    if len(got) != len(arrivals):
        return wrong("there is one wait for each request", "other length")
    if alike(want):
        return None
    for values, cause, slip in likely_waits(arrivals, size, want):
        if alike(values):
            return wrong(cause, slip)
    return wrong("for each batch: when does its last request come? Each of them waits from its own arrival until then", "other")


def likely_waits(arrivals, size, want):
    """What each likely mistake gives, with its words."""
    n, last = len(arrivals), arrivals[-1]
    full, batches = n - n % size, batches_of(arrivals, size)
    return (
        (
            [a - batch[0] for batch in batches for a in batch],
            "this is the time since the first request of the batch came. A request waits for those who come after it",
            "since the first",
        ),
        (
            [batch[-1] - batch[0] for batch in batches for _ in batch],
            "everybody in a batch gets the same wait, that of its first request. Who comes later waits less, the last not at all",
            "same for all",
        ),
        (
            [batch[-1] for batch in batches for _ in batch],
            "this is the time at which the batch starts. The wait is that time less the request's own arrival",
            "time, not wait",
        ),
        (
            [arrivals[min(i + size - 1, n - 1)] - a for i, a in enumerate(arrivals)],
            "each request waits for batch_size - 1 more, as if a batch began with it. A batch takes its requests away with it: "
            "the next batch begins with the next one",
            "sliding window",
        ),
        (
            [b - a for a, b in zip(arrivals, [*arrivals[1:], last])],
            "this is the gap to the next arrival. A batch starts when its last request has come, not its next",
            "next gap",
        ),
        (
            want[:full] + [0.0] * (n - full),
            "the last batch is not full, and you start each of its requests at once. It starts together, "
            "when the last request of all has come",
            "last batch at once",
        ),
        ([-w for w in want], "these are negative: the wait is the start of the batch less the arrival", "negative"),
        ([w * 1000 for w in want], "this is in milliseconds: arrivals are in seconds, and so is the answer", "milliseconds"),
        (
            [batch[-1] - a for batch in batches_of(arrivals, size + 1) for a in batch],
            "your batches are one too large: a batch starts as soon as batch_size requests are there",
            "one too many",
        ),
    )


def generate_fill(rng, size):
    at, arrivals = 0.0, []
    for _ in range(rng.randint(1, 1 + 2 * size)):
        arrivals.append(at)
        at += float(rng.randint(1, 9))
    return arrivals, rng.randint(1, 1 + size)


def valid_fill(args):
    arrivals, size = args
    return size >= 1 and all(a >= 0 for a in arrivals) and arrivals == sorted(arrivals)


def fill_error(args, error, text):
    if error == "IndexError" and len(args[0]) % args[1]:
        return "the last batch may hold fewer than batch_size requests: your code reaches past the last arrival"
    if not args[0]:
        return "there may be no request at all: the answer is an empty list then"
    return None


FILL_WAIT = Task(
    id="03.2",
    name="fill_wait",
    title="Waiting for the batch to fill",
    points=25,
    returns="a list of seconds, one for each request",
    cases=(
        Case(([3.0], 1), [0.0]),
        Case(([0.0, 1.0], 2), [1.0, 0.0]),
        Case(([0.0, 1.0, 5.0], 2), [1.0, 0.0, 0.0]),
        Case(([0.0, 2.0, 3.0, 10.0, 11.0, 15.0], 3), [3.0, 1.0, 0.0, 5.0, 4.0, 0.0]),
        Case(([0.0, 0.0, 0.0], 3), [0.0, 0.0, 0.0]),
        Case(([0.0, 1.0, 2.0, 3.0, 60.0, 70.0], 4), [3.0, 2.0, 1.0, 0.0, 10.0, 0.0]),
        Case(([0.0, 4.0, 9.0], 8), [9.0, 5.0, 0.0]),
        Case(([], 2), []),
    ),
    judge=judge_fill,
    generate=generate_fill,
    valid=valid_fill,
    on_error=fill_error,
    hints=(
        "Requests come at 0, 2, 3, 10, 11 and 15 s, and a batch takes three. When does each of the two batches start?",
        "A batch starts at the arrival of its last request. So a request waits from its own arrival until that one. "
        "The last batch has a last request too, even if it is not full.",
        "waits = []\nfor each batch (the next batch_size arrivals, or what is left):\n    start = its last arrival\n"
        "    for each arrival in it: add start - arrival to waits\nreturn waits",
    ),
)

TASKS = [IDLE_FRACTION, FILL_WAIT, STATIC_SCHEDULER]
