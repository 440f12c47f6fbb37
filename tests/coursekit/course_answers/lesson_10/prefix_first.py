"""Answers to task 10.3, ``PrefixFirst``: wrong ones with the words of their diagnoses, and right ones."""

from collections import deque

from minieng.scheduler import ContinuousScheduler


def order(key):
    """A scheduler whose queue is sorted by ``key(self, request, now, ledger)``."""

    class Ordered(ContinuousScheduler):
        patience = 2.0

        def queue(self, now, kv):
            return sorted(self.waiting, key=lambda r: (key(self, r, now, kv), r.arrival_time, r.sequence))

    return Ordered


def found(request, kv):
    return kv.shared(request).num_tokens


def late(self, request, now):
    return now - request.arrival_time >= self.patience


def named(name, made):
    made.__name__ = made.__qualname__ = name
    return made


Arrival = named("Arrival", order(lambda self, r, now, kv: 0))
NoPatience = named("NoPatience", order(lambda self, r, now, kv: -found(r, kv)))
ShortestPrefix = named("ShortestPrefix", order(lambda self, r, now, kv: (not late(self, r, now), found(r, kv))))
PrefixAmongTheLate = named("PrefixAmongTheLate", order(lambda self, r, now, kv: (not late(self, r, now), -found(r, kv))))
NewestLate = named(
    "NewestLate",
    order(lambda self, r, now, kv: (0, -r.arrival_time) if late(self, r, now) else (1, -found(r, kv))),
)
LateLast = named("LateLast", order(lambda self, r, now, kv: (late(self, r, now), not late(self, r, now) and -found(r, kv))))
Mixed = named("Mixed", order(lambda self, r, now, kv: (0, -found(r, kv)) if late(self, r, now) else (1, r.arrival_time)))
ByClock = named("ByClock", order(lambda self, r, now, kv: (0, 0) if r.arrival_time >= self.patience else (1, -found(r, kv))))
LongestPrompt = named("LongestPrompt", order(lambda self, r, now, kv: -r.num_prompt_tokens))
ShortestPrompt = named("ShortestPrompt", order(lambda self, r, now, kv: r.num_prompt_tokens))
MostToDo = named("MostToDo", order(lambda self, r, now, kv: -kv.todo(r)))
Newest = named("Newest", order(lambda self, r, now, kv: -r.arrival_time))
ByTokens = named("ByTokens", order(lambda self, r, now, kv: tuple(r.token_ids)))


class OnlyTheKnown(ContinuousScheduler):
    def queue(self, now, kv):
        return sorted((r for r in self.waiting if found(r, kv)), key=lambda r: -found(r, kv))


class Twice(ContinuousScheduler):
    def queue(self, now, kv):
        return sorted(self.waiting, key=lambda r: -found(r, kv)) * 2


class PairsWithRequests(ContinuousScheduler):
    def queue(self, now, kv):
        return [r for _, r in sorted((-found(r, kv), r) for r in self.waiting)]


class SortsInPlace(ContinuousScheduler):
    def queue(self, now, kv):
        self.waiting.sort(key=lambda r: -found(r, kv))
        return self.waiting


class MovesThem(ContinuousScheduler):
    def queue(self, now, kv):
        best = sorted(self.waiting, key=lambda r: -found(r, kv))
        self.waiting.clear()
        self.waiting.extend(best)
        return best


class Nothing(ContinuousScheduler):
    def queue(self, now, kv):
        sorted(self.waiting, key=lambda r: -found(r, kv))


class Two(ContinuousScheduler):
    """Right: two lists, one behind the other."""

    def queue(self, now, kv):
        overdue = [r for r in self.waiting if now - r.arrival_time >= self.patience]
        others = [r for r in self.waiting if now - r.arrival_time < self.patience]
        return overdue + sorted(others, key=lambda r: kv.shared(r).num_tokens, reverse=True)


ByKey = named(
    "ByKey",
    order(lambda self, r, now, kv: (0, r.arrival_time) if late(self, r, now) else (1, -found(r, kv))),
)


class Ageing(ContinuousScheduler):
    """Right: waiting is worth tokens, so many that the longest prompt is made up for when patience ends."""

    def queue(self, now, kv):
        most = max((r.num_prompt_tokens for r in self.waiting), default=1)
        rate = most / self.patience
        return sorted(self.waiting, key=lambda r: (-(found(r, kv) + rate * (now - r.arrival_time)), r.sequence))


class OneAfterTheOther(ContinuousScheduler):
    """Right: takes the best out of a list again and again."""

    def queue(self, now, kv):
        rest, line = deque(self.waiting), []
        while rest:
            overdue = [r for r in rest if now >= r.arrival_time + self.patience]
            best = min(overdue, key=lambda r: r.arrival_time) if overdue else max(rest, key=lambda r: found(r, kv))
            line.append(best)
            rest.remove(best)
        return line


class Groups(ContinuousScheduler):
    """Right: who finds equally much stands together, the largest finds first; the overdue before all of them."""

    def queue(self, now, kv):
        groups = {}
        for r in self.waiting:
            groups.setdefault(None if late(self, r, now) else found(r, kv), []).append(r)
        line = groups.pop(None, [])
        for hit in sorted(groups, reverse=True):
            line = line + groups[hit]
        return iter(line)


for each in (OnlyTheKnown, Twice, PairsWithRequests, SortsInPlace, MovesThem, Nothing, Two, Ageing, OneAfterTheOther, Groups):
    each.patience = 2.0

WRONG = [
    (Arrival, "the queue stays in order of arrival"),
    (NoPatience, "a rare one starves"),
    (ShortestPrefix, "the shortest prefix goes first"),
    (PrefixAmongTheLate, "among themselves the longest prefix goes first again"),
    (NewestLate, "the newest goes first: the oldest has waited longest"),
    (LateLast, "False sorts before True"),
    (Mixed, "the two halves are mixed up"),
    (ByClock, "the time of arrival is compared with patience"),
    (LongestPrompt, "the longest prompt goes first"),
    (ShortestPrompt, "the shortest prompt goes first"),
    (MostToDo, "who has most left to compute goes first"),
    (Newest, "nobody asks for that"),
    (ByTokens, "sorted by the tokens themselves"),
    (OnlyTheKnown, "leaves somebody out"),
    (Twice, "holds one request twice"),
    (PairsWithRequests, "requests have no order"),
    (SortsInPlace, "sorted(self.waiting, key=...) makes a new list"),
    (MovesThem, "moved requests between waiting and running"),
    (Nothing, "queue() returned None"),
]

RIGHT = [Two, ByKey, Ageing, OneAfterTheOther, Groups]
