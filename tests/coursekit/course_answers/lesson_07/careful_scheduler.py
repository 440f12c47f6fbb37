"""Answers to task 07.4, ``CarefulScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan, Scheduler


class Careful(Scheduler):
    """One method for each decision, so that an answer departs from it in one place."""

    whole_plan = True  # those whom this plan has let in count as well

    def plan(self, now):
        plan, kv, there = Plan(), self.kv.ledger(), list(self.running)
        self.go_on(plan, kv)
        for r in self.queue_up():
            if len(there) >= self.max_num_seqs:
                break
            if there and not self.fits(there if self.whole_plan else list(self.running), r, kv):
                break
            kv.take(r, self.first_part(r))
            plan.extend.append((r, self.first_part(r)))
            there.append(r)
        return plan

    def go_on(self, plan, kv):
        for r in self.running:
            if self.make_room(plan, kv, r, r.num_remaining_tokens):
                plan.extend.append((r, r.num_remaining_tokens))

    def queue_up(self):
        return list(self.waiting)

    def first_part(self, r):
        return r.num_remaining_tokens

    @property
    def blocks(self):
        return self.kv.pool.num_blocks

    def of(self, tokens):
        return -(-tokens // self.kv.block_size)

    def held(self, r):
        return r.num_tokens - 1

    def left(self, r):
        return r.max_num_tokens - r.num_tokens

    def peak(self, requests):
        pairs = [(self.held(r), self.left(r)) for r in requests]
        return max(sum(self.of(held + end) for held, left in pairs if left >= end) for _, end in pairs)

    def fits(self, there, r, kv):
        return self.peak([*there, r]) <= self.blocks


class FitsNow(Careful):
    def fits(self, there, r, kv):
        return kv.can_take(r, r.num_remaining_tokens)


class FitsNowNobodyGivesWay(FitsNow):
    """Without make_room: whoever gets no block stands still."""

    def go_on(self, plan, kv):
        plan.extend += [(r, 1) for r in self.running if kv.take(r, 1)]


class NewcomerAlone(Careful):
    def fits(self, there, r, kv):
        return self.of(r.max_num_tokens - 1) <= kv.free


class SamePlanForgotten(Careful):
    whole_plan = False

    def fits(self, there, r, kv):
        return self.peak([*there, r]) <= self.blocks and kv.can_take(r, r.num_remaining_tokens)


class PromptForgotten(Careful):
    """Takes max_tokens for the length of the whole text."""

    def left(self, r):
        return max(1, r.params.max_tokens - r.num_tokens)


class OutputForgotten(Careful):
    def held(self, r):
        return r.num_prompt_tokens - 1


class ReservesAll(Careful):
    def peak(self, requests):
        return sum(self.of(r.max_num_tokens - 1) for r in requests)


class OneAtATime(Careful):
    def fits(self, there, r, kv):
        return False


class OneAStep(Careful):
    def queue_up(self):
        return list(self.waiting)[:1]


class StrictlyBelow(Careful):
    def fits(self, there, r, kv):
        return self.peak([*there, r]) < self.blocks


class LastTokenCounted(Careful):
    def left(self, r):
        return r.max_num_tokens - r.num_tokens + 1


class NobodyLeaves(Careful):
    """So it comes out, too, if those with the fewest steps left are added up first."""

    def peak(self, requests):
        end = max(self.left(r) for r in requests)
        return sum(self.of(self.held(r) + end) for r in requests)


class PromptsAlone(Careful):
    """A step is prompts only, whenever somebody fits."""

    def plan(self, now):
        plan = super().plan(now)
        new = [pair for pair in plan.extend if pair[0] not in self.running]
        plan.extend = new or plan.extend
        return plan


class PassesBy(Careful):
    def plan(self, now):
        plan, kv, there = Plan(), self.kv.ledger(), list(self.running)
        self.go_on(plan, kv)
        for r in self.waiting:
            if len(there) < self.max_num_seqs and (not there or self.fits(there, r, kv)):
                kv.take(r, r.num_remaining_tokens)
                plan.extend.append((r, r.num_remaining_tokens))
                there.append(r)
        return plan


class NewestFirst(Careful):
    def queue_up(self):
        return list(self.waiting)[::-1]


class CutPrompts(Careful):
    def first_part(self, r):
        return min(2, r.num_remaining_tokens)


class NoSeats(Careful):
    max_num_seqs = 10_000

    def bind(self, kv, config):
        super().bind(kv, config)
        self.max_num_seqs = 10_000


class NobodyEnters(Careful):
    """Keeps a block free at any price, and so never lets the first in when it needs them all."""

    def plan(self, now):
        plan = super().plan(now)
        if not self.running and plan.extend and self.peak([plan.extend[0][0]]) == self.blocks:
            plan.extend = []
        return plan


class AgainstFreeBlocks(Careful):
    """Takes the peak of all, and asks for what the running ones leave."""

    def fits(self, there, r, kv):
        return self.peak([*there, r]) <= kv.free


class AgainstBlocksFreeBefore(Careful):
    def fits(self, there, r, kv):
        return self.peak([*there, r]) <= self.kv.pool.num_free


class NotRoundedUp(Careful):
    """The tokens of all against all slots, as if two requests could share a block."""

    def fits(self, there, r, kv):
        pairs = [(self.held(x), self.left(x)) for x in [*there, r]]
        peak = max(sum(held + end for held, left in pairs if left >= end) for _, end in pairs)
        return peak <= self.blocks * self.kv.block_size


class TokensAgainstBlocks(Careful):
    def of(self, tokens):
        return tokens


class SendsTheOldestAway(Careful):
    """Preempts although everybody fits."""

    def plan(self, now):
        plan = super().plan(now)
        if len(self.running) > 1 and self.running[0].num_output_tokens == 2:
            plan.preempt.append(self.running[0])
            plan.drop(self.running[0])
        return plan


class ByFormula(Careful):
    """LightLLM's formula on tokens; the last block of each counts as full."""

    def fits(self, there, r, kv):
        used = peak = 0
        pairs = sorted(((self.held(x), self.left(x)) for x in [*there, r]), key=lambda pair: -pair[1])
        for i, (held, left) in enumerate(pairs, 1):
            used += held + self.kv.block_size - 1
            peak = max(peak, used + i * left)
        return peak <= self.blocks * self.kv.block_size


