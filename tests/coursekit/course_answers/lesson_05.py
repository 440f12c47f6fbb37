"""Answers to exercise 05, wrong in every way that was thought of, and right in more than one."""

import heapq

from minieng import Plan, Scheduler


# ---------------------------------------------------------------- 05.1 true_times
def static_time(lengths, slots):
    return sum(max(lengths[i : i + slots]) for i in range(0, len(lengths), slots))


def continuous_time(lengths, slots):
    free = [0] * slots
    for n in lengths:
        heapq.heapreplace(free, free[0] + n)
    return max(free)


def lower_bound(lengths, slots):
    return max(max(lengths, default=0), -(-sum(lengths) // slots))


def times(lengths, slots, static=static_time, continuous=continuous_time, bound=lower_bound):
    """A right answer to be spoilt: each wrong one below changes one part."""
    return static(lengths, slots), continuous(lengths, slots), bound(lengths, slots)


def times_claim(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: sum(n))


def times_split(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: sum(n) / s)


def times_split_rounded(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: -(-sum(n) // s))


def times_one_batch(lengths, slots):
    return times(lengths, slots, static=lambda n, s: max(n, default=0))


def times_loses_last(lengths, slots):
    return times(lengths, slots, static=lambda n, s: static_time(n[: len(n) // s * s], s))


def times_sorted(lengths, slots):
    return times(lengths, slots, static=lambda n, s: static_time(sorted(n), s))


def times_dealt(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: max(sum(n[i::s]) for i in range(s)))


def times_as_static(lengths, slots):
    return times(lengths, slots, continuous=static_time)


def times_longest_first(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: continuous_time(sorted(n)[::-1], s))


def times_longest_only(lengths, slots):
    return times(lengths, slots, continuous=lambda n, s: max(n, default=0))


def times_bound_longest(lengths, slots):
    return times(lengths, slots, bound=lambda n, s: max(n, default=0))


def times_bound_work(lengths, slots):
    return times(lengths, slots, bound=lambda n, s: -(-sum(n) // s))


def times_bound_half(lengths, slots):
    return times(lengths, slots, bound=lambda n, s: max(max(n, default=0), sum(n) / s))


def times_swapped(lengths, slots):
    static, continuous, bound = times(lengths, slots)
    return continuous, static, bound


def times_two(lengths, slots):
    return times(lengths, slots)[:2]


def times_no_empty(lengths, slots):
    return times(lengths, slots, bound=lambda n, s: max(max(n), -(-sum(n) // s)))


def times_step_by_step(lengths, slots):
    """Play both schedules, one step after the other."""
    made = []
    for gate in (True, False):
        waiting, seats, steps = list(lengths), [], 0
        while waiting or seats:
            if not gate or not seats:
                while waiting and len(seats) < slots:
                    seats.append(waiting.pop(0))
            seats = [n - 1 for n in seats if n > 1]
            steps += 1
        made.append(steps)
    bound = 0
    while lengths and (bound * slots < sum(lengths) or bound < max(lengths)):
        bound += 1
    return [*made, bound]


# ---------------------------------------------------------------- 05.2 selective_attention_mask
def grid(slices, rule, new_only=False):
    """rule(i, k, cached, new) for column k of the own request; False elsewhere."""
    total, start, rows = sum(c + n for c, n in slices), 0, []
    for cached, new in slices:
        for i in range(new):
            own = [bool(rule(i, k, cached, new)) for k in range(cached + new)]
            rows.append([False] * start + own + [False] * (total - start - len(own)))
        start += cached + new
    return rows


def mask_right(slices):
    return grid(slices, lambda i, k, cached, new: k <= cached + i)


def mask_leaks(slices):
    rows, start = [], 0
    total = sum(c + n for c, n in slices)
    for cached, new in slices:
        rows += [[k <= start + cached + i for k in range(total)] for i in range(new)]
        start += cached + new
    return rows


def mask_future(slices):
    return grid(slices, lambda i, k, cached, new: True)


def mask_no_cache(slices):
    return grid(slices, lambda i, k, cached, new: cached <= k <= cached + i)


def mask_no_offset(slices):
    return grid(slices, lambda i, k, cached, new: k <= i)


def mask_not_itself(slices):
    return grid(slices, lambda i, k, cached, new: k < cached + i)


def mask_inverted(slices):
    return [[not x for x in row] for row in mask_right(slices)]


def mask_transposed(slices):
    return [list(column) for column in zip(*mask_right(slices), strict=True)]


def mask_new_only(slices):
    return mask_right([[0, n] for _, n in slices])


def mask_all_rows(slices):
    return mask_right([[0, c + n] for c, n in slices])


def mask_caches_first(slices):
    caches, columns = sum(c for c, _ in slices), sum(c + n for c, n in slices)
    rows, a, b = [], 0, caches
    for cached, new in slices:
        rows += [[a <= k < a + cached or b <= k <= b + i for k in range(columns)] for i in range(new)]
        a, b = a + cached, b + new
    return rows


def mask_additive(slices):
    return [[0.0 if x else float("-inf") for x in row] for row in mask_right(slices)]


def mask_one_column_short(slices):
    return [row[:-1] for row in mask_right(slices)]


def mask_by_owner(slices):
    """Write down owner and position of every column and every row, then compare; ones and zeros."""
    columns = [(r, p) for r, (c, n) in enumerate(slices) for p in range(c + n)]
    rows = [(r, p) for r, (c, n) in enumerate(slices) for p in range(c, c + n)]
    return [[int(a == b and k <= q) for b, k in columns] for a, q in rows]


# ---------------------------------------------------------------- 05.3 ContinuousScheduler
class Continuous(Scheduler):
    """A continuous scheduler to be spoilt: each wrong one below changes one thing."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        self.go_on(plan, kv)
        if not plan.preempt:
            self.come_in(plan, kv)
        return plan

    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, 1):
                plan.extend.append((r, 1))

    def come_in(self, plan, kv):
        seats = self.max_num_seqs - len(self.running)
        for r in self.queue_of_mine():
            if not seats or not kv.take(r, self.size(r)):
                break
            plan.extend.append((r, self.size(r)))
            seats -= 1

    def queue_of_mine(self):
        return list(self.waiting)

    def size(self, r):
        return r.num_remaining_tokens


class WhenEmpty(Continuous):
    def come_in(self, plan, kv):
        if not self.running:
            super().come_in(plan, kv)


class PromptsFirst(Continuous):
    def plan(self, now):
        plan = Plan()
        self.come_in(plan, self.kv.ledger())
        if not plan.extend:
            self.go_on(plan, self.kv.ledger())
        return plan


class OneAtATime(Continuous):
    def queue_of_mine(self):
        return list(self.waiting)[:1]


class NoSlots(Continuous):
    def come_in(self, plan, kv):
        for r in self.waiting:
            if not kv.take(r, r.num_remaining_tokens):
                break
            plan.extend.append((r, r.num_remaining_tokens))


class NoLedger(Continuous):
    def come_in(self, plan, kv):
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)]:
            plan.extend.append((r, r.num_remaining_tokens))


class NewestFirst(Continuous):
    def queue_of_mine(self):
        return list(self.waiting)[::-1]


class SkipsTheBig(Continuous):
    def come_in(self, plan, kv):
        seats = self.max_num_seqs - len(self.running)
        for r in self.waiting:
            if seats and kv.take(r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))
                seats -= 1


class EntersWhilePreempting(Continuous):
    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        self.go_on(plan, kv)
        self.come_in(plan, kv)
        return plan


class CutsPrompts(Continuous):
    def size(self, r):
        return 1

    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, 1):
                plan.extend.append((r, 1))


class Padded(Continuous):
    def plan(self, now):
        plan = super().plan(now)
        if not self.running and plan.extend:
            plan.rows = [r for r, _ in plan.extend]
            plan.span = plan.width + max(r.max_num_tokens - r.num_tokens for r in plan.rows)
        elif self.running:
            plan.extend = [(r, 1) for r in self.running]
            plan.rows = list(self.running)
        return plan


class MovesQueues(Continuous):
    def queue_of_mine(self):
        taken = []
        while self.waiting:
            taken.append(self.waiting.popleft())
        return taken


class GivesUpWithoutMemory(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if kv.take(r, 1):
                plan.extend.append((r, 1))


class ForgetsTheLast(Continuous):
    def go_on(self, plan, kv):
        for r in self.running[:-1] or self.running:
            if self.make_room(plan, kv, r, 1):
                plan.extend.append((r, 1))


class ReturnsNothing(Continuous):
    def plan(self, now):
        if not self.waiting:
            return None
        return super().plan(now)


class WaitsForACrowd(Continuous):
    def plan(self, now):
        if not self.running and len(self.waiting) < self.max_num_seqs and self.arrivals_open:
            return Plan()
        return super().plan(now)


class WithTheHelpers(Scheduler):
    """Another design: the engine's own helpers, newcomers by `admit`."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if self.make_room(plan, kv, r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))
        if not plan.preempt:
            self.admit(plan, kv, now, budget=10_000)
        return plan


WRONG = {
    "05.1": [
        (times_claim, "the time of a single slot"),
        (times_split, "spread over several slots"),
        (times_split_rounded, "rounding up sum / slots"),
        (times_one_batch, "all requests into one batch"),
        (times_loses_last, "the last batch is missing"),
        (times_sorted, "you sorted the requests"),
        (times_dealt, "dealt the requests out like cards"),
        (times_as_static, "this is the static time"),
        (times_longest_first, "served the longest first"),
        (times_longest_only, "a slot for everybody"),
        (times_bound_longest, "you left out the work"),
        (times_bound_work, "you left out the longest"),
        (times_bound_half, "half a step does not exist"),
        (times_swapped, "static and continuous are swapped"),
        (times_two, "the answer is three numbers"),
        (times_no_empty, "nobody may be waiting"),
    ],
    "05.2": [
        (mask_leaks, "the batch leaks"),
        (mask_future, "sees a later one of its own prompt"),
        (mask_no_cache, "does not see its own cache"),
        (mask_no_offset, "stand *behind* the cache"),
        (mask_not_itself, "may look at itself"),
        (mask_inverted, "the wrong way round"),
        (mask_transposed, "rows and columns are swapped"),
        (mask_new_only, "columns of the cached tokens are missing"),
        (mask_all_rows, "rows for cached tokens"),
        (mask_caches_first, "all caches first"),
        (mask_additive, "True or False"),
        (mask_one_column_short, "one column for each cached or new token"),
    ],
    "05.3": [
        (WhenEmpty, "A batch need not end"),
        (PromptsFirst, "pauses in step"),
        (OneAtATime, "Let in as many as fit"),
        (NoSlots, "more requests than slots"),
        (NoLedger, "more KV blocks than are free"),
        (NewestFirst, "from its front"),
        (SkipsTheBig, "small ones always slip past"),
        (EntersWhilePreempting, "Let nobody in if plan.preempt"),
        (CutsPrompts, "prompt tokens in step"),
        (Padded, "is a padded rectangle"),
        (MovesQueues, "plan() moved requests"),
        (GivesUpWithoutMemory, "needs one more block and none is free"),
        (ForgetsTheLast, "gets nothing in step"),
        (ReturnsNothing, "must return a Plan on every path"),
        (WaitsForACrowd, "the machine stands still"),
    ],
}

RIGHT = {
    "05.1": [times, times_step_by_step],
    "05.2": [mask_right, mask_by_owner],
    "05.3": [Continuous, WithTheHelpers],
}
