"""Answers to task 13.4, ``Front``: wrong ones with the words of their diagnoses, and right ones."""

from collections import deque
from dataclasses import dataclass, field


class AsPrinted:
    """As it is handed out: four bugs."""

    def __init__(self, replicas, seats):
        self.seats, self.busy = seats, [0] * replicas
        self.working = [[] for _ in range(replicas)]
        self.waiting = [[] for _ in range(replicas)]
        self.asked, self.told = {}, {}

    def take(self, name, prompt, wanted):
        self.asked[name], self.told[name] = (prompt, wanted), []
        return self.place([name]), []

    def token(self, replica, name, token):
        self.told[name].append(token)
        if len(self.told[name]) == self.asked[name][1]:
            self.busy[replica] -= 1
        return self.fill(replica), [[name, token]]

    def died(self, replica):
        names = self.working[replica]
        self.working[replica], self.waiting[replica] = [], []
        self.busy[replica] = 0
        return self.place(names), []

    def place(self, names):
        orders = []
        for name in names:
            loads = [busy + len(line) for busy, line in zip(self.busy, self.waiting)]
            at = loads.index(min(loads))
            self.waiting[at].append(name)
            orders += self.fill(at)
        return orders

    def fill(self, replica):
        orders = []
        while self.waiting[replica] and self.busy[replica] < self.seats:
            name = self.waiting[replica].pop(0)
            self.working[replica].append(name)
            self.busy[replica] += 1
            prompt, wanted = self.asked[name]
            orders.append([replica, name, prompt, wanted])
        return orders


class OneQueue:
    """One line for all replicas. What wrong answers do otherwise is a method."""

    def __init__(self, replicas, seats):
        self.seats, self.alive, self.dead = seats, list(range(replicas)), []
        self.line, self.owner = [], {}
        self.asked, self.told = {}, {}

    def take(self, name, prompt, wanted):
        self.asked[name], self.told[name] = (prompt, wanted), []
        self.line.append(name)
        return self.hand_out(), []

    def token(self, replica, name, token):
        self.told[name].append(token)
        if self.over(name):
            self.leave(name)
        return self.hand_out(), self.words(name, token)

    def died(self, replica):
        self.bury(replica)
        lost = [name for name, at in self.owner.items() if at == replica]
        for name in lost:
            del self.owner[name]
        self.again(lost)
        return self.hand_out(), []

    def bury(self, replica):
        self.alive.remove(replica)
        self.dead.append(replica)

    def again(self, lost):
        self.line = lost + self.line

    def over(self, name):
        return len(self.told[name]) == self.asked[name][1]

    def leave(self, name):
        del self.owner[name]

    def words(self, name, token):
        return [[name, token]]

    def text(self, name):
        return self.asked[name][0] + self.told[name]

    def left(self, name):
        return self.asked[name][1] - len(self.told[name])

    def free(self):
        return [i for i in self.alive if list(self.owner.values()).count(i) < self.seats]

    def hand_out(self):
        orders = []
        while self.line and self.free():
            name, at = self.line.pop(0), self.free()[0]
            self.owner[name] = at
            orders.append([at, name, self.text(name), self.left(name)])
        return orders


@dataclass
class Open:
    prompt: list
    wanted: int
    told: list = field(default_factory=list)
    at: int = -1
    runs: bool = False


class Records:
    """A record for each request; loads are counted from the records."""

    def __init__(self, replicas, seats):
        self.up, self.seats, self.open = [True] * replicas, seats, {}

    def on(self, i, runs=None):
        return [n for n, r in self.open.items() if r.at == i and runs in (None, r.runs)]

    def go(self, name):
        self.open[name].at = min((i for i, up in enumerate(self.up) if up), key=lambda i: len(self.on(i)))
        self.open[name].runs = False

    def orders(self):
        made = []
        for name, r in self.open.items():
            if not r.runs and len(self.on(r.at, True)) < self.seats:
                r.runs = True
                made.append((r.at, name, [*r.prompt, *r.told], r.wanted - len(r.told)))
        return made

    def take(self, name, prompt, wanted):
        self.open[name] = Open(prompt, wanted)
        self.go(name)
        return self.orders(), []

    def token(self, replica, name, token):
        r = self.open[name]
        r.told.append(token)
        if len(r.told) == r.wanted:
            del self.open[name]
        return self.orders(), [(name, token)]

    def died(self, replica):
        self.up[replica] = False
        for name in self.on(replica):
            self.open[name].at = -1
        for name in self.on(-1):
            self.go(name)
        return self.orders(), []