class NotEvenAlone(ByFormula):
    """Wrong: counting so, one that would fill the cache does not fit even when nobody else is there."""

    def plan(self, now):
        plan = super().plan(now)
        if not self.running and plan.extend and not self.fits([], plan.extend[0][0], None):
            plan.extend = []
        return plan


class StepByStep(Scheduler):
    """Plays the future, one step after the other."""

    def plan(self, now):
        plan, kv = Plan(), self.kv.ledger()
        for r in self.running:
            if kv.take(r, 1):
                plan.extend.append((r, 1))
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)]:
            if plan.extend and not self.survives([x for x, _ in plan.extend] + [r]):
                return plan
            if not kv.take(r, r.num_remaining_tokens):
                return plan
            plan.extend.append((r, r.num_remaining_tokens))
        return plan

    def survives(self, requests):
        size, blocks = self.kv.block_size, self.kv.pool.num_blocks
        lengths = {r: r.num_tokens - 1 for r in requests}
        while lengths:
            lengths = {r: n + 1 for r, n in lengths.items()}
            if sum((n + size - 1) // size for n in lengths.values()) > blocks:
                return False
            lengths = {r: n for r, n in lengths.items() if n < r.max_num_tokens - 1}
        return True


class ByNumpy(Scheduler):
    def plan(self, now):
        import numpy as np

        kv, plan = self.kv.ledger(), Plan([(r, 1) for r in self.running])
        assert all(kv.take(r, 1) for r in self.running)
        for r in list(self.waiting)[: self.max_num_seqs - len(self.running)]:
            all_of_them = [x for x, _ in plan.extend] + [r]
            held = np.array([x.num_tokens - 1 for x in all_of_them])
            left = np.array([x.max_num_tokens - x.num_tokens for x in all_of_them])
            ends = left[:, None]
            peak = np.where(left >= ends, -(-(held + ends) // self.kv.block_size), 0).sum(1).max()
            if plan.extend and peak > self.kv.pool.num_blocks or not kv.take(r, r.num_remaining_tokens):
                break
            plan.extend.append((r, r.num_remaining_tokens))
        return plan


class Recursive(Careful):
    """Who ends first ends the first part of the future; then comes the rest."""

    def peak(self, requests):
        return self.most([(self.held(r), self.left(r)) for r in requests])

    def most(self, pairs):
        if not pairs:
            return 0
        end = min(left for _, left in pairs)
        here = sum(self.of(held + end) for held, _ in pairs)
        return max(here, self.most([(held + end, left - end) for held, left in pairs if left > end]))


class WithAPrediction(Scheduler):
    """A table of the future: blocks in each step to come, kept up as requests enter the plan.

    It takes nothing on a ledger, and need not: the engine counts the plan on one of its own.
    """

    def plan(self, now):
        plan, future = Plan(), {}

        def add(r):
            grown = dict(future)
            for step in range(1, r.max_num_tokens - r.num_tokens + 1):
                grown[step] = grown.get(step, 0) + -(-(r.num_tokens - 1 + step) // self.kv.block_size)
            return grown

        for r in self.running:
            plan.extend.append((r, 1))
            future = add(r)
        for r in self.waiting:
            grown = add(r)
            full = len(plan.extend) == self.max_num_seqs
            if full or plan.extend and max(grown.values()) > self.kv.pool.num_blocks:
                break
            plan.extend.append((r, r.num_remaining_tokens))
            future = grown
        return plan


WRONG = [
    (FitsNow, "whether a newcomer's prompt fits now"),
    (FitsNowNobodyGivesWay, "All who run grow"),
    (NewcomerAlone, "the newcomer's own end alone"),
    (SamePlanForgotten, "whom this very plan has let in"),
    (PromptForgotten, "r.max_num_tokens, not r.params.max_tokens"),
    (OutputForgotten, "r.num_tokens, not r.num_prompt_tokens"),
    (ReservesAll, "as reserve_max does"),
    (OneAtATime, "only when nobody runs"),
    (OneAStep, "one request a step"),
    (StrictlyBelow, "compare with <="),
    (LastTokenCounted, "one of an answer is never computed"),
    (NobodyLeaves, "nobody ever leaves in your peak"),
    (PromptsAlone, "Both belong into one step"),
    (PassesBy, "would pass a large one for ever"),
    (NewestFirst, "which came before it, waits"),
    (CutPrompts, "of its"),
    (NoSeats, "more requests than there are seats"),
    (NobodyEnters, "let the first in"),
    (NotEvenAlone, "whatever your peak says"),
    (AgainstFreeBlocks, "with the blocks that are free now"),
    (AgainstBlocksFreeBefore, "compare it with all blocks"),
    (NotRoundedUp, "Round up for each of them"),
    (TokensAgainstBlocks, "you compare tokens with blocks"),
    (SendsTheOldestAway, "although everybody fits"),
]

RIGHT = [Careful, ByFormula, StepByStep, ByNumpy, Recursive, WithAPrediction]
