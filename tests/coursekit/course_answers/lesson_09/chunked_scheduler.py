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
]

RIGHT = [Chunked, Helped]
