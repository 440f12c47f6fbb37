"""Answers to task 09.3, ``MendedScheduler``: wrong ones with the words of their diagnoses, and right ones."""

from minieng import Plan

from .chunked_scheduler import (
    Chunked,
    DecodesOnly,
    Helped,
    NewFirst,
    NobodyGivesWay,
    PassesBy,
    PromptsOnlyFirst,
    Skips,
    SmallChunks,
)


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
    (Skips, "It does not fit whole"),
    (NewFirst, "Finish what is begun"),
    (ShortestFirst, "a newcomer overtakes it"),
    (LongOnesAlone, "in one piece"),
    (SmallChunks, "A chunk is as large as what is left"),
    (DecodesOnly, "prompts starve as long as anybody writes"),
    (PromptsOnlyFirst, "Serve those who write first"),
    (AdmitsWhilePreempting, "Admit nobody in a step"),
    (PassesBy, "small requests pass a large one"),
    (NobodyGivesWay, "makes somebody give way"),
]

RIGHT = [Chunked, Helped]
