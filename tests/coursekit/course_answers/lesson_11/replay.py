"""Answers to task 11.4, ``Replay``: wrong ones with the words of their diagnoses, and right ones."""


class InPlace:
    """Every list stays where it is."""

    def __init__(self, tape, store, attend, rows, slots):
        self.tape, self.store, self.attend = tape, store, attend
        self.rows, self.most = rows, slots
        self.cache = [0] * slots
        self.tokens, self.slots, self.lengths, self.out = [0] * rows, [-1] * rows, [0] * rows, [0] * rows
        self.tables = [[] for _ in range(rows)]
        self.recorded = False

    def step(self, batch):
        self.fill(batch)
        if not self.recorded:
            self.record(batch)
            self.recorded = True
        self.tape.replay()
        return self.out[: len(batch)]

    def fill(self, batch):
        for row in range(self.rows):
            token, table = batch[row] if row < len(batch) else (0, [])
            self.tokens[row], self.slots[row] = token, table[-1] if table else -1
            self.lengths[row], self.tables[row] = len(table), table

    def record(self, batch):
        self.tape.begin()
        self.tape.launch(self.store, self.cache, self.tokens, self.slots)
        self.tape.launch(self.attend, self.cache, self.tables, self.lengths, self.most, self.out)
        self.tape.end()


class BySlices(InPlace):
    def fill(self, batch):
        empty = self.rows - len(batch)
        self.tokens[:] = [token for token, _ in batch] + [0] * empty
        self.slots[:] = [table[-1] for _, table in batch] + [-1] * empty
        self.lengths[:] = [len(table) for _, table in batch] + [0] * empty
        self.tables[:] = [table for _, table in batch] + [[]] * empty


class RecordsAtOnce(InPlace):
    """Records before the first batch has come."""

    def __init__(self, tape, store, attend, rows, slots):
        super().__init__(tape, store, attend, rows, slots)
        self.record([])
        self.recorded = True


class WarmsUp(InPlace):
    """The first step is launched, to warm up, and recorded behind it; the second replays."""

    def step(self, batch):
        self.fill(batch)
        if self.recorded:
            self.tape.replay()
        else:
            self.tape.launch(self.store, self.cache, self.tokens, self.slots)
            self.tape.launch(self.attend, self.cache, self.tables, self.lengths, self.most, self.out)
            self.record(batch)
            self.recorded = True
        return [token for token, _ in zip(self.out, batch)]


class FixedTables(InPlace):
    """Tables of full width, whose numbers are copied one by one; an own kernel gathers the length from the slots."""

    def __init__(self, tape, store, attend, rows, slots):
        super().__init__(tape, store, attend, rows, slots)
        self.tables = [[0] * slots for _ in range(rows)]

    def fill(self, batch):
        self.slots.clear()
        self.slots.extend([-1] * self.rows)
        for row in range(self.rows):
            self.lengths[row] = 0
        for row, (token, table) in enumerate(batch):
            self.tokens[row], self.slots[row], self.lengths[row] = token, table[-1], len(table)
            for place, slot in enumerate(table):
                self.tables[row][place] = slot


class OwnKernels(InPlace):
    """One kernel of its own that does both."""

    def record(self, batch):
        def both(cache, tokens, slots, tables, lengths, out):
            self.store(cache, tokens, slots)
            self.attend(cache, tables, lengths, len(cache), out)

        self.tape.begin()
        self.tape.launch(both, self.cache, self.tokens, self.slots, self.tables, self.lengths, self.out)
        self.tape.end()


class NewTokens(InPlace):
    def fill(self, batch):
        self.tokens = list(self.tokens)
        super().fill(batch)


class NewSlots(InPlace):
    def fill(self, batch):
        self.slots = list(self.slots)
        super().fill(batch)


class NewTables(InPlace):
    def fill(self, batch):
        self.tables = list(self.tables)
        super().fill(batch)


class NewLengths(InPlace):
    def fill(self, batch):
        self.lengths = list(self.lengths)
        super().fill(batch)


class NotedLength(InPlace):
    def record(self, batch):
        self.most = max(len(table) for _, table in batch)
        super().record(batch)


class WritesSlotZero(InPlace):
    def fill(self, batch):
        super().fill(batch)
        self.slots[len(batch) :] = [0] * (self.rows - len(batch))


class KeepsSlots(InPlace):
    def fill(self, batch):
        for row, (token, table) in enumerate(batch):
            self.tokens[row], self.slots[row] = token, table[-1]
            self.lengths[row], self.tables[row] = len(table), table


class ClearsSlots(InPlace):
    def fill(self, batch):
        KeepsSlots.fill(self, batch)
        self.tokens[len(batch) :] = [0] * (self.rows - len(batch))


class NotRun(InPlace):
    def step(self, batch):
        self.fill(batch)
        if self.recorded:
            self.tape.replay()
        else:
            self.record(batch)
            self.recorded = True
        return self.out[: len(batch)]


class AllRows(InPlace):
    def step(self, batch):
        super().step(batch)
        return list(self.out)


class RecordsAgain(InPlace):
    def step(self, batch):
        self.recorded = False
        return super().step(batch)


class NeverRecords(InPlace):
    def step(self, batch):
        self.fill(batch)
        self.tape.launch(self.store, self.cache, self.tokens, self.slots)
        self.tape.launch(self.attend, self.cache, self.tables, self.lengths, self.most, self.out)
        return self.out[: len(batch)]


class LaunchesBeside(InPlace):
    """Records, and never looks at the recording again."""

    def step(self, batch):
        if not self.recorded:
            self.fill(batch)
            self.record(batch)
            self.recorded = True
        return NeverRecords.step(self, batch)


class StoresOnly(InPlace):
    def record(self, batch):
        self.tape.begin()
        self.tape.launch(self.store, self.cache, self.tokens, self.slots)
        self.tape.end()


class NeverEnds(InPlace):
    def record(self, batch):
        self.tape.begin()
        self.tape.launch(self.store, self.cache, self.tokens, self.slots)
        self.tape.launch(self.attend, self.cache, self.tables, self.lengths, self.most, self.out)


class StoresLate(InPlace):
    def record(self, batch):
        self.tape.begin()
        self.tape.launch(self.attend, self.cache, self.tables, self.lengths, self.most, self.out)
        self.tape.launch(self.store, self.cache, self.tokens, self.slots)
        self.tape.end()


class AnotherOut(InPlace):
    """Puts its result aside once."""

    def step(self, batch):
        super().step(batch)
        self.kept = getattr(self, "kept", self.out + [0] * self.rows)
        return self.kept[: len(batch)]


WRONG = [
    (NewTokens, "self.tokens[i]"),
    (NewSlots, "self.slots[i]"),
    (NewTables, "self.tables[i]"),
    (NewLengths, "self.lengths[i]"),
    (NotedLength, "a number is noted by its value"),
    (WritesSlotZero, "wrote a 0 into slot 0"),
    (KeepsSlots, "writes its last token there"),
    (ClearsSlots, "writes a 0 there"),
    (NotRun, "a step computes nothing"),
    (AllRows, "padding rows have no request"),
    (RecordsAgain, "times in"),
    (NeverRecords, "nothing was recorded"),
    (LaunchesBeside, "beside the recording"),
    (StoresOnly, "out was never written"),
    (NeverEnds, "end() it first"),
    (StoresLate, "store first"),
    (AnotherOut, "is not the one that attend writes"),
]

RIGHT = [InPlace, BySlices, RecordsAtOnce, WarmsUp, FixedTables, OwnKernels]
