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


class OneSeatEmpty(Continuous):
    def come_in(self, plan, kv):
        for r in list(self.waiting)[: max(0 if self.running else 1, self.max_num_seqs - 1 - len(self.running))]:
            if not kv.take(r, r.num_remaining_tokens):
                break
            plan.extend.append((r, r.num_remaining_tokens))


class ShortestFirst(Continuous):
    def queue_of_mine(self):
        return sorted(self.waiting, key=lambda r: r.num_prompt_tokens)


class ReservesTheAnswer(Continuous):
    def come_in(self, plan, kv):
        seats = self.max_num_seqs - len(self.running)
        for r in list(self.waiting)[:seats]:
            if kv.free * 4 < r.max_num_tokens or not kv.take(r, r.num_remaining_tokens):
                break
            plan.extend.append((r, r.num_remaining_tokens))


class CountsTwice(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, 1) and (kv.take(r, 4) or self.make_room(plan, kv, r, 4)):
                plan.extend.append((r, 1))


class KeepsTheVictim(Continuous):
    """Preempts somebody who has been planned already, and leaves the slice in."""

    def go_on(self, plan, kv):
        for r in self.running:
            while not kv.take(r, 1):
                victim = next(other for other in self.running if other not in plan.preempt)
                kv.give_back(victim)
                plan.preempt.append(victim)
            plan.extend.append((r, 1))


class LastVictimAgain(Continuous):
    """Whoever finds no block sends the last one back, whether or not it has gone already."""

    def go_on(self, plan, kv):
        last = self.running[-1:]
        for r in self.running:
            if r not in plan.preempt and not kv.take(r, 1):
                kv.give_back(*last)
                plan.preempt += last
                plan.drop(*last)
                if r in last or not kv.take(r, 1):
                    continue
            if r not in plan.preempt:
                plan.extend.append((r, 1))


class AllAreInLine(Continuous):
    """Goes through those who run once more, among those who may come in."""

    def come_in(self, plan, kv):
        super().come_in(plan, kv)
        plan.extend += [(r, 1) for r in self.running if kv.take(r, 1)]


