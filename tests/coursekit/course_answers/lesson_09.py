"""Answers to exercise 09, wrong in every way that was thought of, and right in more than one."""

from minieng import Plan, Scheduler


# ---------------------------------------------------------------- 09.1 ChunkedScheduler, 09.3 MendedScheduler
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


class PromptsFirst(Chunked):
    def old(self):
        return sorted(self.running, key=lambda r: r.is_decode)


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


class ShortestFirst(Chunked):
    def newcomers(self, waiting):
        super().newcomers(sorted(waiting, key=lambda r: r.num_remaining_tokens))


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


class LongOnesAlone(Chunked):
    """A long prompt gets a step of its own, whole."""

    def plan(self, now):
        for r in [*self.running, *list(self.waiting)[: self.max_num_seqs - len(self.running)]]:
            if r.num_remaining_tokens > self.max_num_batched_tokens:
                return Plan(extend=[(r, r.num_remaining_tokens)])
        return super().plan(now)


# ---------------------------------------------------------------- 09.2 largest_budget
def halve(gap, limit, most):
    good, bad = 0, most + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if gap(middle) <= limit:
            good = middle
        else:
            bad = middle
    return good


def halve_by_jumps(gap, limit, most):
    """Jumps of a power of two, each half of the one before."""
    budget, jump = 0, 1 << most.bit_length()
    while jump:
        if budget + jump <= most and gap(budget + jump) <= limit:
            budget += jump
        jump //= 2
    return budget


def with_bisect(gap, limit, most):
    import bisect

    return bisect.bisect_right(range(1, most + 1), limit, key=gap)


def budget_scan(gap, limit, most):
    for budget in range(most, 0, -1):
        if gap(budget) <= limit:
            return budget
    return 0


def budget_first_bad(gap, limit, most):
    return min(most, halve(gap, limit, most) + 1) if gap(1) <= limit else 0


def budget_strict(gap, limit, most):
    return halve(gap, limit - 0.5, most)


def budget_at_least_one(gap, limit, most):
    return max(1, halve(gap, limit, most))


def budget_without_most(gap, limit, most):
    return halve(gap, limit, most - 1)


def budget_smallest(gap, limit, most):
    return 1 if gap(1) <= limit else 0


def budget_gap(gap, limit, most):
    found = halve(gap, limit, most)
    return gap(found) if found else 0


def budget_none(gap, limit, most):
    return halve(gap, limit, most) or None


def budget_beyond(gap, limit, most):
    return halve(gap, limit, 2 * most)


def budget_stuck(gap, limit, most):
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if gap(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low if gap(low) <= limit else 0


def budget_doubles(gap, limit, most):
    """The largest power of two that keeps the limit."""
    budget = 0
    while max(1, 2 * budget) <= most and gap(max(1, 2 * budget)) <= limit:
        budget = max(1, 2 * budget)
    return budget


WRONG = {
    "09.1": [
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
        (NoSeats, "admits more requests than there are slots"),
        (EmptySlices, "no token at all"),
    ],
    "09.2": [
        (budget_scan, "was asked"),
        (budget_first_bad, "smallest budget that breaks the limit"),
        (budget_strict, "compare with <="),
        (budget_at_least_one, "not even 1"),
        (budget_without_most, "most itself is allowed"),
        (budget_smallest, "everybody's first token waits for it"),
        (budget_gap, "this is the gap of the right budget"),
        (budget_none, "as a whole number"),
        (budget_beyond, "a budget is a whole number from 1 to most"),
        (budget_stuck, "the search does not end"),
        (budget_doubles, "larger ones do as well"),
    ],
    "09.3": [
        (Skips, "It does not fit whole"),
        (NewFirst, "Finish what is begun"),
        (ShortestFirst, "a newcomer overtakes it"),
        (LongOnesAlone, "in one piece"),
        (SmallChunks, "A chunk is as large as what is left"),
        (DecodesOnly, "prompts starve as long as anybody writes"),
        (PromptsOnlyFirst, "Serve those who write first"),
    ],
}

RIGHT = {
    "09.1": [Chunked, Helped],
    "09.2": [halve, halve_by_jumps, with_bisect],
    "09.3": [Chunked, Helped],
}
