"""Answers to task 03.3, ``StaticScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan, Scheduler


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


class LeaveOneByOne(Static):
    def leavers(self, done):
        return done if all(r.is_done for r in self.running) else []


class SpanOfPrompts(Static):
    def begin(self, batch):
        width = max(r.num_remaining_tokens for r in batch)
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=batch, span=width)


class ReturnsRunningItself(Static):
    def leavers(self, done):
        return self.running if all(r.is_done for r in self.running) else []


class LeavesByGenerator(Static):
    def leavers(self, done):
        over = all(r.is_done for r in self.running)
        return (r for r in self.running if over)


WRONG = [
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
    (LeaveOneByOne, "only those whose last token came in this step"),
    (SpanOfPrompts, "and not the answers"),
]

RIGHT = [Static, NamesRunningItself, InOneMethod, ReturnsRunningItself, LeavesByGenerator]
