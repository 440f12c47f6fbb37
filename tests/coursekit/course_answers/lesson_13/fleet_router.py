"""Answers to task 13.3, ``FleetRouter``: wrong ones with the words of their diagnoses, and right ones."""

import zlib

from minieng.parallel.router import LeastWork, PowerOfTwo, PrefixAffinity, RandomRouter, RoundRobin, Router


def counts(loads):
    return [load.waiting + load.running for load in loads]


def fewest_tokens(loads):
    return min(range(len(loads)), key=lambda i: loads[i].tokens)


class Homes(Router):
    """A prefix has one home at a time; it moves when that is ahead of the idlest by more than LIMIT requests."""

    LIMIT = 6

    def __init__(self, seed=0):
        super().__init__(seed)
        self.home = {}

    def pick(self, loads, prompt):
        key, here = tuple(prompt[:100]), counts(loads)
        at = self.home.get(key)
        if at is None or here[at] - min(here) > self.LIMIT:
            at = fewest_tokens(loads)
        self.home[key] = at
        return at


class Several(Router):
    """All replicas that were sent a prefix are remembered; the least loaded of them takes it."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.sent = [set() for _ in range(4)]

    def pick(self, loads, prompt):
        key, here = hash(tuple(prompt[:64])), counts(loads)
        homes = [i for i in range(len(loads)) if key in self.sent[i]]
        at = min(homes, key=here.__getitem__, default=None)
        if at is None or here[at] > min(here) + 6:
            at = fewest_tokens(loads)
        self.sent[at].add(key)
        return at


class Scores(Router):
    """A prompt that must be computed counts as work, six times."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.sent = {}

    def pick(self, loads, prompt):
        known = self.sent.setdefault(tuple(prompt[:256]), set())
        at = min(range(len(loads)), key=lambda i: loads[i].tokens + (0 if i in known else 6 * len(prompt)))
        known.add(at)
        return at


class Bounded(Router):
    """Consistent hashing with bounded loads: on to the next replica where the home is above 1.5 times its share."""

    def pick(self, loads, prompt):
        here = counts(loads)
        bound = 1.5 * (sum(here) + 1) / len(here) + 1
        first = zlib.crc32(str(prompt[:64]).encode()) % len(loads)
        if len(set(prompt[:64])) > 1:  # nobody else begins so
            return fewest_tokens(loads)
        for step in range(len(loads)):
            at = (first + step) % len(loads)
            if here[at] + 1 <= bound:
                return at
        return fewest_tokens(loads)


class Engines(PrefixAffinity):
    """The engine's own, less patient."""

    IMBALANCE = 6


class First(Router):
    def pick(self, loads, prompt):
        return 0


class FewestRequests(Router):
    def pick(self, loads, prompt):
        return counts(loads).index(min(counts(loads)))


class FewestWaiting(Router):
    def pick(self, loads, prompt):
        return min(range(len(loads)), key=lambda i: loads[i].waiting)


class FewestRunning(Router):
    def pick(self, loads, prompt):
        return min(range(len(loads)), key=lambda i: loads[i].running)


class ForEver(Homes):
    LIMIT = 10**6


class TooPatient(Homes):
    LIMIT = 30


class TooHasty(Homes):
    LIMIT = 0


class ALoad(Router):
    def pick(self, loads, prompt):
        return min(loads, key=lambda load: load.tokens)


class Subscript(Router):
    def pick(self, loads, prompt):
        return min(range(len(loads)), key=lambda i: loads[i][2])


class FromOne(Router):
    def pick(self, loads, prompt):
        return loads[len(loads)].tokens


class Counted(Router):
    """Counts replicas from the end."""

    def pick(self, loads, prompt):
        return len(loads) - fewest_tokens(loads)


WRONG = [
    (RoundRobin, "one after the other"),
    (RandomRouter, "look at the loads"),
    (First, "all requests go to one replica"),
    (LeastWork, "with the fewest tokens"),
    (FewestRequests, "with the fewest requests"),
    (FewestWaiting, "where fewest wait"),
    (FewestRunning, "where fewest run"),
    (ForEver, "a prefix stays where it was first"),
    (TooPatient, "stays with a prefix too long"),
    (TooHasty, "at the least difference in load"),
    (PowerOfTwo, "go to all replicas"),
    (ALoad, "holds a `Load` object"),
    (Counted, "that is no place in loads"),
    (Subscript, "a load is no list"),
    (FromOne, "from 0 to 3"),
]

RIGHT = [Homes, Several, Scores, Bounded, Engines]
