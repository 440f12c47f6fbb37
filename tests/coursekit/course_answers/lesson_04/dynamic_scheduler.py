"""Answers to task 04.1, ``DynamicScheduler``: wrong ones with the words of their diagnoses, and right ones."""

import math

from minieng import Plan, Scheduler
from minieng.scheduler.static import StaticScheduler


class ByPlan(StaticScheduler):
    """The straight way; the wrong ones below change one thing each."""

    def due(self, now):
        return self.waiting[0].arrival_time + self.config.wait_window

    def full(self):
        return len(self.waiting) >= self.config.batch_size or not self.arrivals_open

    def begin(self, now):
        return self.new_rectangle(now)

    def idle(self, now):
        return Plan(wait_until=self.due(now))

    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if not self.waiting:
            return Plan()
        return self.begin(now) if self.full() or now >= self.due(now) else self.idle(now)


class ByParts(StaticScheduler):
    """Changes what StaticScheduler asks itself, not its plan."""

    def ready(self, now):
        return bool(self.waiting) and (super().ready(now) or self.wait_until(now) <= now)

    def wait_until(self, now):
        return min((r.arrival_time for r in self.waiting), default=math.inf) + self.config.wait_window


class FromNothing(Scheduler):
    """Its own rectangle. It does not care whether more can come: the last batch waits for its window as well."""

    def plan(self, now):
        if self.running:
            return Plan(extend=[(r, 1) for r in self.running if not r.is_done], rows=list(self.running))
        batch = sorted(self.waiting, key=lambda r: r.sequence)[: self.config.batch_size]
        if not batch:
            return Plan()
        due = batch[0].arrival_time + self.config.wait_window
        if len(batch) < self.config.batch_size and now < due:
            return Plan(wait_until=due)
        width = max(r.num_prompt_tokens for r in batch)
        span = width + max(r.params.max_tokens for r in batch)
        return Plan(extend=[(r, r.num_prompt_tokens) for r in batch], rows=batch, span=span)

    def leavers(self, done):
        return list(self.running) if all(r.is_done for r in self.running) else []


class NoWindow(ByPlan):
    def full(self):
        return True


class SleepsThoughFull(ByPlan):
    def full(self):
        return False


class NewestCounts(ByPlan):
    def due(self, now):
        return self.waiting[-1].arrival_time + self.config.wait_window


class FreeCounts(ByPlan):
    """Starts its stopwatch when the machine is free and somebody waits."""

    since = None

    def due(self, now):
        self.since = now if self.since is None else self.since
        return self.since + self.config.wait_window

    def begin(self, now):
        self.since = None
        return super().begin(now)


class NoAlarm(ByPlan):
    def idle(self, now):
        return Plan()


class OneAtATime(ByPlan):
    def begin(self, now):
        return self.of(list(self.waiting)[:1])

    def of(self, batch):
        return Plan([(r, r.num_prompt_tokens) for r in batch], rows=batch, span=self.slots_per_row(batch))


class TakesAll(OneAtATime):
    def begin(self, now):
        return self.of(list(self.waiting))


class NewestFirst(OneAtATime):
    def begin(self, now):
        return self.of(list(self.waiting)[::-1][: self.config.batch_size])


class Packed(ByPlan):
    def plan(self, now):
        plan = super().plan(now)
        plan.rows, plan.span = None, 0
        return plan

    def leavers(self, done):
        return done


class ForgetsWhoRuns(ByPlan):
    def plan(self, now):
        return Plan() if self.running else super().plan(now)


class LooksAtNobody(StaticScheduler):
    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        due = self.waiting[0].arrival_time + self.config.wait_window
        full = len(self.waiting) >= self.config.batch_size
        return self.new_rectangle(now) if full or now >= due else Plan(wait_until=due)


class RoundsAway(StaticScheduler):
    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if not self.waiting:
            return Plan()
        came, window = self.waiting[0].arrival_time, self.config.wait_window
        if len(self.waiting) >= self.config.batch_size or now - came >= window:
            return self.new_rectangle(now)
        return Plan(wait_until=came + window)


class WindowAnew(StaticScheduler):
    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if not self.waiting:
            return Plan()
        came, window = self.waiting[0].arrival_time, self.config.wait_window
        if len(self.waiting) >= self.config.batch_size or now >= came + window - 1e-9:
            return self.new_rectangle(now)
        return Plan(wait_until=now + window)


class AsksAgainLater(StaticScheduler):
    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if len(self.waiting) >= self.config.batch_size:
            return self.new_rectangle(now)
        return Plan(wait_until=now + self.config.wait_window) if self.waiting else Plan()


class ExactlyFull(ByPlan):
    def full(self):
        return len(self.waiting) == self.config.batch_size or not self.arrivals_open


class HalfWindow(ByPlan):
    def due(self, now):
        return self.waiting[0].arrival_time + self.config.wait_window / 2


class TwoWindows(ByPlan):
    def due(self, now):
        return self.waiting[0].arrival_time + 2 * self.config.wait_window


class OtherUnit(ByPlan):
    """Takes the window for milliseconds."""

    def due(self, now):
        return self.waiting[0].arrival_time + self.config.wait_window / 1000


class OneTooFew(ByPlan):
    def full(self):
        return len(self.waiting) >= max(1, self.config.batch_size - 1) or not self.arrivals_open


class OneTooMany(ByPlan):
    def full(self):
        return len(self.waiting) > self.config.batch_size or not self.arrivals_open


