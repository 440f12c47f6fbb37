"""Answers to exercise 03, wrong in every way that was thought of, and right in more than one."""

from minieng import Plan, Scheduler


def cut(items, size):
    return [items[i : i + size] for i in range(0, len(items), size)]


# ---------------------------------------------------------------- 03.1 idle_fraction
def slots_of(lengths, size):
    return sum(size * max(b) for b in cut(lengths, size))


def idle(lengths, size):
    return 1 - sum(lengths) / slots_of(lengths, size) if lengths else 0.0


def idle_busy(lengths, size):
    return 1 - idle(lengths, size) if lengths else 0.0


def idle_percent(lengths, size):
    return 100 * idle(lengths, size)


def idle_count(lengths, size):
    return slots_of(lengths, size) - sum(lengths)


def idle_one_batch(lengths, size):
    return 1 - sum(lengths) / (len(lengths) * max(lengths)) if lengths else 0.0


def idle_rows_only(lengths, size):
    return 1 - sum(lengths) / sum(len(b) * max(b) for b in cut(lengths, size)) if lengths else 0.0


def idle_mean_of_shares(lengths, size):
    shares = [1 - sum(b) / (size * max(b)) for b in cut(lengths, size)]
    return sum(shares) / len(shares) if shares else 0.0


def idle_sorted(lengths, size):
    return idle(sorted(lengths), size)


def idle_loses_last(lengths, size):
    return idle(lengths[: len(lengths) - len(lengths) % size], size)


def idle_no_empty(lengths, size):
    return 1 - sum(lengths) / slots_of(lengths, size)


def idle_step_by_step(lengths, size):
    """Walk through the steps, and count the slots that hold nobody or somebody who is done."""
    empty = slots = 0
    waiting = list(lengths)
    while waiting:
        batch, waiting = waiting[:size], waiting[size:]
        for step in range(max(batch)):
            slots += size
            empty += size - sum(step < n for n in batch)
    return empty / slots if slots else 0


