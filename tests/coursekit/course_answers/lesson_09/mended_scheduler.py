"""Answers to task 09.3, ``MendedScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan, Scheduler

from .chunked_scheduler import (
    BudgetForEach,
    ByGenerators,
    Chunked,
    DecodesOnly,
    DecodesOnTop,
    EmptySlices,
    GivesWayByHand,
    Helped,
    InTwoPasses,
    NewFirst,
    NobodyGivesWay,
    NoLedger,
    NoSeats,
    NotFused,
    OneLoop,
    OnePrompt,
    PassesBy,
    PromptsOnlyFirst,
    Recursive,
    SendsAllBack,
    SmallChunks,
    SplitsEvenly,
    StopsAtAPreemption,
)


class Handed(Scheduler):
    """The code as it is handed out, with each of its three bugs to be mended apart."""

    cuts = begun_first = stops = gives_way = False

    def plan(self, now):
        made, paper, free = Plan(), self.kv.ledger(), self.max_num_batched_tokens
        for r in self.running:
            if r.is_decode and self.make_room(made, paper, r, 1):
                made.extend.append((r, 1))
                free -= 1
        if made.preempt:
            return made
        room = self.max_num_seqs - len(self.running)
        begun, new = [r for r in self.running if not r.is_decode], list(self.waiting)[:room]
        for r in begun + new if self.begun_first else new + begun:
            n = min(r.num_remaining_tokens, free) if self.cuts else r.num_remaining_tokens
            if n and n <= free and (self.make_room(made, paper, r, n) if self.gives_way and r in begun else paper.take(r, n)):
                made.extend.append((r, n))
                free -= n
            elif self.stops:
                break
        return made


class BegunFirstAlone(Handed):
    """One bug of three is out: who comes first."""

    begun_first = True


class CutsAlone(Handed):
    """One bug of three is out: all or nothing."""

    cuts = True


class CutsAndOrders(Handed):
    """Two of three are out. Where the ledger has no room for the first, the next one is asked."""

    cuts = begun_first = True


class ShortestFirst(Chunked):
    def newcomers(self, waiting):
        super().newcomers(sorted(waiting, key=lambda r: r.num_remaining_tokens))


class LongOnesAlone(Chunked):
    """A long prompt gets a step of its own, whole."""

    def plan(self, now):
        for r in [*self.running, *list(self.waiting)[: self.max_num_seqs - len(self.running)]]:
            if r.num_remaining_tokens > self.max_num_batched_tokens:
                return Plan(extend=[(r, r.num_remaining_tokens)])
        return super().plan(now)


class AdmitsWhilePreempting(Chunked):
    """Mended but for the short cache: whoever waits comes in although somebody had to go."""

    def plan(self, now):
        made = super().plan(now)
        if made.preempt:
            self.newcomers(list(self.waiting))
        return made


WRONG = [
    (BegunFirstAlone, "It does not fit whole"),
    (NewFirst, "Finish what is begun"),
    (ShortestFirst, "a newcomer overtakes it"),
    (LongOnesAlone, "in one piece"),
    (SmallChunks, "A chunk is as large as what is left"),
    (DecodesOnly, "prompts starve as long as anybody writes"),
    (PromptsOnlyFirst, "Serve those who write first"),
    (AdmitsWhilePreempting, "Admit nobody in a step"),
    (PassesBy, "small requests pass a large one"),
    (NobodyGivesWay, "makes somebody give way"),
    (Handed, "so it is skipped and starves"),
    (CutsAlone, "holds KV and starves"),
    (CutsAndOrders, "which came before it, gets nothing"),
    (BudgetForEach, "the budget is for the step"),
    (DecodesOnTop, "decodes come on top"),
    (EmptySlices, "no token at all"),
    (NoLedger, "takes more KV blocks than are free"),
    (NoSeats, "admits more requests than there are seats"),
    (NotFused, "belong into the same step"),
    (OnePrompt, "One prompt a step is not the limit"),
    (SendsAllBack, "your own preemption does not"),
    (SplitsEvenly, "split evenly"),
    (StopsAtAPreemption, "go through everybody who runs"),
]

RIGHT = [Chunked, Helped, InTwoPasses, ByGenerators, GivesWayByHand, OneLoop, Recursive]