class ShortestFirst(OneAtATime):
    def begin(self, now):
        return self.of(sorted(self.waiting, key=lambda r: r.num_prompt_tokens)[: self.config.batch_size])


class ClosedAtDue(OneAtATime):
    """Only those who came within the window of the oldest, though the machine was busy until later."""

    def begin(self, now):
        due = self.due(now)
        return self.of([r for r in self.waiting if r.arrival_time <= due][: self.config.batch_size])


class NeverDue(ByPlan):
    """Waits until due, and then does not ask whether it has come."""

    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if not self.waiting:
            return Plan()
        return self.begin(now) if len(self.waiting) >= self.config.batch_size else Plan(wait_until=self.due(now))


class NeverFlushes(ByPlan):
    def full(self):
        return len(self.waiting) >= self.config.batch_size

    def idle(self, now):
        return Plan()


class Polls(ByPlan):
    """Looks every 70 ms."""

    def idle(self, now):
        return Plan(wait_until=now + 0.07)


class ReturnsTheBatch(ByPlan):
    def begin(self, now):
        return list(self.waiting)[: self.config.batch_size]


class OneRowAtATime(ByPlan):
    """One row after the other, in one rectangle."""

    def plan(self, now):
        plan = super().plan(now)
        if self.running and len(plan.extend) == len(self.running):
            plan.extend = plan.extend[:1]
        return plan


class Misspelt(ByPlan):
    def due(self, now):
        return self.waiting[0].arrived + self.config.wait_window


class BeginsWithNobody(ByPlan):
    """A batch of nobody is an empty plan, and means: ask me when somebody comes."""

    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if self.full() or self.waiting and now >= self.due(now) or not self.waiting:
            return self.begin(now)
        return self.idle(now)


class CountsDown(StaticScheduler):
    """How long it still has to wait; a little more than nothing counts as nothing."""

    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        left = min((r.arrival_time + self.config.wait_window - now for r in self.waiting), default=math.inf)
        if self.waiting and (left <= 1e-9 or len(self.waiting) >= self.config.batch_size):
            return self.new_rectangle(now)
        return Plan(wait_until=now + left)


class WakesOften(ByPlan):
    """Asks again twice before the window is over: never later than due."""

    def idle(self, now):
        return Plan(wait_until=min(self.due(now), now + self.config.wait_window / 2))


class SetsAnAlarm(StaticScheduler):
    """Notes when the next batch is due, and forgets it when the batch begins."""

    alarm = None

    def plan(self, now):
        if self.running:
            return Plan([(r, 1) for r in self.running if r.finish_reason is None], rows=list(self.running))
        if not self.waiting:
            return Plan(wait_until=None)
        self.alarm = self.alarm or self.waiting[0].arrival_time + self.config.wait_window
        early = now < self.alarm and self.arrivals_open and len(self.waiting) < self.config.batch_size
        if early:
            return Plan(wait_until=self.alarm)
        self.alarm = None
        return self.new_rectangle(now)


class ByTuples(ByPlan):
    """Its own rectangle, of whatever can be run through."""

    def begin(self, now):
        batch = tuple(r for i, r in enumerate(self.waiting) if i < self.config.batch_size)
        return Plan(((r, r.num_remaining_tokens) for r in batch), rows=batch, span=self.slots_per_row(list(batch)))


class ByReasons(StaticScheduler):
    """Names each reason to start, then asks for any."""

    def reasons(self, now):
        yield len(self.waiting) >= self.config.batch_size
        yield not self.arrivals_open
        yield any(now >= r.arrival_time + self.config.wait_window for r in self.waiting)

    def plan(self, now):
        if self.running:
            return self.next_rectangle_step()
        if self.waiting and any(self.reasons(now)):
            return self.new_rectangle(now)
        return Plan(wait_until=min((r.arrival_time + self.config.wait_window for r in self.waiting), default=None))


WRONG = [
    (StaticScheduler, "waits until it is full, although its window is over"),
    (NoWindow, "as soon as somebody is there"),
    (SleepsThoughFull, "a full batch sleeps on"),
    (NewestCounts, "counted from the newest request"),
    (FreeCounts, "when the machine became free"),
    (NoAlarm, "slept on until the next arrival"),
    (OneAtATime, "leaves out somebody"),
    (TakesAll, "more than batch_size"),
    (NewestFirst, "the newest come first"),
    (Packed, "packed, not padded"),
    (LooksAtNobody, "self.waiting is empty"),
    (RoundsAway, "Beware of rounding"),
    (WindowAnew, "begins anew each time the plan is asked"),
    (AsksAgainLater, "not from the moment you are asked"),
    (ForgetsWhoRuns, "self.next_rectangle_step()"),
    (ExactlyFull, "nobody else has a seat in it"),
    (HalfWindow, "a batch starts too early"),
    (TwoWindows, "waits for two windows"),
    (OtherUnit, "a thousandth of what it is"),
    (OneTooFew, "with one seat empty"),
    (OneTooMany, "waits for one request more"),
    (ShortestFirst, "sorted by length"),
    (ClosedAtDue, "came after the window of the oldest was over"),
    (NeverDue, "waits until a time that is over"),
    (NeverFlushes, "when self.arrivals_open is False"),
    (Polls, "a batch starts late, although"),
    (ReturnsTheBatch, "not the fields themselves"),
    (OneRowAtATime, "makes no token in step"),
    (Misspelt, "has no attribute 'arrived'"),
]

RIGHT = [ByPlan, ByParts, FromNothing, BeginsWithNobody, CountsDown, WakesOften, SetsAnAlarm, ByTuples, ByReasons]
