"""Answers to task 03.3, ``StaticScheduler``: wrong ones with the words of their diagnoses, and right ones."""

import itertools
import math

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


class SetsRunning(Static):
    def begin(self, batch):
        self.running = batch
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


class EmptyFlush(Static):
    """Begins a batch whenever nobody runs and there is no reason to wait, whether anybody is there or not."""

    def ready(self):
        return not 0 < len(self.waiting) < self.config.batch_size or not self.arrivals_open


class WaitsForTheLast(Static):
    def ready(self):
        return not self.arrivals_open


class ShortestFirst(Static):
    def choose(self):
        return sorted(self.waiting, key=lambda r: r.num_prompt_tokens)[: self.config.batch_size]


class TwoTokens(Static):
    def go_on(self):
        return Plan(extend=[(r, 2) for r in self.running if not r.is_done], rows=list(self.running))


class NamesTwice(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch * 2], rows=batch, span=columns(batch))


class ExtendsTheFirst(Static):
    def go_on(self):
        live = [r for r in self.running if not r.is_done]
        return Plan(extend=[(r, 1) for r in live[: 1 if len(live) == len(self.running) else None]], rows=list(self.running))


class HugeSpan(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=batch, span=10**6)


class SaysWhetherAllAreDone(Static):
    def leavers(self, done):
        return all(r.is_done for r in self.running)


class LeavesOnOnePath(Static):
    def leavers(self, done):
        if all(r.is_done for r in self.running):
            return list(self.running)


class ReturnsPairs(Static):
    def plan(self, now):
        return super().plan(now).extend


class NoScheduler:
    """Begins without the base class."""

    def plan(self, now):
        return Plan()


class WithoutNow(Static):
    def plan(self):
        return Plan()


class PollsForever(Static):
    def plan(self, now):
        return super().plan(now) if self.running or not self.arrivals_open else Plan(wait_until=now + 1e-5)


class ByGenerators(Static):
    """Any iterable will do for the fields of a Plan."""

    def begin(self, batch):
        extend = ((r, r.num_remaining_tokens) for r in batch)
        return Plan(extend=extend, rows=tuple(batch), span=columns(batch))

    def go_on(self):
        live = itertools.filterfalse(lambda r: r.is_done, self.running)
        return Plan(dict.fromkeys(live, 1).items(), rows=iter(self.running))


class KeepsItsBatch(Scheduler):
    """Remembers its batch, and the tokens that each row still has to make."""

    batch = ()

    def plan(self, now):
        if not self.batch:
            full = len(self.waiting) >= self.config.batch_size
            if not full and (self.arrivals_open or not self.waiting):
                return Plan(wait_until=math.inf)
            self.batch = list(itertools.islice(self.waiting, self.config.batch_size))
            wide = sum(max(sizes) for sizes in zip(*[(r.num_prompt_tokens, r.max_num_tokens) for r in self.batch]))
            return Plan([(r, r.num_prompt_tokens) for r in self.batch], rows=self.batch, span=wide)
        return Plan([(r, 1) for r in self.batch if r.finish_reason is None], rows=self.batch)

    def leavers(self, done):
        if any(r.finish_reason is None for r in self.batch):
            return ()
        over, self.batch = self.batch, ()
        return over


class BySequence(Static):
    """Sorts by number, rows from the last to the first."""

    def choose(self):
        return sorted(self.waiting, key=lambda r: r.sequence)[: self.config.batch_size][::-1]


class CountsDown(Static):
    """Leavers by counting those who are not done."""

    open = 0

    def leavers(self, done):
        self.open = len({r for r in self.running if r.finish_reason is None})
        return {True: iter(self.running), False: iter(())}[self.open == 0]


class FillsAPlan(Scheduler):
    """One Plan, filled field by field."""

    def plan(self, now):
        plan = Plan()
        if self.running:
            plan.rows = [*self.running]
            for r in plan.rows:
                if not r.is_done:
                    plan.extend.append((r, r.num_remaining_tokens))
        elif self.waiting and (not self.arrivals_open or len(self.waiting) // self.config.batch_size):
            plan.rows = [r for i, r in enumerate(self.waiting) if i < self.config.batch_size]
            plan.extend += [(r, r.num_tokens) for r in plan.rows]
            plan.span = columns(plan.rows)
        return plan

    def leavers(self, done):
        return [r for r in self.running if not any(not other.is_done for other in self.running)]


class LeavesWithTheFirst(Static):
    def leavers(self, done):
        return list(self.running) if any(r.is_done for r in self.running) else []


class NamesInRows(Static):
    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=[r.request_id for r in batch], span=columns(batch))


class ReturnsADict(Static):
    def plan(self, now):
        return {"extend": super().plan(now).extend}


class WideSpan(Static):
    """Right: a few columns more than are needed."""

    def begin(self, batch):
        return Plan(extend=[(r, r.num_remaining_tokens) for r in batch], rows=tuple(batch), span=columns(batch) + 3)


WRONG = [
    (NeverFlushes, "the batch never fills"),
    (LeavesEarly, "while its batch ran on"),
    (StartsAtOnce, "before it is full"),
    (Packed, "packed, not padded"),
    (NewestFirst, "the newest come first"),
    (TakesAll, "more than batch_size"),
    (OneTooFew, "leaves out somebody who waits"),
    (DropsRows, "gone from the rectangle"),
    (FeedsTheDone, "gives a token to a row that is done"),
    (WaitsForOneMore, "waits for one request more"),
    (MovesQueues, "plan() moved requests"),
    (SetsRunning, "self.running belongs to the engine"),
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
    (EmptyFlush, "max() of nobody"),
    (WaitsForTheLast, "waits until nobody else can come"),
    (ShortestFirst, "sorted by length"),
    (TwoTokens, "more than one token while it writes"),
    (NamesTwice, "plan.extend holds one request twice"),
    (ExtendsTheFirst, "makes no token in step"),
    (HugeSpan, "more than the cache holds for so many rows"),
    (SaysWhetherAllAreDone, "there is True or False"),
    (LeavesOnOnePath, "there is None"),
    (ReturnsPairs, "not the fields themselves"),
    (NoScheduler, "this is no scheduler"),
    (WithoutNow, "cannot be called as the task calls it"),
    (PollsForever, "comes to no end"),
    (LeavesWithTheFirst, "which is no reason for the others"),
    (NamesInRows, "a Plan names the requests themselves"),
    (ReturnsADict, "plan() returned {'extend'"),
]

RIGHT = [
    Static,
    NamesRunningItself,
    InOneMethod,
    ReturnsRunningItself,
    LeavesByGenerator,
    ByGenerators,
    KeepsItsBatch,
    BySequence,
    CountsDown,
    FillsAPlan,
    WideSpan,
]
