"""Answers to task 05.3, ``ContinuousScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan, Scheduler


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


class StopsAtAPreemption(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, 1):
                plan.extend.append((r, 1))
            if plan.preempt:
                return


class SendsAllBack(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if kv.take(r, 1):
                plan.extend.append((r, 1))
            else:
                plan.preempt.append(r)


WRONG = [
    (WhenEmpty, "A batch need not end"),
    (PromptsFirst, "pauses in step"),
    (OneAtATime, "Let in as many as fit"),
    (NoSlots, "more requests than seats"),
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
    (StopsAtAPreemption, "go through all of self.running, and only then"),
    (SendsAllBack, "your own preemption does not"),
]

RIGHT = [Continuous, WithTheHelpers]