class PreemptsTheWaiting(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if kv.take(r, 1):
                plan.extend.append((r, 1))
        if len(plan.extend) < len(self.running):
            plan.preempt += list(self.waiting)[:1] or self.running[-1:]


class TwoTokens(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, 2):
                plan.extend.append((r, 2))


class ZeroTokens(Continuous):
    def come_in(self, plan, kv):
        for r in self.waiting:
            room = len(plan.extend) < self.max_num_seqs and kv.take(r, r.num_remaining_tokens)
            plan.extend.append((r, r.num_remaining_tokens if room else 0))


class KeepsTheDone(Continuous):
    def go_on(self, plan, kv):
        for r in self.running:
            if not r.is_done and self.make_room(plan, kv, r, 1):
                plan.extend.append((r, 1))

    def leavers(self, done):
        return list(self.running) if all(r.is_done for r in self.running) else []


class FeedsTheDone(Continuous):
    def leavers(self, done):
        return list(self.running) if all(r.is_done for r in self.running) else []


class LooksAtTheFirst(Continuous):
    def plan(self, now):
        oldest = self.running[0]
        return super().plan(now) if oldest else Plan()


class LongestOfNobody(Continuous):
    def go_on(self, plan, kv):
        n = max(r.num_remaining_tokens for r in self.running)
        plan.extend += [(r, n) for r in self.running if self.make_room(plan, kv, r, n)]


class ReturnsPairs(Continuous):
    def plan(self, now):
        return super().plan(now).extend


class OfNothing:
    """Begins without the base class."""

    plan = Continuous.plan


class NewcomersInFront(Scheduler):
    """Counts the running first, and lays the newcomers out before them."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if self.make_room(plan, kv, r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))
        new = []
        while not plan.preempt and len(new) < min(len(self.waiting), self.max_num_seqs - len(self.running)):
            r = self.waiting[len(new)]
            if not kv.take(r, r.num_remaining_tokens):
                break
            new.append((r, r.num_remaining_tokens))
        plan.extend = new + plan.extend
        return plan


class PreemptsByHand(Scheduler):
    """Its own choice of who gives way: whoever came last, counted from the end of the line."""

    def plan(self, now):
        kv, stay, gone = self.kv.ledger(), list(self.running), []
        served = []
        for r in list(stay):
            while r in stay and not kv.take(r, 1):
                victim = stay.pop()
                kv.give_back(victim)
                gone.append(victim)
            served += [r] * (r in stay)
        plan = Plan([(r, 1) for r in served if r in stay], preempt=gone)
        for r in self.waiting if not gone else ():
            if len(self.running) + sum(r in self.waiting for r, _ in plan.extend) == self.max_num_seqs:
                break
            if not kv.take(r, r.num_remaining_tokens):
                break
            plan.extend.append((r, r.num_remaining_tokens))
        return plan


class ByGenerator(Continuous):
    """Its pairs come one after the other."""

    def pairs(self, plan, kv):
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)]:
            if plan.preempt or not kv.take(r, r.num_remaining_tokens):
                return
            yield r, r.num_remaining_tokens

    def plan(self, now):
        going, kv = Plan(), self.kv.ledger()
        self.go_on(going, kv)
        new = self.pairs(going, kv)
        return Plan(extend=(pair for pairs in (going.extend, new) for pair in pairs), preempt=tuple(going.preempt))


class ByItsQueue(Scheduler):
    """The engine's own order, and Python's all() to stop at the first who does not fit."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        plan.extend = [(r, 1) for r in self.running if self.make_room(plan, kv, r, 1)]
        plan.extend = [(r, n) for r, n in plan.extend if r not in plan.preempt]
        seats = self.max_num_seqs - len(self.running)
        if not plan.preempt:
            all(self.enter(plan, kv, r) for r in list(self.queue(now, kv))[:seats])
        return plan

    def enter(self, plan, kv, r):
        fits = kv.take(r, r.num_tokens)
        plan.extend += [(r, r.num_tokens)] * fits
        return fits


class Counts(Continuous):
    """Counts seats down; leavers named once more."""

    def plan(self, now):
        plan, kv, seats = Plan(), self.kv.ledger(), self.max_num_seqs
        for r in [*self.running, *self.waiting]:
            runs = bool(r.block_table)
            if seats and (self.make_room(plan, kv, r, 1) if runs else not plan.preempt and kv.take(r, r.num_tokens)):
                plan.extend.append((r, 1 if runs else r.num_tokens))
                seats -= 1
            elif not runs:
                break
        return plan

    def leavers(self, done):
        return (r for r in done)


class AfraidOfCrowds(Continuous):
    """Lets nobody in as long as somebody runs who was sent back once."""

    def come_in(self, plan, kv):
        if not any(r.num_preemptions for r in self.running):
            super().come_in(plan, kv)


WRONG = [
    (WhenEmpty, "A batch need not end"),
    (PromptsFirst, "pauses in step"),
    (OneAtATime, "Let in as many as fit"),
    (NoSlots, "more requests than seats"),
    (NoLedger, "more KV blocks than are free"),
    (NewestFirst, "the newest come first"),
    (SkipsTheBig, "small ones always slip past"),
    (EntersWhilePreempting, "Let nobody in if plan.preempt"),
    (CutsPrompts, "prompt tokens in step"),
    (Padded, "is a padded rectangle"),
    (MovesQueues, "plan() moved requests"),
    (GivesUpWithoutMemory, "needs one more block and none is free"),
    (ForgetsTheLast, "runs, but gets nothing in step"),
    (ReturnsNothing, "must return a Plan on every path"),
    (WaitsForACrowd, "the machine stands still"),
    (StopsAtAPreemption, "go through all of self.running, and only then"),
    (SendsAllBack, "your own preemption does not"),
    (OneSeatEmpty, "the last seat stays empty"),
    (ShortestFirst, "sorted by length"),
    (ReservesTheAnswer, "room for its whole answer is not needed yet"),
    (CountsTwice, "counted twice on the ledger"),
    (KeepsTheVictim, "sends a request back and computes for it too"),
    (LastVictimAgain, "plan.preempt holds one request twice"),
    (AllAreInLine, "plan.extend holds one request twice"),
    (PreemptsTheWaiting, "preempts a request that holds no KV"),
    (TwoTokens, "which is one for whoever writes"),
    (ZeroTokens, "no token at all"),
    (KeepsTheDone, "has all its tokens and still sits there"),
    (FeedsTheDone, "names a request that is finished"),
    (LooksAtTheFirst, "a list is shorter than your index"),
    (LongestOfNobody, "max() of nobody"),
    (ReturnsPairs, "not the fields themselves"),
    (OfNothing, "this is no scheduler"),
    (AfraidOfCrowds, "seats are taken. A batch need not end"),
]

RIGHT = [Continuous, WithTheHelpers, NewcomersInFront, PreemptsByHand, ByGenerator, ByItsQueue, Counts]