class Growing:
    """The text grows with each token; a deque for each living replica, those with a seat in front."""

    def __init__(self, replicas, seats):
        self.seats, self.lines, self.jobs = seats, {i: deque() for i in range(replicas)}, {}

    def take(self, name, prompt, wanted):
        self.jobs[name] = [list(prompt), wanted]
        return self.join(name), []

    def join(self, name):
        at = min(self.lines, key=lambda i: len(self.lines[i]))
        self.lines[at].append(name)
        return [self.order(at, name)] if len(self.lines[at]) <= self.seats else []

    def order(self, at, name):
        text, left = self.jobs[name]
        return [at, name, list(text), left]

    def token(self, replica, name, token):
        self.jobs[name][0].append(token)
        self.jobs[name][1] -= 1
        orders = []
        if not self.jobs[name][1]:
            line = self.lines[replica]
            line.remove(name)
            if len(line) >= self.seats:
                orders = [self.order(replica, line[self.seats - 1])]
        return orders, [[name, token]]

    def died(self, replica):
        return [order for name in self.lines.pop(replica) for order in self.join(name)], []


class Mended(AsPrinted):
    """The printed one, with its four bugs out."""

    def token(self, replica, name, token):
        orders, told = super().token(replica, name, token)
        if len(self.told[name]) == self.asked[name][1]:
            self.working[replica].remove(name)
        return orders, told

    def died(self, replica):
        names = self.working[replica] + self.waiting[replica]
        self.working[replica], self.waiting[replica] = [], []
        self.busy[replica] = 10**9
        return self.place(names), []

    def fill(self, replica):
        orders = super().fill(replica)
        return [[i, n, prompt + self.told[n], wanted - len(self.told[n])] for i, n, prompt, wanted in orders]


class FromTheBack(OneQueue):
    """Right, and unfair: the newest goes first, to the fullest replica that has a seat."""

    def hand_out(self):
        orders = []
        while self.line and self.free():
            name, at = self.line.pop(), self.free()[-1]
            self.owner[name] = at
            orders.append([at, name, self.text(name), self.left(name)])
        return orders


class ToTheDead(OneQueue):
    def bury(self, replica):
        pass


class Anew(OneQueue):
    def text(self, name):
        return list(self.asked[name][0])

    def left(self, name):
        return self.asked[name][1]


class WholeLength(OneQueue):
    def left(self, name):
        return self.asked[name][1]


class TellsAgain(OneQueue):
    """Begins anew, and forgets what was told."""

    def died(self, replica):
        for name, at in self.owner.items():
            if at == replica:
                self.told[name] = []
        return super().died(replica)


class LastTokenAlone(OneQueue):
    def text(self, name):
        return self.asked[name][0] + self.told[name][-1:]


class DropsThoseWhoRan(OneQueue):
    def again(self, lost):
        pass


class DropsThoseWhoWaited(Mended):
    def died(self, replica):
        self.waiting[replica] = []
        return super().died(replica)


class FinishedAgain(OneQueue):
    """Who is complete stays noted with its replica."""

    def __init__(self, replicas, seats):
        super().__init__(replicas, seats)
        self.ever = {}

    def leave(self, name):
        self.ever[name] = self.owner.pop(name)

    def again(self, lost):
        self.line = lost + [name for name, at in self.ever.items() if at in self.dead] + self.line


class NeverLeaves(OneQueue):
    def leave(self, name):
        pass

    def again(self, lost):
        self.line = [name for name in lost if not self.over(name)] + self.line


class NoSeats(OneQueue):
    def free(self):
        return sorted(self.alive, key=list(self.owner.values()).count)


class KeepsTokens(OneQueue):
    """Tells the whole answer at its end."""

    def words(self, name, token):
        return [[name, each] for each in self.told[name]] if self.over(name) else []


class TellsTwice(OneQueue):
    def words(self, name, token):
        return [[name, token], [name, token]]


class OneMore(OneQueue):
    def over(self, name):
        return len(self.told[name]) > self.asked[name][1]

    def left(self, name):
        return super().left(name) + 1


class Everywhere(OneQueue):
    """Two replicas for each request, to be safe."""

    def hand_out(self):
        orders = super().hand_out()
        return orders + [[i, *order[1:]] for order in orders for i in self.free() if i != order[0]][:1]


class OrdersAlone(OneQueue):
    def take(self, name, prompt, wanted):
        return super().take(name, prompt, wanted)[0]


WRONG = [
    (ToTheDead, "which is dead"),
    (Anew, "begins anew, with its prompt alone"),
    (WholeLength, "are still to come"),
    (LastTokenAlone, "is its prompt and what was told"),
    (TellsAgain, "hand them over as well"),
    (DropsThoseWhoRan, "was being worked on when"),
    (DropsThoseWhoWaited, "those in the queue of a dead replica"),
    (FinishedAgain, "forget who is done"),
    (NeverLeaves, "its seat is free: who waits takes it"),
    (NoSeats, "as one more: let it wait"),
    (KeepsTokens, "tell it at once"),
    (TellsTwice, "twice in one call"),
    (Everywhere, "two replicas on one request"),
    (OrdersAlone, "two lists"),
]

RIGHT = [OneQueue, Records, Growing, Mended, FromTheBack]
