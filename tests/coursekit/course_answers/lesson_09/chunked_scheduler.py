"""Answers to task 09.1, ``ChunkedScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan, Scheduler


class Chunked(Scheduler):
    """A chunked scheduler to be spoilt: each wrong one below changes one thing."""

    def plan(self, now):
        self.made, self.paper, self.left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        for r in self.old():
            n = self.chunk(r)
            if n and self.make_room(self.made, self.paper, r, n):
                self.made.extend.append((r, n))
            self.left = self.max_num_batched_tokens - self.made.num_tokens
        if not self.made.preempt:
            self.newcomers(list(self.waiting))
        return self.made

    def old(self):
        return [r for r in self.running if r.is_decode] + [r for r in self.running if not r.is_decode]

    def chunk(self, r):
        return min(r.num_remaining_tokens, self.left)

    def newcomers(self, waiting):
        seats = self.max_num_seqs - len(self.running)
        for r in waiting[:seats]:
            n = self.chunk(r)
            if not n or not self.paper.take(r, n):
                return
            self.made.extend.append((r, n))
            self.left -= n


class WholePrompts(Chunked):
    def chunk(self, r):
        return r.num_remaining_tokens if self.left > 0 else 0


class BudgetForEach(Chunked):
    def chunk(self, r):
        return min(r.num_remaining_tokens, self.max_num_batched_tokens)


class PromptsOnlyFirst(Chunked):
    """Newcomers as well come before those who write."""

    def plan(self, now):
        made, paper, left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        seats = self.max_num_seqs - len(self.running)
        prompts = [r for r in self.running if not r.is_decode] + list(self.waiting)[:seats]
        for r in [*prompts, *(r for r in self.running if r.is_decode)]:
            n = min(r.num_remaining_tokens, left)
            if n and (self.make_room(made, paper, r, n) if r in self.running else paper.take(r, n)):
                made.extend.append((r, n))
                left -= n
        return made


class NotFused(Chunked):
    """A chunk of at most 3 tokens in a step of its own, then a step of decodes."""

    turn = 0

    def plan(self, now):
        self.turn += 1
        writing = [r for r in self.running if r.is_decode]
        reading = [r for r in self.running if not r.is_decode] or list(self.waiting)[: self.max_num_seqs - len(self.running)]
        if reading and (self.turn % 2 or not writing):
            r = reading[0]
            return Plan(extend=[(r, min(r.num_remaining_tokens, 3, self.max_num_batched_tokens - len(writing)))])
        return Plan(extend=[(r, 1) for r in writing])


class NewFirst(Chunked):
    """Prompts that have begun come last."""

    def plan(self, now):
        made, paper, left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        seats = self.max_num_seqs - len(self.running)
        begun = [r for r in self.running if not r.is_decode]
        for r in [*(r for r in self.running if r.is_decode), *list(self.waiting)[:seats], *begun]:
            n = min(r.num_remaining_tokens, left)
            if n and (self.make_room(made, paper, r, n) if r in self.running else paper.take(r, n)):
                made.extend.append((r, n))
                left -= n
        return made


class Skips(Chunked):
    """Gives a prompt all that it lacks, or nothing."""

    def chunk(self, r):
        return r.num_remaining_tokens if r.num_remaining_tokens <= self.left else 0

    def newcomers(self, waiting):
        seats = self.max_num_seqs - len(self.running)
        for r in waiting:
            n = self.chunk(r)
            if n and seats > 0 and self.paper.take(r, n):
                self.made.extend.append((r, n))
                self.left -= n
                seats -= 1


class NewestFirst(Chunked):
    def newcomers(self, waiting):
        super().newcomers(waiting[::-1])


class SmallChunks(Chunked):
    def chunk(self, r):
        return min(r.num_remaining_tokens, self.left, 2)


class OnePrompt(Chunked):
    def chunk(self, r):
        if not r.is_decode and any(not other.is_decode for other, _ in self.made.extend):
            return 0
        return super().chunk(r)


class DecodesOnly(Chunked):
    def chunk(self, r):
        return 0 if not r.is_decode and any(other.is_decode for other in self.running) else super().chunk(r)


class NoLedger(Chunked):
    def plan(self, now):
        made, left = Plan(), self.max_num_batched_tokens
        new = list(self.waiting)[: self.max_num_seqs - len(self.running)]
        for r in [*self.old(), *new]:
            n = min(r.num_remaining_tokens, left)
            if n:
                made.extend.append((r, n))
                left -= n
        return made


class NobodyGivesWay(Chunked):
    """Asks the ledger for the running as well, so that nobody is ever preempted."""

    def plan(self, now):
        made, paper, left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        new = list(self.waiting)[: self.max_num_seqs - len(self.running)]
        for r in [*self.old(), *new]:
            n = min(r.num_remaining_tokens, left)
            if n and paper.take(r, n):
                made.extend.append((r, n))
                left -= n
        return made


class LetsInWhilePreempting(Chunked):
    def plan(self, now):
        made = super().plan(now)
        if made.preempt:
            self.newcomers(list(self.waiting))
        return made


class PassesBy(Chunked):
    """Goes on to the next where the ledger has no room for the first."""

    def newcomers(self, waiting):
        for r in waiting[: self.max_num_seqs - len(self.running)]:
            n = self.chunk(r)
            if n and self.paper.take(r, n):
                self.made.extend.append((r, n))
                self.left -= n


class NoSeats(Chunked):
    def newcomers(self, waiting):
        for r in waiting:
            n = self.chunk(r)
            if n and self.paper.take(r, n):
                self.made.extend.append((r, n))
                self.left -= n


class EmptySlices(Chunked):
    def newcomers(self, waiting):
        seats = self.max_num_seqs - len(self.running)
        for r in waiting[:seats]:
            n = self.chunk(r)
            if self.paper.take(r, n):
                self.made.extend.append((r, n))
                self.left -= n


class Helped(Scheduler):
    """Another design: the base class lets the newcomers in; one pass over a sorted list before that."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in sorted(self.running, key=lambda r: r.num_remaining_tokens > 1):
            room = self.max_num_batched_tokens - plan.num_tokens
            if room > 0 and self.make_room(plan, kv, r, min(room, r.num_remaining_tokens)):
                plan.extend.append((r, min(room, r.num_remaining_tokens)))
        if not plan.preempt:
            self.admit(plan, kv, now, self.max_num_batched_tokens - plan.num_tokens, whole=False)
        return plan


