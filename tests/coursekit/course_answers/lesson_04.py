"""Answers to exercise 04, wrong in every way that was thought of, and right in more than one."""

import math

import numpy as np

from minieng import Plan, Scheduler
from minieng.scheduler.static import StaticScheduler


# ---------------------------------------------------------------- 04.1 DynamicScheduler
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


# ---------------------------------------------------------------- 04.2 batcher
def mended(arrivals, size, window, takes, **spoil):
    """One pass over the arrivals; each wrong answer below changes one thing."""
    free, first, log = 0, 0, []
    while first < len(arrivals):
        due = arrivals[first] + window
        full = arrivals[first + size - 1] if first + size <= len(arrivals) else math.inf
        start = spoil.get("start", lambda free, full, due: max(free, min(full, due)))(free, full, due)
        present = [i for i in range(first, len(arrivals)) if arrivals[i] <= start]
        rows = present[: spoil.get("seats", size)]
        log.append((start, rows))
        first += len(rows)
        free = start + takes
    return log


def tick_by_tick(arrivals, size, window, takes):
    """Lets time pass one tick after the other."""
    now, free, waiting, log = 0, 0, [], []
    coming = list(enumerate(arrivals))
    while coming or waiting:
        while coming and coming[0][1] <= now:
            waiting.append(coming.pop(0))
        if waiting and now >= free and (len(waiting) >= size or now - waiting[0][1] >= window):
            log.append([now, [i for i, _ in waiting[:size]]])
            waiting, free = waiting[size:], now + takes
        now += 1
    return log


def sleeps(arrivals, size, window, takes):
    """The code as it is handed out."""
    now, log, waiting = 0, [], list(range(len(arrivals)))
    while waiting:
        now += window
        batch = [i for i in waiting if arrivals[i] <= now][:size]
        log.append((now, batch))
        waiting = waiting[len(batch) :]
        now += takes
    return log


def runs_empty(arrivals, size, window, takes):
    """Wakes up when the batch is full, but also when nobody has come for a window."""
    log, free = [], 0
    for start, rows in mended(arrivals, size, window, takes):
        if arrivals[rows[0]] > free + window:
            log.append((free + window, []))
        log.append((start, rows))
        free = start + takes
    return log


def no_window(arrivals, size, window, takes):
    """Starts as soon as somebody is there."""
    return tick_by_tick(arrivals, size, 0, takes)


def static(arrivals, size, window, takes):
    def start(free, full, due):
        return max(free, full if full < math.inf else due, arrivals[-1] if full == math.inf else 0)

    return mended(arrivals, size, window, takes, start=start)


def window_from_free(arrivals, size, window, takes):
    """A window for each batch that begins when the machine is free and somebody is there."""
    free, waiting, log = 0, list(range(len(arrivals))), []
    while waiting:
        begins = max(free, arrivals[waiting[0]])
        full = arrivals[waiting[size - 1]] if len(waiting) >= size else math.inf
        start = max(free, min(full, begins + window))
        rows = [i for i in waiting if arrivals[i] <= start][:size]
        log.append((start, rows))
        waiting, free = waiting[len(rows) :], start + takes
    return log


def loses_last(arrivals, size, window, takes):
    return mended(arrivals, size, window, takes)[:-1] or [(arrivals[0], [0])][:0]


# ---------------------------------------------------------------- 04.3 best_window
def p95(latencies):
    ordered = sorted(latencies)
    return ordered[math.ceil(len(ordered) * 95 / 100) - 1]


def pick(runs, limit, measure=p95, prefer=lambda r: (r[2], r[0])):
    kept = [r for r in runs if measure(r[1]) <= limit]
    return min(kept, key=prefer)[0] if kept else -1


def pick_by_counting(runs, limit):
    """Without sorting: at most one request in twenty may be slower than the limit."""
    best = None
    for window, latencies, busy in runs:
        slow = sum(x > limit for x in latencies)
        if 20 * slow <= len(latencies) and (best is None or (busy, window) < best):
            best = busy, window
    return best[1] if best else -1


def pick_place(runs, limit):
    found = pick(runs, limit)
    return found if found == -1 else 1000 + [r[0] for r in runs].index(found)


def pick_always(runs, limit):
    return pick(runs, limit) if pick(runs, limit) != -1 else min(runs, key=lambda r: (r[2], r[0]))[0]


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


WRONG = {
    "04.1": [
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
    ],
    "04.2": [
        (sleeps, "sleeps on: nobody else has a seat"),
        (runs_empty, "it is empty"),
        (no_window, "starts too early"),
        (static, "waits until it is full"),
        (window_from_free, "when the machine became free"),
        (loses_last, "requests are lost"),
        (lambda a, s, w, t: mended(a, s, w, 0), "while the batch before it runs"),
        (lambda a, s, w, t: mended(a, s, w, t, seats=1), "is left out"),
        (lambda a, s, w, t: mended(a, s, w, t, seats=s + 1), "size is"),
    ],
    "04.3": [
        (lambda runs, limit: pick(runs, limit, lambda x: sum(x) / len(x)), "compare the mean"),
        (lambda runs, limit: pick(runs, limit, max), "the slowest request"),
        (lambda runs, limit: pick(runs, limit, lambda x: np.percentile(x, 95)), "as np.percentile has it"),
        (lambda runs, limit: pick(runs, limit, lambda x: sorted(x)[int(0.95 * len(x))]), "rank is one too large"),
        (lambda runs, limit: pick(runs, limit, lambda x: x[math.ceil(len(x) * 95 / 100) - 1]), "sort them first"),
        (lambda runs, limit: pick(runs, limit - 1), "strictly below"),
        (lambda runs, limit: pick(runs, limit, prefer=lambda r: -r[0]), "the longest window"),
        (lambda runs, limit: pick(runs, limit, prefer=lambda r: r[0]), "the shortest window"),
        (lambda runs, limit: pick(runs, limit, prefer=lambda r: p95(r[1])), "the smallest P95"),
        (pick_always, "forget the limit"),
        (lambda runs, limit: pick(runs, limit, prefer=lambda r: (r[2], -r[0])), "two windows cost the same"),
        (pick_place, "none of the windows"),
        (lambda runs, limit: -1, "there is a window that keeps the limit"),
    ],
}

RIGHT = {
    "04.1": [ByPlan, ByParts, FromNothing],
    "04.2": [mended, tick_by_tick],
    "04.3": [pick, pick_by_counting],
}