# ---------------------------------------------------------------- 03.2 fill_wait
def fill(arrivals, size):
    return [b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_since_first(arrivals, size):
    return [a - b[0] for b in cut(arrivals, size) for a in b]


def fill_same(arrivals, size):
    return [b[-1] - b[0] for b in cut(arrivals, size) for _ in b]


def fill_times(arrivals, size):
    return [b[-1] for b in cut(arrivals, size) for _ in b]


def fill_sliding(arrivals, size):
    return [arrivals[min(i + size - 1, len(arrivals) - 1)] - a for i, a in enumerate(arrivals)]


def fill_next_gap(arrivals, size):
    return [b - a for a, b in zip(arrivals, [*arrivals[1:], *arrivals[-1:]])]


def fill_loses_last(arrivals, size):
    return fill(arrivals[: len(arrivals) - len(arrivals) % size], size)


def fill_for_ever(arrivals, size):
    return [None if len(b) < size else b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_last_at_once(arrivals, size):
    return [0.0 if len(b) < size else b[-1] - a for b in cut(arrivals, size) for a in b]


def fill_negative(arrivals, size):
    return [-w for w in fill(arrivals, size)]


def fill_milliseconds(arrivals, size):
    return [1000 * w for w in fill(arrivals, size)]


def fill_one_more(arrivals, size):
    return fill(arrivals, size + 1)


def fill_formula(arrivals, size):
    return (size - 1) / 2 * (arrivals[-1] / len(arrivals)) if arrivals else 0.0


def fill_reaches_past(arrivals, size):
    return [arrivals[i // size * size + size - 1] - a for i, a in enumerate(arrivals)]


def fill_backwards(arrivals, size):
    """From the last to the first: remember when the batch of the one before starts."""
    waits, start = [], 0.0
    for i in range(len(arrivals) - 1, -1, -1):
        if i == len(arrivals) - 1 or (i + 1) % size == 0:
            start = arrivals[i]
        waits.insert(0, start - arrivals[i])
    return waits


# ---------------------------------------------------------------- 03.3 StaticScheduler
def columns(batch):
    return max(r.num_remaining_tokens for r in batch) + max(r.max_num_tokens - r.num_tokens for r in batch) - 1


class Static(Scheduler):
    """A static scheduler to be spoilt: each wrong one below changes one thing."""

    def plan(self, now):
        if self.running:
            return self.go_on()
        if not self.ready():
            return Plan()
        return self.begin(self.choose())

    def ready(self):
        return len(self.waiting) >= self.config.batch_size or not self.arrivals_open

    def choose(self):
        return list(self.waiting)[: self.config.batch_size]

    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=batch, span=columns(batch))

    def go_on(self):
        return Plan(extend=[(r, 1) for r in self.running if not r.is_done], rows=list(self.running))

    def leavers(self, done):
        return list(self.running) if all(r.is_done for r in self.running) else []


class NeverFlushes(Static):
    def ready(self):
        return len(self.waiting) >= self.config.batch_size


class LeavesEarly(Static):
    def leavers(self, done):
        return done


class StartsAtOnce(Static):
    def ready(self):
        return bool(self.waiting)


class Packed(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch])

    def go_on(self):
        return Plan(extend=[(r, 1) for r in self.running if not r.is_done])


class NewestFirst(Static):
    def choose(self):
        return list(self.waiting)[::-1][: self.config.batch_size]


class TakesAll(Static):
    def choose(self):
        return list(self.waiting)


class OneTooFew(Static):
    def choose(self):
        return list(self.waiting)[: max(1, self.config.batch_size - 1)]


class DropsRows(Static):
    def go_on(self):
        live = [r for r in self.running if not r.is_done]
        return Plan(extend=[(r, 1) for r in live], rows=live)


class FeedsTheDone(Static):
    def go_on(self):
        return Plan(extend=[(r, 1) for r in self.running], rows=list(self.running))


class WaitsForOneMore(Static):
    def ready(self):
        return len(self.waiting) > self.config.batch_size or not self.arrivals_open


class MovesQueues(Static):
    def begin(self, batch):
        for r in batch:
            self.waiting.remove(r)
        return super().begin(batch)


class NoSpan(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=batch)


class LooksForTheText(Static):
    def go_on(self):
        return Plan(extend=[(r, 1) for r in self.running if not r.finished], rows=list(self.running))


class NoRows(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=[], span=columns(batch))


class Refills(Static):
    """Newcomers join a batch that runs."""

    def go_on(self):
        live = [r for r in self.running if not r.is_done]
        new = list(self.waiting)[: self.config.batch_size - len(live)]
        return Plan(extend=[(r, r.num_remaining_tokens) for r in live + new], rows=self.running + new, span=columns(live + new))


class NeverLeaves(Static):
    def leavers(self, done):
        return []


class AsksOnlyTheDone(Static):
    def leavers(self, done):
        return list(self.running) if all(r.is_done for r in done) else []


class SlicesTheDeque(Static):
    def choose(self):
        return self.waiting[: self.config.batch_size]


class ForgetsTheTokens(Static):
    def begin(self, batch):
        return Plan(extend=batch, rows=batch, span=columns(batch))


class NamesRunningItself(Static):
    def go_on(self):
        return Plan(extend=[(r, 1) for r in self.running if not r.is_done], rows=self.running)


class ReturnsNothing(Static):
    def plan(self, now):
        if self.running or self.ready():
            return super().plan(now)
        return None


class OneTokenOfThePrompt(Static):
    def begin(self, batch):
        return Plan(extend=[(r, 1) for r in batch], rows=batch, span=columns(batch))


class InOneMethod(Scheduler):
    """Another design: counts what is left, wide spans, one loop for both kinds of step."""

    def plan(self, now):
        size, made = self.config.batch_size, Plan(rows=[])
        if not self.running and len(self.waiting) < size and self.arrivals_open:
            return Plan(wait_until=None)
        for r in self.running or [self.waiting[i] for i in range(min(size, len(self.waiting)))]:
            made.rows.append(r)
            if not r.is_done:
                made.extend.append((r, r.num_remaining_tokens))
        if not self.running:
            made.span = max(r.num_remaining_tokens for r in made.rows) + max(r.max_num_tokens for r in made.rows)
        return made

    def leavers(self, done):
        left = sum(not r.is_done for r in self.running)
        return [] if left else self.running[:]


WRONG = {
    "03.1": [
        (idle_busy, "this is the busy share"),
        (idle_percent, "percentage"),
        (idle_count, "number of idle slots"),
        (idle_one_batch, "all requests into one batch"),
        (idle_rows_only, "left its empty slots out"),
        (idle_mean_of_shares, "mean of the batches' shares"),
        (idle_sorted, "sorted the requests by length"),
        (idle_loses_last, "it runs as well"),
        (idle_no_empty, "no request at all"),
    ],
    "03.2": [
        (fill_since_first, "since the first request of the batch came"),
        (fill_same, "the same wait"),
        (fill_times, "the time at which the batch starts"),
        (fill_sliding, "as if a batch began with it"),
        (fill_next_gap, "gap to the next arrival"),
        (fill_loses_last, "its requests are missing"),
        (fill_for_ever, "waits for ever"),
        (fill_last_at_once, "start each of its requests at once"),
        (fill_negative, "negative"),
        (fill_milliseconds, "milliseconds"),
        (fill_one_more, "one too large"),
        (fill_formula, "one flat list"),
        (fill_reaches_past, "reaches past the last arrival"),
    ],
    "03.3": [
        (NeverFlushes, "the batch never fills"),
        (LeavesEarly, "while its batch ran on"),
        (StartsAtOnce, "before it is full"),
        (Packed, "packed, not padded"),
        (NewestFirst, "somebody overtakes"),
        (TakesAll, "more than batch_size"),
        (OneTooFew, "leaves out somebody who waits"),
        (DropsRows, "gone from the rectangle"),
        (FeedsTheDone, "gives a token to a row that is done"),
        (WaitsForOneMore, "a batch starts late"),
        (MovesQueues, "plan() moved requests"),
        (NoSpan, "plan.span=0 does not hold"),
        (NoRows, "plan.rows lacks r0"),
        (Refills, "all new or all running"),
        (NeverLeaves, "lets nobody go"),
        (AsksOnlyTheDone, "over an empty list is True"),
        (SlicesTheDeque, "list(self.waiting)[:n]"),
        (ForgetsTheTokens, "a list of pairs"),
        (ReturnsNothing, "must return a Plan on every path"),
        (OneTokenOfThePrompt, "computes its whole prompt in its first step"),
        (LooksForTheText, "has no attribute"),
    ],
}

RIGHT = {
    "03.1": [idle, idle_step_by_step],
    "03.2": [fill, fill_backwards],
    "03.3": [Static, NamesRunningItself, InOneMethod],
}
