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


class ExactlyFull(ByPlan):
    def full(self):
        return len(self.waiting) == self.config.batch_size or not self.arrivals_open


WRONG = [
    (StaticScheduler, "waits until it is full, although its window is over"),
    (NoWindow, "starts too early"),
    (SleepsThoughFull, "a full batch sleeps on"),
    (NewestCounts, "counted from the newest request"),
    (FreeCounts, "when the machine became free"),
    (NoAlarm, "slept on until the next arrival"),
    (OneAtATime, "leaves out somebody"),
    (TakesAll, "more than batch_size"),
    (NewestFirst, "somebody overtakes"),
    (Packed, "packed, not padded"),
    (LooksAtNobody, "plan is asked also when nobody waits"),
    (RoundsAway, "Beware of rounding"),
    (WindowAnew, "begins anew whenever one comes"),
    (ForgetsWhoRuns, "your plan is empty although requests wait"),
    (ExactlyFull, "nobody else has a seat in it"),
]

RIGHT = [ByPlan, ByParts, FromNothing]