class StopsAtAPreemption(Chunked):
    def old(self):
        for r in super().old():
            if self.made.preempt:
                return
            yield r


class SendsAllBack(Chunked):
    def plan(self, now):
        made, paper, left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        for r in self.old():
            n = min(r.num_remaining_tokens, left)
            if n and paper.take(r, n):
                made.extend.append((r, n))
                left -= n
            elif n:
                made.preempt.append(r)
        if made.preempt:
            return made
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)]:
            n = min(r.num_remaining_tokens, left)
            if not n or not paper.take(r, n):
                break
            made.extend.append((r, n))
            left -= n
        return made


class DecodesOnTop(Chunked):
    def plan(self, now):
        made, paper, left = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        for r in self.old():
            n = 1 if r.is_decode else min(r.num_remaining_tokens, left)
            if n and self.make_room(made, paper, r, n):
                made.extend.append((r, n))
                left -= 0 if r.is_decode else n
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)] if not made.preempt else ():
            n = min(r.num_remaining_tokens, left)
            if not n or not paper.take(r, n):
                break
            made.extend.append((r, n))
            left -= n
        return made


class SplitsEvenly(Chunked):
    def plan(self, now):
        made, paper = Plan(), self.kv.ledger()
        for r in self.running:
            if r.is_decode and self.make_room(made, paper, r, 1):
                made.extend.append((r, 1))
        prompts = [r for r in self.running if not r.is_decode] + list(self.waiting)[: self.max_num_seqs - len(self.running)]
        left = self.max_num_batched_tokens - len(made.extend)
        for i, r in enumerate(prompts if not made.preempt else ()):
            n = min(r.num_remaining_tokens, -(-left // (len(prompts) - i)))
            if n and (self.make_room(made, paper, r, n) if r in self.running else paper.take(r, n)):
                made.extend.append((r, n))
                left -= n
        return made


class TwoTokens(Chunked):
    def chunk(self, r):
        return min(2 if r.is_decode else r.num_remaining_tokens, self.left)


class CountsTwice(Chunked):
    """Takes each token of those who write on the ledger, and asks for room for it once more."""

    def old(self):
        for r in super().old():
            if r.is_decode and r not in self.made.preempt:
                self.paper.take(r, 1)
            yield r


class NamesTheVictim(Chunked):
    def plan(self, now):
        made = super().plan(now)
        made.extend += [(r, 1) for r in made.preempt]
        return made


class LooksAtTheFirst(Chunked):
    def plan(self, now):
        return super().plan(now) if self.waiting[0].arrival_time <= now else Plan()


class LongestOfNobody(Chunked):
    def old(self):
        longest = max(r.num_remaining_tokens for r in self.running)
        return sorted(self.running, key=lambda r: r.num_remaining_tokens == longest > 1)


class Misspelt(Chunked):
    def chunk(self, r):
        return min(r.num_remaining_tokens, self.max_batched_tokens)


class ReturnsPairs(Chunked):
    def plan(self, now):
        return super().plan(now).extend


class KeepsThemAll(Chunked):
    def leavers(self, done):
        return []


class InTwoPasses(Scheduler):
    """Writes down what each gets first, and asks the ledger afterwards."""

    def plan(self, now):
        plan, kv, left, wish = Plan(), self.kv.ledger(), self.max_num_batched_tokens, {}
        begun = [r for r in self.running if r.num_remaining_tokens > 1]
        for r in [*(r for r in self.running if r not in begun), *begun]:
            wish[r] = min(left, r.num_remaining_tokens)
            left -= wish[r]
        for r, n in wish.items():
            if n and self.make_room(plan, kv, r, n):
                plan.extend.append((r, n))
        for r in list(self.waiting)[: 0 if plan.preempt else self.max_num_seqs - len(self.running)]:
            n = min(left, r.num_remaining_tokens)
            if n == 0 or not kv.take(r, n):
                return plan
            plan.extend.append((r, n))
            left -= n
        return plan


class ByGenerators(Scheduler):
    """Who, then how much: pairs that come one after the other."""

    def pairs(self, made, paper):
        for r in sorted(self.running, key=lambda r: (not r.is_decode, self.running.index(r))):
            n = min(r.num_remaining_tokens, self.max_num_batched_tokens - made.num_tokens)
            if n > 0 and self.make_room(made, paper, r, n):
                yield r, n
        free = 0 if made.preempt else self.max_num_seqs - len(self.running)
        for r in tuple(self.waiting)[:free]:
            n = min(r.num_remaining_tokens, self.max_num_batched_tokens - made.num_tokens)
            if n < 1 or not paper.take(r, n):
                return
            yield r, n

    def plan(self, now):
        made = Plan()
        for pair in self.pairs(made, self.kv.ledger()):
            made.extend.append(pair)
        return Plan(extend=iter(made.extend), preempt=tuple(made.preempt))


class GivesWayByHand(Scheduler):
    """Its own make_room: whoever came last goes, with all that was planned for it."""

    def plan(self, now):
        kv, planned, gone = self.kv.ledger(), {}, []

        def left():
            return self.max_num_batched_tokens - sum(planned.values())

        for writes in (True, False):
            for r in self.running:
                n = min(r.num_remaining_tokens, left())
                if r.is_decode != writes or r in gone or not n:
                    continue
                while r not in gone and not kv.take(r, n):
                    victim = [other for other in self.running if other not in gone][-1]
                    kv.give_back(victim)
                    planned.pop(victim, None)
                    gone.append(victim)
                if r not in gone:
                    planned[r] = n
        seats = 0 if gone else self.max_num_seqs - len(self.running)
        for r in list(self.waiting)[:seats]:
            n = min(r.num_remaining_tokens, left())
            if not n or not kv.take(r, n):
                break
            planned[r] = n
        return Plan(planned.items(), preempt=gone)


class OneLoop(Scheduler):
    """Everybody in one line, decodes in front; a flag says when the door is shut."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        line = [*self.running, *list(self.waiting)[: self.max_num_seqs - len(self.running)]]
        line.sort(key=lambda r: 0 if r.is_decode else 1 if r in self.running else 2)
        shut = False
        for r in line:
            room = self.max_num_batched_tokens - plan.num_tokens
            n = min(room, r.num_remaining_tokens)
            if r in self.running:
                if n and self.make_room(plan, kv, r, n):
                    plan.extend.append((r, n))
            else:
                shut = shut or bool(plan.preempt) or not n or not kv.take(r, n)
                plan.extend += [] if shut else [(r, n)]
        return plan


class Recursive(Scheduler):
    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        decodes = [r for r in self.running if r.is_decode]
        self.go_on(plan, kv, decodes + [r for r in self.running if r not in decodes])
        if not plan.preempt:
            self.enter(plan, kv, list(self.waiting)[: self.max_num_seqs - len(self.running)])
        return plan

    def share(self, plan, r):
        return min(r.num_remaining_tokens, self.max_num_batched_tokens - sum(n for _, n in plan.extend))

    def go_on(self, plan, kv, left):
        if left:
            n = self.share(plan, left[0])
            plan.extend += [(left[0], n)] * bool(n and self.make_room(plan, kv, left[0], n))
            self.go_on(plan, kv, left[1:])

    def enter(self, plan, kv, left):
        n = self.share(plan, left[0]) if left else 0
        if n and kv.take(left[0], n):
            plan.extend.append((left[0], n))
            self.enter(plan, kv, left[1:])


class NeverGoesOn(Chunked):
    """Looks for prompts among those who wait alone."""

    def old(self):
        return [r for r in self.running if r.is_decode]


class TwoWriters(Chunked):
    """Two decodes a step, whoever writes."""

    def old(self):
        return [r for r in self.running if r.is_decode][:2] + [r for r in self.running if not r.is_decode]


class ByStableSort(Chunked):
    """Right: one sort in place of two lists, and the sum of the plan in place of a count."""

    def old(self):
        return sorted(self.running, key=lambda r: not r.is_decode)

    def chunk(self, r):
        return min(r.num_remaining_tokens, self.max_num_batched_tokens - sum(n for _, n in self.made.extend))


WRONG = [
    (WholePrompts, "in one piece"),
    (BudgetForEach, "the budget is for the step"),
    (PromptsOnlyFirst, "Serve those who write first"),
    (NotFused, "belong into the same step"),
    (NewFirst, "Finish what is begun"),
    (Skips, "It does not fit whole"),
    (NewestFirst, "a newcomer overtakes it"),
    (SmallChunks, "A chunk is as large as what is left"),
    (OnePrompt, "One prompt a step is not the limit"),
    (DecodesOnly, "prompts starve as long as anybody writes"),
    (NoLedger, "takes more KV blocks than are free"),
    (NobodyGivesWay, "makes somebody give way"),
    (LetsInWhilePreempting, "Admit nobody in a step"),
    (PassesBy, "small requests pass a large one"),
    (NoSeats, "admits more requests than there are seats"),
    (EmptySlices, "no token at all"),
    (StopsAtAPreemption, "go through everybody who runs"),
    (SendsAllBack, "your own preemption does not"),
    (DecodesOnTop, "decodes come on top"),
    (SplitsEvenly, "split evenly"),
    (TwoTokens, "more tokens than it has left"),
    (CountsTwice, "counted twice"),
    (NamesTheVictim, "sends a request back and computes for it too"),
    (LooksAtTheFirst, "self.waiting is empty"),
    (LongestOfNobody, "max() of nobody"),
    (Misspelt, "has no attribute 'max_batched_tokens'"),
    (ReturnsPairs, "not the fields themselves"),
    (KeepsThemAll, "names a request that is finished"),
    (NeverGoesOn, "goes on from there"),
    (TwoWriters, "go through all of self.running"),
]

RIGHT = [Chunked, Helped, InTwoPasses, ByGenerators, GivesWayByHand, OneLoop, Recursive, ByStableSort]
